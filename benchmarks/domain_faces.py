"""Pictures of real generators, real photos made as small as those, and indexes of both."""

import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexes import Index, VectorBatch, build_index
from scanner import artefacts
from scanner.faces.align import align
from scanner.faces.domain import Domain, Landmarks, Look, domain_of, span_px
from scanner.faces.quality import sharpness
from scanner.images import decode_rgb, encode_png
from scanner.jobs.options import OpenedRoad
from scanner.jobs.parts import face_columns
from scanner.records import Face, Picture, Quality, content_id
from scanner.sessions import choose_device, open_session

GAN36: Landmarks = ((0.262, 0.366), (0.738, 0.366), (0.5, 0.637), (0.318, 0.838), (0.682, 0.838))
"""Median landmarks of 150 samples, mirrored and averaged, as SCRFD sees them at four times their size with a border."""
Find = Callable[[Picture], Face | None]


@dataclass(frozen=True, slots=True)
class Variant:
    """A generator, the road of its samples, and how an LFW photo becomes one of its training pictures.

    `centre_px` of LFW's 250 become `side_px`; eyes then lie where they lie in the samples.
    """

    model: str
    latent: int
    side_px: int
    centre_px: int
    road: str
    landmarks: Landmarks | None = None


VARIANTS = {
    "gan36, fixed landmarks": Variant("gan36.onnx", 256, 36, 87, "landmarks", GAN36),
    "gan36, taken as aligned": Variant("gan36.onnx", 256, 36, 87, "aligned"),
    "vae-celeba, detected": Variant("vae-celeba-decoder.onnx", 10, 64, 193, "detect"),
}


def samples_of(variant: Variant, models: Path, number: int) -> Iterator[NDArray[np.uint8]]:
    """Yield pictures; sample i comes from the latent of seed i."""
    path = models / variant.model
    session = open_session(path.read_bytes(), choose_device("cpu"), threads=1, what=variant.model)
    for first in range(0, number, 50):
        seeds = range(first, min(number, first + 50))
        latent = np.stack([np.random.default_rng([s]).standard_normal(variant.latent) for s in seeds])
        (answer,) = session.run(None, {session.get_inputs()[0].name: latent.astype(np.float32)})
        yield from np.rint(np.clip(answer, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def finder_of(variant: Variant, detecting: OpenedRoad) -> Find:
    """Return picture → face by the variant's road."""

    def given(picture: Picture) -> Face:
        side = variant.side_px
        pixels = picture.pixels_rgb_u8
        if variant.landmarks is None:
            crop = np.asarray(cv2.resize(pixels, (112, 112), interpolation=cv2.INTER_LINEAR), np.uint8)
        else:
            crop = align(pixels, np.array(variant.landmarks) * side - 0.5, side_px=112)
        quality = Quality(size_px=float(side), sharpness=sharpness(crop))
        box = (0.0, 0.0, float(side), float(side))
        return Face(picture.item_id, picture.uri, picture.identity, 0, crop, box, quality)

    def seen(picture: Picture) -> Face | None:
        return next(iter(detecting.road.finder.find(picture).faces), None)

    return seen if variant.road == "detect" else given


def as_training_picture(photo: bytes, variant: Variant) -> NDArray[np.uint8]:
    """Cut the middle out of an LFW photo and reduce it to the generator's size."""
    pixels = decode_rgb(photo)
    first = (pixels.shape[0] - variant.centre_px) // 2
    middle = pixels[first : first + variant.centre_px, first : first + variant.centre_px]
    return np.asarray(cv2.resize(middle, (variant.side_px,) * 2, interpolation=cv2.INTER_AREA), np.uint8)


def embedded(faces: Sequence[Face], opened: OpenedRoad) -> NDArray[np.float32]:
    """Return (n, d) unit vectors."""
    batches = [faces[start : start + 16] for start in range(0, len(faces), 16)]
    with ThreadPoolExecutor(opened.road.workers) as pool:
        found = list(pool.map(lambda b: opened.road.embedder.embed(np.stack([f.crop_rgb_u8 for f in b])), batches))
    return np.concatenate(found)


def write_index(
    path: Path, faces: pa.Table, vectors: NDArray[np.float32], like: Index, landmarks: Landmarks | None = None
) -> Path:
    """Write rows of `artefacts.REFERENCE_ROWS` with their vectors as an index of the same network."""
    columns = {name: faces[name] for name in artefacts.REFERENCE_ROWS.names if name in faces.column_names}
    table = artefacts.table_of(artefacts.REFERENCE_ROWS, columns)
    way = {**(like.manifest.embedder.get("faces") or {}), **({} if landmarks is None else {"landmarks": landmarks})}
    build_index(
        path, [(VectorBatch(vectors), table)], fingerprint=like.fingerprint, dim=like.dim,
        schema=artefacts.REFERENCE_ROWS, embedder={**like.manifest.embedder, "faces": way},
    )  # fmt: skip
    return path


def subset(people: Index, rows: NDArray[np.int64], path: Path) -> Path:
    """Write some references of `people` as an index of their own."""
    return write_index(path, people.lookup(rows), people.references().gather(rows), people)


def small_faces(names: Sequence[tuple[str, str]], photos: dict[str, bytes], variant: Variant, find: Find) -> list[Face]:
    """Return the faces of (item id, identity)'s photos as training pictures of the generator, where one is found."""
    faces = []
    for item_id, identity in names:
        pixels = as_training_picture(photos[item_id], variant)
        face = find(Picture(item_id, item_id, identity, pixels))
        if face is not None:
            faces.append(face)
    return faces


def write_faces(
    path: Path, faces: Sequence[Face], opened: OpenedRoad, like: Index, landmarks: Landmarks | None
) -> Path:
    """Write faces with their crops as an index."""
    columns = face_columns(faces)
    columns |= {"face_id": columns.pop("id"), "crop_png": [encode_png(face.crop_rgb_u8) for face in faces]}
    table = artefacts.table_of(artefacts.REFERENCE_ROWS, columns)
    return write_index(path, table, embedded(faces, opened), like, landmarks)


def domain_for(variant: Variant, faces: Sequence[Face]) -> Domain:
    """Return the domain of the samples' faces, as `measure_domain` does from tables."""
    looks = [Look(span_px(face.box_px, face.quality, landmarks=variant.landmarks)) for face in faces]
    return domain_of(looks, [face.quality.sharpness for face in faces], queries=len(faces), landmarks=variant.landmarks)


def read_photos(folder: Path) -> dict[str, bytes]:
    """Return every LFW photo's bytes by item id."""
    photos = {}
    for path in sorted(folder.glob("lfw-dev-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.name.endswith(".jpg") else None
                if file is not None:
                    data = file.read()
                    photos[content_id(data)] = data
    return photos
