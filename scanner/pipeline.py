"""The road from a source to unit vectors, on one page.

Reads no clock, no environment, and writes no file: what comes out depends on the entries alone, not on the
number of workers.  Decoding, detection and embedding of neighbouring items overlap; every network call
uses one thread, and many calls run at once, which keeps all cores at work without waiting for each other.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from scanner.embedders.base import Embedder
from scanner.faces.base import FaceFinder, Found
from scanner.faces.copy_hash import crop_hash
from scanner.images import PIXELS_MAX, decode_item
from scanner.records import Counts, Face, Item, Reason, Reject
from scanner.sources.base import Source

SHARD_ENTRIES = 256
EMBED_ROWS = 16

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Road:
    """What every item goes through."""

    finder: FaceFinder
    embedder: Embedder
    workers: int
    pixels_max: int = PIXELS_MAX
    keep_crops: bool = False


@dataclass(frozen=True, slots=True)
class Shard:
    """What became of `SHARD_ENTRIES` neighbouring entries: the unit of work, of retry and of resuming.

    `vectors` is (len(faces), dim) float32, unit rows, in the order of `faces`; `items_rejected` and
    `faces_rejected` hold every reject once.  Without `keep_crops` the crops of `faces` are empty.
    """

    number: int
    faces: tuple[Face, ...]
    vectors: NDArray[np.float32]
    items_rejected: tuple[Reject, ...]
    faces_rejected: tuple[Reject, ...]
    counts: Counts


def embed_source(
    source: Source, road: Road, *, first_shard: int = 0, seen: set[bytes] | None = None
) -> Iterator[Shard]:
    """Yield the shards of `source` from `first_shard` on.

    Args:
        source: where entries come from, in its own order.
        road: finder and embedder.
        first_shard: shards before it are skipped without being read.
        seen: item ids (16 bytes) met in the skipped shards; bytes met twice are one item.
    """
    entries = source.entries(skip=first_shard * SHARD_ENTRIES)  # source
    for walked in _walk(entries, road, first_shard=first_shard, seen=set() if seen is None else seen):
        yield walked.shard()


def embed_shard(source: Source, road: Road, number: int, *, entries: int) -> Walked:
    """Walk one shard of `source` alone, knowing nothing of the shards before it: what another machine does.

    `Walked.settle` in the order of the shards, and then `Walked.shard`, give what `embed_source` yields.

    Args:
        source: as of `embed_source`.
        road: finder and embedder.
        number: of the shard; one behind the end of the source has no outcome.
        entries: how many are a shard.
    """
    some = islice(source.entries(skip=number * entries), entries)
    nothing = Walked(number, (), np.empty((0, road.embedder.dim), np.float32))
    return next(_walk(some, road, first_shard=number, seen=set()), nothing)


def shards_under_way(road: Road, entries: int) -> int:
    """Return how many shards of `entries` may have been begun when `embed_source` has not yet yielded the first of them."""
    return 2 + -(-_ahead(road) // entries)


def look_at(item: Item, road: Road) -> None:
    """Take one item all the way, for what happens on it."""
    outcome = _find((item, None), road)
    if outcome.faces:
        road.embedder.embed(np.stack([face.crop_rgb_u8 for face in outcome.faces]))


def _ahead(road: Road) -> int:
    return 4 * road.workers + EMBED_ROWS


def _walk(entries: Iterator[Item | Reject], road: Road, *, first_shard: int, seen: set[bytes]) -> Iterator[Walked]:
    pool = ThreadPoolExecutor(road.workers)
    try:
        unique = (_once(entry, seen) for entry in entries)  # content hash
        found = _in_order(pool, lambda entry: _find(entry, road), unique, ahead=_ahead(road))  # faces
        closing: deque[_Open] = deque()
        for number, outcomes in enumerate(_chunks(found, SHARD_ENTRIES), first_shard):
            shard = _Open(number)
            for outcome in outcomes:
                shard.take(outcome)
                shard.embed_full_batches(pool, road)  # embedder
            shard.embed_rest(pool, road)
            closing.append(shard)
            if len(closing) > 1:  # the next shard's faces are being found while this one's are embedded
                yield closing.popleft().close(road)
        while closing:
            yield closing.popleft().close(road)
    finally:
        pool.shutdown(cancel_futures=True)  # whoever stops reading, or is interrupted, does not wait for the rest


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one entry became: faces, or the reject of the whole item; rejects of single faces besides.

    `item` names the item whose bytes were looked at, as the reject that it is if they came before; None where a source
    had no bytes to hand over, or they are known to have come before.
    """

    faces: tuple[Face, ...] = ()
    item_rejected: Reject | None = None
    faces_rejected: tuple[Reject, ...] = ()
    item: Reject | None = None


def _once(entry: Item | Reject, seen: set[bytes]) -> tuple[Item | Reject, Reject | None]:
    """Pass an item on with what it is if its bytes come again, or turn bytes that came before into that reject."""
    if isinstance(entry, Reject):
        return entry, None
    again = Reject(entry.uri, Reason.DUPLICATE, _CAME_BEFORE, entry.item_id, entry.identity)
    return (entry, again) if _is_new(again, seen) else (again, None)


_CAME_BEFORE = "the same bytes came before under another name"


def _is_new(item: Reject, seen: set[bytes]) -> bool:
    """Say whether an item's bytes did not come before, and remember them."""
    key = bytes.fromhex(item.item_id)
    if key in seen:
        return False
    seen.add(key)
    return True


