"""The table of runs: the one place where an id of the address bar becomes a folder, and it only ever looks it up."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scanner import artefacts
from scanner.errors import ArtefactError
from scanner.evidence.verdict import count
from scanner.report.acknowledged import Acknowledged, acknowledged_path, read_acknowledged
from scanner.report.damage import BROKEN
from scanner.report.page import expected_text, sentence_of
from scanner.report.read import read_summary
from scanner.report.runs import find_runs, night_of, run_labels
from scanner.serve.filters import Known
from scanner.serve.tables import RunTables

LOOK_AGAIN_S = 5.0
"""New runs are looked for when somebody asks, but not more often than this."""
KEPT_MAX = 512
"""Runs whose JSON files are kept in memory."""
_SLUG_LETTERS = 48


@dataclass(frozen=True)
class Run:
    """A finished run as its pages need it; read when it is opened, and again when `run.json` changes.

    Attributes:
        id: what addresses it: letters, digits and dashes, the same at every start.
        label: what it is called.
        folder: where it lies.
        summary: `run.json`.
        evidence: `evidence.json`, where it was scanned with a null.
        joint: `joint.json`, where several embedders were asked.
    """

    id: str
    label: str
    folder: Path
    summary: dict[str, Any]
    evidence: dict[str, Any] | None
    joint: dict[str, Any] | None

    @property
    def sentence(self) -> str:
        """The run in one sentence."""
        return sentence_of(self.summary)

    @property
    def state(self) -> str:
        """What the evidence says (named, none, undecided, inconclusive); "" without a null."""
        return "" if self.evidence is None else str(self.evidence["verdict"]["state"])

    @property
    def level(self) -> float | None:
        """q-value up to which identities are named; None where nobody is."""
        return (
            float(self.evidence["identities"]["level"]) if self.evidence is not None and self.state == "named" else None
        )

    @property
    def named(self) -> int | None:
        """How many identities are named; None where nobody could be: no null, or one that is too small or does not fit."""
        if self.evidence is None or self.state not in {"named", "none"}:
            return None
        return int(self.evidence["identities"]["below_level"]) if self.state == "named" else 0

    @property
    def night(self) -> int | None:
        """Number of its night, for a run of a nightly job."""
        return night_of(self.folder)

    @property
    def indexes(self) -> list[str]:
        """Names of the indexes that were searched, in order."""
        return [str(index["name"]) for index in self.summary["indexes"]]

    @property
    def acknowledged_path(self) -> Path:
        """File of its acknowledged findings."""
        return acknowledged_path(self.folder)

    def acknowledged(self) -> Acknowledged:
        """Return what has been acknowledged by now."""
        return read_acknowledged(self.acknowledged_path)

    def known(self, acknowledged: Acknowledged) -> Known:
        """Return what filters need to know."""
        return Known(self.level, tuple(acknowledged), self.joint is not None)

    @cached_property
    def tables(self) -> RunTables:
        """Its tables."""
        return RunTables(self.folder)


class Shelf:
    """All runs at or below some folders; ids stay as they are when runs are added."""

    def __init__(self, paths: Sequence[Path | str]) -> None:
        """Find the runs; ArtefactError when there are none."""
        self._paths = tuple(paths)
        self._lock = threading.Lock()
        self._open: OrderedDict[str, tuple[tuple[int, int], Run]] = OrderedDict()
        self._counts: OrderedDict[bytes, int] = OrderedDict()
        self._runs = _table(find_runs(self._paths))
        self._known = dict(self._runs)
        self._looked = time.monotonic()

    def ids(self) -> list[str]:
        """Return the ids of all runs in order, new ones included."""
        if time.monotonic() - self._looked > LOOK_AGAIN_S:
            self._looked = time.monotonic()
            self._runs = _table(list(dict.fromkeys(folder for path in self._paths for folder in self._below(path))))
            self._known |= self._runs  # another visitor may hold an id of a run that is gone since
        return list(self._runs)

    def label(self, run_id: str) -> str:
        """Return what a run of `ids` is called."""
        return self._known[run_id][0]

    def folder(self, run_id: str) -> Path:
        """Return where a run of `ids` lies, or lay."""
        return self._known[run_id][1]

    def public(self, text: str) -> str:
        """Return an error's text with runs called by their labels: a page does not tell where they lie."""
        for label, folder in sorted(self._known.values(), key=lambda one: -len(str(one[1]))):
            text = text.replace(str(folder), label).replace(f"{acknowledged_path(folder).parent}/", "")
        return text

    def series(self, run_id: str) -> tuple[Path, str]:
        """Return what a run is one of, and its name: the runs of one name of one nightly job, else those of one folder."""
        folder = self.folder(run_id)
        if night_of(folder) is not None:
            return folder.parents[2] / folder.name, f"{folder.parents[2].name}/{folder.name}"
        return folder.parent, folder.parent.name or "runs"

    def run(self, run_id: str) -> Run | None:
        """Return a run; None where no run has this id.

        Raises:
            ArtefactError: it is damaged.
        """
        found = self._runs.get(run_id)
        if found is None:
            return None
        label, folder = found
        try:
            stamp = _stamp(folder)
        except FileNotFoundError:
            return None
        with self._lock:
            if run_id in self._open and self._open[run_id][0] == stamp:
                self._open.move_to_end(run_id)
                return self._open[run_id][1]
        parts = (_json(folder / name) for name in ("evidence.json", "joint.json"))
        run = Run(run_id, label, folder, read_summary(folder), *parts)
        _check(run)
        with self._lock:
            self._open[run_id] = (stamp, run)
            while len(self._open) > KEPT_MAX:
                self._open.popitem(last=False)
        return run

    def _below(self, path: Path | str) -> list[Path]:
        """Return the runs at or below one of the paths; what goes wrong there takes no other run away."""
        try:
            return find_runs([path])
        except ArtefactError:  # it was taken away, or there is a folder now that cannot be named
            above = Path(path).resolve()
            known = [folder for _, folder in self._runs.values() if folder.is_relative_to(above)]
            return [folder for folder in known if (folder / "run.json").is_file()]

    def remembered(self, about: tuple[Any, ...], work: Any) -> int:
        """Return a count that was worked out before, or work it out; numbers alone are kept."""
        key = hashlib.sha256(repr(about).encode("utf-8", "backslashreplace")).digest()
        with self._lock:
            if key in self._counts:
                self._counts.move_to_end(key)
                return self._counts[key]
        value = int(work())
        with self._lock:
            self._counts[key] = value
            while len(self._counts) > 1024:  # noqa: PLR2004
                self._counts.popitem(last=False)
        return value


