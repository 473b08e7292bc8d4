"""Keeping results no longer than needed: run folders and crops of old nights go, the newest night never does.

STATE/nights/000041/generated/    a run folder: goes with its night
STATE/nights/000041/night.json    the night's account: stays, so that the count of nights has no gap
STATE/nights/000041/costs.json    says when the night ended

A night on which nothing changed has no run folder of its own: its account names that of an earlier night (`runs`, `run`),
which stays as long as a night that names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import dropwhile
from pathlib import Path
from typing import Any, Final

from indexes.lock import write_lock
from scanner import artefacts
from scanner.erasing.pages import make_again
from scanner.erasing.walk import PAGE
from scanner.errors import ArtefactError, UsageError
from scanner.jobs.folders import remove_folder

_NIGHTS: Final = "nights"
_CROPS: Final = "crops.parquet"
_TIMES: Final = (("costs.json", "ended_at"), ("night.json", "ended_at"))
"""Where it may stand when a night was, the first that is there."""


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept; None keeps all.

    Attributes:
        nights: run folders of so many newest nights.
        older_than: run folders of nights up to this age.
        crop_nights: crops of so many newest nights.
        crops_older_than: crops of nights up to this age.
    """

    nights: int | None = None
    older_than: timedelta | None = None
    crop_nights: int | None = None
    crops_older_than: timedelta | None = None

    @property
    def of_crops(self) -> tuple[int | None, timedelta | None]:
        """Return the two rules of crops."""
        return self.crop_nights, self.crops_older_than

    def check(self) -> None:
        """Raise UsageError for a rule that keeps less than the newest night, or for none."""
        rules = (self.nights, self.older_than, self.crop_nights, self.crops_older_than)
        if all(rule is None for rule in rules):
            raise UsageError("Say how much is kept: a number of nights, or an age.")
        counts = [count for count in (self.nights, self.crop_nights) if count is not None]
        ages = [age for age in (self.older_than, self.crops_older_than) if age is not None]
        if any(count < 1 for count in counts) or any(age <= timedelta(0) for age in ages):
            raise UsageError("The newest night is always kept: give at least 1 night, and an age above 0.")


@dataclass(frozen=True, slots=True)
class Retained:
    """What went, or would go: run folders, files of crops, and their bytes."""

    runs: tuple[Path, ...]
    crops: tuple[Path, ...]
    bytes: int
    nights_kept: int

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"runs": [str(path) for path in self.runs], "crops": [str(path) for path in self.crops],
                "bytes": self.bytes, "nights_kept": self.nights_kept}  # fmt: skip


def retain(state: str | Path, rules: Retention, *, now: datetime, dry_run: bool = False) -> Retained:
    """Do what `apply_retention` does, while no night may run; raises LockedError where one does."""
    is_job = (Path(state) / _NIGHTS).is_dir()
    with write_lock(Path(state)) if is_job and not dry_run else nullcontext():
        return apply_retention(state, rules, now=now, dry_run=dry_run)


def apply_retention(state: str | Path, rules: Retention, *, now: datetime, dry_run: bool = False) -> Retained:
    """Remove run folders and crops that are older than the rules keep.

    A night whose time is not known, or lies in the future, has no age: only a number of nights removes it.  Killed at any
    point and called again, it ends as if it had not been killed.

    Args:
        state: folder of a nightly job.
        rules: what is kept.
        now: the time, with its zone.
        dry_run: say what would go, and change nothing.

    Raises:
        UsageError: no rules, or `state` has no nights.
    """
    rules.check()
    folder = Path(state) / _NIGHTS
    if not folder.is_dir():
        raise UsageError(f"{state} is no folder of a nightly job: it has no folder {_NIGHTS}.")
    nights = _ended(folder)
    old = {night for place, night in enumerate(nights) if _is_old(night, place, rules.nights, rules.older_than, now)}
    bare = {night for place, night in enumerate(nights) if _is_old(night, place, *rules.of_crops, now)}
    named = {run for night in nights if night not in old for run in _named(night)}
    shown = {run for night in nights if night not in old | bare for run in _named(night)}
    runs = [run for night in sorted(old) for run in _runs(night) if run not in named]
    rest = [run for night in sorted(old | bare) for run in _runs(night) if run not in {*runs, *shown}]
    crops = [path for run in rest for path in _crops(run)] if bare else []
    size = sum(_bytes(path) for path in (*runs, *crops))
    if not dry_run:
        for run in runs:
            remove_folder(run)
        for path in crops:
            _remove_crops(path)
    kept = sum(bool(_runs(night)) for night in nights) - (len({run.parent for run in runs}) if dry_run else 0)
    return Retained(tuple(runs), tuple(crops), size, kept)


def _ended(folder: Path) -> list[Path]:
    """Return the nights up to the last that ended, the newest first; what a later one has put in place is not touched."""
    nights = sorted((path for path in folder.iterdir() if path.name.isdigit() and path.is_dir()), reverse=True)
    return list(dropwhile(lambda night: not (night / "night.json").is_file(), nights))


def _is_old(night: Path, place: int, count: int | None, age: timedelta | None, now: datetime) -> bool:
    """True for a night beyond the rules; the newest one (`place` 0) never is."""
    if place == 0:
        return False
    if count is not None and place >= count:
        return True
    when = _time_of(night) if age is not None else None
    return age is not None and when is not None and now - when > age


def _time_of(night: Path) -> datetime | None:
    """Return when a night was, None where that is not known."""
    for file, key in _TIMES:
        text = _account(night / file).get(key)
        try:
            when = datetime.fromisoformat(text) if isinstance(text, str) else None
        except ValueError:
            continue
        if when is not None and when.tzinfo is not None:
            return when
    return None


def _named(night: Path) -> set[Path]:
    """Return the run folders that a night's account names, its own or an earlier night's."""
    runs = _account(night / "night.json").get("runs")
    names = [one.get("run") for one in runs.values() if isinstance(one, dict)] if isinstance(runs, dict) else []
    return {night.parent / name for name in names if isinstance(name, str)}


def _account(path: Path) -> dict[str, Any]:
    try:
        return artefacts.read_json(path)
    except ArtefactError:
        return {}


def _runs(night: Path) -> list[Path]:
    """Return a night's run folders, and those that were being removed when somebody was killed."""
    return sorted(path for path in night.iterdir() if path.is_dir() and not path.is_symlink())


def _crops(run: Path) -> Iterator[Path]:
    """Yield the crops of a run and of its further embedders, also those half removed."""
    for folder in (run, *sorted(run.glob("witness-*"))):
        if (folder / _CROPS).is_file() or _gone(folder).is_file():
            yield folder / _CROPS


def _remove_crops(path: Path) -> None:
    """Remove crops, and the page that shows them as thumbnails; it is made again without."""
    folder, gone = path.parent, _gone(path.parent)
    if path.exists():
        path.replace(gone)
    if (folder / PAGE).exists():
        make_again(folder / PAGE)
    gone.unlink(missing_ok=True)


def _gone(folder: Path) -> Path:
    return folder / f".{_CROPS}.gone"


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
