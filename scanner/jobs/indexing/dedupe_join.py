"""An index's references against themselves, block by block, each block complete or absent on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexes import SelfJoin
from indexes.engine import HITS_MAX
from indexes.errors import TooManyHits
from indexes.self_join import Pairs
from scanner import artefacts
from scanner.decision import Threshold
from scanner.errors import UsageError
from scanner.jobs.numbered import Numbered
from scanner.jobs.parts import begin_work
from scanner.progress import Progress

_COLUMNS = ("id", "other_id", "score")
_SCHEMA = artefacts.stamped(pa.schema([("id", pa.int64()), ("other_id", pa.int64()), ("score", pa.float32())]), "pairs")


class PairParts:
    """The finished blocks of a join, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._parts = folder, Numbered(folder)

    def run(
        self, join: SelfJoin, threshold: Threshold, *, plan: dict[str, Any], resume: bool, progress: Progress
    ) -> None:
        """Join every block that is not there yet.

        Raises:
            RunMismatch: the blocks that are there were made by another plan.
            UsageError: a block has too many pairs to be of use.
        """
        begin_work(self._folder, plan, resume=resume)
        done = len(self._parts.numbers())
        progress.stage("search", total=join.blocks, unit="blocks", done=done)
        for number in range(done, join.blocks):
            pairs = _decided(join, number, threshold)
            columns = {name: getattr(pairs, name) for name in _COLUMNS}
            path = self._parts.table(number, "pairs")
            artefacts.write_tables(path, _SCHEMA, [artefacts.table_of(_SCHEMA, columns)])
            self._parts.finish(number, {"pairs": pairs.rows})
            progress.advance(1)

    def rows(self) -> int:
        """Return the number of pairs."""
        return sum(document["pairs"] for document in self._parts.documents())

    def read(self) -> Iterator[Pairs]:
        """Yield the pairs of all blocks, in order."""
        for number in self._parts.numbers():
            table = artefacts.read_table(self._parts.table(number, "pairs"), "pairs")
            yield Pairs(*(table[name].to_numpy() for name in _COLUMNS))


def _decided(join: SelfJoin, number: int, threshold: Threshold) -> Pairs:
    try:
        pairs = join.block(number)
    except TooManyHits as error:
        raise UsageError(
            f"More than {HITS_MAX} pairs of one block of references reach the threshold {threshold.value:.4f}: nearly "
            "everybody is in one group. Raise --threshold, or ask for a lower --fmr."
        ) from error
    passed = threshold.decide(pairs.score)
    return Pairs(pairs.id[passed], pairs.other_id[passed], pairs.score[passed])
