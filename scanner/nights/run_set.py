"""The run folder that a night writes for a set of queries: what a scan of everything would write, from what is known."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from indexes import Engine, References, open_index
from indexes.atomic import encode_json, write_json
from indexes.manifest import MANIFEST_NAME
from scanner import artefacts
from scanner.jobs.measuring.meter import COSTS_NAME, Meter, machine_here, write_costs
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.jobs.scanning.evidence import file_sha256
from scanner.jobs.scanning.evidence_tables import NEAREST
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.prepare import Prepared, prepare
from scanner.jobs.scanning.scan import finish_run, search_and_write
from scanner.jobs.versions import code_sha256
from scanner.nights.collection import Collection
from scanner.nights.known import Known, Queries, Search
from scanner.nights.listing import state_of
from scanner.nights.memory import Memory
from scanner.nights.remembered import Remembered
from scanner.search import Gallery, check_fingerprint, open_galleries


@dataclass(frozen=True, slots=True)
class SetRun:
    """One set of queries against the job's indexes.

    Attributes:
        name: of the set.
        specs: its sources as the job names them: what the run says it scanned.
        against: candidate indexes.
        options: how matches are decided; names the nulls.
        faces: how pictures become vectors.
        collection: its faces.
        compared: folder of what they were compared with.
    """

    name: str
    specs: tuple[str, ...]
    against: tuple[Path, ...]
    options: ScanOptions
    faces: FaceOptions
    collection: Collection
    compared: Path

    def inputs(self) -> str:
        """Return the hash of all that the run depends on: equal hashes, equal runs."""
        galleries = open_galleries([*self.against, *map(Path, self.options.null)], memory_bytes=1 << 30, engine="exact")
        document = {
            "queries": self.collection.rows,
            "alive": hashlib.sha256(self.collection.alive.tobytes()).hexdigest(),
            "seen": self.collection.seen_sha256(),
            "indexes": [[gallery.name, gallery.index.manifest_sha256] for gallery in galleries],
            "options": {
                **asdict(self.options),
                "null": [Path(path).name for path in self.options.null],
                "calibrate_on": self.options.calibrate_on and _state_of(self.options.calibrate_on),
            },
            "specs": self.specs,
            "code": code_sha256(),
        }
        return hashlib.sha256(encode_json(document)).hexdigest()

    def run(self, out: Path, *, night: int, resumed: bool, meter: Meter) -> dict[str, Any]:
        """Write the run folder, all of it from what is known, which is quick; return how many comparisons it took."""
        work = out / "unfinished"
        opened = self._prepare(meter)
        for folder in (out, work):
            artefacts.make_private_folder(folder)
        write_json(out / "policy.json", opened.policy)
        known, compared = self._compare(opened, night, meter)
        summary = search_and_write(
            out, work, opened, self.collection, self.specs, self.options, SourceOptions(), None, meter,
            comparisons=Remembered(known, self.collection.alive),
        )  # fmt: skip
        write_costs(
            out / COSTS_NAME, meter, job="night", resumed=resumed, machine=machine_here(meter), predicted={}
        )  # fmt: skip
        finish_run(out, work, summary)
        return compared

    def _prepare(self, meter: Meter) -> Prepared:
        opened = prepare(self.specs, self.against, self.options, self.faces, SourceOptions(), meter, ready=True)
        for gallery in opened.galleries:
            check_fingerprint(gallery.index, self.collection.fingerprint, what=f"the queries {self.name}")
        return opened

    def _compare(self, opened: Prepared, night: int, meter: Meter) -> tuple[dict[str, Known], dict[str, int]]:
        queries = Queries(self.collection.rows, self.collection.alive, self.collection.vectors)
        search = Search(partial(_engine, self.options), meter)
        known: dict[str, Known] = {}
        total = {"compared": 0, "of": 0}
        for gallery in (*opened.galleries, *opened.nulls):
            known[gallery.name], took = Memory(self.compared / gallery.name).update(
                gallery,
                queries,
                night=night,
                threshold=opened.threshold.value,
                k=NEAREST if opened.nulls else 0,
                search=search,
            )
            total = {name: total[name] + took[name] for name in total}
        return known, total


def _state_of(calibrate_on: str) -> str:
    """Return what changes when that does on which the threshold is calibrated."""
    path = Path(calibrate_on)
    if (path / MANIFEST_NAME).is_file():
        return f"{path.name} {open_index(path).manifest_sha256}"
    if path.is_file():
        return f"{path.name} {file_sha256(path)}"
    return state_of(calibrate_on)


def _engine(options: ScanOptions, gallery: Gallery, references: References) -> Engine:
    return gallery.index.engine(memory_bytes=options.memory_bytes, want=options.engine, references=references)[0]
