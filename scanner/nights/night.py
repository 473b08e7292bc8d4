"""A night, on one page: take in what is new, compare what never met, write the runs, say what changed.

Every step is done once or changes nothing, so a night that was killed is called again and ends as if it had not been.  The
work of a night lies in `tonight/`; `nights/NNNNNN/night.json` is written when all else is in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from indexes.atomic import write_json
from indexes.errors import DiskFullError, IndexesError
from scanner import artefacts
from scanner.erasing import Retention, apply_retention, erased_before, is_begun
from scanner.errors import ArtefactError, NothingScanned, ScannerError, UsageError
from scanner.jobs.folders import remove_folder
from scanner.jobs.measuring.meter import COSTS_NAME, Meter
from scanner.nights.account import NIGHT_FORMAT, NIGHT_VERSION, costs_of, exit_code_of, findings_of, still_the_same
from scanner.nights.collection import Collection
from scanner.nights.config import GallerySection, JobConfig, QueriesSection, mistakes, place_of, sources_of
from scanner.nights.deadline import StoppedForTonight
from scanner.nights.galleries import KeptIndex
from scanner.nights.kept_queries import KeptQueries
from scanner.nights.listing import read_seen
from scanner.nights.patience import Patience
from scanner.nights.quarantine import Quarantine
from scanner.nights.run_set import SetRun
from scanner.nights.same_way import check_job
from scanner.nights.state import State, one_at_a_time
from scanner.nights.take import Kept, Road, Way, take
from scanner.progress import Progress, Silent

Clock = Callable[[], datetime]
_STOPS = (StoppedForTonight, DiskFullError)
"""What ends the night for now, to be gone on with; all else that a set suffers is written down, and the others go on."""


@dataclass(frozen=True, slots=True)
class NightResult:
    """A finished night: its folder, and what stands in its `night.json`."""

    folder: Path
    account: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """0 done, 1 the gate says no, 4 part of it could not be done."""
        return exit_code_of(self.account)


def run_night(
    config: JobConfig,
    beside: Path,
    *,
    allow_gone: bool = False,
    clock: Clock = lambda: datetime.now(UTC),
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> NightResult:
    """Run a job once, or go on with a night that was interrupted.

    Args:
        config: the job.
        beside: the folder of its file: paths are relative to it.
        allow_gone: forget entries that are gone, however many.
        clock: says what time it is; nothing but `costs.json` and erasure records depends on it.
        progress: where to report; one that raises `StoppedForTonight` ends the night early, to be gone on with.
        patience: with sources far away that do not answer.

    Raises:
        ScannerError: see `scanner.errors`.  A source that is lost, or a set that cannot be scanned, ends up in the account
            instead, and the rest is done.
    """
    if wrong := mistakes(config, beside):
        raise UsageError("\n".join([*wrong, "Nothing was done. Mend the file and try again."]))
    state = State(Path(place_of(config.job.folder, beside)))
    state.make()
    state.check()
    state.check_keys()
    with one_at_a_time(state):
        if is_begun(state.folder):
            raise UsageError(
                f"An erasure in {state.folder} was interrupted, and the night waits for it. End it with the call that began "
                f"it, such as: scanner erase {state.folder} --identity LABEL --everywhere"
            )
        night = _Night(config, beside, state, clock, Meter(progress or Silent()), allow_gone=allow_gone)
        night.patience = patience or night.patience
        return night.run()


class _Night:
    def __init__(
        self, config: JobConfig, beside: Path, state: State, clock: Clock, meter: Meter, *, allow_gone: bool
    ) -> None:
        self.config, self.beside, self.state, self.clock, self.meter = config, beside, state, clock, meter
        self.gone_max = config.job.share(allow_gone=allow_gone)
        self.faces = config.faces(beside)
        self.road = Road(self.faces, keep_crops=config.scan.with_crops, check=partial(check_job, config, state))
        self.number = state.next_number()
        self.resumed = state.tonight.exists()
        self.errors: list[dict[str, str]] = []
        self.patience = Patience()
        self.is_erased = erased_before(state.folder)

    def run(self) -> NightResult:
        """Do what is left of the night."""
        self._begin()
        sets = {"candidates": self._galleries("candidates"), "nulls": self._galleries("nulls")}
        sets["queries"] = {one.name: self._queries(one) for one in self.config.queries}
        runs = {one.name: found for one in self.config.queries if (found := self._run(one)) is not None}
        if not runs:
            # As they are there was nothing to scan; of a set that failed, what is finished is kept.
            done = [
                f"{kind}/{name}" for kind, of in sets.items() for name, account in of.items() if account is not None
            ]
            self._look_again(done, artefacts.read_json(self.state.tonight / "night.json"))
            raise UsageError(
                "No set of queries could be scanned tonight:\n"
                + "\n".join(f"  {error['set']}: {error['why']}" for error in self.errors)
            )
        account = {
            "format": NIGHT_FORMAT,
            "format_version": NIGHT_VERSION,
            "night": self.number,
            "sets": {kind: {name: one for name, one in of.items() if one} for kind, of in sets.items()},
            "runs": {name: self._settle(name, found) for name, found in runs.items()},
            "errors": self.errors,
            "fail_on": self.config.gate.fail_on,
        }
        account["exit_code"] = exit_code_of(account)
        return self._end(account)

    def _begin(self) -> None:
        """Make the folder of tonight's work, or find it; another embedder is refused though no picture may be new."""
        if not self.state.is_by(way := self.config.embedder.way()):
            _ = self.road.opened
            self.state.remember(way)
        self.state.clear()
        self.resumed = self.state.tonight.exists()
        artefacts.make_private_folder(self.state.tonight)
        mark = self.state.tonight / "night.json"
        found: dict[str, Any] = artefacts.read_json(mark) if mark.exists() else {"night": self.number}
        before: dict[str, list[str]] = found.get("sets", {})
        self.number = int(found["night"])
        now = {
            name: [*section.sources, sources_of(section).identity_from] for name, section in self.config.sets().items()
        }
        other = [name for name, sources in now.items() if before.get(name, sources) != sources]
        if other:  # the file was changed since the start that was interrupted
            self._look_again(other, found)
        write_json(mark, {"night": self.number, "sets": {**before, **now}})

    def _look_again(self, sets: Sequence[str], mark: Mapping[str, Any]) -> None:
        """Let the sources of some sets be looked at again, by another night: what this one put in place stays as it is."""
        unfinished, self.number = self.state.night(self.number), self.number + 1
        write_json(self.state.tonight / "night.json", {**mark, "night": self.number})
        for folder in (unfinished, self.state.tonight / "runs", *(self.state.tonight / name for name in sets)):
            remove_folder(folder)

    def _galleries(self, kind: str) -> dict[str, dict[str, Any] | None]:
        sections = self.config.candidates if kind == "candidates" else self.config.null
        found: dict[str, dict[str, Any] | None] = {}
        for section in sections:
            if section.index is None:
                specs = self._specs(section.sources)
                kept = KeptIndex(
                    self.state.index(kind, section.name), tuple(spec for _, spec in specs), self.faces, self.config.scan.seed,
                    self.clock, self.meter,
                )  # fmt: skip
                found[section.name] = self._take(kind, section, kept, specs, self.state.seen(kind, section.name))
        return found

    def _queries(self, section: QueriesSection) -> dict[str, Any] | None:
        seen = self.state.seen("queries", section.name)
        kept = KeptQueries(self.state.queries(section.name), self.number)
        return self._take("queries", section, kept, self._specs(section.sources), seen)

    def _take(
        self,
        kind: str,
        section: QueriesSection | GallerySection,
        kept: Kept,
        specs: Sequence[tuple[str, str]],
        seen: Path,
    ) -> dict[str, Any] | None:
        try:
            quarantine = Quarantine(self.state.quarantine(kind, section.name))
            way = Way(specs, sources_of(section), self.road, quarantine, self.patience, self.is_erased)
            account = take(
                kept, way, seen_path=seen, work=self.state.tonight / kind / section.name, night=self.number,
                gone_max=self.gone_max, progress=self.meter,
            )  # fmt: skip
        except _STOPS:
            raise
        except (ScannerError, IndexesError) as error:
            self._failed(f"{kind}/{section.name}", str(error))
            return None
        for lost in account["lost"]:
            self._failed(f"{kind}/{section.name}", lost["why"])
        return account

    def _run(self, section: QueriesSection) -> dict[str, Any] | None:
        """Write the set's run folder, or find that last night's still says it all."""
        collection = Collection(self.state.queries(section.name), read_seen(self.state.seen("queries", section.name)))
        try:
            if collection.is_empty or not collection.alive.any():
                raise NothingScanned("It has no face: its sources could not be read, or no face was found in them.")
            return self._search(section, collection)
        except _STOPS:
            raise
        except (ScannerError, IndexesError) as error:
            self._failed(f"queries/{section.name}", str(error))
            return None

    def _search(self, section: QueriesSection, collection: Collection) -> dict[str, Any]:
        out = self.state.tonight / "runs" / section.name
        done = out.with_name(f"{section.name}.json")
        of = SetRun(
            section.name, section.sources, tuple(self._index("candidates", one) for one in self.config.candidates),
            self.config.options(calibrate_on=self._calibrate_on(), null=tuple(str(self._index("nulls", one)) for one in self.config.null)),
            self.faces, collection, self.state.compared(section.name),
        )  # fmt: skip
        inputs = of.inputs()
        if done.exists() and (found := artefacts.read_json(done))["inputs"] == inputs:
            return found
        for folder in (
            out,
            self.state.night(self.number) / section.name,
        ):  # of a start that was given another job, or died
            remove_folder(folder)
        artefacts.make_private_folder(out.parent)
        before = self.state.last_run(section.name)
        if before.get("inputs") == inputs and (self.state.nights / before["run"] / "run.json").exists():
            found = {"run": before["run"], "inputs": inputs, "unchanged": True, "compared": 0, "of": before["of"]}
        else:
            took = of.run(out, night=self.number, resumed=self.resumed, meter=Meter(self.meter))
            found = {"run": f"{self.number:06d}/{section.name}", "inputs": inputs, "unchanged": False, **took}
        write_json(done, found)
        return found

    def _settle(self, name: str, found: dict[str, Any]) -> dict[str, Any]:
        """Put a finished run where it stays, and say what changed since the night before."""
        folder = self.state.nights / found["run"]
        made = self.state.tonight / "runs" / name
        if not found["unchanged"] and made.exists():
            artefacts.make_private_folder(folder.parent)
            made.rename(folder)
        before = self.state.last_run(name)
        if found["unchanged"] and self.config.gate.fail_on != "any":  # which asks what is acknowledged by now
            return {**found, **still_the_same(before)}
        base = self.state.nights / before["run"] if before else None
        try:
            return {**found, **findings_of(folder, base if base is not None and base.exists() else None)}
        except (ArtefactError, IndexesError) as error:
            self._failed(f"queries/{name}", f"{error} It is of the run of the night before: tonight all counts as new.")
            return {**found, **findings_of(folder, None)}

    def _end(self, account: dict[str, Any]) -> NightResult:
        """Write the night's account, which ends it, and clear away its work."""
        folder = self.state.night(self.number)
        artefacts.make_private_folder(folder)
        write_json(folder / COSTS_NAME, costs_of(self.meter, self.clock(), resumed=self.resumed))
        write_json(folder / "night.json", account)
        self.state.clear()
        keep = self.config.keep
        if keep.nights is not None or keep.crop_nights is not None:
            apply_retention(
                self.state.folder, Retention(nights=keep.nights, crop_nights=keep.crop_nights), now=self.clock()
            )
        return NightResult(folder, account)

    def _specs(self, sources: Sequence[str]) -> list[tuple[str, str]]:
        """Return sources as the job names them, and as they can be opened."""
        return [(source, place_of(source, self.beside)) for source in sources]

    def _index(self, kind: str, section: GallerySection) -> Path:
        return (
            self.state.index(kind, section.name)
            if section.index is None
            else Path(place_of(section.index, self.beside))
        )

    def _calibrate_on(self) -> str | None:
        named = self.config.scan.calibrate_on
        for kind, sections in (("candidates", self.config.candidates), ("nulls", self.config.null)):
            for section in sections:
                if section.name == named:
                    return str(self._index(kind, section))
        return None if named is None else place_of(named, self.beside)

    def _failed(self, of: str, why: str) -> None:
        self.errors.append({"set": of, "why": why})
        self.meter.note(f"{of}: {why}")
