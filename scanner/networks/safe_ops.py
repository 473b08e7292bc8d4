"""Which of torch's operations a downloaded file may name: those on tensors and numbers, none that reads or writes files.

`aten::save` and `aten::from_file` write and map any file whose name they are given, and both TorchScript and
torch.export archives can call operations by name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch._ops import OpOverload

_MODES = frozenset({"approximate", "rounding_mode", "equation", "padding", "mode", "indexing", "padding_mode"})
"""Names of text arguments that choose a way of computing."""


@cache
def is_harmless(name: str) -> bool:
    """Return whether `aten::NAME` exists and can touch nothing but its arguments, in all its forms."""
    schemas = torch._C._jit_get_schemas_for_operator(f"aten::{name}")  # noqa: SLF001 - no public list of all forms
    return bool(schemas) and all(map(_harmless_form, schemas))


def _harmless_form(schema: Any) -> bool:
    """Return whether one form of an operation takes no text, or only compares, formats or chooses by it.

    What writes (`save`, `_print`, `warn`) returns nothing; what reads a file (`from_file`) makes a tensor of a text.
    """
    kinds = [str(argument.type) for argument in schema.arguments if argument.name not in _MODES]
    results = [str(result.type) for result in schema.returns]
    if not any("str" in kind for kind in kinds):
        return True
    return bool(results) and ("Tensor" in kinds or not any("Tensor" in result for result in results))


def aten_operation(target: str) -> Callable[..., Any] | None:
    """Return the operation `torch.ops.aten.NAME.OVERLOAD`, or None if it is no such operation or not harmless."""
    parts = target.split(".")
    if parts[:3] != ["torch", "ops", "aten"] or len(parts) != 5 or not is_harmless(parts[3]):  # noqa: PLR2004
        return None
    packet = getattr(torch.ops.aten, parts[3], None)
    overload = getattr(packet, parts[4], None) if packet is not None and parts[4] in packet.overloads() else None
    return overload if isinstance(overload, OpOverload) else None
