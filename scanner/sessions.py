"""ONNX files opened with care: on the device that was asked for, or not at all.

onnxruntime falls back to the CPU without a word; a run that was meant for a GPU would then take days
and nobody would know why.  So the session's providers are compared with what was asked.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scanner.errors import ModelError, UsageError

MODEL_BYTES_MAX = 2 * 1024**3
TENSOR_NUMBERS_MAX = 1 << 28
"""Numbers in one tensor of a graph, its open axes left out: a batch of 128 in ResNet-100 has 100 million."""
_SHAPE_BYTES_MAX = 4096
_NAMED = 5
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True, slots=True)
class Device:
    """Where networks run, and why there."""

    name: str
    provider: str
    reason: str


@dataclass(frozen=True, slots=True)
class ModelFile:
    """An ONNX file whose bytes were read once: what is hashed is what runs."""

    path: Path
    data: bytes
    sha256: str


def choose_device(want: str) -> Device:
    """Return the device for `want` ("auto", "cpu" or "cuda"), or say what is missing."""
    import onnxruntime

    if want not in DEVICES:
        raise UsageError(f"--device {want!r} is not one of {', '.join(DEVICES)}.")
    available = onnxruntime.get_available_providers()
    has_cuda = "CUDAExecutionProvider" in available
    if want == "cuda" and not has_cuda:
        raise ModelError(
            "--device cuda was asked for, but this onnxruntime has no CUDA provider "
            f"(it has: {', '.join(available)}). Install onnxruntime-gpu in place of onnxruntime, or pass --device cpu."
        )
    if want != "cpu" and has_cuda:
        return Device("cuda", "CUDAExecutionProvider", f"{want}: onnxruntime has the CUDA provider")
    reason = "cpu: asked for" if want == "cpu" else "auto: onnxruntime has no CUDA provider"
    return Device("cpu", "CPUExecutionProvider", reason)


def read_model(path: Path) -> ModelFile:
    """Read an ONNX file and refuse what could reach outside it.

    Raises:
        ModelError: not there, too large, not an ONNX graph, with a tensor of billions of numbers, or its weights lie in other
            files (a path in a downloaded graph could name any file of this machine).
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        size = path.stat().st_size
        if size > MODEL_BYTES_MAX:
            raise ModelError(f"{path} has {size} bytes; networks over {MODEL_BYTES_MAX} bytes are not opened.")
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(no_network(path)) from error
    except OSError as error:
        raise ModelError(f"The network {path} cannot be read: {error.strerror}.") from error
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise ModelError(f"{path} is no ONNX file: {error}. Export the network to ONNX, opset 11 or newer.") from error
    if not model.graph.output:
        raise ModelError(f"{path} is no ONNX network: its graph has no output.")
    if _reaches_out(model):
        raise ModelError(f"{path} keeps its weights in other files. Save it as one file (onnx.save with its weights).")
    _refuse_vast(model, path)
    return ModelFile(path, data, hashlib.sha256(data).hexdigest())


def no_network(path: Path) -> str:
    """Return the sentence for a network that is not there: which are."""
    there = sorted(one.name for one in path.parent.glob("*.onnx"))
    return f"There is no network {path}. Networks in {path.parent}: {', '.join(there[:_NAMED]) or 'none'}."


def _refuse_vast(model: Any, path: Path) -> None:
    """Refuse a graph that asks for a tensor which no picture of a face needs, as far as its shapes can be told before it runs.

    onnxruntime asks for the memory as soon as it opens a graph.  The weights of `model` are cleared.
    """
    import onnx

    for weight in model.graph.initializer:
        if len(weight.raw_data) > _SHAPE_BYTES_MAX:  # a shape is short, and all else only costs time here
            weight.ClearField("raw_data")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return  # onnxruntime will say it with the node's name
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        sides = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
        if math.prod(side for side in sides if side > 0) > TENSOR_NUMBERS_MAX:
            raise ModelError(
                f"{path} makes a tensor of the shape {sides} at {value.name!r}; {TENSOR_NUMBERS_MAX} numbers are the most. "
                "Name a network for pictures of faces."
            )


def _reaches_out(message: Any) -> bool:
    """Return whether any tensor of a graph, however deep in nodes and subgraphs, lies in another file."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        return bool(message.data_location == onnx.TensorProto.EXTERNAL or message.external_data)
    for field, value in message.ListFields():
        if field.message_type is not None:
            parts = (value,) if hasattr(value, "ListFields") else value
            if any(_reaches_out(part) for part in parts):
                return True
    return False


def open_session(model: bytes, device: Device, *, threads: int, what: str) -> Any:
    """Return an onnxruntime session for `model` that really runs on `device`.

    Args:
        model: serialised ONNX graph.
        device: from `choose_device`.
        threads: intra-op threads of one call.
        what: file name for messages.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin while they wait take the cores of the other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [device.provider] if device.name == "cpu" else [device.provider, "CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no base but Exception
        raise ModelError(f"{what} cannot be run by onnxruntime: {error}") from error
    if session.get_providers()[0] != device.provider:
        raise ModelError(
            f"{what} was to run on {device.name}, but onnxruntime opened it with {session.get_providers()}. "
            "The CUDA and cuDNN libraries that onnxruntime-gpu needs are probably missing; or pass --device cpu."
        )
    return session
