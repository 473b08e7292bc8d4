"""What a job took, stage by stage, beside what was predicted: `costs.json`.

Clocks never go into files that are compared, so they have a file of their own, which differs from run to run.  A resumed
job writes of its last session only, and says so.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexes.atomic import write_json
from scanner.errors import UsageError
from scanner.jobs.measuring.profile import KnownMachine, known_machine
from scanner.progress import Progress
from scanner.quantities import time_words

COSTS_NAME = "costs.json"
SET_UP = "set-up"


@dataclass(slots=True)
class Stage:
    """One stage of this session: `items` of `unit` in `seconds`; `before` were done in an earlier one.

    `cpu_s` is the processor's time of all threads: far less than seconds times cores says that the machine was busy with
    other work, or waited for a disk.
    """

    name: str
    unit: str
    items: int = 0
    before: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0


class Meter:
    """A `Progress` that passes everything on and keeps the time of each stage.

    What comes before the first stage is "set-up".  Stages of one name are added up.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stages: dict[str, Stage] = {SET_UP: Stage(SET_UP, "")}
        self._now = self._stages[SET_UP]
        self._since, self._cpu_since = time.monotonic(), time.process_time()

    def stage(self, name: str, *, total: int | None, unit: str, done: int = 0) -> None:
        """See `Progress.stage`."""
        self.mark(name, unit=unit)
        self._now.before += done
        self._progress.stage(name, total=total, unit=unit, done=done)

    def advance(self, units: int) -> None:
        """See `Progress.advance`."""
        self._now.items += units
        self._progress.advance(units)

    def note(self, sentence: str) -> None:
        """See `Progress.note`."""
        self._progress.note(sentence)

    def mark(self, name: str, *, unit: str = "", items: int = 0) -> None:
        """Begin a stage that nobody is shown."""
        self._close()
        self._now = self._stages.setdefault(name, Stage(name, unit))
        self._now.items += items

    def stages(self) -> list[Stage]:
        """Return all stages so far, the present one until now."""
        self._close()
        return list(self._stages.values())

    def _close(self) -> None:
        now, cpu_now = time.monotonic(), time.process_time()
        self._now.seconds += now - self._since
        self._now.cpu_s += cpu_now - self._cpu_since
        self._now.peak_rss_bytes = peak_rss_bytes()
        self._since, self._cpu_since = now, cpu_now


def machine_here(progress: Progress) -> KnownMachine:
    """Return this machine's rates for a job that must not fail for want of them: a broken profile becomes a note."""
    try:
        return known_machine()
    except UsageError as error:
        progress.note(str(error).replace("\n", " "))
        return KnownMachine(None, "the machine's profile is broken")


def write_costs(
    path: Path,
    meter: Meter,
    *,
    job: str,
    resumed: bool,
    machine: KnownMachine,
    predicted: Mapping[str, Callable[[int], float]],
    memory_bytes: int | None = None,
    disk_bytes: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Write what a job took and return it.

    Args:
        path: the file.
        meter: that the job reported to.
        job: its name.
        resumed: it went on where an earlier session had stopped.
        machine: whose rates the prediction rests on.
        predicted: seconds of a stage, from the number of its items.
        memory_bytes: predicted peak memory.
        disk_bytes: of the result, predicted and actual.
    """
    stages = [_account(stage, predicted.get(stage.name)) for stage in meter.stages()]
    foretold = [stage for stage in stages if stage["predicted_s"] is not None]
    document = {
        "format": "identity-leak-costs",
        "format_version": 1,
        "job": job,
        "resumed": resumed,
        "covers": "the last session only" if resumed else "the whole job",
        "rates": None if machine.profile is None else machine.profile.machine.model_dump(),
        "machine_note": machine.sentence,
        "stages": stages,
        "predicted_s": sum(stage["predicted_s"] for stage in foretold) if foretold else None,
        "predicted_stages_took_s": round(sum(stage["actual_s"] for stage in foretold), 3) if foretold else None,
        "actual_s": round(sum(stage["actual_s"] for stage in stages), 3),
        "predicted_memory_bytes": memory_bytes,
        "peak_rss_bytes": peak_rss_bytes(),
        "predicted_disk_bytes": None if disk_bytes is None else disk_bytes[0],
        "disk_bytes": None if disk_bytes is None else disk_bytes[1],
    }
    write_json(path, document)
    return document


def costs_sentence(document: Mapping[str, Any]) -> str:
    """Return predicted and actual time for people."""
    took = f"took {time_words(document['actual_s'])}" + (" (last session only)" if document["resumed"] else "")
    if document["predicted_s"] is None:
        return f"{took}; no prediction: {document['machine_note']}"
    foretold = [stage for stage in document["stages"] if stage["predicted_s"] is not None]
    names, took_s = " and ".join(stage["name"] for stage in foretold), document["predicted_stages_took_s"]
    share = sum(stage["cpu_s"] for stage in foretold) / max(took_s * document["rates"]["cores"], 1e-9)
    return (
        f"{took}; {names}: predicted {time_words(document['predicted_s'])} of an idle machine, took {time_words(took_s)} with "
        f"{min(share, 1.0):.0%} of this one"
    )


def peak_rss_bytes() -> int:
    """Return the most memory that this process has held so far, pages of mapped files included."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says on Linux may be the parent's
        for line in status.read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def _account(stage: Stage, predicted: Callable[[int], float] | None) -> dict[str, Any]:
    seconds = predicted(stage.items) if predicted is not None and stage.items else None
    return {
        "name": stage.name,
        "unit": stage.unit,
        "items": stage.items,
        "items_before": stage.before,
        "predicted_s": None if seconds is None else round(seconds, 3),
        "actual_s": round(stage.seconds, 3),
        "cpu_s": round(stage.cpu_s, 3),
        "items_per_s": round(stage.items / stage.seconds, 3) if stage.items and stage.seconds else None,
        "peak_rss_bytes": stage.peak_rss_bytes,
    }
