"""What an inverse network is trained with: the network, its options, and images without data, or real ones on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanner.errors import ModelError, NothingScanned, UsageError
from scanner.jobs.options import SourceOptions
from scanner.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from scanner.inversion.features.stream import Stream
    from scanner.inversion.features.train import DciPlan
    from scanner.networks.network import Network

REAL_BYTES_MAX = 2 << 30
"""Memory for real images: about 170 000 of 32x32 pixels, 14 000 of 112x112."""
POOL_SHARE = 0.25
"""Of a batch, where the network's own images are mixed in."""


@dataclass(frozen=True, slots=True)
class FeatureOptions:
    """How an inverse is trained; `None` leaves a value as `scanner.inversion.features.train.DciPlan` has it.

    Attributes:
        at: cuts; empty: every block's end.
        layers_max: weighted layers in a block, where no cuts are given.
        steps: of the optimiser.
        batch: images in a step.
        rate: highest learning rate.
        cycle: weight of cycle consistency; 0: none, as a baseline.
        width: channels of a module, as a multiple of its block's.
        synthesise: images made up by the network itself that are mixed in.
        real: sources of real images to train with instead: an upper bound, no data-free attack.
        seed: of weights and images.
        device: "auto", "cpu" or "cuda".
        trusted: packages beside our own whose factories may be called.
    """

    at: tuple[str, ...] = ()
    layers_max: int | None = None
    steps: int | None = None
    batch: int | None = None
    rate: float | None = None
    cycle: float | None = None
    width: float | None = None
    synthesise: int = 0
    real: tuple[str, ...] = ()
    seed: int = 0
    device: str = "auto"
    trusted: tuple[str, ...] = field(default=())

    def plan(self) -> DciPlan:
        """Return the training's plan; raises UsageError for a value out of its range."""
        from scanner.inversion.features.train import DciPlan

        names = ("layers_max", "steps", "batch", "rate", "cycle", "width")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        plan = DciPlan(at=self.at or None, seed=self.seed, **given)
        plan.check()
        return plan


Law = Callable[[int, int, int], Any]
"""(seed, first, count) to latents (count, size) float32."""


def open_attacked(path: str | Path, options: FeatureOptions) -> tuple[Network, Law | None]:
    """Open the network to be inverted, on its device; and the law of its latents, if it is a generator.

    Raises:
        ModelError: it cannot be opened, or is a generator that cannot be taken apart.
    """
    from scanner.networks.description import open_network
    from scanner.networks.device import torch_device

    device, _ = torch_device(options.device)
    if not is_generator(Path(path)):
        return open_network(path, trusted=options.trusted).to(device), None
    from scanner.generators.description import open_generator

    generator = open_generator(path, device="cpu", trusted=options.trusted)
    network = generator.network
    if network is None:
        raise ModelError(
            f"{path}: this generator cannot be taken apart into blocks: TorchScript is a closed box, and one with classes has "
            "two inputs. Give it as .pt2, as ONNX or as .safetensors with a factory, without classes."
        )
    return network.to(device), lambda seed, first, count: generator.law.draw(seed, first, count).values


def is_generator(path: Path) -> bool:
    """True for a description with a section [generator]; what cannot be read is left to who opens it."""
    from scanner.documents import parse_document

    if path.suffix not in (".toml", ".json"):
        return False
    try:
        document = parse_document(path)
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and "generator" in document


def make_stream(
    network: Network,
    law: Law | None,
    options: FeatureOptions,
    sources: SourceOptions,
    *,
    work: Path | None,
    progress: Progress,
) -> Stream:
    """Return the training inputs: latents of a generator; real images where asked for; else images without data.

    Args:
        network: what is trained for.
        law: of a generator's latents.
        options: `real`, `synthesise`, `seed`.
        sources: how real images are read.
        work: where synthesised images are kept for a resumed training; None keeps none.
        progress: told while images are synthesised or read.

    Raises:
        UsageError: real or synthesised images for a generator, whose inputs are latents.
        NothingScanned: not one real image could be read.
    """
    from scanner.inversion.features.stream import LatentStream, MixedStream, PoolStream, ProceduralStream

    if law is not None:
        if options.real or options.synthesise:
            raise UsageError("A generator's inverse is trained on its own latents: leave out --real and --synthesise.")
        return LatentStream(law, network.input_shape[0], options.seed, network.device)
    if options.real:
        pool = real_pool(network, options.real, sources, progress)
        return PoolStream(pool.to(network.device), options.seed, "real")
    height, width = network.input_shape[1:]
    drawn = ProceduralStream((height, width), options.seed, network.device)
    if not options.synthesise:
        return drawn
    made = _synthesised(network, options, work, progress)
    return MixedStream(drawn, PoolStream(made.to(network.device), options.seed, "synthesised"), POOL_SHARE)


def _synthesised(network: Network, options: FeatureOptions, work: Path | None, progress: Progress) -> Tensor:
    """Return images made up by the network; made once, and kept with the unfinished work."""
    from scanner.inversion.features.synthesis import SynthesisPlan, synthesise
    from scanner.networks.tensors import read_tensors, write_tensors

    path = None if work is None else work / "synthesised.safetensors"
    if path is not None and path.exists():
        return read_tensors(path)["images"]
    images = synthesise(network, count=options.synthesise, plan=SynthesisPlan(), seed=options.seed, progress=progress)
    if path is not None:
        write_tensors(path, {"images": images})
    return images


def real_pool(network: Network, specs: Sequence[str], sources: SourceOptions, progress: Progress) -> Tensor:
    """Return a source's images at the network's size, float32 (n, 3, h, w) in 0..1: the first that fit into memory.

    Raises:
        NothingScanned: not one could be read.
    """
    import numpy as np
    import torch

    from scanner.jobs.inverting.pictures import Wanted, pictures_of

    source = sources.open(specs)
    progress.stage("reading images", total=source.count(), unit="images")
    kept: list[Any] = []
    height, width = network.input_shape[1:]
    room = REAL_BYTES_MAX // (4 * 3 * height * width)
    for entry in pictures_of(source, skip=0, shape_px=(height, width), share=1.0, seen=set()):
        progress.advance(1)
        if isinstance(entry, Wanted):
            kept.append(entry.pixels_rgb_u8)
        if len(kept) == room:
            progress.note(f"The first {room} images of {source.uri} are used; more are not kept in memory.")
            break
    if not kept:
        raise NothingScanned(
            f"{source.uri} holds no usable image to train with. Look at the pictures, or leave out --real."
        )
    return torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2).float().div_(255.0).contiguous()


def default_batch() -> int:
    """Return how many images a step has where nothing else is said."""
    from scanner.inversion.features.train import DciPlan

    return DciPlan().batch
