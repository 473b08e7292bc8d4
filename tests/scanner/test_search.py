"""Galleries, canaries and pair counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from indexes import Hits, VectorBatch, build_index, open_index
from indexes.errors import IndexesError
from scanner import search
from scanner.errors import ArtefactError, EmbedderMismatch
from scanner.evidence.calibration import ScoreCounts
from scanner.search import Canaries, count_pairs, join, open_galleries, try_canaries

SCHEMA = pa.schema([("identity", pa.string())])
GB = 1 << 30


def unit(rows: int, dim: int = 16, *, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim))
    return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def build(path: Path, vectors: NDArray[np.float32], *, fingerprint: str = "f" * 16, **settings: Any) -> Path:
    table = pa.table({"identity": [f"p{n}" for n in range(len(vectors))]}, SCHEMA)
    build_index(
        path,
        [(VectorBatch(vectors), table)],
        dim=vectors.shape[1],
        schema=SCHEMA,
        fingerprint=fingerprint,
        embedder={"name": "drawn"},
        **settings,
    )
    return path


def gallery(path: Path, engine: str = "auto") -> search.Gallery:
    (opened,) = open_galleries([path], memory_bytes=GB, engine=engine)
    return opened


def test_galleries_carry_the_folders_name_and_the_engines_reason(tmp_path):
    paths = [build(tmp_path / name, unit(30, seed=n)) for n, name in enumerate(("celeba", "ffhq"))]

    one, other = open_galleries(paths, memory_bytes=GB)

    assert (one.name, other.name) == ("celeba", "ffhq")
    assert (one.index.rows, one.engine.rows) == (30, 30)
    assert one.engine_reason


def test_two_indexes_of_one_name_are_refused(tmp_path):
    paths = [build(tmp_path / side / "faces", unit(3)) for side in ("a", "b")]

    with pytest.raises(ArtefactError) as caught:
        open_galleries(paths, memory_bytes=GB)
    assert str(caught.value) == ("Two of the indexes are called 'faces'; matches could not be told apart. Rename one.")


def test_the_name_is_the_folders_own_not_that_of_a_dot(tmp_path, monkeypatch):
    monkeypatch.chdir(build(tmp_path / "faces", unit(3)))

    assert gallery(Path()).name == "faces"


def test_an_empty_index_is_refused(tmp_path):
    path = build(tmp_path / "none", unit(2))
    open_index(path).remove([0, 1])

    with pytest.raises(ArtefactError) as caught:
        open_galleries([path], memory_bytes=GB)
    assert str(caught.value) == (f"The index {path} is empty: nothing can be found in it. Add to it, or leave it out.")


def test_indexes_of_two_embedders_are_refused(tmp_path):
    paths = [build(tmp_path / "one", unit(3)), build(tmp_path / "two", unit(3), fingerprint="0" * 16)]

    with pytest.raises(EmbedderMismatch) as caught:
        open_galleries(paths, memory_bytes=GB)
    assert str(caught.value) == (
        f"The index two was built with embedder drawn (fingerprint {'0' * 16}), the index one has fingerprint {'f' * 16}. "
        "Scores between them mean nothing. "
        "Use --embedder drawn, or build the index again with the embedder of the queries."
    )


@pytest.mark.parametrize("engine", ["exact", "flat"])
def test_a_join_returns_every_pair_at_the_threshold_and_every_querys_best(tmp_path, engine):
    references, queries = unit(300), unit(20, seed=9)
    opened = gallery(build(tmp_path / "refs", references), engine)
    scores = queries @ references.T

    hits = join(opened, queries, threshold=0.5)

    wanted = {(q, r) for q, r in zip(*np.nonzero(scores >= 0.5), strict=True)} | {
        (q, int(scores[q].argmax())) for q in range(20)
    }
    ids = opened.index.references().ids
    assert set(zip(hits.query_row.tolist(), hits.reference_id.tolist(), strict=True)) == {
        (int(q), int(ids[r])) for q, r in wanted
    }


@pytest.mark.parametrize(
    ("engine", "rows"), [(e, n) for e in ("exact", "flat") for n in (1, 2, 7, 8, 500)] + [("compressed", 500)]
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_canaries_of_a_sound_index_are_found(tmp_path, rows, dtype, engine):
    codec = "always" if engine == "compressed" else "none"
    opened = gallery(build(tmp_path / "refs", unit(rows, 64), dtype=dtype, codec=codec), engine)

    planted = min(rows, 8)
    assert try_canaries(opened) == Canaries(planted, planted)


def test_canaries_among_identical_references_are_found(tmp_path):
    opened = gallery(build(tmp_path / "refs", np.repeat(unit(1), 50, 0)))

    assert try_canaries(opened) == Canaries(8, 8)


def test_canaries_are_not_taken_from_erased_references(tmp_path):
    opened = gallery(build(tmp_path / "refs", unit(20)))
    ids = opened.index.references().ids
    opened.index.remove([int(ids[0]), int(ids[-1])])

    assert try_canaries(gallery(tmp_path / "refs")) == Canaries(8, 8)


class LosesPairs:
    """An engine that drops the hits of some queries."""

    def __init__(self, engine: Any, lost: Sequence[int]) -> None:
        self.engine, self.lost = engine, lost
        self.name, self.rows, self.dim = "loses", engine.rows, engine.dim

    def search(self, queries: VectorBatch, **how: Any) -> Hits:
        hits: Hits = self.engine.search(queries, **how)
        return hits.take(~np.isin(hits.query_row, self.lost))


@pytest.mark.parametrize(("lost", "found"), [([3], 7), ([0, 1, 2, 3, 4, 5, 6, 7], 0)])
def test_an_engine_that_loses_pairs_is_caught(tmp_path, lost, found):
    sound = gallery(build(tmp_path / "refs", unit(100)))
    opened = replace(sound, engine=LosesPairs(sound.engine, lost))

    with pytest.raises(IndexesError) as caught:
        try_canaries(opened)
    assert str(caught.value) == (
        f"Only {found} of 8 planted references were found in the index refs: a scan would miss matches. "
        f"Run: scanner index verify {tmp_path / 'refs'}"
    )


def naive(vectors: NDArray[np.float32], names: Sequence[str | None]) -> tuple[ScoreCounts, ScoreCounts]:
    """The slow twin: one pair after the other."""
    non_mated, mated = ScoreCounts(), ScoreCounts()
    for a, b in combinations(range(len(names)), 2):
        if names[a] is None or names[b] is None:
            continue
        (mated if names[a] == names[b] else non_mated).add(np.array([vectors[a] @ vectors[b]]))
    return non_mated, mated


@settings(max_examples=25, deadline=None)
@given(names=st.lists(st.sampled_from(["a", "b", "a\0", "", None, "Zoë"]), max_size=14), tile=st.integers(1, 6))
def test_pairs_are_counted_as_a_double_loop_counts_them(names, tile):
    # Components of 1/2 make every product exact, whatever the order of the sum.
    vectors = np.random.default_rng(len(names)).choice([-0.5, 0.5], (len(names), 4)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_TILE_ROWS", tile)
        non_mated, mated, people = count_pairs(vectors, names, seed=0)

    slow_non_mated, slow_mated = naive(vectors, names)
    assert np.array_equal(non_mated.counts, slow_non_mated.counts)
    assert np.array_equal(mated.counts, slow_mated.counts)
    assert people == len({n for n in names if n is not None})


def test_tiles_of_the_real_size_count_every_pair_once():
    vectors, names = unit(2100, 4), [str(n // 2) for n in range(2100)]

    non_mated, mated, people = count_pairs(vectors, names, seed=0)

    assert (mated.pairs, people) == (1050, 1050)
    assert non_mated.pairs == 2100 * 2099 // 2 - 1050


def test_more_rows_than_the_limit_are_drawn_by_the_seed(monkeypatch):
    monkeypatch.setattr(search, "CALIBRATION_ROWS_MAX", 10)
    vectors, names = unit(40), [str(n // 4) for n in range(40)]

    one, again, other = (count_pairs(vectors, names, seed=s) for s in (1, 1, 2))

    assert one[0].pairs + one[1].pairs == 45
    assert np.array_equal(one[0].counts, again[0].counts)
    assert not np.array_equal(one[0].counts, other[0].counts)
