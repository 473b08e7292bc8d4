"""The search by optimisation: it finds what is determined, each image for itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scanner.errors import UsageError
from scanner.inversion.features.procedural import draw_images
from scanner.inversion.features.search import SearchPlan, search_inputs, total_variation
from scanner.networks.network import make_network
from scanner.networks.tiny import tiny_resnet

SHAPE = (3, 8, 8)


def pictures(count: int) -> torch.Tensor:
    return draw_images(np.random.default_rng(0), count, (8, 8), device=torch.device("cpu"))


def test_features_that_determine_the_image_give_it_back() -> None:
    images = pictures(3)
    mixing = torch.linalg.qr(torch.randn(192, 192, generator=torch.Generator().manual_seed(0)))[0]

    found = search_inputs(
        lambda x: x.flatten(1) @ mixing, images.flatten(1) @ mixing, shape=SHAPE, plan=SearchPlan(300, smoothness=0.0)
    )

    assert float((found - images).abs().max()) < 0.01


def test_a_network_s_features_are_met() -> None:
    network = make_network("tiny", tiny_resnet(), input_shape=SHAPE, classes=10)
    images = pictures(4)
    wanted = network(images)

    found = search_inputs(network.module, wanted, shape=SHAPE, plan=SearchPlan(200, smoothness=0.001))

    start = search_inputs(network.module, wanted, shape=SHAPE, plan=SearchPlan(1))
    before, after = ((network(x) - wanted).square().sum(1) for x in (start, found))
    assert bool((after < 0.05 * before).all())
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    images = pictures(4)
    weight = torch.randn(192, 50, generator=torch.Generator().manual_seed(1)).abs()
    plan = SearchPlan(20, seed=3)

    def prefix(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ weight

    together = search_inputs(prefix, prefix(images), shape=SHAPE, plan=plan)
    apart = search_inputs(prefix, prefix(images[2:]), shape=SHAPE, plan=plan, first=2)

    assert float((together[2:] - apart).abs().max()) < 1e-4


def test_smoothness_smooths() -> None:
    images = pictures(4)
    few = torch.randn(192, 8, generator=torch.Generator().manual_seed(2))

    rough, smooth = (
        search_inputs(
            lambda x: x.flatten(1) @ few, images.flatten(1) @ few, shape=SHAPE, plan=SearchPlan(100, smoothness=s)
        )
        for s in (0.0, 1.0)
    )

    assert bool((total_variation(smooth) < 0.5 * total_variation(rough)).all())


def test_total_variation_of_a_ramp() -> None:
    ramp = torch.linspace(0, 0.7, 8).expand(1, 3, 8, 8)

    assert total_variation(ramp).item() == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"rate": 0.0}, {"smoothness": -1.0}, {"seed": -1}])
def test_a_plan_that_cannot_run_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="Correct the plan"):
        SearchPlan(**wrong)  # type: ignore[arg-type]


def test_features_of_another_cut_are_refused() -> None:
    with pytest.raises(UsageError, match="same cut"):
        search_inputs(lambda x: x.flatten(1), torch.zeros(2, 5), shape=SHAPE, plan=SearchPlan(1))
