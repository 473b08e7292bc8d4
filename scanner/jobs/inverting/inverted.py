"""A shard of pictures that were run backwards, and what became of every entry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scanner.records import Reject

if TYPE_CHECKING:
    from scanner.inversion.latent import Account, Recovered
    from scanner.jobs.inverting.pictures import Wanted


@dataclass(frozen=True, slots=True)
class ShardCounts:
    """What became of every entry: `entries == inverted + failed + duplicates + rejected`.

    `statuses` counts the inverted images; `reasons` every reject.  `places` and `worked` are the evaluated places of the
    slots, and those that held a restart which was still running.
    """

    entries: int = 0
    inverted: int = 0
    failed: int = 0
    duplicates: int = 0
    rejected: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    places: int = 0
    worked: int = 0

    def __add__(self, other: ShardCounts) -> ShardCounts:
        """Add up two shards."""
        numbers = ("entries", "inverted", "failed", "duplicates", "rejected", "places", "worked")
        return ShardCounts(
            **{name: getattr(self, name) + getattr(other, name) for name in numbers},
            statuses=_sum(self.statuses, other.statuses),
            reasons=_sum(self.reasons, other.reasons),
        )

    @property
    def add_up(self) -> bool:
        """True when every entry has exactly one outcome, and every outcome its word."""
        whole = self.entries == self.inverted + self.failed + self.duplicates + self.rejected
        words = sum(self.statuses.values()) == self.inverted
        return whole and words and sum(self.reasons.values()) == self.duplicates + self.rejected


@dataclass(frozen=True, slots=True, eq=False)
class InvertedShard:
    """One shard: the pictures that were wanted, what was found for each, and the rejects."""

    number: int
    wanted: list[Wanted]
    found: list[Recovered]
    rejects: list[Reject]
    account: Account

    def counts(self) -> ShardCounts:
        """Return what became of every entry of this shard."""
        statuses = Counter(one.status for one in self.found)
        reasons = Counter(reject.reason.value for reject in self.rejects)
        duplicates = reasons.get("duplicate", 0)
        failed = statuses.pop("failed", 0)
        return ShardCounts(
            entries=len(self.wanted) + len(self.rejects),
            inverted=len(self.found) - failed,
            failed=failed,
            duplicates=duplicates,
            rejected=len(self.rejects) - duplicates,
            statuses=dict(sorted(statuses.items())),
            reasons=dict(sorted(reasons.items())),
            places=self.account.places,
            worked=self.account.worked,
        )


def _sum(some: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    return {name: some.get(name, 0) + others.get(name, 0) for name in sorted({*some, *others})}
