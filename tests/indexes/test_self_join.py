"""A set joined with itself gives every pair once, whatever the engine, the blocks and the storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from facelike_tables import SCHEMA, blocks_of
from facelike_vectors import draw_faces

import indexes.self_join
from indexes import Engine, Index, References, SelfJoin, VectorBatch, build_index
from indexes.codec import fit_codec
from indexes.compressed import CompressedEngine
from indexes.engine import HITS_MAX
from indexes.errors import IndexesError, TooManyHits
from indexes.exact import ExactEngine
from indexes.naive import NaiveEngine
from indexes.references import Part
from indexes.rescore import score_pairs
from indexes.self_join import Pairs

ERASED = [5, 31, 249, 250, 700, 1199]
THRESHOLD = 0.45


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, references_f32: np.ndarray) -> Index:
    """1 200 references in five segments, some erased."""
    built = build_index(
        tmp_path_factory.mktemp("self") / "idx", blocks_of(references_f32), fingerprint="net@1",
        dim=references_f32.shape[1], schema=SCHEMA, segment_rows_max=250, codec="always",
    )  # fmt: skip
    built.remove(ids=ERASED)
    return built


@pytest.fixture(scope="module")
def expected(index: Index, references_f32: np.ndarray) -> list[tuple[int, int, float]]:
    """All pairs of what is not erased, by scoring every one of them."""
    rows = []
    for one in range(len(references_f32)):
        others = np.arange(one + 1, len(references_f32))
        scores = score_pairs(references_f32[np.full(len(others), one)], references_f32[others])
        found = [(one, int(o), float(s)) for o, s in zip(others, scores, strict=True) if s >= np.float32(THRESHOLD)]
        rows += sorted(found, key=lambda row: (-row[2], row[1]))
    return [row for row in rows if not set(row[:2]) & set(ERASED)]


def rows_of(join: SelfJoin) -> list[tuple[int, int, float]]:
    blocks = [join.block(number) for number in range(join.blocks)]
    return [
        row for pairs in blocks for row in zip(pairs.id.tolist(), pairs.other_id.tolist(), pairs.score.tolist(), strict=True)
    ]  # fmt: skip


def opener(index: Index, want: str) -> Callable[[References], Engine]:
    def open_engine(references: References) -> Engine:
        if want == "naive":
            return NaiveEngine(references)
        return index.engine(1 << 30, want, references=references)[0]

    return open_engine


@pytest.mark.parametrize("want", ["naive", "exact", "flat", "compressed", "auto"])
@pytest.mark.parametrize("block_rows", [60, 250, 5000])
def test_every_pair_is_found_once_and_no_engine_or_block_changes_it(
    want: str, block_rows: int, index: Index, expected: list[tuple[int, int, float]]
) -> None:
    join = SelfJoin(index.references(), opener(index, want), threshold=THRESHOLD, block_rows=block_rows)

    assert rows_of(join) == expected
    assert len(expected) > 400


@pytest.mark.parametrize("strips", [1, 3, 1000])
def test_the_number_of_engines_changes_nothing(
    strips: int, index: Index, expected: list[tuple[int, int, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes.self_join, "STRIPS", strips)
    sizes = []

    def open_engine(references: References) -> Engine:
        sizes.append(references.rows_stored)
        return ExactEngine(references)

    join = SelfJoin(index.references(), open_engine, threshold=THRESHOLD, block_rows=100)

    assert rows_of(join) == expected
    step = 100 * (12 // min(strips, 12))
    assert sizes == [1200 - row // 250 * 250 for row in range(0, 1200, step)]  # a segment is not cut within its codes


def test_codes_are_cut_between_their_blocks() -> None:
    vectors = draw_faces(4500, 2, seed=9)
    codec = fit_codec(vectors[:2000], seed=0)
    codes = codec.encode(vectors)
    references = References([Part(vectors, np.arange(9000), codes=codes)])

    exact = SelfJoin(references, ExactEngine, threshold=0.7, block_rows=500)
    coded = SelfJoin(references, lambda later: CompressedEngine(later, codec), threshold=0.7, block_rows=500)

    assert rows_of(coded) == rows_of(exact)
    assert len(rows_of(exact)) > 900


def test_blocks_may_be_asked_for_in_any_order(index: Index, expected: list[tuple[int, int, float]]) -> None:
    join = SelfJoin(index.references(), opener(index, "exact"), threshold=THRESHOLD, block_rows=100)

    blocks: dict[int, Pairs] = {number: join.block(number) for number in reversed(range(join.blocks))}

    assert [i for number in range(join.blocks) for i in blocks[number].id.tolist()] == [row[0] for row in expected]


def test_copies_pair_and_half_precision_does_not_lose_them(tmp_path: Path, references_f32: np.ndarray) -> None:
    twice = np.concatenate([references_f32[:50], references_f32[:50]])
    index = build_index(
        tmp_path / "idx", blocks_of(twice), fingerprint="net@1", dim=twice.shape[1], schema=SCHEMA, dtype="float16"
    )

    join = SelfJoin(index.references(), opener(index, "exact"), threshold=0.998, block_rows=32)

    assert {row[:2] for row in rows_of(join)} == {(one, one + 50) for one in range(50)}


def test_a_set_that_is_empty_or_of_one_or_all_erased_has_no_pairs(index: Index, references_f32: np.ndarray) -> None:
    one = References.from_memory(np.array([7]), VectorBatch(references_f32[:1]))
    nothing = References([], dim=48)

    assert rows_of(SelfJoin(one, ExactEngine, threshold=-0.9)) == []
    assert SelfJoin(nothing, ExactEngine, threshold=0.5).blocks == 0


def test_blocks_of_erased_references_alone_are_empty(references_f32: np.ndarray) -> None:
    alive = np.arange(30) % 10 == 0
    references = References([Part(references_f32[:30], np.arange(30), alive)])

    join = SelfJoin(references, ExactEngine, threshold=-1.0, block_rows=3)

    assert sorted(row[:2] for row in rows_of(join)) == [(0, 10), (0, 20), (10, 20)]


def test_ids_that_do_not_ascend_are_refused(references_f32: np.ndarray) -> None:
    with pytest.raises(IndexesError, match="do not ascend"):
        SelfJoin(References.from_memory(np.array([2, 1]), VectorBatch(references_f32[:2])), ExactEngine, threshold=0.5)


def test_a_block_of_too_many_pairs_is_an_error(references_f32: np.ndarray) -> None:
    class Few(ExactEngine):
        def search(self, queries, *, threshold=None, k=0, hits_max=HITS_MAX):
            return super().search(queries, threshold=threshold, k=k, hits_max=min(10, hits_max))

    references = References.from_memory(np.arange(100), VectorBatch(references_f32[:100]))

    with pytest.raises(TooManyHits):
        SelfJoin(references, Few, threshold=-0.5).block(0)
