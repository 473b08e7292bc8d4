"""Components are those that scipy finds, in whatever order and blocks the edges come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from indexes import Components
from indexes.errors import IndexesError, UnknownIdError


def by_scipy(ids: np.ndarray, left: np.ndarray, right: np.ndarray) -> list[int]:
    """Return each node's lowest companion, from a whole graph in memory."""
    n = len(ids)
    ends = np.searchsorted(ids, left), np.searchsorted(ids, right)
    graph = coo_array((np.ones(len(left)), ends), shape=(n, n))
    component = connected_components(graph, directed=False)[1]
    return [int(ids[component == component[place]].min()) for place in range(n)]


def labels_of(ids: np.ndarray, left: np.ndarray, right: np.ndarray, *, block: int) -> list[int]:
    components = Components(ids)
    for start in range(0, len(left), block):
        components.add(left[start : start + block], right[start : start + block])
    return components.labels().tolist()


@given(st.data())
def test_they_are_scipys_for_any_edges_in_any_order_and_blocks(data: st.DataObject) -> None:
    ids = np.array(sorted(data.draw(st.sets(st.integers(0, 10**12), min_size=1, max_size=40))), np.int64)
    ends = st.lists(st.tuples(st.sampled_from(ids.tolist()), st.sampled_from(ids.tolist())), max_size=60)
    edges = np.array(data.draw(ends), np.int64).reshape(-1, 2)
    order = np.array(data.draw(st.permutations(range(len(edges)))), np.int64)
    turned = edges[order][:, :: data.draw(st.sampled_from([1, -1]))]

    expected = by_scipy(ids, edges[:, 0], edges[:, 1])

    for block in (1, 3, 100):
        assert labels_of(ids, edges[:, 0], edges[:, 1], block=block) == expected
        assert labels_of(ids, turned[:, 0], turned[:, 1], block=block) == expected


@pytest.mark.parametrize("shape", ["path", "path backwards", "path shuffled", "star", "tree", "random"])
def test_large_graphs_of_awkward_shapes_are_scipys(shape: str) -> None:
    rng = np.random.default_rng(5)
    n = 3000
    ids = np.sort(rng.choice(10**9, n, replace=False))
    place = np.arange(1, n)
    before = {"star": np.full(n - 1, n - 1), "tree": (place - 1) // 2}.get(shape, place - 1)
    if shape == "random":
        place, before = rng.integers(0, n, (2, n // 2))
    if shape == "path backwards":
        place, before = place[::-1], before[::-1]
    if shape == "path shuffled":
        order, names = rng.permutation(n - 1), rng.permutation(n)
        place, before = names[place[order]], names[before[order]]

    expected = by_scipy(ids, ids[place], ids[before])

    for block in (7, 100_000):
        assert labels_of(ids, ids[place], ids[before], block=block) == expected


def test_nodes_without_an_edge_stand_for_themselves() -> None:
    ids = np.array([3, 5, 9], np.int64)
    components = Components(ids)

    components.add(np.array([], np.int64), np.array([], np.int64))
    components.add(np.array([9]), np.array([9]))

    assert components.labels().tolist() == [3, 5, 9]
    assert Components(np.array([], np.int64)).labels().tolist() == []


def test_an_edge_to_nowhere_is_refused_and_joins_nothing() -> None:
    components = Components(np.array([3, 5, 9], np.int64))

    with pytest.raises(UnknownIdError) as caught:
        components.add(np.array([3, 5]), np.array([5, 10]))

    assert str(caught.value) == (
        "an edge ends at 10, which is none of the 3 nodes. Pass the ids of the index that the pairs were found in."
    )
    assert components.labels().tolist() == [3, 5, 9]


def test_ids_that_do_not_ascend_are_refused() -> None:
    for ids in ([5, 3], [3, 3]):
        with pytest.raises(IndexesError, match="strictly ascending ids"):
            Components(np.array(ids, np.int64))
