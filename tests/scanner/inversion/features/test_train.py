"""A trained stack: better than untrained and than the mean image, consistent, resumable, told when it cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from dci_worlds import FAST, SIDE, NormalLatents, SoftStream, network_of
from torch import Tensor, nn

from scanner.errors import ArtefactError, ModelError, UsageError
from scanner.inversion.features import train
from scanner.inversion.features.checkpoint import NAME
from scanner.inversion.features.stack import Inverse, make_blocks, make_modules
from scanner.inversion.features.train import DciPlan, train_inverse
from scanner.networks.network import Network
from scanner.networks.tiny import tiny_decoder, tiny_repvgg, tiny_resnet, tiny_squeezenet, tiny_vgg

UNSEEN = SoftStream(seed=99).batch(0, 64)


@pytest.fixture(scope="module")
def network() -> Network:
    return network_of(tiny_resnet())


@pytest.fixture(scope="module")
def trained(network: Network) -> Inverse:
    return train_inverse(network, SoftStream(), plan=FAST)


def error(inverse: Inverse, cut: str, images: Tensor = UNSEEN) -> float:
    return float((inverse.inputs(inverse.features(images, cut), cut) - images).square().mean())


def feature_error(inverse: Inverse, cut: str) -> float:
    """Return how far the features of re-created images are from the ones they came from, in units of their deviation."""
    features = inverse.features(UNSEEN, cut)
    again = inverse.features(inverse.inputs(features, cut), cut)
    return float(((again - features) / inverse.spread(cut)).square().mean())


def test_training_beats_no_training_and_the_mean_image(network: Network, trained: Inverse) -> None:
    """Images that training never saw; the deepest cuts of so small a network say hardly more than the mean image does."""
    blocks, names = make_blocks(network, None, layers_max=2)
    untrained = Inverse(network, blocks, names, make_modules(blocks, width=1.0, seed=0))
    mean_image = float((UNSEEN - UNSEEN.mean(0)).square().mean())
    for cut in trained.names:
        assert error(trained, cut) < 0.5 * error(untrained, cut), cut
    for cut in trained.names[:3]:
        assert error(trained, cut) < 0.8 * mean_image, cut


def test_shallow_features_give_away_more_than_deep_ones(trained: Inverse) -> None:
    assert error(trained, trained.names[0]) < error(trained, trained.names[-1])


def test_cycle_consistency_lowers_the_features_error(network: Network) -> None:
    """At the logits, with the same steps and images."""
    without = train_inverse(network, SoftStream(), plan=replace(FAST, cycle=0.0))
    consistent = train_inverse(network, SoftStream(), plan=replace(FAST, cycle=1.0))

    assert feature_error(consistent, "linear") < 0.5 * feature_error(without, "linear")


def test_stitching_beats_modules_that_never_met(network: Network, trained: Inverse) -> None:
    alone = train_inverse(network, SoftStream(), plan=replace(FAST, stitch=False, cycle=0.0))
    deep = trained.names[3:]

    assert sum(error(trained, cut) for cut in deep) < sum(error(alone, cut) for cut in deep)


@pytest.mark.parametrize("build", [tiny_vgg, tiny_repvgg, tiny_squeezenet])
def test_every_kind_of_network_is_inverted(build) -> None:
    """Max-pooling, fire modules, side-by-side convolutions, strides, flattening: shapes, and a better image than grey."""
    inverse = train_inverse(network_of(build()), SoftStream(), plan=FAST)
    for cut in inverse.names:
        assert inverse.inputs(inverse.features(UNSEEN, cut), cut).shape == (64, 3, SIDE, SIDE)

    assert error(inverse, inverse.names[0]) < 0.8 * float((UNSEEN - UNSEEN.mean(0)).square().mean())


def test_a_generator_is_inverted_to_latents() -> None:
    """Image to latent, block by block: far better than the mean latent, whose error is 1."""
    network = network_of(tiny_decoder(), input_shape=(4,))
    inverse = train_inverse(network, NormalLatents(4), plan=replace(FAST, steps=200))
    latents = NormalLatents(4).batch(10_000, 64)
    found = inverse.inputs(network(latents), inverse.names[-1])

    assert found.shape == (64, 4)
    assert float((found - latents).square().mean()) < 0.3


def test_named_cuts_are_the_ones_offered(network: Network) -> None:
    """What lies behind the deepest is left out."""
    inverse = train_inverse(network, SoftStream(), plan=replace(FAST, steps=2, at=("layer2.0", "layer1.0")))

    assert inverse.names == ("layer1.0", "layer2.0")
    assert len(inverse.modules) == 2


def test_the_same_seed_gives_the_same_bits_and_another_does_not(network: Network) -> None:
    plan = replace(FAST, steps=4)
    first, again, other = (train_inverse(network, SoftStream(), plan=p) for p in (plan, plan, replace(plan, seed=1)))

    assert all(torch.equal(a, b) for a, b in zip(first.modules.parameters(), again.modules.parameters(), strict=True))
    assert not all(
        torch.equal(a, b) for a, b in zip(first.modules.parameters(), other.modules.parameters(), strict=True)
    )


class Killed(Exception):
    """The process went away."""


@pytest.mark.parametrize("killed_at", [1, 7, 10])
def test_resumed_equals_uninterrupted(network: Network, tmp_path: Path, killed_at: int) -> None:
    """Bit for bit, killed in either part of the training; a step after the last checkpoint is done again."""

    class Dying:
        def batch(self, i: int, n: int) -> Tensor:
            if i > killed_at and steps_seen[-1:] == [i - 1]:
                raise Killed
            steps_seen.append(i)
            return SoftStream().batch(i, n)

        def describe(self) -> dict[str, str | int | float]:
            return SoftStream().describe()

    steps_seen: list[int] = [-2]
    plan = replace(FAST, steps=12, alone=0.5)
    whole = train_inverse(network, SoftStream(), plan=plan)
    with pytest.raises(Killed):
        train_inverse(network, Dying(), plan=plan, work=tmp_path, keep_every=3)
    resumed = train_inverse(network, SoftStream(), plan=plan, work=tmp_path, keep_every=5)

    for kept, expected in zip(resumed.modules.parameters(), whole.modules.parameters(), strict=True):
        assert torch.equal(kept, expected)


def test_another_trainings_checkpoint_is_refused(network: Network, tmp_path: Path) -> None:
    train_inverse(network, SoftStream(), plan=replace(FAST, steps=2), work=tmp_path)
    with pytest.raises(ArtefactError, match="another network, plan or stream"):
        train_inverse(network, SoftStream(), plan=replace(FAST, steps=2, cycle=0.7), work=tmp_path)
    (tmp_path / NAME).write_bytes(b"not a checkpoint at all")
    with pytest.raises(ArtefactError):
        train_inverse(network, SoftStream(), plan=replace(FAST, steps=2), work=tmp_path)


def test_a_batch_that_does_not_fit_is_split(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for 10 images at a time: the same training within rounding."""
    real = train.stitched_loss

    def small(blocks, modules, inputs, depths, weights, **rest):
        if len(inputs) > 10:
            raise torch.OutOfMemoryError("no room")
        return real(blocks, modules, inputs, depths, weights, **rest)

    plan = replace(FAST, steps=3, alone=0.0, rate=1e-4, cycle_every=1)
    whole = train_inverse(network, SoftStream(), plan=plan)
    monkeypatch.setattr(train, "stitched_loss", small)
    split = train_inverse(network, SoftStream(), plan=plan)
    for cut in whole.names:
        features = whole.features(UNSEEN, cut)
        torch.testing.assert_close(split.inputs(features, cut), whole.inputs(features, cut), atol=2e-3, rtol=0)


