"""Which pairs of two runs are the same: matches by query, index and reference, and what that says of each finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scanner import artefacts
from scanner.errors import ArtefactError

BLOCK_ROWS: Final = 1 << 18
PAIRS: Final = pa.schema(
    [artefacts.MATCHES.field(name) for name in ("query_id", "index", "reference_id", "reference_uri", "identity", "score")]
)  # fmt: skip
FINDING_KEYS: Final = ("index", "identity", "uri")
_COUNTS: Final = ("matches_before", "matches_now", "matches_new")
_HIGHEST: Final = ("score_before", "score_now", "q_before", "q_now")
FACTS: Final = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in FINDING_KEYS),
        *(pa.field(name, pa.int64()) for name in _COUNTS),
        *(pa.field(name, pa.float32()) for name in _HIGHEST[:2]),
        *(pa.field(name, pa.float64()) for name in _HIGHEST[2:]),
    ]
)
"""What is known of a finding: `uri` only where there is no identity, `matches_new` pairs that were not there before, best
scores, q-values where the run weighed it."""


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Matches of two runs: new + still = now, gone + still = before.

    Of those that are still there, `rescored` have another score and `renamed` a reference of another uri.
    """

    before: int = 0
    now: int = 0
    new: int = 0
    still: int = 0
    gone: int = 0
    rescored: int = 0
    renamed: int = 0

    def __add__(self, other: PairCounts) -> PairCounts:
        return PairCounts(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


def read_pairs(folder: Path) -> Iterator[pa.Table]:
    """Yield the matches of a run in blocks, as tables of `PAIRS`."""
    path = folder / "matches.parquet"
    yield from artefacts.iter_tables(path, "matches", rows_max=BLOCK_ROWS, columns=PAIRS.names)


def read_weighed(folder: Path, side: str) -> Iterator[pa.Table]:
    """Yield what a run with a null says of every candidate identity, as tables of `FACTS`; `side` is before or now."""
    columns = ["index", "identity", "best_score", "q_value"]
    path = folder / "identities.parquet"
    for table in artefacts.iter_tables(path, "identities", rows_max=BLOCK_ROWS, columns=columns):
        known = {"index": table["index"], "identity": table["identity"]}
        yield _facts(known, table.num_rows, {f"score_{side}": table["best_score"], f"q_{side}": table["q_value"]})


def match_pairs(before: pa.Table, now: pa.Table, *, names: tuple[str, str]) -> tuple[PairCounts, pa.Table]:
    """Match all rows of some queries.

    Args:
        before: rows of `PAIRS`, all of the base run with these queries.
        now: those of the other run.
        names: what the two are called in an error.

    Returns:
        How many there are, and `FACTS`, one row a finding.

    Raises:
        ArtefactError: a run has a pair twice.
    """
    both = pa.concat_tables([before, now]).combine_chunks()
    keys = (_codes(both["query_id"]), _codes(both["index"]), both["reference_id"].to_numpy())
    order = np.lexsort(keys[::-1])  # stable: of equal keys the one of `before` comes first
    of_now = order >= before.num_rows
    same = np.ones(max(0, len(order) - 1), np.bool_)
    for key in keys:
        same &= key[order[1:]] == key[order[:-1]]
    twice = same & (of_now[1:] == of_now[:-1])
    if twice.any():
        name = names[int(of_now[:-1][twice][0])]
        raise ArtefactError(
            f"{name} has a match of one query with one reference twice, expected each once. Scan again."
        )
    was, still = order[:-1][same], order[1:][same]
    is_new = np.arange(len(order)) >= before.num_rows
    is_new[still] = False
    score = both["score"].to_numpy()
    uri = both["reference_uri"]
    renamed = pc.sum(pc.not_equal(uri.take(pa.array(was)), uri.take(pa.array(still)))).as_py() or 0
    counts = PairCounts(
        before=before.num_rows, now=now.num_rows, new=int(is_new.sum()), still=len(still),
        gone=before.num_rows - len(still), rescored=int((score[was] != score[still]).sum()), renamed=renamed,
    )  # fmt: skip
    ones = pa.array(np.ones(len(order), np.int64))
    sides = [
        (before, {"matches_before": ones[: before.num_rows], "score_before": before["score"]}),
        (now, {"matches_now": ones[before.num_rows :], "score_now": now["score"],
               "matches_new": is_new[before.num_rows :].astype(np.int64)}),
    ]  # fmt: skip
    return counts, together(pa.concat_tables(_facts(_keys(table), table.num_rows, said) for table, said in sides))


def with_finding(matches: pa.Table) -> pa.Table:
    """Append to matches the `uri` of `FINDING_KEYS`: the reference's where it has no identity."""
    uri = pc.if_else(pc.is_null(matches["identity"]), matches["reference_uri"], pa.scalar(None, pa.string()))
    return matches.append_column("uri", uri)


def together(facts: pa.Table) -> pa.Table:
    """Return one row a finding: counts added up, of scores the best, of q-values the only one."""
    how = [*((name, "sum") for name in _COUNTS), *((name, "max") for name in _HIGHEST)]
    grouped = facts.group_by(list(FINDING_KEYS), use_threads=False).aggregate(how)
    columns = [*FINDING_KEYS, *("_".join(pair) for pair in how)]
    return grouped.select(columns).rename_columns(FACTS.names).cast(FACTS)


def _keys(matches: pa.Table) -> dict[str, Any]:
    found = with_finding(matches)
    return {name: found[name] for name in FINDING_KEYS}


def _facts(known: dict[str, Any], rows: int, said: dict[str, Any]) -> pa.Table:
    counts = {name: np.zeros(rows, np.int64) for name in _COUNTS}
    return artefacts.table_of(FACTS, {**known, **counts, **said})


def _codes(column: pa.ChunkedArray) -> NDArray[np.int32]:
    codes: NDArray[np.int32] = column.combine_chunks().dictionary_encode().indices.to_numpy()
    return codes
