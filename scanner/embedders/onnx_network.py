"""Any ONNX network as an embedder, in fixed padded batches.

Dynamic shapes make onnxruntime leak GPU memory (immich#31675), and some kernels choose another
algorithm for another batch: a fixed batch keeps memory flat and a face's vector independent of its
neighbours.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner.embedders.base import unit_rows
from scanner.embedders.fast_prelu import rewrite_prelu
from scanner.embedders.sidecar import Sidecar
from scanner.errors import ModelError
from scanner.sessions import Device, ModelFile, open_session

BATCH = {"cpu": 2, "cuda": 16}
"""Faces of one call. On a CPU more only push activations out of the caches: on the machine measured a face takes 18.5 ms
alone, 18.7 in twos and 21.7 in sixteens (12.1, 12.1 and 13.5 for a lighter network), before `fast_prelu`."""
_IMAGE_AXES = 4
_SIDE_MAX, _BATCH_MAX = 2048, 1024


@dataclass(frozen=True, slots=True)
class _Plug:
    """Names and sizes at the border of the graph."""

    input_name: str
    output_name: str
    width: int
    height: int
    fixed_batch: int | None
    graph: bytes


class OnnxEmbedder:
    """A recogniser (or any image network) from an ONNX file.  Thread-safe."""

    def __init__(
        self,
        name: str,
        model: ModelFile,
        sidecar: Sidecar,
        device: Device,
        *,
        threads: int = 1,
        batch: int | None = None,
    ) -> None:
        """Open the network and try it once; raises ModelError with what to write into its JSON."""
        if sidecar.sha256 is not None and sidecar.sha256 != model.sha256:
            raise ModelError(
                f"{model.path} is not the file that its JSON describes: sha256 {model.sha256[:12]}…, the JSON says "
                f"{sidecar.sha256[:12]}…. Fetch the file again, or correct the JSON if the change is meant."
            )
        plug = _plug(model, sidecar, fast_prelu=device.name == "cpu")
        self._plug, self._sidecar, self._model = plug, sidecar, model
        self._batch = plug.fixed_batch or batch or BATCH[device.name]
        self._mean = np.array(sidecar.mean, np.float32)
        self._scale = np.array(sidecar.scale, np.float32)
        self._session: Any = open_session(plug.graph, device, threads=threads, what=str(model.path))
        self._device = device
        self.name = name
        self.crop_size_px = (plug.width, plug.height)
        self.fingerprint = _fingerprint(model.sha256, sidecar, plug)
        self.dim = self._try_once()

    def embed(self, crops_rgb_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Embedder.embed`."""
        n = len(crops_rgb_u8)
        rows = [self._run(crops_rgb_u8[start : start + self._batch]) for start in range(0, n, self._batch)]
        return unit_rows(np.concatenate(rows)) if rows else np.empty((0, self.dim), np.float32)

    def describe(self) -> dict[str, object]:
        """See `Embedder.describe`."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "sha256": self._model.sha256,
            "licence": self._sidecar.licence,
            "dim": self.dim,
            "input_size": list(self.crop_size_px),
            "channel_order": self._sidecar.channel_order,
            "output": self._plug.output_name,
            "pooling": self._sidecar.pooling,
            "device": self._device.name,
            "device_reason": self._device.reason,
        }

    def _run(self, crops_rgb_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
        n = len(crops_rgb_u8)
        pixels = crops_rgb_u8 if self._sidecar.channel_order == "RGB" else crops_rgb_u8[..., ::-1]
        blob = np.zeros((self._batch, 3, self._plug.height, self._plug.width), np.float32)
        blob[:n] = ((pixels.astype(np.float32) - self._mean) * self._scale).transpose(0, 3, 1, 2)
        (answer,) = self._session.run([self._plug.output_name], {self._plug.input_name: blob})
        raw = np.asarray(answer)
        if raw.ndim == 0 or len(raw) != self._batch:
            raise ValueError(
                f"tensor {self._plug.output_name} of shape {raw.shape} has no row for each of {self._batch}"
            )
        return self._pool(raw[:n])

    def _pool(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        if raw.ndim == _IMAGE_AXES and self._sidecar.pooling == "mean":
            return np.asarray(raw.mean((2, 3)), np.float32)
        if raw.ndim == _IMAGE_AXES and self._sidecar.pooling == "max":
            return np.asarray(raw.max((2, 3)), np.float32)
        return np.asarray(raw.reshape(len(raw), -1), np.float32)

    def _try_once(self) -> int:
        blank = np.full((1, self._plug.height, self._plug.width, 3), 127, np.uint8)
        try:
            dim = int(self._run(blank).shape[1])
        except Exception as error:  # whatever onnxruntime raises for a wrong shape
            raise ModelError(
                f"{self._model.path} does not take pictures of {self._plug.width}x{self._plug.height}: {error}. "
                'Say its size in the JSON beside it: "input_size": [width, height].'
            ) from error
        if self._sidecar.dim not in (None, dim):
            raise ModelError(
                f"{self._model.path} gives {dim} numbers a face, its JSON says dim {self._sidecar.dim}. "
                'Correct "dim", or choose another "output" or "pooling".'
            )
        return dim


def _plug(model: ModelFile, sidecar: Sidecar, *, fast_prelu: bool) -> _Plug:
    """Find the graph's input and output; an inner tensor is made an output."""
    import onnx

    graph_file = onnx.load_model_from_string(model.data)
    graph = graph_file.graph
    stored = {t.name for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in stored]
    shape = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if len(inputs) == 1 else []
    if len(shape) != _IMAGE_AXES or shape[1] not in (0, 3):
        raise ModelError(f"{model.path} takes no picture: one input (n, 3, height, width) is expected, found {shape}.")
    width, height = sidecar.input_size or (shape[3], shape[2])
    if not (width > 0 and height > 0):
        raise ModelError(
            f"{model.path} leaves its input size open. Say it in {model.path.with_suffix('.json').name} beside it: "
            '{"input_size": [112, 112]}.'
        )
    if max(width, height) > _SIDE_MAX or shape[0] > _BATCH_MAX:
        raise ModelError(
            f"{model.path} takes {shape[0] or 'any number of'} pictures of {width}x{height} at once; at most {_BATCH_MAX} of "
            f"{_SIDE_MAX} pixels a side are supported. Export it with an open batch axis and the size of a face's crop."
        )
    outputs = [str(o.name) for o in graph.output]  # bytes, where it is no UTF-8
    wanted = sidecar.output or (outputs[0] if len(outputs) == 1 else None)
    if wanted is None:
        raise ModelError(
            f'{model.path} has outputs {", ".join(outputs)}. Name one in its JSON: "output": "{outputs[0]}".'
        )
    if wanted not in outputs:
        inner = [str(name) for node in graph.node for name in node.output]
        if wanted not in inner:
            raise ModelError(f"{model.path} has no tensor {wanted!r}; the last ones are {', '.join(inner[-5:])}.")
        graph.output.append(onnx.ValueInfoProto(name=wanted))
    if fast_prelu:
        try:
            rewrite_prelu(graph_file)
        except (ValueError, TypeError, LookupError) as error:
            raise ModelError(f"{model.path} has a PReLU that is damaged: {error}. Export the network again.") from error
    return _Plug(inputs[0].name, wanted, width, height, shape[0] or None, graph_file.SerializeToString())


def _fingerprint(sha256: str, sidecar: Sidecar, plug: _Plug) -> str:
    """Hash the weights and the preprocessing; licence and batch size change no vector."""
    scale = sidecar.scale if isinstance(sidecar.scale, tuple) else (sidecar.scale,) * 3
    settings = {
        "sha256": sha256,
        "input_size": [plug.width, plug.height],
        "channel_order": sidecar.channel_order,
        "mean": list(sidecar.mean),
        "scale": [round(s, 12) for s in scale],
        "output": plug.output_name,
        "pooling": sidecar.pooling,
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
