"""The inverse that the demo ships: made for the shipped recogniser, without a photo, and good for what the demo says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from scanner.inversion.features.store import load_inverse
from scanner.networks.description import open_network
from scanner.world import split_network
from scanner.world.draw import face_pixels

WORLD = Path(split_network.__file__).parent
INVERSE = WORLD / "split" / "inverse"
NETWORK = WORLD / "models" / "drawn-face-128.onnx"


def test_the_manifest_names_the_network_and_no_picture_of_anybody():
    manifest = json.loads((INVERSE / "inverse.json").read_text("utf-8"))

    assert (INVERSE / manifest["network_path"]).resolve() == NETWORK
    assert manifest["network"]["fingerprint"] == open_network(NETWORK).fingerprint
    assert manifest["stream"]["kind"] == "procedural"
    weights = INVERSE / "inverse.safetensors"
    assert manifest["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert weights.stat().st_size <= 2_100_000


def test_a_face_comes_back_from_the_first_cut_and_less_of_it_from_deeper_ones():
    network = open_network(NETWORK)
    inverse = load_inverse(INVERSE, network)
    faces = np.stack([face_pixels(77, number, 0) for number in range(8)])
    images = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255

    errors, own = [], []
    for cut in inverse.names:
        features = inverse.features(images, cut)
        back = inverse.inputs(features, cut)
        errors.append(float((back - images).square().mean()))
        again = inverse.features(back, cut)
        own.append(float((again - features).square().mean() / features.var(0).mean()))

    flat = float((images - images.mean((2, 3), keepdim=True)).square().mean())
    assert errors[0] < errors[1] < errors[2]
    assert errors[0] < 0.3 * flat
    assert max(own[:2]) < 0.5  # the re-created face gives the recogniser about the same features


def test_the_photos_are_those_of_the_first_people(tmp_path: Path):
    from scanner.images import encode_png
    from scanner.sources import open_sources
    from scanner.world.two_generators import write_tar

    png = encode_png(np.zeros((8, 8, 3), np.uint8))
    people = split_network.PEOPLE + 3
    photos = [(f"person-{n:05d}-{k}", png, f"person-{n:05d}") for n in range(people) for k in range(2)]
    write_tar(tmp_path / "outsiders.tar", photos)

    split_network.write_split(tmp_path)

    found = [entry.identity for entry in open_sources([str(tmp_path / "split" / "photos.tar")]).entries()]
    assert found == [identity for _, _, identity in photos[: 2 * split_network.PEOPLE]]
