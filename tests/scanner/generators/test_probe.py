"""What is found out about a network when it is opened, and what the user is told to write."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from scanner.errors import ModelError
from scanner.generators import LatentLaw


class Changed(nn.Module):
    """A network with something done to its output."""

    def __init__(self, inner, change) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, z, *more):
        return self.change(self.inner(z), z, *more)


def test_what_was_found_is_kept(opened, waves) -> None:
    generator = opened(waves(low=-1.0), output_range=(-1.0, 1.0))

    assert (generator.shape_px, generator.batch_max, generator.differentiable, generator.notes) == (
        (8, 8),
        None,
        True,
        (),
    )
    low, high = generator.value_range
    assert -1.0 <= low < -0.5
    assert 0.5 < high <= 1.0


def test_a_wrong_size_is_refused_with_the_right_one(opened, waves) -> None:
    with pytest.raises(ModelError, match=r"does not take latents of 5 numbers .*write size = 4 under \[latent\]"):
        opened(waves(4), law=LatentLaw(5))


def test_classes_that_a_network_does_not_take_are_refused(opened, waves) -> None:
    with pytest.raises(ModelError, match="4 numbers with a class"):
        opened(waves(4), law=LatentLaw(4, classes=3))


def test_an_export_with_a_fixed_batch_is_asked_one_by_one(opened, waves) -> None:
    def only_one(images, z):
        if len(z) != 1:
            raise AssertionError("Guard failed: z.size()[0] == 1")
        return images

    generator = opened(Changed(waves(), only_one))

    assert generator.batch_max == 1
    z = torch.from_numpy(LatentLaw(4).draw(1, 0, 5).values)
    torch.testing.assert_close(generator.images(z), opened(waves()).images(z))


@pytest.mark.parametrize(
    ("change", "stated", "proposed"),
    [
        (lambda x, _: x * 2 - 1, (0.0, 1.0), "[-1, 1]"),
        (lambda x, _: x * 255, (0.0, 1.0), "[0, 255]"),
        (lambda x, _: x * 255, (-1.0, 1.0), "[0, 255]"),
        (lambda x, _: x, (0.0, 255.0), "[0, 1]"),
        (lambda x, _: x - 0.5, (0.0, 1.0), "[-0.5, 0.5]"),
    ],
)
def test_a_wrong_range_is_refused_with_the_right_one(opened, waves, change, stated, proposed) -> None:
    with pytest.raises(ModelError) as caught:
        opened(Changed(waves(sharp=4.0), change), output_range=stated)

    assert f"Probably right is range = {proposed} under [output]." in str(caught.value)


def test_a_little_beyond_the_range_is_clipped(opened, waves) -> None:
    generator = opened(Changed(waves(sharp=4.0), lambda x, _: x * 1.2 - 0.1))
    z = torch.from_numpy(LatentLaw(4).draw(1, 0, 50).values)

    images, unclipped = generator.images(z), generator.images(z, clip=False)

    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
    assert float(unclipped.min()) < -0.05
    torch.testing.assert_close(unclipped.clamp(0, 1), images)
    torch.testing.assert_close(generator.unclipped(z), unclipped)


def test_washed_out_images_are_told(opened, waves) -> None:
    generator = opened(waves(low=0.55, high=0.95), output_range=(0.0, 1.0))

    assert "darker than the middle of range = [0, 1]" in generator.notes[0]


def test_a_generator_that_ignores_its_latent_is_refused(opened, waves) -> None:
    with pytest.raises(ModelError, match="ignores its latent: 8 different latents gave the same image"):
        opened(Changed(waves(), lambda x, _: x[:1].expand(len(x), -1, -1, -1)))


def test_a_generator_with_noise_of_its_own_is_refused(opened, waves) -> None:
    with pytest.raises(ModelError, match="draws noise of its own"):
        opened(Changed(waves(), lambda x, _: (x + 0.05 * torch.randn_like(x)).clamp(0, 1)))


def test_nothing_but_nan_is_refused_and_a_little_is_told(opened, waves) -> None:
    with pytest.raises(ModelError, match="All 8 images"):
        opened(Changed(waves(), lambda x, _: x * torch.nan))

    generator = opened(Changed(waves(), lambda x, z: torch.where((z[:, 0] > 0.0)[:, None, None, None], torch.nan, x)))
    bad = int((LatentLaw(4).draw(0, 0, 8).values[:, 0] > 0.0).sum())
    assert 0 < bad < 8
    assert generator.notes == (
        f"{bad} of its first 8 images hold NaN or infinities; such images are counted and left out",
    )


def test_another_layout_is_refused_with_the_right_one(opened, waves) -> None:
    last = Changed(waves(), lambda x, _: x.permute(0, 2, 3, 1))
    z = torch.from_numpy(LatentLaw(4).draw(1, 0, 5).values)

    with pytest.raises(ModelError, match='layout = "NHWC"'):
        opened(last)
    with pytest.raises(ModelError, match='layout = "NCHW"'):
        opened(waves(), layout="NHWC")
    torch.testing.assert_close(opened(last, layout="NHWC").images(z), opened(waves()).images(z))


def test_what_is_no_image_is_refused(opened, waves) -> None:
    with pytest.raises(ModelError, match="puts out 192 numbers for a latent, and an image"):
        opened(Changed(waves(), lambda x, _: x.flatten(1)))
    with pytest.raises(ModelError, match="puts out float and not an image"):
        opened(Changed(waves(), lambda *_: 1.0))


def test_grey_becomes_rgb_and_bgr_is_turned(opened, waves) -> None:
    z = torch.from_numpy(LatentLaw(4).draw(1, 0, 5).values)

    grey = opened(waves(channels=1))
    turned = opened(waves(), channel_order="BGR")

    assert grey.images(z).shape == (5, 3, 8, 8)
    torch.testing.assert_close(grey.images(z)[:, 0], grey.images(z)[:, 2])
    torch.testing.assert_close(turned.images(z), opened(waves()).images(z).flip(1))


def test_whether_gradients_flow_is_tried_out(opened, waves) -> None:
    cut = opened(Changed(waves(), lambda x, _: x.detach()))
    flat = opened(Changed(waves(), lambda x, _: (x * 10).round() / 10))

    assert not cut.differentiable
    assert not flat.differentiable


def test_a_class_is_given_as_number_or_as_a_row(opened, waves) -> None:
    shift = torch.tensor([0.0, 0.1, 0.2])
    by_number = Changed(waves(high=0.7), lambda x, _, label: x + shift[label][:, None, None, None])
    by_row = Changed(waves(high=0.7), lambda x, _, row: x + (row @ shift)[:, None, None, None])
    law = LatentLaw(4, classes=3)
    drawn = law.draw(1, 0, 20)
    given = (torch.from_numpy(drawn.values), torch.from_numpy(drawn.labels))

    plain = opened(waves(high=0.7)).images(given[0])
    for module, labels in ((by_number, "index"), (by_row, "one-hot")):
        generator = opened(module, law=law, labels=labels)
        torch.testing.assert_close(generator.images(*given), plain + shift[given[1]][:, None, None, None])
        assert generator.network is None


def test_a_mapping_leads_from_z_to_w(opened, waves) -> None:
    mapping = nn.Linear(2, 4).requires_grad_(False)
    z = torch.from_numpy(LatentLaw(2).draw(1, 0, 5).values)

    generator = opened(waves(), law=LatentLaw(2), mapping=mapping)

    torch.testing.assert_close(generator.images(z), waves()(mapping(z)))
    torch.testing.assert_close(generator.synthesis(mapping(z)), generator.images(z))
    torch.testing.assert_close(generator.unclipped_synthesis(mapping(z)), generator.images(z))
    assert opened(waves()).synthesis is not generator.synthesis


def test_a_latent_may_have_a_shape(opened, waves) -> None:
    inner = waves()
    shaped = nn.Sequential(nn.Flatten(), inner)

    class OnlyShaped(nn.Module):
        def __init__(self):
            super().__init__()
            self.shaped = shaped

        def forward(self, z):
            assert z.shape[1:] == (2, 2, 1)
            return self.shaped(z)

    generator = opened(OnlyShaped(), latent_shape=(2, 2, 1))
    z = torch.from_numpy(LatentLaw(4).draw(1, 0, 5).values)
    torch.testing.assert_close(generator.images(z), inner(z))


def test_a_generator_is_one_graph_for_who_takes_networks_apart(opened, waves) -> None:
    generator = opened(waves(channels=1, low=-1.0), output_range=(-1.0, 1.0))
    z = torch.from_numpy(LatentLaw(4).draw(1, 0, 5).values)

    network = generator.network

    assert network is not None
    assert (network.input_shape, network.output_shape) == ((4,), (3, 8, 8))
    assert network.fingerprint == generator.fingerprint
    np.testing.assert_array_equal(network(z).numpy(), generator.images(z).numpy())


@pytest.mark.parametrize("part", ["weights", "mapping"])
def test_what_does_not_fit_into_memory_is_said(opened, waves, monkeypatch, part) -> None:
    parts = {"weights": waves(), "mapping": nn.Linear(4, 4)}

    def full(device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(parts[part], "to", full)
    with pytest.raises(ModelError, match=r"weights\.pt2 does not fit into the memory of cpu\. Free some"):
        opened(parts["weights"], mapping=parts["mapping"])


def test_weights_without_numbers_are_refused(opened, waves) -> None:
    with pytest.raises(ModelError, match=r"hold no numbers.*Let the factory make them on the CPU"):
        opened(waves().to("meta"))
