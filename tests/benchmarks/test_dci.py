"""The DCI benchmark: trainings that are compared cost the same, and its figures are what their names say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.dci.measure import compare_pairs, judge, recreate
from benchmarks.dci.rival import prefix, search_speed, searched, tuned
from benchmarks.dci.runs import ALONE, MIXED, NO_CYCLE, OURS, Run, equal_cost, step_flops, stream_of, trained
from benchmarks.dci.speeds import inverse_speeds, product_rate
from scanner.inversion.features.procedural import draw_images
from scanner.inversion.features.search import SearchPlan
from scanner.inversion.features.stack import Inverse
from scanner.inversion.features.stream import ProceduralStream
from scanner.inversion.features.train import DciPlan, train_inverse
from scanner.networks.network import Network, make_network
from scanner.networks.tiny import tiny_resnet

BASE = DciPlan(steps=20, batch=8)


@pytest.fixture(scope="module")
def network() -> Network:
    return make_network("tiny", tiny_resnet(), input_shape=(3, 8, 8), classes=10)


@pytest.fixture(scope="module")
def inverse(network: Network) -> Inverse:
    return train_inverse(network, ProceduralStream((8, 8), seed=1), plan=BASE)


def photos(count: int, side: int = 8) -> torch.Tensor:
    return draw_images(np.random.default_rng(0), count, (side, side), device=torch.device("cpu"))


@pytest.mark.parametrize("run", [NO_CYCLE, ALONE])
def test_trainings_that_are_compared_cost_the_same_arithmetic(network: Network, run: Run) -> None:
    long = replace(BASE, steps=1000)

    plan = equal_cost(network, run, long)

    assert plan.cycle == 0
    assert (plan.steps > long.steps) == (run is NO_CYCLE)
    assert step_flops(network, plan) * plan.steps == pytest.approx(step_flops(network, long) * long.steps, rel=0.01)


def test_a_finished_training_is_not_repeated(network: Network, tmp_path: Path) -> None:
    first, told = trained(OURS, network, BASE, lambda: photos(4), work=tmp_path, talk=lambda _: None)
    again, _ = trained(OURS, network, replace(BASE, steps=1), lambda: photos(4), work=tmp_path, talk=lambda _: None)

    assert told["plan"]["steps"] == BASE.steps
    for one, other in zip(first.modules.parameters(), again.modules.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_mixture_takes_its_pool_from_the_network(network: Network, tmp_path: Path) -> None:
    np.save(tmp_path / "tiny-pool.npy", np.zeros((3, 3, 8, 8), np.float32))

    batch = stream_of(MIXED, network, lambda: photos(4), tmp_path).batch(0, 8)

    # a black pool's images are of one colour, or two where a piece of another one is in them
    assert all(len(image.flatten(1).round(decimals=4).unique(dim=1).T) <= 2 for image in batch[4:])
    assert float(batch[:4].flatten(1).std(1).min()) > 0.01


def test_a_perfect_copy_is_judged_perfect(network: Network) -> None:
    images = torch.nn.functional.interpolate(photos(6), size=16)
    wide = make_network("wide", tiny_resnet(), input_shape=(3, 16, 16), classes=10)

    found = judge(wide, images, images, None)

    assert found.pop("each") == [100.0] * 6
    assert found == {"psnr_db": 100.0, "psnr_se": 0.0, "ssim": pytest.approx(1.0), "agreement": 1.0}


def test_runs_are_compared_photo_by_photo() -> None:
    depths = {"ours": {"a": {"each": [20.0, 30.0]}}, "no-cycle": {"a": {"each": [19.0, 28.0]}}}

    pairs = compare_pairs(depths)

    assert pairs == {"no-cycle": {"a": {"db": 1.5, "se": pytest.approx(0.5)}}}
    assert depths["ours"]["a"] == {}


def test_the_prefix_is_the_network_up_to_the_cut(inverse: Inverse) -> None:
    images = photos(5)

    for cut in inverse.names:
        assert torch.equal(prefix(inverse.blocks, cut)(images), inverse.features(images, cut))
        assert recreate(inverse, images, cut).shape == images.shape


def test_the_search_takes_the_weight_that_did_best(inverse: Inverse) -> None:
    plan, found = tuned(prefix(inverse.blocks, inverse.names[0]), photos(4), steps=5)

    assert found[f"rate {plan.rate} weight {plan.smoothness}"] == max(found.values())


def test_speeds_are_of_the_inverse(inverse: Inverse) -> None:
    found = inverse_speeds(inverse, batch=4, rate=product_rate(torch.device("cpu")))

    assert list(found) == list(inverse.names)
    work = [row["mflop"] for row in found.values()]
    assert work == sorted(work)
    assert all(row["images_per_s"] > 0 for row in found.values())


def test_a_finished_search_is_not_repeated(
    network: Network, inverse: Inverse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.dci.rival.STEPS", 6)
    monkeypatch.setattr("benchmarks.dci.rival.TUNING_STEPS", 2)
    name, images = inverse.names[1], photos(3)

    first = searched(network, [name], images, photos(4), work=tmp_path, talk=lambda _: None)[name]
    again = searched(network, [name], images, photos(2), work=tmp_path, talk=lambda _: None)[name]

    assert first["images"].shape == images.shape
    assert torch.equal(first["images"], again["images"])
    assert first["plan"] == again["plan"]
    assert first["plan"]["steps"] == 6


def test_a_search_of_more_steps_is_slower(inverse: Inverse) -> None:
    forward = prefix(inverse.blocks, inverse.names[0])

    short, long = (search_speed(forward, photos(3), SearchPlan(steps=steps)) for steps in (10, 1000))

    assert short > 10 * long > 0