def _find(named: tuple[Item | Reject, Reject | None], road: Road) -> Outcome:
    """Decode one item and find its faces."""
    entry, item = named
    if isinstance(entry, Reject):
        return Outcome(item_rejected=entry)
    picture = decode_item(entry, pixels_max=road.pixels_max)
    if isinstance(picture, Reject):
        return Outcome(item_rejected=picture, item=item)
    found: Found = road.finder.find(picture)
    if found.faces:
        hashed = tuple(replace(face, crop_hash=crop_hash(face.crop_rgb_u8)) for face in found.faces)
        return Outcome(hashed, None, found.rejects, item)
    return Outcome(item_rejected=found.rejects[0], faces_rejected=found.rejects[1:], item=item)


@dataclass(slots=True)
class _Open:
    """A shard that is still growing."""

    number: int
    outcomes: list[Outcome] = field(default_factory=list)
    waiting: list[Face] = field(default_factory=list)
    vectors: list[Future[NDArray[np.float32]]] = field(default_factory=list)

    def take(self, outcome: Outcome) -> None:
        self.waiting.extend(outcome.faces)
        self.outcomes.append(outcome)

    def embed_full_batches(self, pool: ThreadPoolExecutor, road: Road) -> None:
        while len(self.waiting) >= EMBED_ROWS:
            batch, self.waiting = self.waiting[:EMBED_ROWS], self.waiting[EMBED_ROWS:]
            self._embed(pool, road, batch)

    def embed_rest(self, pool: ThreadPoolExecutor, road: Road) -> None:
        if self.waiting:
            self._embed(pool, road, self.waiting)
            self.waiting = []

    def _embed(self, pool: ThreadPoolExecutor, road: Road, batch: list[Face]) -> None:
        crops = np.stack([face.crop_rgb_u8 for face in batch])
        self.vectors.append(pool.submit(road.embedder.embed, crops))

    def close(self, road: Road) -> Walked:
        """Wait for the vectors; crops that nobody wants to keep go."""
        parts = [future.result() for future in self.vectors]
        vectors = np.concatenate(parts) if parts else np.empty((0, road.embedder.dim), np.float32)
        outcomes = self.outcomes if road.keep_crops else [_without_crops(outcome) for outcome in self.outcomes]
        return Walked(self.number, tuple(outcomes), vectors)


@dataclass(frozen=True, slots=True)
class Walked:
    """A shard whose entries have walked the road: `vectors` is (n, dim) float32, a row a face of `outcomes`, in order."""

    number: int
    outcomes: tuple[Outcome, ...]
    vectors: NDArray[np.float32]

    def settle(self, seen: set[bytes]) -> Walked:
        """Turn items whose bytes are in `seen` into duplicates, and add the others to it."""
        outcomes: list[Outcome] = []
        kept: list[bool] = []
        for outcome in self.outcomes:
            is_new = outcome.item is None or _is_new(outcome.item, seen)
            outcomes.append(outcome if is_new else Outcome(item_rejected=outcome.item))
            kept += [is_new] * len(outcome.faces)
        return Walked(self.number, tuple(outcomes), self.vectors[np.array(kept, np.bool_)])

    def shard(self) -> Shard:
        """Reject what could not be embedded, and count."""
        good = np.asarray(np.isfinite(self.vectors).all(axis=1))
        items_rejected: list[Reject] = []
        faces_rejected: list[Reject] = []
        faces: list[Face] = []
        items = row = 0
        for outcome in self.outcomes:
            mask = good[row : row + len(outcome.faces)]
            row += len(outcome.faces)
            kept = [face for face, is_good in zip(outcome.faces, mask, strict=True) if is_good]
            bad = [_unembeddable(face) for face, is_good in zip(outcome.faces, mask, strict=True) if not is_good]
            if outcome.item_rejected is None and not kept:
                items_rejected.append(bad.pop(0))
            elif outcome.item_rejected is not None:
                items_rejected.append(outcome.item_rejected)
            items += bool(kept)
            faces_rejected += [*bad, *outcome.faces_rejected]
            faces += kept
        duplicates = sum(reject.reason is Reason.DUPLICATE for reject in items_rejected)
        reasons = Counter(reject.reason.value for reject in (*items_rejected, *faces_rejected))
        counts = Counts(
            entries=len(self.outcomes),
            items=items,
            duplicates=duplicates,
            rejected=len(items_rejected) - duplicates,
            faces=len(faces),
            faces_rejected=len(faces_rejected),
            reasons=dict(sorted(reasons.items())),
        )
        assert counts.add_up, counts
        chosen = np.ascontiguousarray(self.vectors[good])
        return Shard(self.number, tuple(faces), chosen, tuple(items_rejected), tuple(faces_rejected), counts)


_NO_CROP: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)


def _without_crops(outcome: Outcome) -> Outcome:
    return replace(outcome, faces=tuple(replace(face, crop_rgb_u8=_NO_CROP) for face in outcome.faces))


def _unembeddable(face: Face) -> Reject:
    detail = f"face {face.ordinal}: the network's answer is zero or not finite"
    return Reject(face.uri, Reason.BAD_EMBEDDING, detail, face.item_id, face.identity)


def _in_order(pool: ThreadPoolExecutor, work: Callable[[T], R], things: Iterable[T], *, ahead: int) -> Iterator[R]:
    """Map `work` over `things` on the pool, in order, with at most `ahead` of them under way."""
    source = iter(things)
    pending = deque(pool.submit(work, thing) for thing in islice(source, ahead))
    while pending:
        result = pending.popleft().result()
        pending.extend(pool.submit(work, thing) for thing in islice(source, 1))
        yield result


def _chunks(things: Iterator[T], size: int) -> Iterator[Iterator[T]]:
    """Cut an iterator into runs of `size`; each run must be used up before the next."""
    for head in things:
        yield _chain_one(head, islice(things, size - 1))


def _chain_one(head: T, rest: Iterator[T]) -> Iterator[T]:
    yield head
    yield from rest
