"""Latents of a real face generator: its own samples are made again, and a recogniser's gradient raises the likeness."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_generators import generator_of, samples

from scanner.generators.generator import Generator
from scanner.inversion.latent import Account, LatentPlan, invert_latents
from scanner.networks.from_onnx import module_from_onnx
from scanner.networks.network import Preprocessing, make_network

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def vae(real: Path) -> Generator:
    module = torch.export.load(real / "models" / "vae-celeba-decoder.pt2").module()
    return generator_of(module, 10, side=64)


def test_samples_of_a_face_generator_are_made_again(vae: Generator) -> None:
    _, images = samples(vae, 16)
    account = Account()

    found = list(invert_latents(vae, images, plan=LatentPlan(restarts=8, slots=16), account=account))

    errors = [float((one.image01 - image).norm() / image.norm()) for one, image in zip(found, images, strict=True)]
    assert sum(error <= 0.01 for error in errors) >= 14, errors
    assert account.utilisation > 0.5


@pytest.mark.slow
def test_a_recognisers_gradient_raises_the_likeness_of_photos(
    vae: Generator, real: Path, lfw_photos: list[NDArray[np.uint8]]
) -> None:
    recogniser = make_network(
        "reid",
        module_from_onnx(real / "models" / "face-reid-0095.onnx"),
        input_shape=(3, 112, 112),
        preprocessing=Preprocessing(mean=(127.5,) * 3, scale=(1 / 127.5,) * 3),
    )
    crops = [cv2.resize(photo[57:193, 57:193], (64, 64), interpolation=cv2.INTER_AREA) for photo in lfw_photos]
    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
    plan = {"restarts": 1, "draws": 256, "slots": 8, "steps_max": 60}

    plain = list(invert_latents(vae, images, plan=LatentPlan(identity=1e-9, **plan), identity=recogniser))
    pulled = list(invert_latents(vae, images, plan=LatentPlan(identity=0.1, **plan), identity=recogniser))

    assert np.mean([one.identity for one in pulled]) > np.mean([one.identity for one in plain]) + 0.1
    assert np.mean([one.pixel_mse for one in pulled]) < 4 * np.mean([one.pixel_mse for one in plain])
