"""Shards of pictures that are run backwards, here or by workers: pictures travel there, latents and images back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanner.jobs.inverting.inverted import InvertedShard
from scanner.jobs.inverting.options import InvertOptions
from scanner.jobs.inverting.pictures import Batch
from scanner.jobs.workers import Work, Workers, check_same, with_things
from scanner.progress import Progress

if TYPE_CHECKING:
    from scanner.inversion.latent import Account, Recovered
    from scanner.jobs.inverting.tools import Tools

    Inverted = tuple[list[Recovered], Account]
    """What became of each picture of a batch, and how full the slots were."""


@dataclass(frozen=True, slots=True)
class InvertBatches:
    """Searches the latents of batches; see `workers.Work`.

    `options` name a trained encoder by its file.  `seen_here` is what the machine that asks knows of the networks.
    """

    generator: str
    options: InvertOptions
    slots: int
    entries: int
    seen_here: dict[str, Any]
    threads: int = 1
    needs_gpu: bool = False

    @classmethod
    def like(
        cls, tools: Tools, generator: str | Path, options: InvertOptions, *, slots: int, entries: int
    ) -> InvertBatches:
        """Return the work of `tools`, whose encoder is trained by now."""
        if options.encoder == "train":
            options = replace(options, encoder=str(tools.work.parent / "encoder.safetensors"))
        on_gpu = tools.generator.device.type == "cuda"
        return cls(str(generator), options, slots, entries, _facts(tools), needs_gpu=on_gpu)

    def name(self, batch: Batch) -> str:
        """See `Work`."""
        return f"Shard {batch.number} of the pictures to invert ({len(batch.wanted)} pictures)"

    def open(self) -> Callable[[Batch], Inverted]:
        """See `Work`."""
        from scanner.inversion.latent import Account
        from scanner.jobs.inverting.tools import open_tools

        tools = open_tools(self.generator, self.options, work=Path())
        check_same("the networks of the inversion", self.seen_here, _facts(tools))

        def invert(batch: Batch) -> Inverted:
            account = Account()
            number = batch.number * self.entries
            found = tools.invert(batch.wanted, self.options, slots=self.slots, number=number, account=account)
            return list(found), account

        return invert


def inverted_elsewhere(
    workers: Workers, work: Work[Batch, Inverted], batches: Iterable[Batch], progress: Progress
) -> Iterator[InvertedShard]:
    """Yield the shards of `batches`, run backwards by workers."""
    for batch, (found, account) in with_things(workers, work, batches):
        progress.advance(len(batch.wanted) + len(batch.rejects))
        yield InvertedShard(batch.number, batch.wanted, found, batch.rejects, account)


def _facts(tools: Tools) -> dict[str, Any]:
    """Return what workers must find alike; an encoder says itself which generator it is for."""
    networks = {name: value for name, value in tools.network_facts.items() if name != "encoder"}
    return {**tools.generator_facts, **networks, "device": tools.generator.device.type}
