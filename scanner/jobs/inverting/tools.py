"""The networks of a latent inversion, opened before any long work: generator, encoder, recogniser, features."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from scanner.errors import ModelError
from scanner.faces.align import ARCFACE_LANDMARKS_PX, ARCFACE_SIDE_PX, similarity
from scanner.jobs.inverting.options import InvertOptions
from scanner.jobs.inverting.pictures import Wanted
from scanner.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from scanner.generators.generator import Generator
    from scanner.inversion.encoder import EncoderPlan, LatentEncoder
    from scanner.inversion.latent import Account, Recovered
    from scanner.networks.network import Network

CHECKPOINT_EVERY: Final = 100
_TIMED_S: Final = 2.0
_METADATA: Final = "generator"


@dataclass(slots=True, eq=False)
class Tools:
    """What an inversion works with.

    `generator_facts` and `network_facts` are JSON values that a resumed job must find unchanged.
    """

    generator: Generator
    work: Path
    features: Network | None
    identity: Network | None
    identity_warp: Tensor | None
    encoder: LatentEncoder | None
    generator_facts: dict[str, Any]
    network_facts: dict[str, Any]
    notes: tuple[str, ...] = field(default=())

    def make_encoder(self, options: InvertOptions, progress: Progress) -> None:
        """Train the encoder that was asked for, or take up its training; it ends in OUT/encoder.safetensors."""
        if options.encoder != "train":
            return
        from scanner.inversion.encoder import EncoderTraining, encoder_tensors
        from scanner.networks.tensors import read_tensors, write_tensors

        final, checkpoint = self.work.parent / "encoder.safetensors", self.work / "encoder.safetensors"
        plan = encoder_plan(options)
        if final.exists():
            self.encoder = read_encoder(final, self.generator, options)
            return
        training = EncoderTraining(self.generator, plan)
        if checkpoint.exists():
            training.load(read_tensors(checkpoint))
        progress.stage("encoder", total=plan.steps, unit="steps", done=training.step)
        while training.step < plan.steps:
            training.run(training.step + CHECKPOINT_EVERY, progress)
            write_tensors(checkpoint, training.state())
        self.encoder = training.run()
        facts = {_METADATA: self.generator.fingerprint, **{k: str(v) for k, v in asdict(plan).items()}}
        write_tensors(final, encoder_tensors(self.encoder), facts)

    def find_slots(self, options: InvertOptions) -> int:
        """Return how many images fit and pay."""
        from scanner.generators.sample import exact_arithmetic
        from scanner.inversion.batch import find_slots

        with exact_arithmetic():
            return find_slots(self._objective(options), (3, *self.generator.shape_px), device=self.generator.device)

    def invert(
        self, wanted: list[Wanted], options: InvertOptions, *, slots: int, number: int, account: Account
    ) -> Iterator[Recovered]:
        """Invert some pictures, in order; `number` is the place of the first one in the source."""
        from scanner.inversion.latent import invert_latents

        images = (_images01(one) for one in wanted)
        yield from invert_latents(
            self.generator, images, plan=options.latent_plan(slots=slots), encoder=self.encoder, features=self.features,
            identity=self.identity, identity_warp=self.identity_warp, first=number, account=account,
        )  # fmt: skip

    def image_steps_per_s(self, options: InvertOptions, slots: int) -> float:
        """Measure for a moment how many images' steps a second the device makes, with `slots` at once."""
        import torch

        from scanner.generators.sample import exact_arithmetic
        from scanner.inversion.batch import Evaluator, blank
        from scanner.inversion.plan import Account

        objective = self._objective(options)
        points, target = blank(objective, (3, *self.generator.shape_px), slots, self.generator.device)
        piece = min(slots, self.generator.batch_max or slots)
        evaluator = Evaluator(objective, piece=piece, account=Account())
        with exact_arithmetic():
            evaluator.gradient(points, target)
            started, steps = time.perf_counter(), 0
            while time.perf_counter() - started < _TIMED_S:
                evaluator.gradient(points, target)
                if self.generator.device.type == "cuda":
                    torch.cuda.synchronize(self.generator.device)
                steps += slots
            return steps / (time.perf_counter() - started)

    def _objective(self, options: InvertOptions) -> Any:
        from scanner.inversion.latent import objective_of

        return objective_of(
            self.generator, options.latent_plan(slots=None), features=self.features, identity=self.identity,
            identity_warp=self.identity_warp,
        )  # fmt: skip


