"""The faces of a set of queries as they came in, night by night: an intake whose rows keep their places for good.

Of night N there are `NNNNNN.parquet` (faces), `NNNNNN.rejects.parquet` and, written last, `NNNNNN.json`.  A face counts as
long as any entry with its bytes is in the sources; what `SEEN` says of them decides, the files themselves stay as they are.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexes.atomic import write_json
from scanner import artefacts
from scanner.jobs.parts import vectors_of
from scanner.records import Counts, Reason

_BLOCK = 4096


class Collection:
    """See `scanner.jobs.embedding.intake.Intake`: faces in the order in which they came in."""

    def __init__(self, folder: Path, seen: pa.Table) -> None:
        """Look at what is there.

        Args:
            folder: the set's folder.
            seen: what its sources have now, a table of `listing.SEEN`.
        """
        self.folder = folder
        self._seen = seen
        self._documents = [(int(path.stem), artefacts.read_json(path)) for path in sorted(folder.glob("[0-9]*.json"))]
        last: dict[str, Any] = {"road": {}, "fingerprint": "", "dim": 0}
        if self._documents:
            last = self._documents[-1][1]
        self.description: dict[str, Any] = last["road"]
        self.fingerprint: str = last["fingerprint"]
        self.dim: int = last["dim"]

    @property
    def is_empty(self) -> bool:
        """Whether no night has brought anything yet."""
        return not self._documents

    @property
    def rows(self) -> dict[str, int]:
        """How many faces each night brought: what says that places are still what they were."""
        return {f"{night:06d}": int(document["faces"]) for night, document in self._documents}

    @cached_property
    def alive(self) -> NDArray[np.bool_]:
        """Which of all faces, by their places, still count; of an item that went and came back, the last ones."""
        items = self._seen["item_id"].combine_chunks()
        found = [np.empty(0, np.bool_)]
        for night, _ in reversed(self._documents):
            there = artefacts.read_table(self._faces(night), "embeddings", columns=["item_id"])["item_id"]
            found.append(np.asarray(pc.is_in(there, value_set=items).to_numpy(), np.bool_))
            items = items.filter(pc.invert(pc.is_in(items, value_set=there.combine_chunks())))
        return np.concatenate(found[::-1])

    def vectors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of some faces: (n, dim) float32, in the order of `places`, which ascend."""
        found, start = [np.empty((0, self.dim), np.float32)], 0
        for night, document in self._documents:
            stop = start + int(document["faces"])
            mine = places[np.searchsorted(places, start) : np.searchsorted(places, stop)] - start
            if len(mine):
                table = artefacts.read_table(self._faces(night), "embeddings", columns=["embedding"])
                found.append(vectors_of(table)[mine])
            start = stop
        return np.concatenate(found)

    def seen_sha256(self) -> str:
        """Return the hash of what the sources have now, without the clocks in the stamps."""
        total = hashlib.sha256()
        for name in ("uri", "item_id", "identity"):
            words = self._seen[name].fill_null("").to_pylist()
            total.update("\n".join(words).encode(errors="surrogatepass") + b"\0")
        return total.hexdigest()

    def add(
        self, night: int, faces: Iterator[pa.Table], rejects: pa.Table, *, schema: pa.Schema, document: dict[str, Any]
    ) -> None:
        """Write what a night brought; again with the same, it changes nothing."""
        artefacts.make_private_folder(self.folder)
        rows = artefacts.write_tables(self._faces(night), schema, faces)
        artefacts.write_tables(self._rejects(night), artefacts.stamped(artefacts.REJECTS, "rejects"), [rejects])
        write_json(self.folder / f"{night:06d}.json", {**document, "faces": rows})

    def faces(self) -> Iterator[pa.Table]:
        """Yield the faces that count; each under a name that is still there, with all its other names."""
        start, names = 0, self._names
        for night, document in self._documents:
            rows = int(document["faces"])
            keep = self.alive[start : start + rows]
            start += rows
            first = 0
            for table in artefacts.iter_tables(self._faces(night), "embeddings", rows_max=_BLOCK):
                kept = table.filter(pa.array(keep[first : first + table.num_rows]))
                first += table.num_rows
                if kept.num_rows:
                    columns = dict(zip(kept.column_names, kept.columns, strict=True))
                    yield _renamed(artefacts.table_of(self._schema, columns), names)

    @cached_property
    def _schema(self) -> pa.Schema:
        """Return the columns of all faces: with crops where any night kept some."""
        schemas = [
            artefacts.open_artefact(self._faces(night), "embeddings").schema_arrow for night, _ in self._documents
        ]
        crops = any(artefacts.CROP_FIELD.name in schema.names for schema in schemas)
        return artefacts.embeddings_schema(self.dim, crops=crops)

    def rejects(self) -> Iterator[pa.Table]:
        """Yield the rejects of what is there: of each entry without a face of its own, and of single faces."""
        when = {(uri, item): night for uri, item, night in _rows(self._seen, ["uri", "item_id", "night"])}
        there = set(self._seen["item_id"].to_pylist())
        tables = {night: artefacts.read_table(self._rejects(night), "rejects") for night, _ in self._documents}
        looked_at = {item: night for night, table in tables.items() for item in _of_items(table)["item_id"].to_pylist()}
        for night, table in tables.items():
            kept = []
            for row, is_of_item in zip(table.to_pylist(), _is_of_item(table).to_pylist(), strict=True):
                item, reason = row["item_id"], row["reason"]
                first = self._names.get(item, [None])[0]
                if is_of_item:
                    if item in there and looked_at[item] == night:
                        kept.append(row if first is None else {**row, "uri": first[0], "identity": first[1]})
                    continue
                entry = row["uri"], "" if reason == Reason.QUARANTINED.value else item
                is_itself = reason == Reason.DUPLICATE.value and first is not None and first[0] == row["uri"]
                if when.get(entry) == night and not is_itself:
                    kept.append(row)
            yield pa.Table.from_pylist(kept, table.schema)

    def counts(self) -> Counts:
        """Return what became of every entry that is there now."""
        reasons: Counter[str] = Counter()
        of_faces = of_items = 0
        for table in self.rejects():
            reasons.update(table["reason"].to_pylist())
            whole = pc.sum(pc.equal(table["level"], "item")).as_py() or 0
            of_items, of_faces = of_items + whole, of_faces + table.num_rows - whole
        duplicates = reasons[Reason.DUPLICATE.value]
        return Counts(
            entries=self._seen.num_rows,
            items=self._seen.num_rows - of_items,
            duplicates=duplicates,
            rejected=of_items - duplicates,
            faces=int(self.alive.sum()),
            faces_rejected=of_faces,
            reasons=dict(sorted(reasons.items())),
        )

    def done(self) -> None:
        """See `Intake.done`; nothing here is only for resuming."""

    @cached_property
    def _names(self) -> dict[str, list[tuple[str, str | None]]]:
        """Return the names and labels that an item goes by now, of items for which that is not the one of the first look."""
        first: dict[str, tuple[str, str | None]] = {}
        several = set[str]()
        columns = ["item_id", "uri", "identity"]
        for night, _ in self._documents:
            rejects = artefacts.read_table(self._rejects(night), "rejects")
            several.update(rejects.filter(pc.equal(rejects["reason"], Reason.DUPLICATE.value))["item_id"].to_pylist())
            for table in (artefacts.read_table(self._faces(night), "embeddings", columns=columns), _of_items(rejects)):
                first.update((item, (uri, label)) for item, uri, label in _rows(table, columns))
        now: dict[str, list[tuple[str, str | None]]] = {}
        for item, uri, label in _rows(self._seen, columns):
            if item in first:
                now.setdefault(item, []).append((uri, label))
        for item, names in now.items():
            names.sort(key=lambda name, item=item: name[0] != first[item][0])  # type: ignore[misc]
        return {item: names for item, names in now.items() if item in several or names != [first[item]]}

    def _faces(self, night: int) -> Path:
        return self.folder / f"{night:06d}.parquet"

    def _rejects(self, night: int) -> Path:
        return self.folder / f"{night:06d}.rejects.parquet"


