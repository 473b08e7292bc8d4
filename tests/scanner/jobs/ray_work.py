"""Work for the tests of workers, and workers without Ray.  Ray's worker processes import this module by its name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexes.errors import FormatError
from scanner.errors import SourceError
from scanner.jobs.embedding.embed_shards import EmbedShards
from scanner.pipeline import Walked

FAILURES = {
    "source": SourceError("photos.tar cannot be read (Connection reset by peer).  Check the address."),
    "index": FormatError("people.idx is broken."),
    "bug": ZeroDivisionError("division by zero"),
}


class InTurn:
    """Workers in this process: one thing after the other."""

    def map(self, work: Any, things: Iterable[Any]) -> Iterator[Any]:
        yield from map(work.open(), things)


@dataclass(frozen=True)
class Doubling:
    """Doubles numbers, the first ones the slowest; leaves a file in `folder` for everything it begins."""

    folder: Path
    seconds: float = 0.0
    threads: int = 1
    needs_gpu: bool = False

    def name(self, number: int) -> str:
        return f"Number {number}"

    def open(self) -> Callable[[int], int]:
        (self.folder / f"opened-{os.getpid()}").touch()
        return self.double

    def double(self, number: int) -> int:
        (self.folder / f"{number}-{time.monotonic_ns()}").touch()
        time.sleep(self.seconds / (number + 1))
        return 2 * number


@dataclass(frozen=True)
class Failing(Doubling):
    """Fails as it is told, or takes its process with it."""

    def double(self, failure: str) -> int:  # type: ignore[override]
        if failure == "crash":
            os._exit(1)
        raise FAILURES[failure]


@dataclass(frozen=True)
class SlowShards(EmbedShards):
    """Embeds shards, half a second each, and leaves a file in `log` for each that it begins: number-node-time."""

    log: str = ""

    def open(self) -> Callable[[int], Walked]:
        import ray

        node, embed = ray.get_runtime_context().get_node_id(), super().open()

        def slowly(number: int) -> Walked:
            (Path(self.log) / f"{number}-{node}-{time.monotonic_ns()}").touch()
            time.sleep(0.5)
            return embed(number)

        return slowly
