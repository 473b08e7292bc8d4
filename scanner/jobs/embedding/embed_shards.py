"""Shards of a source, embedded by workers: the same faces, vectors and rejects as on the road of one machine.

A worker knows nothing of the shards that others have, so it cannot know which bytes came before.  It embeds all of its
shard, and duplicates across shards are settled here, in order; a vector does not depend on its neighbours in a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from scanner.jobs.options import FaceOptions, OpenedRoad, SourceOptions, open_road
from scanner.jobs.workers import Workers, check_same
from scanner.pipeline import Shard, Walked, embed_shard
from scanner.sources import Source


@dataclass(frozen=True, slots=True)
class EmbedShards:
    """Embeds shards by their number; see `workers.Work`.

    `seen_here` is what the machine that asks sees: `Source.describe` and `OpenedRoad.description`.
    """

    specs: tuple[str, ...]
    sources: SourceOptions
    faces: FaceOptions
    keep_crops: bool
    entries: int
    uri: str
    seen_here: tuple[dict[str, Any], dict[str, Any]]

    @property
    def threads(self) -> int:
        """See `Work`."""
        return self.faces.workers or 1

    @property
    def needs_gpu(self) -> bool:
        """See `Work`."""
        return bool(self.seen_here[1]["embedder"]["device"] == "cuda")

    def name(self, number: int) -> str:
        """See `Work`."""
        first = number * self.entries
        return f"Shard {number} of {self.uri} (entries {first} to {first + self.entries - 1})"

    def open(self) -> Callable[[int], Walked]:
        """See `Work`."""
        opened = open_road(replace(self.faces, workers=self.threads), keep_crops=self.keep_crops)
        source = self.sources.open(self.specs)
        check_same("the embedder or the detector", self.seen_here[1], opened.description)
        check_same(self.uri, self.seen_here[0], source.describe())

        def embed(number: int) -> Walked:
            return embed_shard(source, opened.road, number, entries=self.entries)

        return embed


def embed_elsewhere(
    workers: Workers,
    specs: tuple[str, ...],
    source: Source,
    opened: OpenedRoad,
    *,
    sources: SourceOptions,
    faces: FaceOptions,
    shard_entries: int,
    first_shard: int,
    seen: set[bytes],
) -> Iterator[Shard]:
    """Yield what `pipeline.embed_source` yields, embedded by workers.

    Args:
        workers: who embeds.
        specs: what the user named; workers open it themselves.
        source: the same, opened.
        opened: the road, opened from `faces`.
        sources: how the sources are read.
        faces: how pictures become vectors.
        shard_entries: entries of a shard.
        first_shard: shards before it were done before.
        seen: item ids (16 bytes) met in them.
    """
    entries = source.count()
    numbers = count(first_shard) if entries is None else range(first_shard, -(-entries // shard_entries))
    work = EmbedShards(
        specs,
        sources,
        faces,
        opened.road.keep_crops,
        shard_entries,
        source.uri,
        (source.describe(), opened.description),
    )
    for walked in workers.map(work, numbers):
        if walked.outcomes:
            yield walked.settle(seen).shard()
        if len(walked.outcomes) < shard_entries:
            return  # the source has come to its end; where it cannot be counted, workers were sent beyond it
