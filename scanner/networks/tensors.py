"""Tensors by name in a safetensors file: a JSON header and raw numbers, no code; equal content gives equal bytes.

The format is read and written here in full, because a GPU machine may have torch alone, and because the safetensors
library writes metadata in an order that changes from run to run.  Any safetensors reader opens the files.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from indexes.atomic import atomic_path
from indexes.sealed import create, open_file
from scanner.errors import ArtefactError

TENSOR_BYTES_MAX = 16 * 1024**3
_HEADER_BYTES_MAX = 100 * 1000 * 1000
_METADATA = "__metadata__"
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return every tensor of a safetensors file, on the CPU, in the file's order of names.

    Raises:
        ArtefactError: not there, too large, no safetensors file, cut off, or with numbers of a kind unknown here.
    """
    return _read(path)[0]


def read_metadata(path: Path) -> dict[str, str]:
    """Return the texts that `write_tensors` put beside the tensors; raises ArtefactError like `read_tensors`."""
    return _read(path)[1]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        size = path.stat().st_size
        if size > TENSOR_BYTES_MAX:
            raise ArtefactError(f"{path} has {size} bytes; files over {TENSOR_BYTES_MAX} bytes are not opened.")
        with open_file(path) as file:
            data = bytearray(file.read())
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return _parse(data)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, struct.error, RuntimeError) as error:
        raise ArtefactError(
            f"{path} is no complete safetensors file: {error}. Copy it again, or save the weights with "
            "safetensors.torch.save_file."
        ) from error


def _parse(data: bytearray) -> tuple[dict[str, Tensor], dict[str, str]]:
    (length,) = struct.unpack_from("<Q", data)
    if length > min(len(data) - 8, _HEADER_BYTES_MAX):
        raise ValueError(f"its header would have {length} bytes of {len(data)}")
    header = json.loads(bytes(data[8 : 8 + length]))
    metadata = {str(key): str(value) for key, value in header.pop(_METADATA, {}).items()}
    body = memoryview(data)[8 + length :]
    return {str(name): _tensor(name, entry, body) for name, entry in header.items()}, metadata


def _tensor(name: str, entry: Any, body: memoryview) -> Tensor:
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        raise ValueError(f"{name} is of kind {entry['dtype']!r}, known are {', '.join(_DTYPES)}")
    shape = [int(side) for side in entry["shape"]]
    start, end = (int(offset) for offset in entry["data_offsets"])
    count = 1
    for side in shape:
        count *= side
    fits = 0 <= start <= end <= len(body) and min(shape, default=0) >= 0 and end - start == count * dtype.itemsize
    if not fits:
        raise ValueError(f"{name} of shape {shape} claims the bytes {start} to {end} of {len(body)}")
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(body[start:end], dtype=torch.uint8).clone().view(dtype).view(shape)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, *, private: bool = False
) -> None:
    """Write tensors and texts under `path`, completely or not at all; names are sorted.

    Where the environment has a key, `private` ones, which show people, are sealed.

    Raises:
        OSError: the disk is full or the folder is not there; `path` is as it was.
    """
    header: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    blobs: list[bytes] = []
    offset = 0
    # The format wants every tensor aligned to its kind: large kinds first, then by name, as the library does.
    for name in sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name)):
        tensor = tensors[name].detach().cpu().contiguous()
        blob = tensor.view(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(path) as temporary, create(temporary) if private else temporary.open("wb") as file:
        file.writelines([struct.pack("<Q", len(text)), text, *blobs])