def test_not_even_one_image_fits(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_, **__):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(train, "stitched_loss", never)
    with pytest.raises(ModelError, match="does not fit into the device's memory"):
        train_inverse(network, SoftStream(), plan=replace(FAST, steps=1, alone=0.0))


def test_a_loss_that_is_no_number_is_told(network: Network) -> None:
    class Broken:
        def batch(self, i: int, n: int) -> Tensor:
            images = SoftStream().batch(i, n)
            return images if i != 5 else images * float("nan")

        def describe(self) -> dict[str, str | int | float]:
            return {"kind": "broken"}

    with pytest.raises(ModelError, match=r"step 5 of 9.*lower --rate"):
        train_inverse(network, Broken(), plan=replace(FAST, steps=9))


def test_a_stream_of_another_size_is_refused(network: Network) -> None:
    with pytest.raises(UsageError, match=r"\(3, 12, 12\)"):
        train_inverse(network, SoftStream(side=12), plan=FAST)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"rate": 0.0}, {"cycle": -1.0}, {"alone": 2.0}, {"seed": -1}, {"width": float("nan")}]
)
def test_plans_that_train_nothing_are_refused(network: Network, wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        train_inverse(network, SoftStream(), plan=replace(DciPlan(), **wrong))


def test_the_network_is_left_as_it_was(network: Network) -> None:
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    train_inverse(network, SoftStream(), plan=replace(FAST, steps=2))

    assert all(torch.equal(before[name], value) for name, value in network.module.state_dict().items())
    assert not any(isinstance(m, nn.Module) and m.training for m in network.module.modules())