def stamp_of(run: Run) -> tuple[int, int]:
    """Return what changes when a run's files are rewritten."""
    return _stamp(run.folder)


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def _table(folders: Sequence[Path]) -> dict[str, tuple[str, Path]]:
    return {_id(folder): (label, folder) for label, folder in zip(run_labels(folders), folders, strict=True)}


def _id(folder: Path) -> str:
    """Return a readable id; the hash of the path keeps runs of one name apart."""
    slug = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")[:_SLUG_LETTERS] or "run"
    night = night_of(folder)
    lead = slug if night is None else f"{slug}-{night:06d}"
    return f"{lead}-{hashlib.sha256(str(folder).encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def _check(run: Run) -> None:
    """Look at what every page needs, so that one odd run is called damaged and does not break the overview."""
    try:
        _ = (
            run.sentence, run.state, run.level, run.indexes, run.summary["road"]["embedder"]["fingerprint"],
            run.summary["threshold"]["point"], f"{run.summary['threshold']['value']:.4f}",
            expected_text(run.summary["results"]["false_matches_expected"] or 0),
            *map(count, (
                run.summary["counts"]["faces"], run.summary["results"]["matches"], run.named or 0,
                run.summary["results"]["matched_identities"], sum(index["rows"] for index in run.summary["indexes"]),
            )),
        )  # fmt: skip
    except BROKEN as error:
        raise ArtefactError(
            f"{run.folder} does not say what a run says ({type(error).__name__}: {error}). Make it again."
        ) from error


def _stamp(folder: Path) -> tuple[int, int]:
    """Return when the tables of a run were written last; erasing a person rewrites them."""
    seen = [(folder / "run.json").stat()]
    seen += [path.stat() for path in (folder / "matches.parquet", folder / "crops.parquet") if path.exists()]
    return max(one.st_mtime_ns for one in seen), sum(one.st_size for one in seen)


def _json(path: Path) -> dict[str, Any] | None:
    return artefacts.read_json(path) if path.is_file() else None
