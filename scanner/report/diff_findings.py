"""What became of each finding between two runs: new, still there, gone, or with another verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scanner.report.acknowledged import Acknowledged, Acknowledgement, Finding
from scanner.report.diff_pairs import FACTS, FINDING_KEYS

NAMED, NOT_NAMED, INCONCLUSIVE, UNDECIDED, MATCH = VERDICTS = (
    "named", "not named", "inconclusive", "undecided", "match",
)  # fmt: skip
"""What a run says of a finding; `MATCH` where nobody weighed it: no null, or a reference without an identity."""
STATUSES: Final = ("new", "changed", "still", "gone")
"""`changed` is still there, with another verdict."""
_ABSENT: Final = -1
_ORDER: Final = [
    ("acknowledged", "ascending"), ("order", "ascending"), ("q", "ascending"), ("score", "descending"),
    *((name, "ascending") for name in FINDING_KEYS),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class FindingChange:
    """One finding in two runs; what a run does not say is None.

    Attributes:
        finding: which.
        status: one of `STATUSES`.
        verdict_before, verdict_now: one of `VERDICTS`; None where the run did not find it.
        score_before, score_now: best cosine; also of an identity that was weighed and not found.
        q_before, q_now: q-values (Benjamini-Hochberg) of runs with a null.
        matches_before, matches_now: pairs at the run's threshold.
        matches_new: those of `matches_now` that the base run did not have.
        acknowledged: why it needs no further look; None: nobody said so.
    """

    finding: Finding
    status: str
    verdict_before: str | None
    verdict_now: str | None
    score_before: float | None
    score_now: float | None
    q_before: float | None
    q_now: float | None
    matches_before: int
    matches_now: int
    matches_new: int
    acknowledged: Acknowledgement | None

    def as_json(self) -> dict[str, Any]:
        """Return it flat, as it stands in `RunDiff.as_json`."""
        own = {name: getattr(self, name) for name in self.__slots__ if name not in ("finding", "acknowledged")}
        reason = None if self.acknowledged is None else self.acknowledged.reason
        of = self.finding
        return {"index": of.index, "identity": of.identity, "uri": of.uri, **own, "acknowledged": reason}


@dataclass(frozen=True, slots=True)
class FindingCounts:
    """Findings of two runs: new + still = now, gone + still = before; `changed` are those still there with another verdict.

    `named_before` and `named_now` count what the verdict names, `named_new` those of `new`; `newly_named` are named now and
    were not before, found or not.  `open_*` are those of `new`, `changed` and `newly_named` that nobody acknowledged;
    `acknowledged` are all acknowledged ones that are there now.
    """

    before: int = 0
    now: int = 0
    new: int = 0
    still: int = 0
    gone: int = 0
    changed: int = 0
    named_before: int = 0
    named_now: int = 0
    named_new: int = 0
    newly_named: int = 0
    open_new: int = 0
    open_changed: int = 0
    open_newly_named: int = 0
    acknowledged: int = 0

    def __add__(self, other: FindingCounts) -> FindingCounts:
        return FindingCounts(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


class Findings:
    """Adds up findings, part by part, and keeps the first `listed` of each status.

    Args:
        acknowledged: what somebody has looked at.
        evidence: of both runs what `run.json` says of it; None for a run without a null.
        listed: how many of each status are kept.
    """

    def __init__(
        self,
        acknowledged: Acknowledged,
        evidence: tuple[Mapping[str, Any] | None, Mapping[str, Any] | None],
        listed: int,
    ) -> None:
        self.counts = FindingCounts()
        self._acknowledged, self._evidence, self._listed = acknowledged, evidence, listed
        self._names = pa.array(sorted({finding.name for finding in acknowledged}), pa.string())
        self._best: dict[str, pa.Table] = {}

    def add(self, facts: pa.Table) -> None:
        """Add findings: `FACTS`, one row each, none of which has been added before."""
        verdicts = [_verdicts(facts, side, said) for side, said in zip(("before", "now"), self._evidence, strict=True)]
        was, now = (verdict != _ABSENT for verdict in verdicts)
        known = self._is_known(facts)
        changed = was & now & (verdicts[0] != verdicts[1])
        named = [verdict == VERDICTS.index(NAMED) for verdict in verdicts]
        newly = named[1] & ~named[0]
        masks = (
            was, now, now & ~was, now & was, was & ~now, changed, *named, named[1] & ~was, newly,
            now & ~was & ~known, changed & ~known, newly & ~known, now & known,
        )  # fmt: skip
        self.counts += FindingCounts(*(int(mask.sum()) for mask in masks))
        shown = _with_order(facts, verdicts, known, now)
        by_status = {"new": now & ~was, "changed": changed, "still": now & was & ~changed, "gone": was & ~now}
        for status, mask in by_status.items():
            kept = self._best.get(status, shown.slice(0, 0))
            both = pa.concat_tables([kept, shown.filter(pa.array(mask))])
            self._best[status] = both.sort_by(_ORDER).slice(0, self._listed)

    def first(self, status: str) -> tuple[FindingChange, ...]:
        """Return the kept findings of a status: not acknowledged, named and unusual ones first."""
        return tuple(self._change(row, status) for row in self._best[status].to_pylist()) if self._best else ()

    def _is_known(self, facts: pa.Table) -> NDArray[np.bool_]:
        """Return which findings are acknowledged."""
        known = np.zeros(facts.num_rows, np.bool_)
        names = pc.coalesce(facts["identity"], facts["uri"])
        for row in np.flatnonzero(pc.is_in(names, self._names).to_numpy(zero_copy_only=False)).tolist():
            known[row] = Finding(*(facts[name][row].as_py() for name in FINDING_KEYS)) in self._acknowledged
        return known

    def _change(self, row: Mapping[str, Any], status: str) -> FindingChange:
        finding = Finding(*(row[name] for name in FINDING_KEYS))
        values = {name: row[name] for name in FACTS.names if name not in FINDING_KEYS}
        for name in ("verdict_before", "verdict_now"):
            values[name] = None if row[name] == _ABSENT else VERDICTS[row[name]]
        return FindingChange(finding, status, **values, acknowledged=self._acknowledged.get(finding))


def _verdicts(facts: pa.Table, side: str, evidence: Mapping[str, Any] | None) -> NDArray[np.int8]:
    """Return the place in `VERDICTS` of what a run says of each finding, `_ABSENT` where it did not find it."""
    matched = facts[f"matches_{side}"].to_numpy() > 0
    found = np.where(matched, VERDICTS.index(MATCH), _ABSENT).astype(np.int8)
    if evidence is None:
        return found
    q = facts[f"q_{side}"].to_numpy()  # NaN where nobody weighed it
    weighed, state = ~np.isnan(q), evidence["verdict"]["state"]
    if state in (INCONCLUSIVE, UNDECIDED):
        found[matched & weighed] = VERDICTS.index(state)
        return found
    found[matched & weighed] = VERDICTS.index(NOT_NAMED)
    if state == NAMED:
        found[weighed & (q <= evidence["level"])] = VERDICTS.index(NAMED)
    return found


def _with_order(
    facts: pa.Table, verdicts: Iterable[NDArray[np.int8]], known: NDArray[np.bool_], now: NDArray[np.bool_]
) -> pa.Table:
    """Add the verdicts and what findings are listed by: as they are now, or were where they are gone."""
    before, after = verdicts
    is_now = pa.array(now)
    columns = {
        "verdict_before": before, "verdict_now": after, "acknowledged": known, "order": np.where(now, after, before),
        **{name: pc.if_else(is_now, facts[f"{name}_now"], facts[f"{name}_before"]) for name in ("q", "score")},
    }  # fmt: skip
    for name, values in columns.items():
        facts = facts.append_column(name, values if isinstance(values, pa.ChunkedArray) else pa.array(values))
    return facts
