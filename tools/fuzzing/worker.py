"""The loop of one process: break a case, read it, look at what came of it; says what it found as lines of JSON."""

from __future__ import annotations

import faulthandler
import json
import random
import resource
import shutil
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

from fuzzing.guard import Guard, TooLong, Violation, limit_memory
from fuzzing.mutate import Case, mutate
from fuzzing.targets import TARGETS, Target

CORPUS_MAX: Final = 400


@dataclass
class Loop:
    """One target in one process.

    Attributes:
        current: where the case that is being read lies, also after the process has died of it.
        corpus: cases that reached lines of ours that none before them had.
    """

    target: Target
    current: Path
    rng: random.Random
    guard: Guard
    guided: bool
    corpus: list[Case] = field(default_factory=list)
    seen: set[tuple[str, int]] = field(default_factory=set)
    new: int = 0

    def read(self, case: Case) -> str | None:
        """Read a case; return what is wrong with how it was read, as a short text that is equal for equal defects."""
        shutil.rmtree(self.current, ignore_errors=True)
        for name, data in case.items():
            path = self.current / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        before = _peak_bytes()
        try:
            with self.guard.armed():
                if self.guided:
                    sys.settrace(self._trace)
                self.target.read(self.current)
        except (Violation, TooLong, Exception) as error:  # noqa: BLE001 - whatever a parser lets through
            sys.settrace(None)
            problem = _problem(error)
        else:
            sys.settrace(None)
            problem = None
        if self.guard.found:
            return f"Violation: {self.guard.found[0]}"
        grown = _peak_bytes() - before
        return problem or (f"memory grew by {grown >> 20} MiB" if grown > self.target.growth_bytes else None)

    def step(self) -> tuple[Case, str | None]:
        """Break one case and read it; keep it where it is new."""
        case = mutate(self.rng.choice(self.corpus), self.rng.choice(self.corpus), self.rng)
        self.new = 0
        problem = self.read(case)
        if self.new and problem is None and len(self.corpus) < CORPUS_MAX:
            self.corpus.append(case)
        return case, problem

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if "/scanner/" not in name and "/indexes/" not in name:
            return None
        if event in {"line", "exception"}:
            place = (name, frame.f_lineno if event == "line" else -frame.f_lineno)
            if place not in self.seen:
                self.seen.add(place)
                self.new += 1
        return self._trace


def _problem(error: BaseException) -> str | None:
    from indexes.errors import IndexesError
    from scanner.errors import ScannerError

    if isinstance(error, ScannerError | IndexesError):
        text = str(error)
        return None if text.strip() else f"{type(error).__name__} without a message"
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if "/scanner/" in f.filename or "/indexes/" in f.filename
    ]
    frame = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    what = f": {error}" if isinstance(error, AssertionError | Violation) else ""
    return f"{type(error).__name__}{what} at {'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}"


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def work(name: str, *, seed: int, seconds: float, runs: int, folder: Path, known: list[str], guided: bool) -> None:
    """Fuzz one target until the time or the runs are over.

    Lines on stdout: `{"found": TEXT, "case": FOLDER}` for each new defect, and `{"runs", "corpus", "lines", "seconds"}` at the end
    and every few seconds.
    """
    faulthandler.enable()
    target = TARGETS[name]
    guard = Guard(folder, generates_code=target.generates_code)
    loop = Loop(target, folder / "current", random.Random(seed), guard, guided and target.guided)  # noqa: S311 - cases, no secrets
    loop.corpus = target.seeds()
    for case in loop.corpus:  # imports what is imported late, and shows that the seeds are sound
        shutil.rmtree(loop.current, ignore_errors=True)
        for file, data in case.items():
            (loop.current / file).parent.mkdir(parents=True, exist_ok=True)
            (loop.current / file).write_bytes(data)
        target.read(loop.current)
    for _ in range(30):
        mutated = mutate(loop.rng.choice(loop.corpus), loop.corpus[0], random.Random(1))  # noqa: S311
        loop.guard.found.clear()
        _quietly(loop, mutated)
    limit_memory()
    told = set(known)
    start = said = time.monotonic()
    done = 0
    while done < runs and time.monotonic() - start < seconds:
        (folder / "count").write_text(str(done))
        case, problem = loop.step()
        done += 1
        if problem is not None and problem not in told:
            told.add(problem)
            kept = folder / f"found-{seed}-{done}"
            shutil.copytree(loop.current, kept, dirs_exist_ok=True)
            _say({"found": problem, "case": str(kept)})
        if time.monotonic() - said > 5:
            said = time.monotonic()
            _say({"runs": done, "corpus": len(loop.corpus), "lines": len(loop.seen), "seconds": round(said - start, 1)})
    _say(
        {
            "runs": done,
            "corpus": len(loop.corpus),
            "lines": len(loop.seen),
            "seconds": round(time.monotonic() - start, 1),
            "end": True,
        }
    )


def _quietly(loop: Loop, case: Case) -> None:
    """Read a broken case with nobody watching, so that what libraries load to complain is loaded."""
    shutil.rmtree(loop.current, ignore_errors=True)
    for name, data in case.items():
        (loop.current / name).parent.mkdir(parents=True, exist_ok=True)
        (loop.current / name).write_bytes(data)
    try:
        loop.target.read(loop.current)
    except Exception:  # noqa: BLE001 - it will come again
        return


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()
