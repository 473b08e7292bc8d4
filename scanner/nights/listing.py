"""What a source has now, and what of it is new since it was last looked at."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from scanner import artefacts
from scanner.errors import ScannerError, SourceEmpty
from scanner.jobs.options import SourceOptions
from scanner.records import Item, Reject
from scanner.sources import ChainedSource, Source
from scanner.sources.folder import FolderSource, changed_at
from scanner.sources.names import INSIDE

SEEN = pa.schema(
    [
        pa.field("spec", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("stamp", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("night", pa.int32(), nullable=False),
        pa.field("identity", pa.string()),
    ]
)
"""One row an entry that was looked at: the source as the job names it, uri, stamp, the item that it was, when, and its label.

A file's `stamp` changes with its content (size, time of change, checksum) and its label; the entries of an archive have the
archive's.  `item_id` is "" where nobody looked at the bytes.
"""
NOT_READ: Final = ""
"""Stamp of a file that could not be read, and of what is in a source that is `LOST`: it is tried again every night."""
LOST: Final = "lost"
"""Stamp of what an archive held before it lost too much: only --allow-gone forgets it."""
ALL_GONE: Final = math.inf
"""A share that no source exceeds: forget what is gone, however much, also of a source that was emptied."""

FRESH = pa.schema(
    [
        pa.field("spec", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("stamp", pa.string(), nullable=False),
    ]
)
"""One row a file to be read, or an archive to be read whole (`uri` is empty); `part` is the folder or archive."""


@dataclass(frozen=True, slots=True)
class News:
    """What changed in the sources of a set.

    Attributes:
        fresh: a table of `FRESH`: what has to be read.
        gone: uris of entries that are not there any more.
        lost: sources that could not be looked at, each with the reason; nothing of them counts as gone.
    """

    fresh: pa.Table
    gone: pa.Array
    lost: tuple[tuple[str, str], ...]


class Part(NamedTuple):
    """A folder or archive: its rows of `FRESH`, the known uris that may still be there, and all that it names."""

    fresh: pa.Table
    there: pa.Array
    names: pa.Array


def look(
    specs: Sequence[tuple[str, str]],
    sources: SourceOptions,
    seen: pa.Table,
    *,
    gone_max: float,
    again: Callable[[Callable[[], list[Part]]], list[Part]] = lambda work: work(),
) -> News:
    """Compare what the sources have with what was seen.

    A file or archive that two sources name belongs to the first of them.

    Args:
        specs: sources, as the job names them and as they can be opened.
        sources: how they are read.
        seen: a table of `SEEN`.
        gone_max: a source that lost more than this share of its entries counts as lost, not as emptied.
        again: calls what looks at one source, more than once where that may help.
    """
    fresh, names, lost = [FRESH.empty_table()], [pa.array([], pa.string())], list[tuple[str, str]]()
    no_more = seen.filter(_not_in(seen["spec"], pa.array([name for name, _ in specs], pa.string())))
    gone = [no_more["uri"].combine_chunks()]  # of sources that the job names no longer
    for name, spec in dict(specs).items():
        before = seen.filter(pc.equal(seen["spec"], name))
        try:
            found = again(lambda: [_compare(part, name, sources, before) for part in _opened(sources, spec)])  # noqa: B023
        except ScannerError as error:
            is_empty = isinstance(error, SourceEmpty) and before.num_rows
            if not is_empty or gone_max < ALL_GONE:
                lost.append((name, f"{error} {_IF_MEANT}" if is_empty else str(error)))
                continue
            found = []
        there = pa.concat_arrays([pa.array([], pa.string()), *(part.there for part in found)])
        missing = before["uri"].filter(_not_in(before["uri"], there))
        if before.num_rows and len(missing) > gone_max * before.num_rows:
            lost.append((name, too_many_gone(spec, len(missing), before.num_rows)))
            continue
        gone.append(missing.combine_chunks())
        for part in found:
            key = pc.if_else(pc.equal(part.fresh["uri"], ""), part.fresh["part"], part.fresh["uri"])
            fresh.append(part.fresh.filter(_not_in(key, pa.concat_arrays(names))))
            names.append(part.names)
    return News(pa.concat_tables(fresh), pa.concat_arrays(gone), tuple(lost))


def _compare(part: Source, name: str, sources: SourceOptions, before: pa.Table) -> Part:
    if isinstance(part, FolderSource):
        uris, stamps = (pa.array(column, pa.string()) for column in zip(*part.stamps(), strict=True))
        new = _not_in(_keys(uris, stamps), _keys(before["uri"], before["stamp"]))
        return Part(_rows(name, part.uri, uris.filter(new), stamps.filter(new)), uris, uris)
    inside = before["uri"].filter(_inside(before["uri"], part.uri)).combine_chunks()
    stamp = f"{part.uri} {fingerprint_of(part)} {_changed_at(part)} {sources.identity_from}"
    is_known = pc.any(pc.equal(before["stamp"], stamp)).as_py()
    # Which of its entries are gone is known when it has been read.
    rows = FRESH.empty_table() if is_known else _rows(name, part.uri, pa.array([""]), pa.array([stamp]))
    return Part(rows, inside, pa.array([part.uri]))


def _rows(name: str, part: str, uris: pa.Array, stamps: pa.Array) -> pa.Table:
    n = len(uris)
    return pa.table([pa.array([name] * n, pa.string()), pa.array([part] * n, pa.string()), uris, stamps], schema=FRESH)


class FreshSource:
    """What has to be read tonight, in an order that does not change when files vanish while it is read."""

    def __init__(
        self,
        specs: Sequence[tuple[str, str]],
        sources: SourceOptions,
        fresh: pa.Table,
        *,
        keep_out: Callable[[Iterator[Item | Reject]], Iterator[Item | Reject]] = lambda entries: entries,
    ) -> None:
        """Open the sources of `fresh`, of which `keep_out` makes rejects; those that cannot be opened raise ScannerError."""
        self._keep_out = keep_out
        self._listing = hashlib.sha256()
        parts: list[Source] = []
        for name, spec in dict(specs).items():
            mine = fresh.filter(pc.equal(fresh["spec"], name))
            for part in _opened(sources, spec) if mine.num_rows else ():
                rows = mine.filter(pc.equal(mine["part"], part.uri))
                if not rows.num_rows:
                    continue
                uris = rows["uri"].to_pylist()
                parts.append(part.only(uris) if isinstance(part, FolderSource) else part)
                names = uris if isinstance(part, FolderSource) else [fingerprint_of(part)]
                self._listing.update(json.dumps([part.uri, names]).encode())
        self._chain = ChainedSource(parts)
        self.uri = self._chain.uri
        self.parts = self._chain.parts

    def describe(self) -> dict[str, str | int]:
        """Return what must not change between two tries of one night."""
        return {"kind": "fresh", "uri": self.uri, "listing": self._listing.hexdigest()}

    def entries(self, *, skip: int = 0) -> Iterator[Item | Reject]:
        """See `Source.entries`."""
        return self._keep_out(self._chain.entries(skip=skip))

    def count(self) -> int | None:
        """See `Source.count`."""
        return self._chain.count()


class Stamps:
    """Which source an entry that was read belongs to, and its stamp."""

    def __init__(self, fresh: pa.Table) -> None:
        rows = fresh.to_pylist()
        self._marks = {row["uri"] or row["part"]: (row["spec"], row["stamp"]) for row in rows}
        self._archives = [row["part"] for row in rows if not row["uri"]]
        self.specs = {row["spec"] for row in rows}

    def of(self, uri: str) -> tuple[str, str]:
        """Return the source, as the job names it, and the stamp."""
        place = len(uri)
        while (found := self._marks.get(uri[:place])) is None:
            place = uri.rindex(INSIDE, 0, place)  # of an entry of an archive, the archive's
        return found

    def reread(self, known: pa.Array) -> pa.Array:
        """Return which of the known uris are read again: files, and whatever lies in archives."""
        again = pc.is_in(known, value_set=pa.array(list(self._marks), pa.string()))
        for part in self._archives:
            again = pc.or_(again, _inside(known, part))
        return known.filter(again)


def read_seen(path: Path) -> pa.Table:
    """Return what was seen so far."""
    if not path.exists():
        return SEEN.empty_table()
    table = artefacts.read_table(path, "seen")
    # Of an older scanner, which kept no labels and wrote other stamps: everything will be looked at again.
    return (
        table
        if "identity" in table.column_names
        else table.append_column("identity", pa.nulls(len(table), pa.string()))
    )


def _opened(sources: SourceOptions, spec: str) -> Iterator[Source]:
    """Yield the folders and archives of a source."""
    source = sources.open([spec])
    yield from source.parts if isinstance(source, ChainedSource) else [source]


def state_of(spec: str) -> str:
    """Return the hash of what changes when anything in a source does; clocks are in it."""
    total = hashlib.sha256()
    for part in _opened(SourceOptions(), spec):
        if isinstance(part, FolderSource):
            total.update(json.dumps(part.stamps()).encode())
        else:
            total.update(json.dumps([part.uri, fingerprint_of(part), _changed_at(part)]).encode())
    return total.hexdigest()


def fingerprint_of(part: Source) -> str:
    """Return what changes when an archive's content does."""
    return hashlib.sha256(json.dumps(part.describe(), sort_keys=True).encode()).hexdigest()[:32]


def _changed_at(part: Source) -> str:
    """Return when a local archive changed: of a large one, the fingerprint looks at samples."""
    path = Path(part.uri)
    return changed_at(path.stat()) if path.is_file() else ""


def _inside(uris: pa.Array, archive: str) -> pa.Array:
    return pc.or_(pc.equal(uris, archive), pc.starts_with(uris, f"{archive}{INSIDE}"))


def _keys(uris: pa.Array, stamps: pa.Array) -> pa.Array:
    keys = pc.binary_join_element_wise(uris, stamps, "\n")
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys


def _not_in(values: pa.Array, others: pa.Array) -> pa.Array:
    return pc.invert(pc.is_in(values, value_set=others))


_IF_MEANT: Final = "Nothing of it was forgotten. If it is meant so, run the job once with --allow-gone."


def too_many_gone(spec: str, gone: int, before: int) -> str:
    """Return the sentence about a source that lost more than it may."""
    return (
        f"{gone} of {before} entries of {spec} are gone since it was last looked at, more than the job's gone_max allows: "
        f"a mount may be missing. {_IF_MEANT}"
    )
