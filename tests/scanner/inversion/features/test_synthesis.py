"""Images out of a network's memory: they fit it better than what they began with, and the seed alone decides."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from scanner.errors import UsageError
from scanner.inversion.features.procedural import draw_images
from scanner.inversion.features.synthesis import (
    SynthesisPlan,
    batch_norm_misfit,
    means,
    synthesise,
    synthesise_batch,
)
from scanner.networks.batch_norm import BnRecorder, BnStatistics, statistics
from scanner.networks.network import Network, make_network
from scanner.networks.tiny import tiny_resnet

PLAN = SynthesisPlan(steps=30, batch=8)


class Notes:
    """Keeps what a job says."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.done = 0

    def stage(self, name: str, *, total: int | None, unit: str, done: int = 0) -> None:
        self.said.append(f"{name} {total} {unit}")
        self.done = done

    def advance(self, units: int) -> None:
        self.done += units

    def note(self, sentence: str) -> None:
        self.said.append(sentence)


def remembering() -> Network:
    """A small classifier whose BatchNorm layers have seen dark, smooth images."""
    module = tiny_resnet().train()
    seen = 0.3 * torch.nn.functional.interpolate(
        torch.rand(256, 3, 2, 2, generator=torch.Generator().manual_seed(0)), size=8, mode="bilinear"
    )
    with torch.no_grad():
        for _ in range(60):
            module(seen)
    return make_network("dark", module.eval(), input_shape=(3, 8, 8), classes=10)


def plain(classes: int | None) -> Network:
    """Says how much red, green and blue an image has, against grey; no BatchNorm."""
    module = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(3, 3))
    with torch.no_grad():
        module[2].weight.copy_(10 * torch.eye(3))  # type: ignore[operator, union-attr]
        module[2].bias.fill_(-5.0)  # type: ignore[operator, union-attr]
    return make_network("plain", module, input_shape=(3, 8, 8), classes=classes)


def misfit(network: Network, images: torch.Tensor) -> float:
    with statistics(network) as recorder, torch.no_grad():
        network(images)
        return float(batch_norm_misfit(recorder))


@pytest.mark.parametrize("start", ["procedural", "noise"])
def test_synthesised_images_fit_what_the_network_remembers(start: str) -> None:
    network = remembering()
    plan = dataclasses.replace(PLAN, start=start, steps=60)

    images = synthesise_batch(network, plan, seed=0, number=0)

    before = synthesise_batch(network, dataclasses.replace(plan, steps=1, rate=1e-6), seed=0, number=0)
    assert misfit(network, images) < 0.3 * misfit(network, before)
    assert float(images.mean()) < float(before.mean())
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1


def test_the_misfit_by_hand() -> None:
    one = torch.tensor([1.0, 0.0])
    layer = BnStatistics("bn", one, torch.tensor([4.0, 1.0]), torch.zeros(2), torch.tensor([1.0, 1.0]))

    # channel 0: shift 1, deviation 2 for 1; channel 1: as remembered
    assert float(batch_norm_misfit(BnRecorder([layer]))) == pytest.approx((1 + 1) / 2, abs=1e-5)


def test_labels_are_met_without_batch_norm() -> None:
    network = plain(classes=3)
    assert means(network) == "classes"

    images = synthesise_batch(
        network, dataclasses.replace(PLAN, classes=5.0, smoothness=0.1, steps=100), seed=2, number=0
    )

    rng = np.random.default_rng([2, 0])
    draw_images(rng, 8, (8, 8), device=torch.device("cpu"))
    labels = torch.from_numpy(rng.integers(0, 3, 8))
    assert int((network(images).argmax(1) == labels).sum()) >= 7


def test_embeddings_are_spread_without_batch_norm() -> None:
    network = plain(classes=None)
    assert means(network) == "embeddings"

    def cosine(images: torch.Tensor) -> float:
        unit = nn.functional.normalize(network(images), dim=1)
        return float(((unit @ unit.T).square().sum() - len(unit)) / (len(unit) * (len(unit) - 1)))

    images = synthesise_batch(network, dataclasses.replace(PLAN, spread=5.0, steps=100), seed=0, number=0)
    before = synthesise_batch(network, dataclasses.replace(PLAN, steps=1, rate=1e-6), seed=0, number=0)
    assert cosine(images) < 0.8 * cosine(before)


def test_an_image_does_not_depend_on_how_many_are_asked() -> None:
    network = remembering()
    plan = dataclasses.replace(PLAN, steps=5)

    many = synthesise(network, count=20, plan=plan, seed=4)
    few = synthesise(network, count=11, plan=plan, seed=4)

    assert many.shape == (20, 3, 8, 8)
    assert torch.equal(many[:11], few)
    assert not torch.equal(many[:8], many[8:16])
    assert not torch.equal(few[:8], synthesise(network, count=8, plan=plan, seed=5))


def test_a_network_without_batch_norm_is_told_of() -> None:
    talk = Notes()

    synthesise(plain(classes=3), count=9, plan=dataclasses.replace(PLAN, steps=1), progress=talk)

    assert talk.said[0].startswith("plain has no BatchNorm layer")
    assert talk.said[1] == "synthesise 9 images"
    assert talk.done == 9


def test_latents_are_not_synthesised() -> None:
    network = make_network("decoder", nn.Linear(4, 6), input_shape=(4,))

    with pytest.raises(UsageError, match="drawn from their law"):
        synthesise(network, count=1, plan=PLAN)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"batch": 1}, {"rate": -1.0}, {"classes": -1.0}, {"start": "photo"}])
def test_a_plan_that_cannot_run_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="Correct the plan"):
        SynthesisPlan(**wrong)  # type: ignore[arg-type]
