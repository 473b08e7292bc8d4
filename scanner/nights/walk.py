"""Walking shards so that a picture on which the process dies stops two starts, and not every night.

While shards are walked, a marker beside them names the first that is not written.  Who ends in order takes it away, so a
start that finds one knows that the process died there: it walks the shards that may have been under way one at a time.  A
shard that kills the process although it is alone is looked at picture by picture, see `scanner.nights.quarantine`.
What comes out is the same either way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from indexes.atomic import write_json
from indexes.errors import IndexesError
from scanner import artefacts
from scanner.errors import ScannerError
from scanner.pipeline import Road, Shard, embed_shard, embed_source, shards_under_way
from scanner.records import Item, Reject
from scanner.sources import Source

_IN_ORDER = (ScannerError, IndexesError, OSError, KeyboardInterrupt, GeneratorExit)


@dataclass(frozen=True, slots=True)
class Marker:
    """What is being walked: the first shard that is not written, and whether it walks alone until `until`."""

    path: Path

    def read(self) -> tuple[int, int] | None:
        """Return the shard at which a process died, and up to where shards were walked alone; None if none did."""
        if not self.path.exists():
            return None
        found = artefacts.read_json(self.path)
        return int(found["shard"]), int(found["alone_until"])

    def write(self, shard: int, *, alone_until: int = 0) -> None:
        """Say what comes next."""
        write_json(self.path, {"shard": shard, "alone_until": alone_until})

    def clear(self) -> None:
        """Say that nothing is being walked."""
        self.path.unlink(missing_ok=True)


def walk(
    source: Source,
    road: Road,
    *,
    first_shard: int,
    seen: Callable[[], set[bytes]],
    entries: int,
    marker: Marker,
    look: Callable[[Iterator[Item | Reject]], None],
) -> Iterator[Shard]:
    """Yield the shards of a source from `first_shard` on, as `embed_source` does; each must be written before the next.

    Args:
        source: as of `embed_source`.
        road: finder and embedder.
        first_shard: shards before it are written.
        seen: returns the item ids (16 bytes) of the shards that are written.
        entries: how many are a shard.
        marker: see the module.
        look: finds out which of some entries the process dies of, and makes rejects of them from then on.
    """
    number, alone_until, looked = first_shard, first_shard, -1
    died = marker.read()
    if died is not None:
        alone_until = max(died[1], first_shard + shards_under_way(road, entries))
        if died[0] == first_shard < died[1]:
            marker.write(number, alone_until=alone_until)
            look(islice(source.entries(skip=number * entries), entries))
            looked = number
    while True:
        try:
            known = seen()
            while number < alone_until:
                marker.write(number, alone_until=alone_until)
                # One at a time takes least memory, the other thing that a process may have died of.
                careful = replace(road, workers=1) if looked == number else road
                walked = embed_shard(source, careful, number, entries=entries)
                if not walked.outcomes:
                    break
                yield walked.settle(known).shard()
                number += 1
            else:
                marker.write(number)
                for shard in embed_source(source, road, first_shard=number, seen=known):
                    yield shard
                    number += 1
                    marker.write(number)
        except _IN_ORDER:
            marker.clear()
            raise
        except Exception:  # a bug that one entry sets off: it is looked for, and raised where it is not found
            if looked == number:
                raise
            if number < alone_until:
                look(islice(source.entries(skip=number * entries), entries))
                looked = number
            alone_until = max(alone_until, number + shards_under_way(road, entries))
        else:
            marker.clear()
            return
