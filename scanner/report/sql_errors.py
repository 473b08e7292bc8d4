"""What the SQL engine says of an error, as one sentence with the place."""

from __future__ import annotations

import json
from typing import Any

from scanner.errors import QueryError

_SEARCHED = '{"exception_type"'


def has_place(error: Exception) -> bool:
    """Return whether the engine's error is in its JSON form, which knows the place in the SQL."""
    return bool(_document(str(error)))


def in_words(error: Exception, sql: str, *, memory_bytes: int, time_limit_s: float, before: int = 0) -> QueryError:
    """Return the error that a user sees.

    `error` is the engine's; `before` bytes stood in front of `sql` when it was raised.
    """
    found = _document(str(error))
    kind, message = str(found.get("exception_type", "")), str(found.get("exception_message", error))
    if kind == "INTERRUPT":
        return QueryError(f"The query took longer than {time_limit_s:g} s. Ask for less, or allow more time.")
    if kind == "Out of Memory":
        return QueryError(
            f"The query needs more than the {memory_bytes / (1 << 20):.0f} MiB it may use. Ask for less, allow more memory, or name a folder to spill to."
        )
    position = str(found.get("position", ""))
    where = place(sql, int(position) - before) if position.isdecimal() else ""
    return QueryError(f"The SQL cannot be answered{where}: {sentence(message)}")


def place(sql: str, position: object) -> str:
    """Return ` at line L, column C` of a position in UTF-8 bytes, or nothing where there is none."""
    text = sql.encode()
    if not isinstance(position, int) or not 0 <= position <= len(text):
        return ""
    before = text[:position].decode(errors="ignore")
    return f" at line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"


def sentence(message: str) -> str:
    """Return the first line of an engine's message, and its guess at what was meant, as one sentence."""
    first, *more = [line.strip() for line in message.splitlines() if line.strip()] or ["no reason is given"]
    for words in ("Did you mean", "Candidate bindings:"):
        meant = next((line.removeprefix(words) for line in more if line.startswith(words)), None)
        if meant is not None:
            return f"{first.rstrip('!.')}. Did you mean {meant.strip().rstrip('?')}?"
    return first if first.endswith((".", "!", "?")) else f"{first}."


def _document(message: str) -> dict[str, Any]:
    start = message.find(_SEARCHED)
    if start < 0:
        return {}
    try:
        document, _ = json.JSONDecoder().raw_decode(message, start)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