def document_of(counts: Counts, road: dict[str, Any], *, fingerprint: str, dim: int) -> dict[str, Any]:
    """Return what is written beside the faces of a night."""
    return {"counts": asdict(counts), "road": road, "fingerprint": fingerprint, "dim": dim}


def _is_of_item(table: pa.Table) -> pa.ChunkedArray:
    """Return which rejects say what became of an item's bytes, under whatever name; the others are about one entry."""
    of_entry = pa.array([Reason.DUPLICATE.value, Reason.QUARANTINED.value])
    return pc.and_(pc.not_equal(table["item_id"], ""), pc.invert(pc.is_in(table["reason"], value_set=of_entry)))


def _of_items(table: pa.Table) -> pa.Table:
    return table.filter(_is_of_item(table))


def _renamed(table: pa.Table, names: dict[str, list[tuple[str, str | None]]]) -> pa.Table:
    called = [names.get(item) or [(uri, label)] for item, uri, label in _rows(table, ["item_id", "uri", "identity"])]
    return _with(
        table,
        {
            "uri": [one[0][0] for one in called],
            "identity": [one[0][1] for one in called],
            "other_uris": [[uri for uri, _ in one[1:]] for one in called],
        },
    )


def _with(table: pa.Table, columns: dict[str, list[Any]]) -> pa.Table:
    """Return the table with other values in some columns."""
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        field = table.schema.field(place)
        table = table.set_column(place, field, pa.array(values, field.type))
    return table


def _rows(table: pa.Table, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in columns), strict=True)
