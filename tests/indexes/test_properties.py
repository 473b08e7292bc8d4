"""How references are cut, ordered and stored never changes a hit."""

from itertools import pairwise

import numpy as np
from facelike_vectors import draw_faces
from hypothesis import given, settings
from hypothesis import strategies as st

from indexes import References
from indexes.exact import ExactEngine
from indexes.naive import NaiveEngine
from indexes.references import Part

VECTORS = draw_faces(60, 3, seed=11, dim=24)
QUERIES = np.concatenate([VECTORS[::20], draw_faces(5, 1, seed=12, dim=24)])


def cut_into_parts(order, cuts):
    edges = [0, *sorted(cuts), len(order)]
    return [
        Part(np.ascontiguousarray(VECTORS[order[a:b]]), np.asarray(order[a:b], np.int64))
        for a, b in pairwise(edges)
        if b > a
    ]


@settings(max_examples=60, deadline=None)
@given(
    order=st.permutations(range(180)),
    cuts=st.sets(st.integers(1, 179), max_size=6),
    tile=st.tuples(st.integers(1, 20), st.integers(1, 200)),
    threshold=st.one_of(st.none(), st.floats(-0.5, 1)),
    k=st.integers(0, 200),
)
def test_segments_order_and_tiles_never_change_hits(order, cuts, tile, threshold, k):
    if threshold is None and k == 0:
        k = 1
    whole = NaiveEngine(References([Part(VECTORS, np.arange(180))]))
    engine = ExactEngine(References(cut_into_parts(order, cuts)), threads=2)
    engine.tile_queries, engine.tile_rows = tile

    assert engine.search(QUERIES, threshold=threshold, k=k) == whole.search(QUERIES, threshold=threshold, k=k)


@settings(max_examples=30, deadline=None)
@given(low=st.floats(-1, 1), high=st.floats(-1, 1))
def test_raising_the_threshold_never_adds_a_hit(low, high):
    engine = ExactEngine(References([Part(VECTORS, np.arange(180))]))
    low, high = sorted((low, high))

    loose = engine.search(QUERIES, threshold=low)

    assert engine.search(QUERIES, threshold=high) == loose.take(loose.score >= np.float32(high))


@settings(max_examples=30, deadline=None)
@given(dead=st.sets(st.integers(0, 179), max_size=179))
def test_erased_rows_are_as_if_they_had_never_been(dead):
    alive = np.ones(180, np.bool_)
    alive[sorted(dead)] = False
    kept = np.flatnonzero(alive)
    without = NaiveEngine(References([Part(np.ascontiguousarray(VECTORS[kept]), kept)]))

    hits = ExactEngine(References([Part(VECTORS, np.arange(180), alive)])).search(QUERIES, threshold=0.3, k=4)

    assert hits == without.search(QUERIES, threshold=0.3, k=4)
