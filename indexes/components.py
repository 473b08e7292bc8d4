"""Connected components of a graph whose edges come in blocks and are never kept.

A union-find over arrays: memory is one number a node, whatever the number of edges. The result depends
on the set of edges alone, not on their order, their direction or how they were cut into blocks.

    components = Components(references.ids)
    for pairs in blocks_of_pairs:
        components.add(pairs.id, pairs.other_id)
    label = components.labels()          # of each id the lowest id in its component
"""

import numpy as np
import numpy.typing as npt

from indexes.errors import IndexesError, UnknownIdError
from indexes.hits import Int64Array


class Components:
    """Sets of nodes that grow together.

    Args:
        ids: int64 (n,), strictly ascending; the nodes. Kept, not copied.

    Raises:
        IndexesError: the ids do not ascend.

    Memory: 8 bytes a node, and 100 bytes an edge of the block in work.
    """

    def __init__(self, ids: Int64Array) -> None:
        if np.any(ids[1:] <= ids[:-1]):
            raise IndexesError("the nodes of a graph must be strictly ascending ids. Sort them, and leave out repeats.")
        self._ids = ids
        self._parent = np.arange(ids.shape[0])
        """Place of a node that is lower and in the same component, or the node's own: never a cycle."""

    def add(self, left: Int64Array, right: Int64Array) -> None:
        """Join the ends of edges.

        Every pass joins each root to the lowest one that it has an edge to. Two passes at least halve the roots that
        are still to be joined, so a block of m edges takes O(log m) passes.

        Args:
            left: int64 (m,), ids in any order; repeats, loops and both directions of an edge are allowed.
            right: int64 (m,), parallel.

        Raises:
            UnknownIdError: an end is none of the nodes; nothing was joined.
        """
        one, other = self._places(left), self._places(right)
        while one.size:
            one, other = self._roots(one), self._roots(other)
            apart = one != other
            low, high = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
            np.minimum.at(self._parent, high, low)
            one, other = low, high

    def labels(self) -> Int64Array:
        """Return of each node the lowest id in its component: int64 (n,), parallel to the ids."""
        return self._ids[self._roots(np.arange(self._ids.shape[0]))]

    def _roots(self, nodes: Int64Array) -> Int64Array:
        """Return the lowest place of each node's tree; the paths that were walked are half as long afterwards."""
        while True:
            above = self._parent[nodes]
            higher = self._parent[above]
            if np.array_equal(above, higher):
                return above
            self._parent[nodes] = higher

    def _places(self, ids: npt.NDArray[np.int64]) -> Int64Array:
        places = np.searchsorted(self._ids, ids)
        known = places < self._ids.shape[0]
        known[known] = self._ids[places[known]] == ids[known]
        if not known.all():
            raise UnknownIdError(
                f"an edge ends at {ids[~known][0]}, which is none of the {self._ids.shape[0]} nodes. "
                "Pass the ids of the index that the pairs were found in."
            )
        return places
