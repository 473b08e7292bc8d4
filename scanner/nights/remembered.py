"""A scan's comparisons, answered from what is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from indexes import Hits
from scanner.decision import Threshold
from scanner.evidence.neighbours import Neighbours
from scanner.nights.known import Known
from scanner.search import Gallery, gallery_neighbours


class Remembered:
    """See `scanner.jobs.scanning.comparisons.Comparisons`; the faces of the scan are the queries that count."""

    def __init__(self, known: Mapping[str, Known], alive: NDArray[np.bool_]) -> None:
        """Take what is known of each gallery, by name, and which places of the set count, (n,) bool."""
        self._known = known
        self._places = np.flatnonzero(alive)

    def of_queries(self, gallery: Gallery, first: int, vectors: NDArray[np.float32], *, threshold: float) -> Hits:
        """See `Comparisons.of_queries`."""
        known = self._known[gallery.name]
        places = self._places[first : first + len(vectors)]
        start, stop = np.searchsorted(known.pairs.query_row, [places[0], places[-1] + 1])
        pairs = known.pairs.take(np.arange(start, stop))
        decide = Threshold(threshold).decide
        pairs = pairs.take(decide(pairs.score) & np.isin(pairs.query_row, places))
        best = ~decide(known.best_score[places])  # the others are among the pairs
        row = np.concatenate([np.searchsorted(places, pairs.query_row), np.flatnonzero(best)])
        reference = np.concatenate([pairs.reference_id, known.best_id[places[best]]])
        score = np.concatenate([pairs.score, known.best_score[places[best]]])
        return Hits.from_pairs(row, reference, score)

    def of_references(self, gallery: Gallery, samples: NDArray[np.float32], *, k: int) -> Neighbours:
        """See `Comparisons.of_references`."""
        known = self._known[gallery.name]
        query = known.near_query[:, :k]
        row = np.where(query >= 0, np.searchsorted(self._places, np.maximum(query, 0)), -1)
        return gallery_neighbours(gallery, samples, k=k, known=(known.near_score[:, :k], row))
