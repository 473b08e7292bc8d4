from __future__ import annotations

import math

import pytest
import torch
from small_generators import Affine, Bent, generator_of, samples

from scanner.inversion.latent import LatentPlan, invert_latents, objective_of
from scanner.inversion.losses import perceptual_view
from scanner.networks.network import make_network
from scanner.networks.tiny import tiny_resnet


@pytest.fixture(scope="module")
def network():
    return make_network("tiny", tiny_resnet(), input_shape=(3, 32, 32))


def target_of(objective, images, labels=None):
    return {**objective.target(images), "label": torch.zeros(len(images), dtype=torch.int64)}


def test_the_gradient_is_that_of_finite_differences_for_all_terms_together(network) -> None:
    generator = generator_of(Bent(), 4)
    z, images = samples(generator, 3)
    plan = LatentPlan(pixel=1.0, feature=0.3, identity=0.4, prior=0.2, channels_last=False)
    objective = objective_of(generator, plan, features=network, identity=network)
    points = z.flip(0)
    target = target_of(objective, images)

    _, gradient = objective.gradient(points, target)

    for axis in range(4):
        step = torch.zeros(1, 4)
        step[0, axis] = 2e-3
        above, below = objective.terms(points + step, target), objective.terms(points - step, target)
        slope = (above.total - below.total) / 4e-3
        torch.testing.assert_close(gradient[:, axis], slope, rtol=0.05, atol=2e-3)


def test_total_is_the_weighted_sum_of_the_terms(network) -> None:
    generator = generator_of(Bent(), 4)
    z, images = samples(generator, 4)
    plan = LatentPlan(pixel=2.0, feature=0.3, identity=0.4, prior=0.2)
    objective = objective_of(generator, plan, features=network, identity=network)

    terms = objective.terms(z.flip(0), target_of(objective, images))

    expected = 2 * terms.pixel + 0.3 * terms.feature + 0.4 * terms.identity + 0.2 * terms.prior
    torch.testing.assert_close(terms.total, expected)
    torch.testing.assert_close(terms.prior, z.flip(0).square().mean(1) / 2)
    assert bool((terms.feature > 0).all())
    assert bool((terms.identity > 0).all())


def test_at_the_true_latent_every_term_but_the_prior_vanishes(network) -> None:
    generator = generator_of(Bent(), 4)
    z, images = samples(generator, 4)
    objective = objective_of(generator, LatentPlan(), features=network, identity=network)

    terms = objective.terms(z, target_of(objective, images))

    for term in (terms.pixel, terms.feature, terms.identity):
        assert float(term.abs().max()) < 1e-5


def test_identity_is_one_minus_the_cosine_of_the_two_embeddings(network) -> None:
    generator = generator_of(Bent(), 4)
    z, images = samples(generator, 4)
    objective = objective_of(generator, LatentPlan(), identity=network)

    terms = objective.terms(z.flip(0), target_of(objective, images))

    def embed(pictures):
        return network.module(torch.nn.functional.interpolate(pictures, (32, 32), mode="bilinear"))

    expected = 1 - torch.cosine_similarity(embed(images.flip(0)), embed(images))
    torch.testing.assert_close(terms.identity, expected, rtol=1e-3, atol=1e-5)


def test_the_perceptual_view_looks_at_pictures_at_five_depths_at_most(network) -> None:
    view = perceptual_view(network)
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))

    features = view.features(images)

    assert 2 <= len(features) <= 5
    # Unit length at every place, averaged over places and depths: all together have length 1.
    lengths = sum(f.square().flatten(1).sum(1) for f in features)
    torch.testing.assert_close(lengths, torch.ones(2), rtol=1e-3, atol=1e-3)


def test_beyond_white_and_black_there_is_no_error_but_a_gradient_back() -> None:
    generator = generator_of(Affine(), 6)
    z = torch.from_numpy(generator.law.draw(5, 0, 8).values) * 8
    images = generator.images(z)
    assert bool((images >= 1).any())
    assert bool((images <= 0).any())

    found = list(invert_latents(generator, images, plan=LatentPlan(draws=0, tolerance=1e-4, slots=4)))

    assert {one.status for one in found} == {"converged"}
    for one, image in zip(found, images, strict=True):
        assert float((one.image01 - image).abs().max()) < 1e-2
        assert float(one.image01.max()) <= 1
        assert one.pixel_mse == pytest.approx(float((one.image01 - image).square().mean()), rel=1e-3, abs=1e-12)


def test_features_and_identity_pull_the_search_and_are_reported(network) -> None:
    generator = generator_of(Bent(), 4)
    _, images = samples(generator, 6)
    noisy = (images + 0.2 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    plain = LatentPlan(draws=16, slots=4, restarts=2, steps_max=100)
    pulled = LatentPlan(draws=16, slots=4, restarts=2, steps_max=100, pixel=0.0, feature=1.0, identity=1.0)

    by_pixels = list(invert_latents(generator, noisy, plan=plain))
    by_networks = list(invert_latents(generator, noisy, plan=pulled, features=network, identity=network))

    assert all(math.isnan(one.feature) and math.isnan(one.identity) for one in by_pixels)
    objective = objective_of(generator, pulled, features=network, identity=network)
    target = target_of(objective, noisy)
    of_pixels = objective.terms(torch.stack([one.latent for one in by_pixels]), target).total
    of_networks = torch.tensor([one.loss for one in by_networks])
    assert float(of_networks.mean()) < float(of_pixels.mean())
    for one in by_networks:
        assert one.loss == pytest.approx(one.feature + 1 - one.identity, rel=1e-3)


def test_bfloat16_changes_the_road_but_not_what_is_reported() -> None:
    generator = generator_of(Bent(), 4)
    _, images = samples(generator, 5)

    found = list(invert_latents(generator, images, plan=LatentPlan(amp=True, draws=32, slots=4, tolerance=0.02)))

    for one, image in zip(found, images, strict=True):
        with torch.no_grad():
            exact = generator.images(one.latent[None])[0]
        torch.testing.assert_close(one.image01, exact, rtol=0, atol=1e-5)
        assert one.pixel_mse == pytest.approx(float((exact - image).square().mean()), rel=1e-3, abs=1e-9)
    assert sum(one.relative_error < 0.05 for one in found) >= 4
