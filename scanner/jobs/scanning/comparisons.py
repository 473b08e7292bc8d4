"""Who compares queries with references: every pair anew, or only what was never compared (`scanner.nights.memory`)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexes import Hits
from scanner.evidence.neighbours import Neighbours
from scanner.search import Gallery, gallery_neighbours, join


class Comparisons(Protocol):
    """What a scan asks of its search.  Answers are those of `Afresh`, bit for bit, however they are come by."""

    def of_queries(self, gallery: Gallery, first: int, vectors: NDArray[np.float32], *, threshold: float) -> Hits:
        """Return every pair that reaches `threshold`, and each query's best reference whether or not it does.

        Args:
            gallery: candidates or null.
            first: how many faces of the scan come before these.
            vectors: (n, dim) float32, unit rows.
            threshold: inclusive.
        """
        ...

    def of_references(self, gallery: Gallery, samples: NDArray[np.float32], *, k: int) -> Neighbours:
        """Return what lies near each reference that is not erased, in order of id.

        Args:
            gallery: candidates or null.
            samples: (m, dim) float32, all faces of the scan in their order.
            k: how many of the best.
        """
        ...


class Afresh:
    """Compares every pair when it is asked for."""

    def of_queries(self, gallery: Gallery, first: int, vectors: NDArray[np.float32], *, threshold: float) -> Hits:  # noqa: ARG002
        """See `Comparisons.of_queries`."""
        return join(gallery, vectors, threshold=threshold)

    def of_references(self, gallery: Gallery, samples: NDArray[np.float32], *, k: int) -> Neighbours:
        """See `Comparisons.of_references`."""
        return gallery_neighbours(gallery, samples, k=k)
