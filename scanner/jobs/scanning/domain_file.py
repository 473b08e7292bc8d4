"""The scanned faces' domain on disk, so that photos that come later can be brought to it as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from indexes.atomic import write_json
from scanner import artefacts
from scanner.faces.domain import Domain, Look, bring, shown, span_px
from scanner.pipeline import Road
from scanner.records import Face

DOMAIN_FILE: Final = "domain.json"


def write_domain(folder: Path, domain: Domain) -> None:
    """Write `domain.json` into a run folder: how large, compressed and coloured its scanned faces are."""
    write_json(folder / DOMAIN_FILE, asdict(domain))


def read_domain(folder: Path) -> Domain:
    """Read the domain of a run that was matched to it; ArtefactError when it is missing or broken."""
    document = artefacts.read_json(folder / DOMAIN_FILE)
    landmarks = document["landmarks"]
    return Domain(
        tuple(Look(**look) for look in document["looks"]),
        document["queries"],
        tuple(document["sharpness"]),
        document["bytes_read"],
        document["webp"],
        None if landmarks is None else tuple((float(x), float(y)) for x, y in landmarks),
    )


def bring_faces(
    faces: Sequence[Face], vectors: NDArray[np.float32], domain: Domain, road: Road, *, seed: int
) -> NDArray[np.float32]:
    """Return the vectors of faces as they would be had their pictures looked like the scanned ones.

    The same as `jobs.null_match` does to an index, for a few faces in memory.

    Args:
        faces: with their crops.
        vectors: (n, dim) float32, theirs as they are.
        domain: of the scanned faces.
        road: its network embeds the brought crops.
        seed: of the draws.

    Returns:
        (n, dim) float32, unit rows; a face whose crop did not change, or cannot be embedded once it is brought, keeps its
        vector.
    """
    found = vectors.copy()
    for row, face in enumerate(faces):
        fill = None if domain.landmarks is None else shown(domain.landmarks, side_px=face.crop_rgb_u8.shape[0])
        look = domain.draw(face.face_id, seed=seed)
        brought = bring(face.crop_rgb_u8, look, own_px=span_px(face.box_px, face.quality), fill=fill)
        if not np.array_equal(brought, face.crop_rgb_u8):
            vector = road.embedder.embed(brought[None])[0]
            found[row] = vector if np.isfinite(vector).all() else found[row]
    return found