def open_tools(generator: str | Path, options: InvertOptions, *, work: Path) -> Tools:
    """Open everything that can fail early.

    Raises:
        UsageError: the options do not fit together, or no gradient reaches the latents.
        ModelError: a file is missing, broken, of another kind, or not on the device asked for.
    """
    from scanner.generators.description import open_generator
    from scanner.inversion.spaces import open_space
    from scanner.networks.description import open_network

    options.latent_plan(slots=None)
    opened = open_generator(Path(generator), device=options.device, trusted=options.trusted)
    open_space(opened, options.space)
    networks = {
        name: None if path is None else open_network(path, trusted=options.trusted)
        for name, path in (("features", options.features), ("identity", options.identity))
    }
    facts: dict[str, Any] = {name: None if n is None else n.fingerprint for name, n in networks.items()}
    for name, network in networks.items():
        if network is not None and len(network.input_shape) != len(("c", "h", "w")):
            raise ModelError(f"--{name}: {network.name} takes latents, not images. Name a network that takes images.")
    encoder, facts["encoder"] = None, options.encoder
    if options.encoder not in ("none", "train"):
        path = Path(options.encoder)
        encoder = read_encoder(path, opened, options)
        facts["encoder"] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    generator_facts = {"name": opened.name, "fingerprint": opened.fingerprint, "law": asdict(opened.law)}
    return Tools(
        opened, work, networks["features"], networks["identity"], _warp(options, opened, networks["identity"]), encoder,
        generator_facts, facts, (f"device {opened.device} ({opened.device_reason})", *opened.notes),
    )  # fmt: skip


def encoder_plan(options: InvertOptions) -> EncoderPlan:
    """Return how the encoder is trained."""
    from scanner.inversion.encoder import EncoderPlan

    return EncoderPlan(steps=options.encoder_steps, space=options.space, seed=options.seed)


def read_encoder(path: Path, generator: Generator, options: InvertOptions) -> LatentEncoder:
    """Read an encoder that was trained for this generator.

    Raises:
        ModelError: it is missing, or was trained for another one.
    """
    from scanner.inversion.encoder import encoder_of
    from scanner.inversion.spaces import open_space
    from scanner.networks.tensors import read_metadata, read_tensors

    if not path.is_file():
        raise ModelError(f"There is no encoder {path}. Name a file that --encoder train made, or say train or none.")
    facts = read_metadata(path)
    if facts.get(_METADATA) != generator.fingerprint:
        raise ModelError(
            f"{path} is no encoder for {generator.name}: it was trained for {facts.get(_METADATA, 'something else')}, and this "
            f"is {generator.fingerprint}. Its guesses would mean nothing. Train one with --encoder train."
        )
    if facts.get("space") != options.space:
        raise ModelError(
            f"{path} guesses in {facts.get('space')}, and {options.space} is searched. Say --space {facts.get('space')}, or train "
            "one with --encoder train."
        )
    width, size = int(facts.get("width", "32")), math.prod(open_space(generator, options.space).shape)
    encoder = encoder_of(read_tensors(path), size=size, shape_px=generator.shape_px, width=width, where=str(path))
    return encoder.to(generator.device)


def _warp(options: InvertOptions, generator: Generator, identity: Network | None) -> Tensor | None:
    """Return how the generator's pictures become the recogniser's crops; None where they are merely resized."""
    if options.landmarks is None or identity is None:
        return None
    import torch

    height, width = generator.shape_px
    # Shares of the sides; pixel centres are whole numbers.
    places_px = np.array(options.landmarks) * (width, height) - 0.5
    matrix = similarity(places_px, ARCFACE_LANDMARKS_PX * (identity.input_shape[1] / ARCFACE_SIDE_PX))
    return torch.from_numpy(matrix)


def _images01(one: Wanted) -> Tensor:
    import torch

    return torch.from_numpy(one.pixels_rgb_u8).permute(2, 0, 1).float() / 255
