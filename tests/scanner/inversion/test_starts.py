from __future__ import annotations

import torch
from small_generators import Bent, generator_of, samples

from scanner.inversion.latent import LatentPlan, invert_latents
from scanner.inversion.spaces import open_space
from scanner.inversion.starts import DRAWS_FROM, NearestDraws


def test_the_nearest_draws_are_those_of_a_plain_search() -> None:
    generator = generator_of(Bent(), 4)
    _, images = samples(generator, 6)
    draws = NearestDraws(open_space(generator, "z"), 50, seed=3)

    found = [draws.nearest(images, [rank] * 6)[0] for rank in (0, 1, 49, 50)]

    z = torch.from_numpy(generator.law.draw(3, DRAWS_FROM, 50).values)
    made = generator.images(z)
    for row, image in enumerate(images):
        order = sorted(range(50), key=lambda i: float((made[i] - image).square().sum()))
        for points, rank in zip(found, (0, 1, 49, 0), strict=True):  # beyond the last it begins again
            torch.testing.assert_close(points[row], z[order[rank]])


def test_images_that_are_not_finite_are_nobodys_neighbour() -> None:
    class Spoilt(Bent):
        def forward(self, z):
            return super().forward(z) + torch.where(z[:, :1] > 0, torch.nan, 0.0)[:, :, None, None]

    generator = generator_of(Spoilt(), 4)
    draws = NearestDraws(open_space(generator, "z"), 40, seed=0)

    points, _ = draws.nearest(torch.rand(5, 3, 8, 8), [0, 1, 2, 3, 4])

    assert bool((points[:, 0] <= 0).all())


def test_a_search_from_the_nearest_draws_needs_fewer_steps() -> None:
    generator = generator_of(Bent(), 4)
    _, images = samples(generator, 30)

    near = list(invert_latents(generator, images, plan=LatentPlan(draws=500, slots=8, tolerance=0.01)))
    anywhere = list(invert_latents(generator, images, plan=LatentPlan(draws=0, slots=8, tolerance=0.01)))

    assert sum(one.steps for one in near) < 0.8 * sum(one.steps for one in anywhere)
