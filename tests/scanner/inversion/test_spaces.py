from __future__ import annotations

import pytest
import torch
from small_generators import Affine, generator_of
from torch import nn

from scanner.errors import UsageError
from scanner.inversion.latent import LatentPlan, invert_latents
from scanner.inversion.spaces import open_space


class Mapping(nn.Module):
    """z to w, one per layer where `layers` is given."""

    def __init__(self, layers: int | None) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(3)
        self.matrix = nn.Parameter(torch.randn(6, 6, generator=random) * 0.5)
        self.layers = layers

    def forward(self, z):
        w = torch.tanh(z @ self.matrix) + 0.5
        return w if self.layers is None else w[:, None].repeat(1, self.layers, 1)


class Layered(nn.Module):
    """(n, 2, 6): the first layer makes the upper half, the second the lower one."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Affine()

    def forward(self, w):
        upper, lower = self.inner(w[:, 0]), self.inner(w[:, 1])
        return torch.cat([upper[:, :, :4], lower[:, :, 4:]], 2)


def test_w_begins_at_its_mean_and_later_at_draws() -> None:
    mapping = Mapping(None)
    space = open_space(generator_of(Affine(), 6, mapping=mapping), "w")

    points, _ = space.starts(0, [4, 4], [0, 1])

    z = torch.from_numpy(space.law.draw(0, (1 << 40) + 4 * 1024 + 1, 1).values)
    torch.testing.assert_close(points[0], space.mean[0])
    torch.testing.assert_close(points[1], mapping(z)[0])
    many = mapping(torch.from_numpy(space.law.draw(1, 0, 2000).values))
    torch.testing.assert_close(space.mean[0], many.mean(0), rtol=0, atol=0.06)
    torch.testing.assert_close(space.spread[0], many.std(0), rtol=0.08, atol=0)


@pytest.mark.parametrize("layers", [None, 2])
def test_images_of_w_are_found_in_w(layers: int | None) -> None:
    module = Affine() if layers is None else Layered()
    generator = generator_of(module, 6, mapping=Mapping(layers))
    z = torch.from_numpy(generator.law.draw(8, 0, 5).values)
    images = generator.images(z)

    found = list(invert_latents(generator, images, plan=LatentPlan(space="w", draws=0, tolerance=1e-4, slots=4)))

    assert {one.status for one in found} == {"converged"}
    w = generator.mapping(z) if layers is None else generator.mapping(z)[:, 0]
    torch.testing.assert_close(torch.stack([one.latent for one in found]), w, rtol=0, atol=5e-3)


def test_w_plus_reaches_images_that_no_single_w_makes() -> None:
    generator = generator_of(Layered(), 6, mapping=Mapping(2))
    w = torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(0)) * 0.5
    images = generator.synthesis(w)
    wanted = {"draws": 0, "tolerance": 1e-4, "slots": 4, "restarts": 1}

    plus = list(invert_latents(generator, images, plan=LatentPlan(space="w+", **wanted)))
    single = list(invert_latents(generator, images, plan=LatentPlan(space="w", **wanted)))

    assert {one.status for one in plus} == {"converged"}
    assert {one.status for one in single} == {"stalled"}
    torch.testing.assert_close(torch.stack([one.latent for one in plus]), w.flatten(1), rtol=0, atol=5e-3)


def test_a_generator_without_a_mapping_has_no_w() -> None:
    with pytest.raises(UsageError, match="has no w space: it was opened without a mapping network"):
        open_space(generator_of(Affine(), 6), "w")


def test_a_mapping_with_one_w_for_all_layers_has_no_w_plus() -> None:
    with pytest.raises(UsageError, match=r"gives one w for all layers, \(6,\), so there is no w\+"):
        open_space(generator_of(Affine(), 6, mapping=Mapping(None)), "w+")


@pytest.mark.parametrize(("law", "inside"), [("normal", False), ("uniform", True)])
def test_the_prior_of_a_bounded_law_is_zero_inside(law: str, inside: bool) -> None:
    space = open_space(generator_of(Affine(), 6, law=law), "z")
    points = torch.tensor([[0.9] * 6, [1.5] * 6])

    prior = space.prior(points)

    expected = [0.0, 0.25] if inside else [0.405, 1.125]
    torch.testing.assert_close(prior, torch.tensor(expected))


def test_a_prior_keeps_latents_small() -> None:
    generator = generator_of(Affine(), 6)
    z = torch.from_numpy(generator.law.draw(5, 0, 4).values) * 3
    images = generator.images(z, clip=False).clamp(0, 1)

    free = list(invert_latents(generator, images, plan=LatentPlan(draws=0, slots=4)))
    bound = list(invert_latents(generator, images, plan=LatentPlan(draws=0, slots=4, prior=0.02)))

    for loose, tight in zip(free, bound, strict=True):
        assert float(tight.latent.norm()) < 0.9 * float(loose.latent.norm())
