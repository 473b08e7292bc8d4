"""What noise, fewer bits and fewer channels do to features, number by number."""

from __future__ import annotations

import pytest
import torch

from scanner.audit.split_config import SplitSection
from scanner.audit.split_defence import Defence, defences_of, defend, spread_of


def features(n: int = 40, shape: tuple[int, ...] = (6, 4, 4)) -> torch.Tensor:
    scale = torch.linspace(0.5, 3.0, shape[0]).view(-1, *[1] * (len(shape) - 1))
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0)) * scale + 1.0


@pytest.mark.parametrize("shape", [(6, 4, 4), (6,)])
def test_spread_is_that_of_each_channel_however_it_is_cut(shape: tuple[int, ...]) -> None:
    whole = features(shape=shape)

    spread = spread_of(iter(whole.split(7)))

    axes = [0, *range(2, whole.ndim)]
    torch.testing.assert_close(spread.sd, whole.std(axes, correction=0, keepdim=True))
    torch.testing.assert_close(spread.low, whole.amin(axes, keepdim=True))
    torch.testing.assert_close(spread.high, whole.amax(axes, keepdim=True))


def test_noise_has_the_deviation_asked_for_and_depends_on_the_photo_alone() -> None:
    whole = features(200)
    spread = spread_of(iter([whole]))
    noisy = defend(Defence("noise", 0.5), spread, seed=1, cut=2)

    out = noisy(whole, 0)

    torch.testing.assert_close(
        (out - whole).std((0, 2, 3)) / spread.sd.flatten(), torch.full((6,), 0.5), rtol=0.05, atol=0
    )
    torch.testing.assert_close(torch.cat([noisy(whole[:50], 0), noisy(whole[50:], 50)]), out)
    assert not torch.equal(defend(Defence("noise", 0.5), spread, seed=2, cut=2)(whole, 0), out)


def test_quantised_features_have_two_to_the_bits_levels_a_channel() -> None:
    whole = features()
    spread = spread_of(iter([whole]))

    coarse = defend(Defence("quantise", 2), spread, seed=0, cut=0)(whole, 0)
    fine = defend(Defence("quantise", 16), spread, seed=0, cut=0)(whole, 0)

    for channel in range(6):
        assert len(torch.unique(coarse[:, channel])) == 4
    step = (spread.high - spread.low) / 3
    assert bool(((coarse - whole).abs() <= step / 2 + 1e-5).all())
    torch.testing.assert_close(fine, whole, rtol=0, atol=3e-4)


def test_a_constant_channel_survives_quantisation() -> None:
    whole = torch.ones(5, 2, 3, 3)

    out = defend(Defence("quantise", 1), spread_of(iter([whole])), seed=0, cut=0)(whole, 0)

    torch.testing.assert_close(out, whole)


def test_the_same_share_of_channels_is_dropped_for_every_photo() -> None:
    whole = features()

    out = defend(Defence("drop", 0.5), spread_of(iter([whole])), seed=0, cut=0)(whole, 0)

    gone = (out == 0).all(3).all(2).all(0)
    assert int(gone.sum()) == 3
    torch.testing.assert_close(out[:, ~gone], whole[:, ~gone])


def test_every_strength_is_a_defence_once_after_nothing() -> None:
    section = SplitSection.model_validate({
        "network": "n", "inverse": "i", "photos": "p", "judges": ["drawn"],
        "defence": [{"kind": "noise", "values": [0.1, 0.3]}, {"kind": "noise", "values": [0.3]}, {"kind": "drop", "values": [0.5]}],
    })  # fmt: skip

    assert defences_of(section) == (
        Defence("none", 0.0), Defence("noise", 0.1), Defence("noise", 0.3), Defence("drop", 0.5),
    )  # fmt: skip
