"""Measure the bed's generators against truth with the drawn recogniser alone, without `scanner audit`.

    python benchmarks/membership/quick.py OUT            # OUT was made by bed.py; writes OUT/quick.json, quick.md

Columns: identity AUC and TPR at a false positive rate of 1 %, by the mean over an identity's held-out photos of the
best score among the samples; the same AUC by the training photos themselves (if even these are no nearer to the
samples than strangers' photos are, nothing was memorised), in the recogniser's space and in pixels; underfit, the
out-of-fold AUC of a classifier that tells samples from held-out photos of people of the training distribution
(0.5: indistinguishable); mode shrinkage, the effective number of generated identities and the share of training
identities that some sample shows.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.membership.faces import SIDE_PX, Crowd, draw_crowd, grey_photo
from scanner.embedders.base import Embedder
from scanner.evidence.clusters import cluster_sizes, lead_clusters
from scanner.evidence.guards import two_sample
from scanner.evidence.roc import auc, tpr_at_fpr
from scanner.jobs.options import FaceOptions, open_road

RADIUS = 0.68
"""False match rate 1e-4 of the drawn recogniser: two samples this close show one person."""
Vectors = NDArray[np.float32]


@functools.cache
def recogniser() -> Embedder:
    """Return the drawn recogniser."""
    return open_road(FaceOptions(embedder="drawn", faces="aligned", workers=1)).road.embedder


def embed(pictures: NDArray[np.uint8]) -> Vectors:
    """Embed (n, side, side, 3) as `scanner embed --faces aligned` does: enlarged bilinearly to the network's input."""
    embedder = recogniser()
    parts = []
    for start in range(0, len(pictures), 64):
        crops = [cv2.resize(x, embedder.crop_size_px, interpolation=cv2.INTER_LINEAR) for x in pictures[start:][:64]]
        parts.append(embedder.embed(np.stack(crops).astype(np.uint8)))
    return np.concatenate(parts)


def embed_people(crowd: Crowd, cache: Path) -> Vectors:
    """Embed a crowd's photos: (people, photos, d)."""
    photos = draw_crowd(crowd, cache)
    return embed(photos.reshape(-1, SIDE_PX, SIDE_PX, 3)).reshape(crowd.people, len(crowd.photos), -1)


def best_match(people: Vectors, samples: Vectors) -> NDArray[np.float32]:
    """Return (people,) the mean over a person's photos of the best score among the samples."""
    return np.asarray((people @ samples.T).max(-1).mean(1), np.float32)


def compare(members: Vectors, others: Vectors, samples: Vectors) -> dict[str, float]:
    """Return the identity AUC with its interval (DeLong), and TPR at a false positive rate of 1 %."""
    inside, outside = best_match(members, samples), best_match(others, samples)
    area = auc(inside, outside)
    found = tpr_at_fpr(inside, outside, fpr=0.01, seed=0)
    return {"auc": area.value, "auc_low": area.low, "auc_high": area.high, "tpr_at_fpr_1pc": found.value}


