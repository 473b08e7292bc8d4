"""What became of the entries that a night read: which are new, which are as they were, and what the sources have now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scanner import artefacts
from scanner.jobs.options import OpenedRoad
from scanner.jobs.parts import Parts
from scanner.nights.listing import ALL_GONE, LOST, NOT_READ, SEEN, Stamps, too_many_gone
from scanner.records import Counts, Reason

Entry = tuple[str, str]
"""Uri and item: an archive may hold two members of one name."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """What a night brought to a set, ready to be put where it is kept.

    Attributes:
        parts: finished shards of new faces; None where nothing was read.
        rejects: new rejects, a table of `artefacts.REJECTS`.
        counts: of new entries.
        opened: the road that they came by.
        seen: what the sources have now, a table of `SEEN`.
        items_gone: ids of items of which no entry is left.
        names_changed: whether any entry came, went, or has another item or label.
        kept_out: how many entries were erased before and are not taken in again.
        lost: sources that have lost more than they may, seen when their archives were read, each with the reason.
    """

    parts: Parts | None
    rejects: pa.Table
    counts: Counts
    opened: OpenedRoad | None
    seen: pa.Table
    items_gone: frozenset[str]
    names_changed: bool
    kept_out: int
    lost: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the last night saw of an entry."""

    stamp: str
    night: int


@dataclass(frozen=True, slots=True)
class _Found:
    """What this night found of an entry that it read."""

    identity: str | None
    reason: str | None = None

    def is_as(self, old: _Seen | None) -> bool:
        """Say whether it is neither new nor another one: its bytes are known, or it again cannot be read."""
        if self.reason in (Reason.UNREADABLE.value, Reason.ARCHIVE_CUT.value):
            return old is not None and old.stamp == NOT_READ
        return old is not None and self.reason == Reason.DUPLICATE.value


def settle(
    parts: Parts | None,
    opened: OpenedRoad | None,
    fresh: pa.Table,
    gone: Sequence[str],
    seen: pa.Table,
    night: int,
    *,
    gone_max: float,
) -> Fresh:
    """Return what a night brought.

    Args:
        parts: finished shards of all that was read; None where nothing was.
        opened: the road that it came by.
        fresh: a table of `FRESH`: what was read.
        gone: uris that are not there any more.
        seen: a table of `SEEN`: what the last night saw.
        night: tonight's number.
        gone_max: see `listing.look`; of an archive that is known when it was read.
    """
    old = {(uri, item): _Seen(*rest) for uri, item, *rest in _columns(seen, "uri", "item_id", "stamp", "night")}
    rejects = artefacts.stamped(artefacts.REJECTS, "rejects").empty_table()
    found: dict[Entry, _Found] = {}
    if parts is not None:
        names = ("uri", "item_id", "identity")
        for table in parts.faces(names):
            found |= {(uri, item): _Found(*rest) for uri, item, *rest in _columns(table, *names)}
        rejects = pa.concat_tables([rejects, *parts.rejects()])
        whole = rejects.filter(pc.equal(rejects["level"], "item"))
        found |= {(uri, item): _Found(*rest) for uri, item, *rest in _columns(whole, *names, "reason")}
    counts = Counts() if parts is None else parts.counts()
    # A file that was touched, or an archive to which something was appended: what is known in it is neither new nor twice.
    same = {entry for entry, one in found.items() if one.is_as(old.get(entry))}
    left_out = pa.array(
        [
            reason == Reason.ERASED.value or (uri, item) in same
            for uri, item, reason in _columns(rejects, "uri", "item_id", "reason")
        ],
        pa.bool_(),
    )
    reasons = Counter(rejects.filter(left_out)["reason"].to_pylist())
    found = {entry: one for entry, one in found.items() if one.reason != Reason.ERASED.value}
    stamps = Stamps(fresh)
    left = pa.concat_arrays([pa.array(gone, pa.string()), stamps.reread(seen["uri"].combine_chunks())])
    lost = _lost(seen, left, found, stamps, gone_max)
    now = _seen_now(seen, found, same, old, left, stamps, night, lost)
    items_gone = {item for _, item in old} - {*now["item_id"].to_pylist(), ""}
    named = ["uri", "item_id", "identity"]
    return Fresh(
        parts, rejects.filter(pc.invert(left_out)), _without(counts, reasons), opened, now, frozenset(items_gone),
        names_changed=not now.select(named).equals(seen.select(named)), kept_out=reasons[Reason.ERASED.value],
        lost=tuple(lost.items()),
    )  # fmt: skip


def _seen_now(
    seen: pa.Table, found: Mapping[Entry, _Found], same: set[Entry], old: Mapping[Entry, _Seen], left: pa.Array,
    stamps: Stamps, night: int, lost: Mapping[str, str],
) -> pa.Table:  # fmt: skip
    """Work out what the sources have now; those that are lost, also what they had."""
    there = {uri for uri, _ in found}
    again = seen.filter(pc.is_in(seen["uri"], value_set=left)).to_pylist()
    rows = [{**row, "stamp": LOST} for row in again if row["spec"] in lost and row["uri"] not in there]
    for (uri, item), one in found.items():
        spec, stamp = stamps.of(uri)
        is_tried_again = one.reason == Reason.UNREADABLE.value or spec in lost
        rows.append({
            "spec": spec, "uri": uri, "stamp": NOT_READ if is_tried_again else stamp,
            # Who takes a picture off the list of quarantine has it looked at.
            "item_id": "" if one.reason == Reason.QUARANTINED.value else item,
            "night": old[uri, item].night if (uri, item) in same else night, "identity": one.identity,
        })  # fmt: skip
    kept = seen.filter(pc.invert(pc.is_in(seen["uri"], value_set=left))).cast(SEEN)
    now = pa.concat_tables([kept, pa.Table.from_pylist(rows, SEEN)])
    return now.sort_by([(name, "ascending") for name in ("spec", "uri", "item_id")]).combine_chunks()


def _lost(
    seen: pa.Table, left: pa.Array, found: Mapping[Entry, _Found], stamps: Stamps, gone_max: float
) -> dict[str, str]:
    """Return which of the sources that were read have lost more than they may, each with the reason."""
    before = Counter(seen["spec"].to_pylist())
    there = pa.array({uri for uri, _ in found}, pa.string())
    gone = pc.and_(pc.is_in(seen["uri"], value_set=left), pc.invert(pc.is_in(seen["uri"], value_set=there)))
    missing = seen.filter(gone)
    still = set(missing["spec"].filter(pc.equal(missing["stamp"], LOST)).to_pylist()) if gone_max < ALL_GONE else set()
    return {
        spec: too_many_gone(spec, many, before[spec])
        for spec, many in Counter(missing["spec"].to_pylist()).items()
        if spec in stamps.specs and (many > gone_max * before[spec] or spec in still)
    }


def _without(counts: Counts, left_out: Counter[str]) -> Counts:
    """Leave out entries by reason: those found as they were, and those that nothing is to be known of."""
    entries, duplicates = left_out.total(), left_out[Reason.DUPLICATE.value]
    return replace(
        counts, entries=counts.entries - entries, duplicates=counts.duplicates - duplicates,
        rejected=counts.rejected - (entries - duplicates), reasons=dict(Counter(counts.reasons) - left_out),
    )  # fmt: skip


def _columns(table: pa.Table, *names: str) -> Any:
    return zip(*(table[name].to_pylist() for name in names), strict=True)
