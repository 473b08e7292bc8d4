"""Modules that undo a block: shapes of every kind, scale, and what a linear guess is worth."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from scanner.errors import ModelError
from scanner.inversion.features.inverse import InverseModule, fit, statistics

KINDS = {
    "same size": ((8, 6, 6), (4, 6, 6)),
    "stride 2": ((8, 4, 4), (3, 8, 8)),
    "odd sides": ((8, 4, 4), (3, 7, 7)),
    "pooled without padding": ((6, 3, 3), (6, 7, 7)),
    "other aspect": ((6, 3, 5), (3, 6, 10)),
    "global pooling": ((6,), (6, 4, 4)),
    "pooled but not flat": ((6, 1, 1), (6, 9, 9)),
    "flattened": ((96,), (6, 4, 4)),
    "linear": ((10,), (16,)),
    "generator's image": ((3, 8, 8), (6, 4, 4)),
    "generator's first map": ((6, 2, 2), (5,)),
    "large map to latents": ((3, 20, 20), (5,)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_block_gets_its_input_shape_back(kind: str) -> None:
    """Whatever a block did to the shape is undone, with finite gradients for every weight."""
    given, wanted = KINDS[kind]
    module = InverseModule(given, wanted, layers=3)
    features, inputs = torch.randn(5, *given), torch.rand(5, *wanted)
    module.calibrate(features, inputs)
    back = module(features)
    back.square().sum().backward()

    assert back.shape == (5, *wanted)
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in module.parameters())


def test_an_empty_shape_is_refused() -> None:
    with pytest.raises(ModelError, match="shape is empty"):
        InverseModule((), (3, 8, 8))


def test_fresh_module_is_the_best_pointwise_guess() -> None:
    """Channels mixed by an invertible matrix are unmixed before any training, also from a stride-2 gathering."""
    torch.manual_seed(0)
    inputs = torch.rand(64, 3, 8, 8)
    mixed = torch.einsum("oc,nchw->nohw", torch.tensor([[1.0, 0.2, 0], [0.3, -1, 0.1], [0, 0.4, 2]]), inputs)
    gathered = functional.pixel_unshuffle(mixed, 2)
    for features in (mixed, gathered):
        module = InverseModule(features.shape[1:], inputs.shape[1:])
        module.calibrate(features, inputs)

        assert float((module(features).detach() - inputs).abs().max()) < 0.01


@pytest.mark.parametrize(("window", "stride", "side"), [(3, 2, 55), (7, 4, 115), (3, 1, 20), (11, 4, 67)])
def test_what_was_computed_without_padding_is_put_back_in_its_place(window: int, stride: int, side: int) -> None:
    """Sides that are no multiple of one another: the guess is as good at the last row as at the first."""
    torch.manual_seed(0)
    inputs = functional.interpolate(torch.rand(32, 3, 6, 6), (side, side), mode="bicubic")
    features = functional.avg_pool2d(inputs, window, stride)
    module = InverseModule(features.shape[1:], inputs.shape[1:])
    module.calibrate(features, inputs)

    error = (module(features).detach() - inputs).square().mean((0, 1))
    quarter = side // 4
    first, last = error[:quarter, :quarter].mean(), error[-quarter:, -quarter:].mean()

    assert float(error.mean()) < 0.1 * float(inputs.var())
    assert 0.5 < float(first / last) < 2.0


def test_scale_of_features_changes_nothing() -> None:
    """Features a thousand times as large give the same inverse: all that is learned is in units of their deviation."""
    torch.manual_seed(0)
    features, inputs = torch.randn(16, 4, 6, 6), torch.rand(16, 3, 6, 6)
    small = InverseModule((4, 6, 6), (3, 6, 6))
    large = InverseModule((4, 6, 6), (3, 6, 6))
    large.load_state_dict(small.state_dict())
    small.calibrate(features, inputs)
    large.calibrate(1000 * features + 50, inputs)

    torch.testing.assert_close(small(features), large(1000 * features + 50), rtol=1e-3, atol=1e-3)


def test_statistics_equal_the_slow_way() -> None:
    maps, vectors = torch.randn(7, 3, 4, 5), torch.randn(9, 6)
    mean, sd = statistics(maps)
    for channel in range(3):
        assert float(mean[channel]) == pytest.approx(float(maps[:, channel].mean()), abs=1e-6)
        assert float(sd[channel]) == pytest.approx(float(maps[:, channel].std(unbiased=False)), rel=1e-5)
    mean, sd = statistics(vectors)

    assert mean.shape == sd.shape == (6,)
    torch.testing.assert_close(sd, vectors.std(0, unbiased=False))


def test_a_dead_channel_does_not_divide_by_zero() -> None:
    maps = torch.randn(8, 3, 4, 4)
    maps[:, 1] = 0.0
    module = InverseModule((3, 4, 4), (3, 4, 4))
    module.calibrate(maps, torch.rand(8, 3, 4, 4))

    assert bool(torch.isfinite(module(maps)).all())


def test_fit_cuts_and_continues() -> None:
    maps = torch.arange(6.0).reshape(1, 1, 2, 3)

    assert fit(maps, (1, 2)).tolist() == [[[[0, 1]]]]
    assert fit(maps, (3, 4)).tolist() == [[[[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5]]]]
    assert fit(maps, (2, 1)).tolist() == [[[[1], [4]]]]
    assert fit(maps, (2, 5)).tolist() == [[[[0, 0, 1, 2, 2], [3, 3, 4, 5, 5]]]]
