"""`acknowledged.json`: findings that somebody has looked at, so that tomorrow's diff does not raise them again.

    path = acknowledged_path(run)
    acknowledge(path, Finding("celeba", identity="person-7"), reason="licensed in 2024", seen_in="000012/gen")
    read_acknowledged(path)[Finding("celeba", identity="person-7")].reason

The file lies beside the runs, holds no clock, and says why and where a finding was seen, never by whom it was looked at.
One writer at a time; readers see the file as it was before a change or after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from indexes.atomic import atomic_path, encode_json
from indexes.errors import LockedError
from indexes.lock import write_lock
from scanner.documents import Section, read_document
from scanner.errors import ArtefactError, UsageError

ACKNOWLEDGED_NAME: Final = "acknowledged.json"
REASON_LETTERS_MAX: Final = 1000
_FORMAT: Final = "identity-leak-acknowledged"
_VERSION: Final = 1
_LOCK_NAME: Final = ".acknowledged.lock"
_PATIENCE_S: Final = 5.0
_NIGHTS: Final = "nights"
"""Folder of a nightly job that holds STATE/nights/NUMBER/NAME/, the run folders."""

Text = Annotated[str, StringConstraints(min_length=1)]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a run found: an identity of an index, or a reference without an identity.

    Attributes:
        index: the index's name.
        identity: opaque label; None for a reference without one.
        uri: the reference's, only where `identity` is None.
    """

    index: str
    identity: str | None = None
    uri: str | None = None

    def __post_init__(self) -> None:
        if (self.identity is None) == (self.uri is None):
            raise UsageError("A finding is an identity, or the uri of a reference without one: give one of the two.")

    @property
    def name(self) -> str:
        """What it is called: the identity, else the uri."""
        return self.identity if self.identity is not None else str(self.uri)

    @property
    def sort_key(self) -> tuple[str, bool, str]:
        """An order of findings: by index, identities before references."""
        return (self.index, self.identity is None, self.name)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Why a finding needs no further look, and the label of the run in which it was seen."""

    reason: str
    seen_in: str


Acknowledged = Mapping[Finding, Acknowledgement]


class _Entry(Section):
    index: Text
    identity: str | None = None
    uri: str | None = None
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=REASON_LETTERS_MAX)]
    seen_in: Text

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.identity is None) == (self.uri is None):
            raise ValueError("an identity or a uri is needed, not both")
        return self

    @property
    def finding(self) -> Finding:
        return Finding(self.index, self.identity, self.uri)


class _Document(Section):
    format: Literal["identity-leak-acknowledged"]
    format_version: int = Field(ge=1)
    findings: tuple[_Entry, ...]

    @field_validator("format_version")
    @classmethod
    def _not_newer(cls, value: int) -> int:
        if value > _VERSION:
            raise ValueError(f"a newer scanner wrote this file; this one reads up to version {_VERSION}: install it")
        return value


def acknowledged_path(run: Path) -> Path:
    """Return where the acknowledged findings of a run folder are kept, whether or not the file is there.

    Of a nightly job's run STATE/nights/NUMBER/NAME that is STATE/acknowledged.json, one file for all nights; of any other
    run the file beside the run folder.
    """
    folder = run.resolve()
    nights = folder.parent.parent
    return (nights.parent if nights.name == _NIGHTS else folder.parent) / ACKNOWLEDGED_NAME


def read_acknowledged(path: Path) -> Acknowledged:
    """Return what has been acknowledged; nothing where there is no file yet.

    Raises:
        ArtefactError: the file cannot be read, is of another kind, or a newer version wrote it; lists every problem.
    """
    if not path.exists():
        return {}
    document = read_document(
        path, _Document, error=ArtefactError, described_in="docs/nights-diff.md, Acknowledged findings",
        closing="It is written by `scanner report acknowledge`: mend it, or remove it and acknowledge anew.",
    )  # fmt: skip
    found = {entry.finding: Acknowledgement(entry.reason, entry.seen_in) for entry in document.findings}
    if len(found) < len(document.findings):
        raise ArtefactError(f"{path} names a finding twice, expected each once. Remove one of the two.")
    return found


def acknowledge(path: Path, finding: Finding, *, reason: str, seen_in: str) -> None:
    """Write down that a finding needs no further look; one that is there already gets the new reason and run.

    Args:
        path: the file, see `acknowledged_path`; it is made when it is not there, its folder must exist.
        finding: what was looked at.
        reason: why it needs no further look, up to `REASON_LETTERS_MAX` letters.  Do not write who decided it.
        seen_in: label of the run in which it was seen.

    Raises:
        UsageError: no reason, a longer one, or one with control characters.
        LockedError: another process is writing, and is still at it after 5 s.
        ArtefactError: the file that is there cannot be read.
    """
    reason = " ".join(reason.split())
    if not 1 <= len(reason) <= REASON_LETTERS_MAX or not reason.isprintable():
        raise UsageError(
            f"A reason of 1 to {REASON_LETTERS_MAX} printable letters is needed to acknowledge a finding, got {len(reason)} "
            "letters: say why it needs no further look."
        )
    _change(path, lambda found: {**found, finding: Acknowledgement(reason, seen_in)})


def withdraw(path: Path, finding: Finding) -> None:
    """Forget that a finding was acknowledged; from now on it counts again.

    Raises:
        UsageError: it was not acknowledged.
        LockedError, ArtefactError: as of `acknowledge`.
    """

    def without(found: Acknowledged) -> Acknowledged:
        if finding not in found:
            raise UsageError(
                f"{finding.name!r} of index {finding.index!r} is not acknowledged in {path}: there is nothing to withdraw. "
                "`scanner report acknowledge RUN --list` lists what is."
            )
        return {key: value for key, value in found.items() if key != finding}

    _change(path, without)


def _change(path: Path, change: Callable[[Acknowledged], Acknowledged]) -> None:
    """Read, change and write the file while nobody else does."""
    with ExitStack() as stack:
        _lock(stack, path.parent)
        found = change(read_acknowledged(path))
        entries = [
            {"index": finding.index, "identity": finding.identity, "uri": finding.uri, "reason": said.reason,
             "seen_in": said.seen_in}
            for finding, said in sorted(found.items(), key=lambda item: item[0].sort_key)
        ]  # fmt: skip
        document = {"format": _FORMAT, "format_version": _VERSION, "findings": entries}
        with atomic_path(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_bytes(encode_json(document))


def _lock(stack: ExitStack, folder: Path) -> None:
    """Take the lock; a change takes milliseconds, so another writer is waited for."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: acknowledged findings are kept beside run folders that are there.")
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            stack.enter_context(write_lock(folder, _LOCK_NAME))
        except LockedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return
