"""The road against a slow twin that takes one entry after the other."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from scanner import pipeline
from scanner.faces.base import Found
from scanner.images import decode_item
from scanner.pipeline import Road, Shard, embed_shard, embed_source
from scanner.records import Counts, Face, Item, Picture, Quality, Reason, Reject

DIM = 8
SIDE_PX = 24


@dataclass(frozen=True)
class ListSource:
    """Entries from a list."""

    listed: Sequence[Item | Reject]
    uri: str = "list"

    def describe(self) -> dict[str, str | int]:
        return {"kind": "list"}

    def entries(self, *, skip: int = 0) -> Iterator[Item | Reject]:
        yield from self.listed[skip:]

    def count(self) -> int:
        return len(self.listed)


@dataclass
class Marked:
    """Finds as many faces as the first pixel's red says, and rejects as many as its green says."""

    name: str = "marked"
    fingerprint: str = "marked-1"
    found: list[str] = field(default_factory=list)

    def find(self, picture: Picture) -> Found:
        self.found.append(picture.uri)
        faces, rejects, _ = picture.pixels_rgb_u8[0, 0].tolist()
        if not faces and not rejects:
            rejects = 1
        return Found(
            tuple(_face(picture, ordinal) for ordinal in range(faces)),
            tuple(
                Reject(picture.uri, Reason.FACE_TOO_SMALL, f"face {n}", picture.item_id, picture.identity)
                for n in range(rejects)
            ),
        )


