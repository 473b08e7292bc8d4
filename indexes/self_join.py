"""All pairs of an index's own references at or above a threshold, each pair once, block by block.

Block b is the stored rows from b * block_rows on, searched among themselves and all later rows. What is before a block
was compared when its own block was the query, so the base is cut shorter from time to time: `STRIPS` engines over ever
fewer references do little more than half of the work of one engine over all.

    join = SelfJoin(references, open_engine, threshold=0.9)
    for number in range(join.blocks):
        pairs = join.block(number)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from indexes.engine import Engine
from indexes.errors import IndexesError
from indexes.hits import Int64Array
from indexes.references import References
from indexes.vectors import Float32Array

BLOCK_ROWS = 4096
"""Queries of one pass over the references: enough for the matrix product to be near its peak."""

STRIPS = 16
"""Engines opened one after the other; the work is (STRIPS + 1) / (2 STRIPS) of all against all: 53 %."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of references in order of (id ascending, score descending, other_id ascending).

    Args:
        id: int64 (p,), the lower id of each pair.
        other_id: int64 (p,), the higher one.
        score: float32 (p,), cosine in [-1, 1].
    """

    id: Int64Array
    other_id: Int64Array
    score: Float32Array

    @property
    def rows(self) -> int:
        """Number of pairs."""
        return int(self.id.shape[0])


class SelfJoin:
    """References searched among themselves.

    The pairs of all blocks, one block after the other, are the same for every `block_rows` and every engine.

    Args:
        references: may be memory-mapped and larger than memory; ids ascend, as an index's do.
        open_engine: makes the engine over the later references of `references`; called anew for each strip, while no
            earlier one is held.
        threshold: inclusive.
        block_rows: stored rows of a block; dead ones are left out, so a block may hold fewer queries.

    Raises:
        IndexesError: the ids do not ascend.
    """

    def __init__(
        self,
        references: References,
        open_engine: Callable[[References], Engine],
        *,
        threshold: float,
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        if np.any(references.ids[1:] <= references.ids[:-1]):
            raise IndexesError("a set is joined with itself in order of its ids, and these do not ascend. Sort them.")
        self._references, self._open_engine = references, open_engine
        self._threshold, self._block_rows = threshold, block_rows
        self.blocks = -(-references.rows_stored // block_rows)
        """Number of blocks."""
        self._engine: Engine | None = None
        self._engine_row = -1

    def block(self, number: int) -> Pairs:
        """Return the pairs whose lower id is in one block; blocks may be asked for in any order, ascending is fastest.

        Raises:
            TooManyHits: more than `engine.HITS_MAX` pairs; says what to change.
        """
        start = number * self._block_rows
        rows = np.arange(start, min(start + self._block_rows, self._references.rows_stored))
        if self._references.alive is not None:
            rows = rows[self._references.alive[rows]]
        ids = self._references.ids[rows]
        queries = np.ascontiguousarray(self._references.gather(rows))
        hits = self._engine_for(number).search(queries, threshold=self._threshold)
        own = ids[hits.query_row]
        once = own < hits.reference_id
        return Pairs(own[once], hits.reference_id[once], hits.score[once])

    def _engine_for(self, number: int) -> Engine:
        """Return an engine that holds the block and all later rows, and few earlier ones."""
        strip_blocks = max(1, -(-self.blocks // STRIPS))
        row = number // strip_blocks * strip_blocks * self._block_rows
        if self._engine is None or row != self._engine_row:
            self._engine = None  # given back before the next one is made: only one fits the memory
            self._engine, self._engine_row = self._open_engine(self._references.later(row)), row
        return self._engine
