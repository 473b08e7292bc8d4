"""Real networks on real pictures: the road from a photo to a vector that says who is who."""

from __future__ import annotations

import io
import json
import tarfile

import cv2
import numpy as np
import onnx
import pytest
from PIL import Image

from scanner.embedders import open_embedder
from scanner.faces import open_finder
from scanner.records import Picture
from scanner.sessions import choose_device

CPU = choose_device("cpu")


@pytest.mark.real
def test_a_classifiers_inner_layer_embeds_whole_pictures(real, tmp_path):
    path = tmp_path / "squeezenet.onnx"
    path.symlink_to(real / "models" / "squeezenet-imagenet.onnx")
    last_image = next(n.output[0] for n in reversed(onnx.load(str(path)).graph.node) if n.op_type == "Concat")
    path.with_suffix(".json").write_text(
        json.dumps(
            {
                "channel_order": "BGR",
                "mean": [104, 117, 123],
                "scale": 1.0,
                "output": last_image,
                "pooling": "mean",
                "dim": 512,
            }
        )
    )
    opened = open_embedder(f"onnx:{path}", CPU)
    files = sorted((real / "images" / "imagenet").iterdir())[:3]
    pictures = [cv2.cvtColor(cv2.imread(str(f)), cv2.COLOR_BGR2RGB) for f in files]
    crops = np.stack([cv2.resize(p, (227, 227)) for p in pictures])
    darker = (crops * 0.8).astype(np.uint8)

    scores = opened.embedder.embed(crops) @ opened.embedder.embed(darker).T

    assert opened.notes == ()
    assert opened.embedder.crop_size_px == (227, 227)
    assert (scores.argmax(1) == np.arange(3)).all()
    assert scores.diagonal().min() > 0.9


@pytest.mark.real
def test_photos_of_one_person_score_above_photos_of_two(real):
    """The whole road on eight people: detected, aligned, embedded."""
    people: dict[str, list[bytes]] = {}
    for number in (0, 1):
        with tarfile.open(real / "faces" / f"lfw-dev-0{number}.tar") as tar:
            for member in tar:
                if member.name.endswith(".jpg") and (file := tar.extractfile(member)) is not None:
                    people.setdefault(member.name.rpartition("_")[0], []).append(file.read())
    files = [photos[:2] for photos in people.values() if len(photos) >= 2][:8]
    pairs = [[np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in pair] for pair in files]
    found = open_embedder(f"onnx:{real / 'models' / 'mobileface-v2.onnx'}", CPU).embedder
    finder = open_finder(
        "detect", crop_size_px=(112, 112), device=CPU, detector_path=real / "models" / "scrfd_500m_kps.onnx"
    )
    sides = [
        found.embed(np.stack([finder.find(Picture("", "", None, pair[side])).faces[0].crop_rgb_u8 for pair in pairs]))
        for side in (0, 1)
    ]

    scores = sides[0] @ sides[1].T

    assert len(pairs) == 8
    assert np.median(scores.diagonal()) > 0.55
    assert np.median(scores[~np.eye(8, dtype=bool)]) < 0.2
