from __future__ import annotations

import pytest
import torch
from small_generators import Affine, Bent, Broken, generator_of, samples
from torch import nn

from scanner.errors import ModelError, UsageError
from scanner.inversion.encoder import EncoderPlan, EncoderTraining, encoder_of, encoder_tensors, train_encoder
from scanner.inversion.latent import LatentPlan, invert_latents

SHORT = EncoderPlan(steps=200, batch=16, width=8, rate=5e-3)


@pytest.fixture(scope="module")
def bent():
    return generator_of(Bent(), 4)


@pytest.fixture(scope="module")
def encoder(bent):
    return train_encoder(bent, plan=SHORT)


def relative_errors(generator, z, images):
    with torch.no_grad():
        made = generator.images(z)
    return (made - images).flatten(1).norm(dim=1) / images.flatten(1).norm(dim=1)


def test_its_guess_is_far_nearer_than_a_draw(bent, encoder) -> None:
    _, images = samples(bent, 64)

    guess = relative_errors(bent, encoder(images), images)
    draw = relative_errors(bent, torch.from_numpy(bent.law.draw(1, 0, 64).values), images)

    assert float(guess.median()) < 0.35 * float(draw.median())


def test_from_its_guess_the_optimiser_needs_fewer_steps(bent, encoder) -> None:
    _, images = samples(bent, 24)
    plan = LatentPlan(restarts=1, draws=0, slots=8, tolerance=0.005)

    learned = list(invert_latents(bent, images, plan=plan, encoder=encoder))
    anywhere = list(invert_latents(bent, images, plan=plan))

    assert sum(one.steps for one in learned) < 0.8 * sum(one.steps for one in anywhere)
    assert sum(one.status == "converged" for one in learned) >= sum(one.status == "converged" for one in anywhere)


def test_a_training_taken_up_again_ends_in_the_same_bits(bent, encoder) -> None:
    first = EncoderTraining(bent, SHORT)
    first.run(77)
    state = first.state()

    second = EncoderTraining(bent, SHORT)
    second.load(state)
    resumed = second.run()

    for name, tensor in encoder_tensors(encoder).items():
        assert tensor.numpy().tobytes() == encoder_tensors(resumed)[name].numpy().tobytes(), name


def test_training_leaves_the_callers_random_numbers_alone(bent) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)

    EncoderTraining(bent, SHORT).run(2)

    torch.testing.assert_close(torch.rand(3), expected)


def test_tensors_make_the_same_encoder(bent, encoder) -> None:
    _, images = samples(bent, 3)

    again = encoder_of(encoder_tensors(encoder), size=4, shape_px=(8, 8), width=8, where="here")

    torch.testing.assert_close(again(images), encoder(images))


def test_tensors_of_another_encoder_are_refused(encoder) -> None:
    with pytest.raises(ModelError, match=r"here holds no encoder for latents of 5 numbers.*--encoder train"):
        encoder_of(encoder_tensors(encoder), size=5, shape_px=(8, 8), width=8, where="here")


def test_a_generator_that_gives_nan_ends_the_training_with_a_sentence() -> None:
    with pytest.raises(ModelError, match=r"loss at step 1 is not finite.*--encoder none"):
        train_encoder(generator_of(Broken(limit=-9.0), 6), plan=SHORT)


def test_a_generator_without_gradients_is_refused() -> None:
    with pytest.raises(UsageError, match="No gradient reaches the latents of small"):
        EncoderTraining(generator_of(Affine(), 6, differentiable=False), SHORT)


def test_in_w_it_guesses_w_even_where_the_mapping_jumps() -> None:
    class Jumps(nn.Module):
        """The first number chooses one of five places; no gradient reaches it."""

        def __init__(self) -> None:
            super().__init__()
            self.places = nn.Parameter(torch.randn(5, 4, generator=torch.Generator().manual_seed(7)))

        def forward(self, z):
            chosen = (torch.special.ndtr(z[:, 0]) * 5).long().clamp(0, 4)
            return self.places[chosen] + 0.1 * z[:, 1:]

    generator = generator_of(Bent(), 5, mapping=Jumps())
    _, images = samples(generator, 30)

    learned = train_encoder(generator, plan=EncoderPlan(steps=200, batch=16, width=8, rate=5e-3, space="w"))
    plan = LatentPlan(restarts=1, draws=0, slots=8, tolerance=0.005, space="w")
    found = list(invert_latents(generator, images, plan=plan, encoder=learned))

    assert sum(one.status == "converged" for one in found) >= 28


@pytest.mark.parametrize("shape", [(8, 8), (33, 47), (36, 36), (300, 200)])
def test_any_size_of_image_fits(shape: tuple[int, int]) -> None:
    from scanner.inversion.encoder import LatentEncoder

    assert LatentEncoder(size=5, shape_px=shape, width=8)(torch.rand(2, 3, *shape)).shape == (2, 5)