@dataclass
class FirstPixels:
    """The unit vector of a row's first numbers; NaN where bit `ordinal` of the first pixel's blue is set."""

    name: str = "first-pixels"
    fingerprint: str = "first-pixels-1"
    dim: int = DIM
    crop_size_px: tuple[int, int] = (SIDE_PX, SIDE_PX)

    def embed(self, crops_rgb_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = crops_rgb_u8.reshape(len(crops_rgb_u8), -1)[:, 6 : 6 + DIM].astype(np.float64) + 1.0
        rows /= np.sqrt((rows**2).sum(1, keepdims=True))
        blue, ordinal = crops_rgb_u8[:, 0, 0, 2], crops_rgb_u8[:, 0, 1, 0]
        rows[(blue >> ordinal) & 1 == 1] = np.nan
        return np.ascontiguousarray(rows, np.float32)

    def describe(self) -> dict[str, object]:
        return {"name": self.name}


class Broken(FirstPixels):
    """A finder, or an embedder, with a bug."""

    def find(self, picture: Picture) -> Found:
        raise ZeroDivisionError(picture.uri)

    def embed(self, crops_rgb_u8: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise ZeroDivisionError(len(crops_rgb_u8))


def _face(picture: Picture, ordinal: int) -> Face:
    crop = picture.pixels_rgb_u8.copy()
    crop[0, 1] = ordinal
    box = (0.0, 0.0, float(SIDE_PX), float(SIDE_PX))
    return Face(picture.item_id, picture.uri, picture.identity, ordinal, crop, box, Quality())


def encode(key: int, *, faces: int = 1, rejects: int = 0, nan_mask: int = 0) -> bytes:
    pixels = np.random.default_rng(key).integers(0, 255, (SIDE_PX, SIDE_PX, 3), np.uint8)
    pixels[0, 0] = faces, rejects, nan_mask
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=0)
    return out.getvalue()


def walk_slowly(entries: Sequence[Item | Reject], road: Road) -> tuple[list[Face], NDArray[np.float32], Counts]:
    """Return faces, vectors and counts, the obvious way."""
    faces: list[Face] = []
    rows: list[NDArray[np.float32]] = []
    seen: set[str] = set()
    items = duplicates = rejected = faces_rejected = 0
    reasons: dict[str, int] = {}

    def note(reason: Reason) -> None:
        reasons[reason.value] = reasons.get(reason.value, 0) + 1

    for entry in entries:
        picture: Picture | Reject = entry if isinstance(entry, Reject) else decode_item(entry)
        if isinstance(entry, Item) and entry.item_id in seen:
            duplicates += 1
            note(Reason.DUPLICATE)
            continue
        if isinstance(entry, Item):
            seen.add(entry.item_id)
        if isinstance(picture, Reject):
            rejected += 1
            note(picture.reason)
            continue
        found = road.finder.find(picture)
        left_out = [reject.reason for reject in found.rejects]
        kept = 0
        bad = []
        for face in found.faces:
            row = road.embedder.embed(face.crop_rgb_u8[None])[0]
            if np.isfinite(row).all():
                faces.append(face)
                rows.append(row)
                kept += 1
            else:
                bad.append(Reason.BAD_EMBEDDING)
        for reason in [*bad, *left_out]:
            note(reason)
        items += kept > 0
        rejected += kept == 0
        faces_rejected += len(bad) + len(left_out) - (kept == 0)
    counts = Counts(
        len(entries), items, duplicates, rejected, len(faces), faces_rejected, dict(sorted(reasons.items()))
    )
    return faces, np.array(rows, np.float32).reshape(-1, DIM), counts


def joined(shards: Sequence[Shard]) -> tuple[list[Face], NDArray[np.float32], Counts]:
    faces = [face for shard in shards for face in shard.faces]
    vectors = np.concatenate([np.empty((0, DIM), np.float32), *(shard.vectors for shard in shards)])
    total = Counts()
    for shard in shards:
        total = total + shard.counts
    return faces, vectors, total


def plain(face: Face) -> tuple[object, ...]:
    return face.face_id, face.uri, face.identity, face.box_px, face.quality, face.crop_rgb_u8.tobytes()


def road_with(workers: int = 2, *, keep_crops: bool = True) -> Road:
    return Road(Marked(), FirstPixels(), workers, keep_crops=keep_crops)


_PICTURES = st.builds(
    encode,
    st.integers(0, 30),  # few keys, so that the same bytes come twice
    faces=st.integers(0, 3),
    rejects=st.integers(0, 2),
    nan_mask=st.sampled_from([0, 0, 0, 1, 3, 7]),
)
_DATA = st.one_of(
    _PICTURES, _PICTURES, _PICTURES, st.sampled_from([b"no picture", b"\x89PNG\r\n\x1a\n", encode(1)[:200]])
)


@st.composite
def _entries(draw: st.DrawFn) -> list[Item | Reject]:
    given_up = Reject("lost", Reason.UNREADABLE, "cannot be read")
    blobs = draw(st.lists(st.one_of(_DATA, st.none()), max_size=40))
    return [
        given_up if blob is None else Item(f"list/{n}", blob, identity=None if n % 3 else f"person-{n % 5}")
        for n, blob in enumerate(blobs)
    ]


@settings(max_examples=60, deadline=None)
@given(entries=_entries(), shard_entries=st.integers(1, 9), workers=st.sampled_from([1, 2, 5]), rows=st.integers(1, 5))
def test_the_road_gives_what_its_slow_twin_gives(
    entries: list[Item | Reject], shard_entries: int, workers: int, rows: int
) -> None:
    road = road_with(workers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SHARD_ENTRIES", shard_entries)
        patch.setattr(pipeline, "EMBED_ROWS", rows)
        shards = list(embed_source(ListSource(entries), road))

    faces, vectors, counts = joined(shards)
    slow_faces, slow_vectors, slow_counts = walk_slowly(entries, road)
    assert [plain(f) for f in faces] == [plain(f) for f in slow_faces]
    assert np.array_equal(vectors, slow_vectors)
    assert counts == slow_counts
    assert counts.add_up
    assert [shard.number for shard in shards] == list(range(-(-len(entries) // shard_entries)))
    assert all(shard.counts.entries == shard_entries for shard in shards[:-1])


@settings(max_examples=30, deadline=None)
@given(entries=_entries(), shard_entries=st.integers(1, 7), cut=st.integers(0, 5))
def test_a_road_taken_up_at_any_shard_gives_the_rest_bit_for_bit(
    entries: list[Item | Reject], shard_entries: int, cut: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SHARD_ENTRIES", shard_entries)
        whole = list(embed_source(ListSource(entries), road_with()))
        seen = {bytes.fromhex(e.item_id) for e in entries[: cut * shard_entries] if isinstance(e, Item)}
        rest = list(embed_source(ListSource(entries), road_with(), first_shard=cut, seen=seen))

    assert [shard.number for shard in rest] == [shard.number for shard in whole[cut:]]
    for one, other in zip(rest, whole[cut:], strict=True):
        assert one.vectors.tobytes() == other.vectors.tobytes()
        assert [plain(f) for f in one.faces] == [plain(f) for f in other.faces]
        assert (one.items_rejected, one.faces_rejected) == (other.items_rejected, other.faces_rejected)
        assert one.counts == other.counts


@settings(max_examples=60, deadline=None)
@given(entries=_entries(), size=st.integers(1, 7), keep_crops=st.booleans())
def test_shards_walked_alone_and_settled_in_order_are_those_of_one_road(
    entries: list[Item | Reject], size: int, keep_crops: bool
) -> None:
    road, source = road_with(keep_crops=keep_crops), ListSource(entries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "SHARD_ENTRIES", size)
        whole = list(embed_source(source, road))

    numbers = range(len(whole))
    alone = {number: embed_shard(source, road, number, entries=size) for number in reversed(numbers)}
    seen: set[bytes] = set()
    settled = [alone[number].settle(seen).shard() for number in numbers]

    for one, other in zip(settled, whole, strict=True):
        assert one.vectors.tobytes() == other.vectors.tobytes()
        assert [plain(f) for f in one.faces] == [plain(f) for f in other.faces]
        assert (one.number, one.items_rejected, one.faces_rejected) == (
            other.number, other.items_rejected, other.faces_rejected,
        )  # fmt: skip
        assert one.counts == other.counts
    assert seen == {bytes.fromhex(entry.item_id) for entry in entries if isinstance(entry, Item)}
    assert embed_shard(source, road, len(whole), entries=size).outcomes == ()


def test_bytes_met_twice_are_one_item_within_a_shard_and_across_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SHARD_ENTRIES", 3)
    a, b = encode(1), encode(2)
    items = [Item(f"u{n}", data) for n, data in enumerate([a, b, a, a, b, encode(3), b])]

    shards = list(embed_source(ListSource(items), road_with()))

    assert [[face.uri for face in shard.faces] for shard in shards] == [["u0", "u1"], ["u5"], []]
    rejects = [[(r.uri, r.reason, r.detail, r.item_id) for r in shard.items_rejected] for shard in shards]
    sentence = "the same bytes came before under another name"
    ids = {"a": items[0].item_id, "b": items[1].item_id}
    assert rejects == [
        [("u2", Reason.DUPLICATE, sentence, ids["a"])],
        [("u3", Reason.DUPLICATE, sentence, ids["a"]), ("u4", Reason.DUPLICATE, sentence, ids["b"])],
        [("u6", Reason.DUPLICATE, sentence, ids["b"])],
    ]
    assert shards[2].counts == Counts(1, 0, 1, 0, 0, 0, {"duplicate": 1})
    assert shards[2].vectors.shape == (0, DIM)


def test_two_faces_of_a_picture_are_two_rows_of_one_item() -> None:
    [shard] = embed_source(ListSource([Item("u", encode(1, faces=2), "p")]), road_with())

    item_id = Item("u", encode(1, faces=2)).item_id
    assert [face.face_id for face in shard.faces] == [f"{item_id}:0", f"{item_id}:1"]
    assert shard.vectors.shape == (2, DIM)
    assert shard.counts == Counts(entries=1, items=1, faces=2)


def test_a_face_without_a_vector_is_rejected_and_its_neighbour_kept() -> None:
    [shard] = embed_source(ListSource([Item("u", encode(1, faces=2, nan_mask=0b01), "p")]), road_with())

    assert [face.ordinal for face in shard.faces] == [1]
    assert np.isfinite(shard.vectors).all()
    [reject] = shard.faces_rejected
    assert reject == Reject(
        "u", Reason.BAD_EMBEDDING, "face 0: the network's answer is zero or not finite", shard.faces[0].item_id, "p"
    )
    assert shard.counts == Counts(1, 1, 0, 0, 1, 1, {"bad_embedding": 1})


def test_an_item_whose_every_vector_is_bad_is_rejected_once() -> None:
    [shard] = embed_source(ListSource([Item("u", encode(1, faces=2, nan_mask=0b11))]), road_with())

    assert shard.faces == ()
    assert [r.detail[:6] for r in shard.items_rejected] == ["face 0"]
    assert [r.detail[:6] for r in shard.faces_rejected] == ["face 1"]
    assert shard.counts == Counts(1, 0, 0, 1, 0, 1, {"bad_embedding": 2})


def test_crops_are_kept_only_when_asked_for() -> None:
    source = ListSource([Item("u", encode(1))])

    [kept] = embed_source(source, road_with(keep_crops=True))
    [dropped] = embed_source(source, road_with(keep_crops=False))

    assert kept.faces[0].crop_rgb_u8.shape == (SIDE_PX, SIDE_PX, 3)
    assert dropped.faces[0].crop_rgb_u8.shape == (0, 0, 3)
    assert replace(dropped.faces[0], crop_rgb_u8=kept.faces[0].crop_rgb_u8).face_id == kept.faces[0].face_id


def test_no_entries_give_no_shards() -> None:
    assert list(embed_source(ListSource([]), road_with())) == []


@pytest.mark.parametrize("part", ["finder", "embedder"])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_bug_in_a_worker_surfaces_and_leaves_no_thread(part: str, workers: int) -> None:
    source = ListSource([Item(f"u{n}", encode(n)) for n in range(100)])
    road = replace(road_with(workers), **{part: Broken()})
    before = threading.active_count()

    with pytest.raises(ZeroDivisionError):
        list(embed_source(source, road))

    assert threading.active_count() == before


def test_a_bug_of_the_source_surfaces_and_leaves_no_thread() -> None:
    class Failing(ListSource):
        def entries(self, *, skip: int = 0) -> Iterator[Item | Reject]:
            yield from self.listed[skip:]
            raise ZeroDivisionError("source")

    before = threading.active_count()

    with pytest.raises(ZeroDivisionError, match="source"):
        list(embed_source(Failing([Item(f"u{n}", encode(n)) for n in range(50)]), road_with()))

    assert threading.active_count() == before


def test_whoever_stops_reading_does_not_wait_for_what_was_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SHARD_ENTRIES", 2)

    class Slow(Marked):
        def find(self, picture: Picture) -> Found:
            time.sleep(0.02)
            return super().find(picture)

    finder = Slow()
    road = replace(road_with(1), finder=finder)
    before = threading.active_count()
    shards = embed_source(ListSource([Item(f"u{n}", encode(n)) for n in range(200)]), road)
    next(shards)
    found = len(finder.found)

    shards.close()

    assert threading.active_count() == before
    assert len(finder.found) <= found + 1


def test_the_source_is_read_only_a_little_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SHARD_ENTRIES", 4)
    read = 0

    class Counted(ListSource):
        def entries(self, *, skip: int = 0) -> Iterator[Item | Reject]:
            nonlocal read
            for entry in self.listed[skip:]:
                read += 1
                yield entry

    shards = embed_source(Counted([Item(f"u{n}", encode(n)) for n in range(300)]), road_with(2))
    next(shards)
    shards.close()

    assert read <= 2 * 4 + 4 * 2 + pipeline.EMBED_ROWS