def pixel_match(photos: NDArray[np.uint8], samples: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (n,) minus the mean squared difference, in grey levels, to the most alike sample."""
    left, right = (x.reshape(len(x), -1).astype(np.float32) for x in (photos, samples))
    squares = (left**2).sum(1)[:, None] + (right**2).sum(1)[None] - 2 * left @ right.T
    return np.asarray(-squares.min(1) / left.shape[1], np.float32)


def measure(folder: Path, others: Labelled) -> dict[str, Any]:
    """Measure one generator of the bed against truth."""
    truth = json.loads((folder / "truth.json").read_text())
    members, training = read_labelled(folder / "members.tar"), read_labelled(folder / "training.tar")
    samples = read_pictures(folder / "samples.tar")
    made, held_out, trained = embed(samples), embed(members.pictures), embed(training.pictures)
    strangers = embed(others.pictures)
    row: dict[str, Any] = {"name": folder.name, "what": truth["what"], "memorises": truth["memorises"]}
    row |= compare(by_person(held_out, members), by_person(strangers, others), made)
    same_style = grey_photo(others.pictures) if truth["grey"] else others.pictures
    far = embed(same_style) if truth["grey"] else strangers
    row["training_photos_auc"] = auc((trained @ made.T).max(1), (far @ made.T).max(1)).value
    row["training_pixels_auc"] = auc(pixel_match(training.pictures, samples), pixel_match(same_style, samples)).value
    row["samples_from_real_auc"] = two_sample(made, trained, seed=0).auc
    sizes = cluster_sizes(lead_clusters(made, radius=RADIUS))
    shown = (trained @ made.T).max(1) >= RADIUS
    row["photos_shown"], row["stranger_photos_shown"] = (
        float(shown.mean()),
        float(((far @ made.T).max(1) >= RADIUS).mean()),
    )
    names, codes = np.unique(training.identities, return_inverse=True)
    row |= {"samples": len(made), "made_identities": sizes.clusters, "effective_identities": sizes.effective_n}
    row |= {"training_identities": len(names), "coverage": float(np.mean(np.bincount(codes, shown) > 0))}
    if (folder / "shares.csv").exists():
        row |= _often(by_person(held_out, members)[0], by_person(strangers, others), made)
    return row


def _often(person: Vectors, others: Vectors, made: Vectors) -> dict[str, float]:
    """Return how the first member, the over-represented one, stands among strangers; its share of the samples."""
    score, null = float(best_match(person[None], made)[0]), best_match(others, made)
    p_value = float((1 + (null >= score).sum()) / (1 + len(null)))
    return {"often_p": p_value, "often_hits": float(((person @ made.T).max(0) >= RADIUS).mean())}


@dataclass(frozen=True, slots=True)
class Labelled:
    """Photos, uint8 (n, side, side, 3), and whom each shows."""

    pictures: NDArray[np.uint8]
    identities: NDArray[np.str_]


def read_labelled(path: Path) -> Labelled:
    """Read a tar of PNG and JSON pairs."""
    pictures, identities = [], []
    with tarfile.open(path) as tar:
        for member in tar:
            data = tar.extractfile(member)
            assert data is not None
            if member.name.endswith(".json"):
                identities.append(json.load(data)["identity"])
            else:
                pictures.append(np.asarray(Image.open(io.BytesIO(data.read())).convert("RGB")))
    return Labelled(np.stack(pictures), np.array(identities))


def read_pictures(path: Path) -> NDArray[np.uint8]:
    """Read a tar of pictures without identities: uint8 (n, side, side, 3)."""
    with tarfile.open(path) as tar:
        files = [tar.extractfile(member) for member in tar]
        return np.stack([np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")) for file in files if file])


def by_person(vectors: Vectors, photos: Labelled) -> Vectors:
    """Gather rows (n, d) by identity, every identity having as many photos: (people, photos, d)."""
    people = len(np.unique(photos.identities))
    return vectors[np.argsort(photos.identities, kind="stable")].reshape(people, -1, vectors.shape[1])


COLUMNS = {
    "generator": "{name}",
    "identity AUC": "{auc:.3f} ({auc_low:.2f} to {auc_high:.2f})",
    "TPR at FPR 1 %": "{tpr_at_fpr_1pc:.2f}",
    "AUC by training photos": "{training_photos_auc:.3f}",
    "the same, in pixels": "{training_pixels_auc:.3f}",
    "underfit: samples against real": "{samples_from_real_auc:.3f}",
    "identities made (effective)": "{made_identities} ({effective_identities:.0f}) of {samples}",
    "training identities shown": "{coverage:.2f} of {training_identities}",
    "training photos shown (strangers')": "{photos_shown:.3f} ({stranger_photos_shown:.3f})",
}


def to_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a table."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(form.format(**row) for form in COLUMNS.values()) + " |" for row in rows]
    for row in rows:
        if "often_p" in row:
            found = f"p = {row['often_p']:.4f} among strangers, in {100 * row['often_hits']:.1f} % of the samples"
            lines.append(f"\n{row['name']}, {row['what']}: the frequent one has {found}.")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure every generator of the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    others = read_labelled(args.out / "non_members.tar")
    rows = [measure(path.parent, others) for path in sorted(args.out.glob("*/truth.json"))]
    (args.out / "quick.json").write_text(json.dumps(rows, indent=2) + "\n")
    (args.out / "quick.md").write_text(to_markdown(rows))
    print(to_markdown(rows))


if __name__ == "__main__":
    main()
