"""The same two generators run backwards: what a generator was trained on it can re-create, and others' photos less well.

For each generator some of its training photos, and as many photos of people of no training set, are looked for among
what it can make (`scanner invert latent`).  Whether the two kinds of errors differ is asked with the test of Webster et
al. 2019.  What the leaking one re-created is then scanned like any other images: against other photos of the same
people.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scanner import artefacts
from scanner.evidence.recovery import ks_by_people
from scanner.images import encode_png
from scanner.jobs.inverting.latent import invert_latent
from scanner.jobs.inverting.options import InvertOptions
from scanner.jobs.options import FaceOptions
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.scan import scan
from scanner.progress import Progress
from scanner.world.two_generators import GENERATORS, reduced, side_px, trained_on, write_tar

PEOPLE, PHOTOS = 24, 2
"""Training people whose photos are looked for, and photos of each; as many of outsiders."""
INVERSION = InvertOptions(space="w", restarts=1, steps_max=40, draws=0, tolerance=0.0, slots=PEOPLE * PHOTOS)
"""Equal slots, equal bytes."""
Draw = Callable[[int, int], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Rewound:
    """What running one generator backwards tells.

    Attributes:
        photos: training photos that were looked for; as many of outsiders.
        training_error: median relative error ||G(w) - x|| / ||x|| of the training photos.
        outsiders_error: the same of outsiders' photos.
        ks_p: p-value of the two-sample Kolmogorov-Smirnov test between the two kinds of errors, with people shuffled
            between them (`evidence.recovery`): at least 1 in 4001.
        training_matched: re-created training photos that match other photos of the person; None where nobody looked.
        outsiders_matched: likewise of outsiders' photos.
    """

    photos: int
    training_error: float
    outsiders_error: float
    ks_p: float
    training_matched: int | None
    outsiders_matched: int | None


def draw_wanted(pictures: Path, draw: Draw, *, outsiders: range, photo: int, name_of: str) -> None:
    """Draw the photos to be looked for, at the generators' resolution, into `pictures`/rewound/.

    Args:
        pictures: the drawn world, with `generators/`.
        draw: (person, photo) to uint8 RGB (112, 112, 3).
        outsiders: people of no training set.
        photo: the first number of their photos that nothing else shows.
        name_of: how the world calls a person, as a format of the number.
    """
    folder = pictures / "rewound"
    folder.mkdir()
    side = side_px(pictures / "generators")
    shown = {f"{name}-training": trained_on(pictures / "generators", name) for name in GENERATORS}
    shown["outsiders"] = (outsiders, range(photo, photo + PHOTOS))
    for name, (people, photos) in shown.items():
        wanted = [
            (
                f"{name_of.format(number)}-{which}",
                encode_png(reduced(draw(number, which), side)),
                name_of.format(number),
            )
            for number in people[:PEOPLE]
            for which in photos[:PHOTOS]
        ]
        write_tar(folder / f"{name}.tar", wanted)


def rewind(pictures: Path, *, candidates: Path, outsiders: Path, fmr: float, progress: Progress) -> dict[str, Rewound]:
    """Look for the photos in both generators; scan what the leaking one re-created.

    Args:
        pictures: the drawn world, after `draw_wanted`; `rewound/` gets `inverted-NAME/`, and `run/`, the scan.
        candidates: index of other photos of the leaking generator's people.
        outsiders: index of other photos of the outsiders; it gives the threshold.
        fmr: false match rate of the threshold.
        progress: where to report.
    """
    out, found = pictures / "rewound", {}
    for name in GENERATORS:
        folder = out / f"inverted-{name}"
        wanted = [str(out / f"{kind}.tar") for kind in (f"{name}-training", "outsiders")]
        invert_latent(pictures / "generators" / f"{name}.toml", wanted, folder, options=INVERSION, progress=progress)
        sides = _sides(folder)
        training, others = ([row["relative_error"] for row in side] for side in sides)
        matched: tuple[int | None, int | None] = (None, None)
        if name == "leaking":
            own = _own_matches(folder, out / "run", (candidates, outsiders), fmr=fmr, progress=progress)
            matched = (len(own & {row["item_id"] for row in sides[0]}), len(own & {row["item_id"] for row in sides[1]}))
        p_value = _p_value(sides)
        found[name] = Rewound(len(training), float(np.median(training)), float(np.median(others)), p_value, *matched)
    return found


def _sides(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the inverted training photos, and those of outsiders: item_id, identity, relative_error."""
    columns = ["item_id", "uri", "identity", "relative_error"]
    rows = artefacts.read_table(folder / "inversions.parquet", "inversions", columns=columns).to_pylist()
    good = [row for row in rows if row["relative_error"] is not None]
    is_training = ["-training.tar" in row["uri"] for row in good]
    return [r for r, yes in zip(good, is_training, strict=True) if yes], [
        r for r, yes in zip(good, is_training, strict=True) if not yes
    ]


def _p_value(sides: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> float:
    rows = [*sides[0], *sides[1]]
    people, codes = np.unique([row["identity"] for row in rows], return_inverse=True)
    member = np.isin(people, [row["identity"] for row in sides[0]])
    errors = np.array([row["relative_error"] for row in rows], np.float64)
    return ks_by_people(errors, codes.astype(np.int64), member, seed=0)[1]


def _own_matches(inverted: Path, out: Path, against: tuple[Path, Path], *, fmr: float, progress: Progress) -> set[str]:
    """Scan re-created photos; return the items that match another photo of the person whom they are of."""
    run = scan(
        str(inverted / "reconstructions-*.tar"), against=list(against), out=out,
        options=ScanOptions(fmr=fmr, calibrate_on=str(against[1]), with_crops=True),
        faces=FaceOptions(embedder="drawn", faces="aligned"), progress=progress,
    )  # fmt: skip
    shown = {row["item_id"]: row["identity"] for side in _sides(inverted) for row in side}
    found = set()
    for row in run.matches().select(["query_uri", "identity"]).to_pylist():
        item_id = row["query_uri"].rpartition("/")[2].partition(".")[0]
        if shown[item_id] == row["identity"]:
            found.add(item_id)
    return found
