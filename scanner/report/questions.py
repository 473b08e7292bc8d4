"""Questions about reports that are ready to be asked: SQL files of this package, by name.

Each file begins with comments: the question in one line, what its rows are, and its parameters as `$name = default: what
it is` (`$name: ...` where there is no default).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from scanner.errors import UsageError

_PARAMETER = re.compile(r"\$(?P<name>\w+)(?: = (?P<default>.+?))?: (?P<text>.+)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that a question takes; `required` where it has no default."""

    name: str
    text: str
    required: bool
    default: Any

    def read(self, text: str) -> Any:
        """Return a value given as text: a number like the default, or, where there is none, the text itself."""
        if self.required:
            return text
        kind = int if isinstance(self.default, int) else float
        try:
            return kind(text)
        except ValueError as error:
            expected = "a whole number" if kind is int else "a number"
            raise UsageError(f"{self.name}={text}: {expected} is expected ({self.text}).") from error


@dataclass(frozen=True, slots=True)
class Question:
    """A ready question: what it answers in one line, what its rows are, its parameters and its SQL."""

    name: str
    asks: str
    rows: str
    parameters: tuple[Parameter, ...]
    sql: str

    def values(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Return a value for every parameter.

        Raises:
            UsageError: one is unknown, missing, or of the wrong kind.
        """
        names = [parameter.name for parameter in self.parameters]
        unknown = [name for name in given if name not in names]
        if unknown:
            takes = f"takes {', '.join(names)}" if names else "takes no parameters"
            raise UsageError(f"The question {self.name} {takes}, not {unknown[0]}.")
        missing = [parameter for parameter in self.parameters if parameter.required and parameter.name not in given]
        if missing:
            raise UsageError(
                f"The question {self.name} needs {missing[0].name} ({missing[0].text}): add --set {missing[0].name}=VALUE."
            )
        return {
            parameter.name: parameter.read(given[parameter.name]) if parameter.name in given else parameter.default
            for parameter in self.parameters
        }


@cache
def questions() -> dict[str, Question]:
    """Return all questions by name, in order of their names."""
    found = [
        _question(entry.name.removesuffix(".sql"), entry.read_text("utf-8"))
        for entry in files("scanner.report").joinpath("questions").iterdir()
        if entry.name.endswith(".sql")
    ]
    return {question.name: question for question in sorted(found, key=lambda question: question.name)}


def question(name: str) -> Question:
    """Return a question; UsageError, with the nearest name, where there is none."""
    known = questions()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}."
        raise UsageError(f"There is no question {name!r}. {hint}")
    return known[name]


def _question(name: str, text: str) -> Question:
    header = re.match(r"(?:--.*\n)+", text)
    assert header is not None
    lines = [line[2:].strip() for line in header[0].splitlines()]
    matches = [_PARAMETER.fullmatch(line) for line in lines]
    parameters = tuple(
        Parameter(match["name"], match["text"], match["default"] is None, json.loads(match["default"] or "null"))
        for match in matches
        if match
    )
    words = [line for line, match in zip(lines[1:], matches[1:], strict=True) if line and not match]
    return Question(name, lines[0], " ".join(words), parameters, text[header.end() :].strip())
