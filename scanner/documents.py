"""Documents that people write, TOML or JSON by suffix, as pydantic models: read whole, with every problem at once.

    read_document(path, AuditConfig, error=UsageError, described_in="docs/guide.md, Audit")

A problem is a line: its key as it is written in the file, what is wrong there, and what was probably meant.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from scanner.errors import ScannerError

Model = TypeVar("Model", bound=BaseModel)
DOCUMENT_BYTES_MAX: Final = 256 << 20
PROBLEMS_MAX: Final = 100
"""Problems that are listed."""
KEY_PARTS_MAX: Final = 50
# tomllib's time grows with the square of a key's parts: a key of 100 kB took half a minute.
_PART: Final = r"""(?:(?<![\w-])[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_KEY: Final = re.compile(rf"(?:{_PART}[ \t]*\.[ \t]*)+")


class Section(BaseModel):
    """Base of a document's parts: unknown keys are refused, values stay as they were read, numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def read_document(
    path: Path,
    model: type[Model],
    *,
    error: type[ScannerError],
    described_in: str,
    closing: str = "Mend the file and try again.",
) -> Model:
    """Read a document.

    Args:
        path: .json, or TOML under any other suffix.
        model: what it says.
        error: what is raised.
        described_in: where its user finds how to write one.
        closing: last line of a list of problems.

    Raises:
        error: not there, neither TOML nor JSON, or wrong; every problem is listed with its key.
    """
    try:
        document = parse_document(path)
    except OSError as problem:
        raise error(
            f"{path} cannot be read: {problem.strerror or problem}. Name a file as described in {described_in}."
        ) from problem
    except ValueError as problem:
        kind = "JSON" if _is_json(path) else "TOML"
        raise error(f"{path} is no {kind}: {problem}. Texts stand in quotes, sections in brackets.") from problem
    try:
        return model.model_validate(document)
    except ValidationError as problem:
        problems = problem.errors(include_url=False)
        told = [found for found in problems if not _follows(found, problems)]
        lines = [_sentence(found, model) for found in told[:PROBLEMS_MAX]]
        lines += [f"and {len(told) - PROBLEMS_MAX} more"] if len(told) > PROBLEMS_MAX else []
        many = f"{len(told)} problems" if len(told) > 1 else "a problem"
        listed = "\n".join(f"  {line}" for line in lines)
        raise error(f"{path} has {many}:\n{listed}\n{closing}") from problem


def parse_document(path: Path) -> Any:
    """Return what a TOML or JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: neither TOML nor JSON, or no UTF-8.
    """
    text = read_text(path)
    if not _is_json(path) and any(found[0].count(".") >= KEY_PARTS_MAX for found in _KEY.finditer(text)):
        raise ValueError(f"a key has more than {KEY_PARTS_MAX} parts")
    try:
        return json.loads(text) if _is_json(path) else tomllib.loads(text)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None


def read_text(path: Path) -> str:
    """Return a text file, whole.

    Raises:
        OSError: it cannot be read.
        ValueError: larger than any document of ours, or no UTF-8.
    """
    with path.open("rb") as file:
        data = file.read(DOCUMENT_BYTES_MAX + 1)
    if len(data) > DOCUMENT_BYTES_MAX:
        raise ValueError(f"it is larger than {DOCUMENT_BYTES_MAX} bytes")
    return data.decode("utf-8")


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _follows(problem: Any, problems: Sequence[Any]) -> bool:
    """Say whether a list is too short only because of what is wrong with its entries."""
    where = problem["loc"]
    return problem["type"] == "too_short" and any(
        other["loc"][: len(where)] == where != other["loc"] for other in problems
    )


def _sentence(problem: Any, model: type[BaseModel]) -> str:
    """Return one of pydantic's problems as a line: key, what is wrong, what was probably meant."""
    key, siblings, section = _place(problem["loc"], model)
    if problem["type"] == "extra_forbidden":
        near = _nearest(problem["loc"][-1], siblings)
        return f"{key}: unknown key." + (near or f" Known here: {', '.join(siblings)}.")
    if problem["type"] == "missing":
        return f"{key}: missing"
    if problem["type"] == "tuple_type" and section is not None:
        return f"{key}: write it as [[{key}]], once for each {key.rpartition('.')[2]}"
    if problem["type"] == "tuple_type":
        return f"{key}: write it as a list, in square brackets, got {problem.get('input')!r}"
    if problem["type"] == "too_short":
        return f"{key}: at least {problem['ctx']['min_length']} needed"
    message = str(problem["msg"]).removeprefix("Value error, ")
    value = problem.get("input")
    got = f", got {value!r}" if isinstance(value, str | int | float | bool) else ""
    near = _nearest(value, _choices(problem))
    return (f"{key}: " if key else "") + message[0].lower() + message[1:] + got + (f".{near}" if near else "")


def _place(location: tuple[str | int, ...], model: type[BaseModel]) -> tuple[str, list[str], type[BaseModel] | None]:
    """Return a key as it is written, the keys that are known beside it, and the section that it opens, if it does."""
    key, siblings = "", list(model.model_fields)
    section: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int):
            key += f"[{part + 1}]"
        elif section is not None:  # else pydantic's name for one of several types, which nobody wrote
            siblings = list(section.model_fields)
            key = f"{key}.{part}".lstrip(".")
            section = _section_in(section.model_fields[part].annotation) if part in siblings else None
    return key, siblings, section


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model within a field's type, such as `Section | None` or `tuple[Section, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part)) is not None), None)


def _nearest(written: Any, choices: list[str]) -> str:
    near = difflib.get_close_matches(str(written), choices, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _choices(problem: Any) -> list[str]:
    """Return what could have stood there, if it is one of a few words."""
    if problem["type"] != "literal_error":
        return []
    return str(problem["ctx"]["expected"]).replace(" or ", ", ").replace("'", "").split(", ")
