"""What an erasure is about to do, written down before the first change, so that a killed one is ended by whoever calls next.

    HOME/.erasing/plan.json            what goes, from where; removed at the end
    HOME/.erasing/vectors-N.parquet    the erased vectors of one embedder, for the proof at the end
    HOME/erasures/NNNN.json            the record that stays
    HOME/erasures/never-again.json     salted hashes of erased pictures, so that a nightly job leaves them out

The journal is the one place where the erased are still named while the work goes on; folders are 0700, files 0600.

A record holds when, how much of what, the caller's number for the request, and a commitment: the SHA-256 of a secret
receipt and of what was asked for.  It says nothing to whoever has the record alone, even by guessing labels; with the
receipt, which is told to the caller once and kept nowhere, anybody can check that it is the record of this request.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from indexes.atomic import write_json
from scanner import artefacts
from scanner.erasing.known import Known, Wanted
from scanner.erasing.never_again import never_again
from scanner.erasing.tables import Lost
from scanner.erasing.walk import JOURNAL, RECORD_FORMAT, RECORDS
from scanner.jobs.folders import remove_folder, sweep
from scanner.jobs.parts import vectors_of

_PLAN: Final = "plan.json"
_VERSION: Final = 1


@dataclass(slots=True)
class Plan:
    """One erasure.

    Attributes:
        roots: what it covers, absolute.
        homes: where its records go, with their numbers.
        wanted: what was asked for.
        known: what is to go.
        at: when it was begun.
        request: the caller's number, or None.
        receipt: 64 hex digits.
        folders: what each folder loses.
        indexes: ids by index folder.
        work: unfinished work to remove.
        documents: JSON files to look through.
        pages: pages to make again.
        counts: by kind, as they will stand in the record.
        unreadable: what could not be looked at, and why.
    """

    roots: list[Path]
    homes: dict[Path, int]
    wanted: Wanted
    known: Known
    at: datetime
    request: str | None
    receipt: str
    folders: list[Lost] = field(default_factory=list)
    indexes: dict[Path, list[int]] = field(default_factory=dict)
    work: list[Path] = field(default_factory=list)
    documents: list[Path] = field(default_factory=list)
    pages: list[Path] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def commitment(self) -> str:
        """Return what links a record with its receipt and its request."""
        return commitment_of(self.receipt, self.wanted)

    def is_for(self, roots: Sequence[Path], wanted: Wanted) -> bool:
        """True when this is the erasure that is asked for again."""
        return self.roots == list(roots) and self.wanted.document() == wanted.document()

    @property
    def erased_at(self) -> str:
        """Return the time as text."""
        return self.at.isoformat(timespec="seconds")


def commitment_of(receipt: str, wanted: Wanted) -> str:
    """Return SHA-256 of the receipt, a newline, and the request as JSON with sorted keys and without spaces."""
    request = json.dumps(wanted.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{receipt}\n{request}".encode()).hexdigest()


def is_begun(home: Path) -> bool:
    """Say whether an erasure was begun in a folder and not ended: until it is, half of what it erases is there."""
    return (home / JOURNAL / _PLAN).is_file()


def open_journal(homes: Sequence[Path]) -> Plan | None:
    """Return the erasure that was not ended, if one of the homes has one; what an ended one left behind goes.

    Raises:
        ArtefactError: the journal is broken.
    """
    for home in homes:
        if not is_begun(home):
            remove_folder(home / JOURNAL)
    begun = [home for home in homes if (home / JOURNAL).is_dir()]
    return _read(begun[0] / JOURNAL) if begun else None


def next_number(home: Path) -> int:
    """Return the number of a home's next record."""
    numbers = [int(path.stem) for path in (home / RECORDS).glob("[0-9]*.json") if path.stem.isdigit()]
    return max(numbers, default=0) + 1


def write_journal(plan: Plan) -> None:
    """Write the journal to every home, its plan last; from now on the erasure will be ended."""
    document = {
        "format": "identity-leak-erasing", "format_version": _VERSION,
        "roots": [str(root) for root in plan.roots],
        "homes": {str(home): number for home, number in plan.homes.items()},
        "wanted": plan.wanted.document(), "known": plan.known.document(),
        "at": plan.at.isoformat(), "request": plan.request, "receipt": plan.receipt,
        "folders": [lost.document() for lost in plan.folders],
        "indexes": {str(path): ids for path, ids in plan.indexes.items()},
        "work": [str(path) for path in plan.work],
        "documents": [str(path) for path in plan.documents],
        "pages": [str(path) for path in plan.pages],
        "counts": plan.counts, "unreadable": plan.unreadable,
    }  # fmt: skip
    for home in plan.homes:
        folder = home / JOURNAL
        artefacts.make_private_folder(folder)
        for number, (fingerprint, vectors) in enumerate(sorted(plan.known.vectors.items())):
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1), pa.float32()), vectors.shape[1])
            table = pa.table({"embedding": column})
            schema = artefacts.stamped(table.schema, "erased_vectors", fingerprint=fingerprint)
            artefacts.write_tables(folder / f"vectors-{number}.parquet", schema, [table])
        write_json(folder / _PLAN, document)


def _read(folder: Path) -> Plan:
    of = artefacts.read_json(folder / _PLAN)
    known = Known.read(of["known"])
    for path in sorted(folder.glob("vectors-*.parquet")):
        file = artefacts.open_artefact(path, "erased_vectors").schema_arrow
        vectors = vectors_of(artefacts.read_table(path, "erased_vectors"))
        known.add_vectors(file.metadata[artefacts.FINGERPRINT_KEY].decode(), np.asarray(vectors))
    return Plan(
        [Path(root) for root in of["roots"]],
        {Path(home): number for home, number in of["homes"].items()},
        Wanted(**{name: tuple(words) for name, words in of["wanted"].items()}),
        known, datetime.fromisoformat(of["at"]), of["request"], of["receipt"],
        [Lost.read(lost) for lost in of["folders"]],
        {Path(path): ids for path, ids in of["indexes"].items()},
        [Path(path) for path in of["work"]],
        [Path(path) for path in of["documents"]],
        [Path(path) for path in of["pages"]],
        of["counts"], of["unreadable"],
    )  # fmt: skip


def write_records(plan: Plan, *, left: int, unknown: int) -> list[Path]:
    """Write the record to every home, and what is never to come back; return the records' paths."""
    records = []
    for home, number in plan.homes.items():
        folder = home / RECORDS
        artefacts.make_private_folder(folder)
        sweep(folder)
        salt = hashlib.sha256(f"salt\n{plan.receipt}\n{number}".encode()).hexdigest()
        never_again(home, {*plan.known.items, *plan.known.places()}, salt=salt)
        record = folder / f"{number:04d}.json"
        write_json(
            record,
            {
                "format": RECORD_FORMAT, "format_version": _VERSION, "erased_at": plan.erased_at,
                "request": plan.request, "asked_for": plan.wanted.counts(), "commitment": plan.commitment,
                "erased": plan.counts, "files_not_readable": len(plan.unreadable), "files_not_ours": unknown,
                "found_afterwards": left,
            },
        )  # fmt: skip
        records.append(record)
    return records


def remove_journal(plan: Plan) -> None:
    """Forget whom the erasure was about."""
    for home in plan.homes:
        remove_folder(home / JOURNAL)
