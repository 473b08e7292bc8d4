"""Whether every tensor of a TorchScript archive lies within its data.

torch takes from the archive's pickles how large a storage is, and believes them: a network whose file was cut or made to
harm reads memory beyond its weights.  So the pickles are followed here first, instruction by instruction, and nothing is
made of them but numbers.
"""

from __future__ import annotations

import pickletools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

ARCHIVES: Final = ("data", "constants")
"""Pickles that torch reads, each with a folder of storages of its name."""
_ITEM_BYTES: Final = {
    "BoolStorage": 1, "ByteStorage": 1, "CharStorage": 1, "ShortStorage": 2, "HalfStorage": 2, "BFloat16Storage": 2,
    "IntStorage": 4, "FloatStorage": 4, "LongStorage": 8, "DoubleStorage": 8, "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
}  # fmt: skip
_REBUILD: Final = "torch._utils _rebuild_tensor_v2"
_MAKERS: Final = frozenset(
    {"collections OrderedDict", *(f"torch.jit._pickle {name}" for name in (
        "build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag",
    ))}
)  # fmt: skip
_VALUES: Final = frozenset({"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"})
_CONSTANTS: Final = {"NEWTRUE": True, "NEWFALSE": False, "NONE": None, "EMPTY_TUPLE": ()}
_TUPLES: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True, slots=True)
class _Name:
    """What a pickle calls by name: a class of the archive, a storage's type, a function."""

    text: str


@dataclass(frozen=True, slots=True)
class _Storage:
    items: int


@dataclass(frozen=True, slots=True)
class _Thing:
    """Whatever else a pickle makes."""


_MARK: Final = _Thing()


def check_tensors(entries: Mapping[str, bytes]) -> None:
    """Raise ValueError unless every tensor of an archive's pickles lies within the bytes that the archive has for it.

    Args:
        entries: the archive's files; names below one folder of any name.
    """
    inside = {name.partition("/")[2]: content for name, content in entries.items()}
    if len({name.partition("/")[0] for name in entries}) != 1:
        raise ValueError("its files lie in several folders")
    for archive in ARCHIVES:
        if f"{archive}.pkl" in inside:
            sizes = {name: len(inside[name]) for name in inside if name.startswith(f"{archive}/")}
            _follow(inside[f"{archive}.pkl"], archive, sizes)


def _follow(pickle: bytes, archive: str, sizes: Mapping[str, int]) -> None:
    machine = _Machine(archive, sizes)
    try:
        for instruction, argument, _ in pickletools.genops(pickle):
            machine.step(instruction.name, argument)
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(f"the instructions of {archive}.pkl do not fit together") from error


@dataclass(slots=True)
class _Machine:
    """The instructions that torch writes, on a stack of what matters here."""

    archive: str
    sizes: Mapping[str, int]
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def step(self, name: str, argument: Any) -> None:
        match name:
            case "PROTO" | "STOP":
                pass
            case "MARK":
                self.stack.append(_MARK)
            case "GLOBAL":
                self.stack.append(_Name(argument))
            case "EMPTY_LIST" | "EMPTY_DICT":
                self.stack.append(_Thing())
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case "TUPLE":
                self.stack.append(tuple(self._above_mark()))
            case "APPENDS" | "SETITEMS":
                self._above_mark()
            case "APPEND" | "BUILD":
                self.stack.pop()
            case "NEWOBJ" | "REDUCE":
                arguments, maker = self.stack.pop(), self.stack.pop()
                self.stack.append(self._made(maker, arguments))
            case "BINPERSID":
                self.stack.append(self._storage(*self.stack.pop()))
            case _ if name in _VALUES:
                self.stack.append(argument)
            case _ if name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            case _ if name in _TUPLES:
                self.stack[-_TUPLES[name] :] = [tuple(self.stack[-_TUPLES[name] :])]
            case _:
                raise ValueError(f"{self.archive}.pkl has an instruction {name}, which torch does not write")

    def _above_mark(self) -> list[Any]:
        found: list[Any] = []
        while (top := self.stack.pop()) is not _MARK:
            found.append(top)
        return found[::-1]

    def _storage(self, kind: str, of: _Name, key: str, device: str, items: int) -> _Storage:
        size = _ITEM_BYTES[of.text.removeprefix("torch ")]
        there = self.sizes[f"{self.archive}/{key}"]
        if kind != "storage" or type(items) is not int or not 0 <= items * size <= there:
            raise ValueError(f"a tensor on {device} has {there} bytes in the file where {items} numbers are claimed")
        return _Storage(items)

    def _made(self, maker: Any, arguments: tuple[Any, ...]) -> Any:
        called = maker.text if isinstance(maker, _Name) else "what has no name"
        if called == _REBUILD:
            _check_within(*arguments[:4])
        elif not (called in _MAKERS or called.startswith("__torch__.")):
            raise ValueError(f"{self.archive}.pkl calls {called}, which is not known to be harmless")
        return _Thing()


def _check_within(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
    """Raise ValueError unless a view of a storage ends before the storage does."""
    numbers = (offset, *size, *stride)
    if not isinstance(storage, _Storage) or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError("a tensor is made of something else than a storage and sizes")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= storage.items and 0 not in size:
        raise ValueError(f"a tensor of shape {size} ends behind its data")
