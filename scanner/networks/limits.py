"""How large an untrusted network may be, before memory is asked for: its input, and what each of its steps makes.

A file of a kilobyte can ask for a tensor of a terabyte: by a shape, by padding, by repeating, by multiplying a column with a
row.  So within `steps_limited()` torch first works out the sizes of a step's results, on tensors without data.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from scanner.errors import ModelError

INPUT_NUMBERS_MAX = 1 << 26
"""Numbers of one input: a picture of 4 700 pixels each way."""
STEP_BYTES_MAX = 2 * 1024**3
"""What one step may make of two inputs."""
ZIP_FACTOR_MAX, ZIP_SPARE_BYTES = 4, 64 << 20
"""torch stores its archives without compression; one that unpacks to more than this was not made by it."""
ZIP_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OverflowError, ValueError, LookupError, RuntimeError, MemoryError,
)  # fmt: skip
"""What the standard library raises on damaged archives, one way or another."""


def check_input_shape(shape: Sequence[int], where: object) -> None:
    """Refuse an input that is no sensible size, without the batch's axis; raises ModelError."""
    if min(shape, default=1) < 1 or math.prod(shape) > INPUT_NUMBERS_MAX:
        raise ModelError(
            f"{where} takes an input of the shape {tuple(shape)}; 1 to {INPUT_NUMBERS_MAX} numbers are supported. "
            "Correct the size under [input] in its description, or export the network with a fixed one."
        )


def unpacked_bytes(archive: zipfile.ZipFile, file_bytes: int) -> int | None:
    """Return what an archive unpacks to where that is more than torch's archives do, else None."""
    size = sum(entry.file_size for entry in archive.infolist())
    return size if size > ZIP_FACTOR_MAX * file_bytes + ZIP_SPARE_BYTES else None


class steps_limited(TorchDispatchMode):  # type: ignore[no-untyped-call]  # noqa: N801 - with steps_limited(): ...
    """Within the block, a step whose result would be larger than `STEP_BYTES_MAX` raises ValueError instead."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Look at one step; torch calls this."""
        named = kwargs or {}
        foretold = _without_data(func, args, named)
        _check_size(func, foretold)
        result = func(*args, **named)
        if foretold is None:  # its size depends on the numbers: what it made goes no further
            _check_size(func, result)
        return result


def _check_size(func: Callable[..., Any], result: Any) -> None:
    largest = max((_bytes_of(leaf) for leaf in tree_leaves(result)), default=0)
    if largest > STEP_BYTES_MAX:
        raise ValueError(f"its step {func} would make {largest} bytes; {STEP_BYTES_MAX} are the most")


def _without_data(func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Return the results of a step as tensors without data; None where torch cannot tell before it is done."""
    schema = getattr(func, "_schema", None)
    makes = schema is not None and any(argument.name == "device" for argument in schema.arguments)
    sketched = tree_map(_sketch, (args, named))
    try:
        return func(*sketched[0], **{**sketched[1], **({"device": "meta"} if makes else {})})
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError):
        return None


def _sketch(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) and value.device.type != "meta" else value


def _bytes_of(value: Any) -> int:
    return value.numel() * value.element_size() if isinstance(value, Tensor) else 0
