"""What lies in a torch.export archive (.pt2): a graph as JSON, and weights as raw numbers; pickled parts are never opened.

The layout is that of torch 2.9 to 2.13: models/NAME.json, data/weights/ and data/constants/ with a JSON list of tensors
each, and data/sample_inputs/, which is a pickle and is left alone.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scanner.networks.limits import unpacked_bytes

_BYTES_MAX = 8 * 1024**3
_AGAIN = "Save it again with torch.export.save of torch 2.9 or newer"
KINDS = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16,
    7: torch.float32, 8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
"""torch's numbers of the kinds of tensors in the JSON."""


class Unreadable(Exception):
    """An archive that is not what it should be; the message says why."""


class ExportArchive:
    """An open archive of `file_bytes` bytes with one model.

    Attributes:
        document: the model's JSON, as it is.
    """

    def __init__(self, archive: zipfile.ZipFile, file_bytes: int) -> None:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > _BYTES_MAX:
            raise Unreadable(f"it unpacks to {size} bytes; networks over {_BYTES_MAX} bytes are not opened")
        if unpacked_bytes(archive, file_bytes) is not None:
            raise Unreadable(f"it has {file_bytes} bytes and unpacks to {size}, but torch does not compress. {_AGAIN}")
        self._archive = archive
        self._names = {name.partition("/")[2]: name for name in archive.namelist()}
        models = [name for name in self._names if name.startswith("models/") and name.endswith(".json")]
        if len(models) != 1:
            raise Unreadable(f"it holds {len(models)} models, one is needed. Copy it again. {_AGAIN}")
        self._model = models[0].removeprefix("models/").removesuffix(".json")
        self.document: dict[str, Any] = self._json(models[0])

    def tensors(self, part: str) -> dict[str, Tensor]:
        """Return the tensors under data/PART by name: "weights" (and buffers) or "constants"."""
        config = self._json(f"data/{part}/{self._model}_{part}_config.json")["config"]
        return {name: self._tensor(f"data/{part}", name, payload) for name, payload in config.items()}

    def _json(self, name: str) -> Any:
        if name not in self._names:
            raise Unreadable(f"{name} is missing. {_AGAIN}")
        return json.loads(self._archive.read(self._names[name]))

    def _tensor(self, folder: str, name: str, payload: Mapping[str, Any]) -> Tensor:
        meta = payload.get("tensor_meta")
        if payload.get("use_pickle") or meta is None:
            raise Unreadable(
                f"{name} is stored as a Python pickle, which could run code and is never opened. "
                "Export the network with plain tensors as weights"
            )
        dtype = KINDS[meta["dtype"]]
        sizes, strides = ([int(part["as_int"]) for part in meta[key]] for key in ("sizes", "strides"))
        data = bytearray(self._archive.read(self._names[f"{folder}/{payload['path_name']}"]))
        if math.prod(sizes) * dtype.itemsize > len(data):
            raise Unreadable(f"{name} of shape {sizes} has {len(data)} bytes only. {_AGAIN}")
        if not data:
            return torch.zeros(sizes, dtype=dtype)
        flat = torch.frombuffer(data, dtype=torch.uint8).view(dtype)
        return flat.as_strided(sizes, strides, int(meta["storage_offset"]["as_int"])).clone()
