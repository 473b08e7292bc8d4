"""What a user may choose about sources, faces and embedder; and the road that follows from it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from scanner.embedders import find_embedder, open_embedder
from scanner.errors import UsageError
from scanner.faces import Gates, Mode, open_finder
from scanner.faces.domain import Landmarks
from scanner.images import FILE_BYTES_MAX, PIXELS_MAX
from scanner.pipeline import Road
from scanner.sessions import choose_device
from scanner.sources import Source, open_sources

READY = "ready embeddings"
"""What stands in place of an embedder's name where vectors were brought ready."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How sources are read.

    Attributes:
        identity_from: "labels" (what the format says), "folder" (first sub-folder), "name" (file name up to its
            last underscore) or "nothing".
        image_column: Parquet column of images.
        identity_column: Parquet column of identities.
        bytes_max: larger files are rejected.
        storage_options: for fsspec; never written to an artefact, since it may hold credentials.
    """

    identity_from: str = "labels"
    image_column: str | None = None
    identity_column: str | None = None
    bytes_max: int = FILE_BYTES_MAX
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False)

    def open(self, specs: Sequence[str]) -> Source:
        """Open the sources, one after the other, as one."""
        return open_sources(
            specs,
            identity_from=self.identity_from,
            image_column=self.image_column,
            identity_column=self.identity_column,
            bytes_max=self.bytes_max,
            storage_options=self.storage_options,
        )

    def plan(self) -> dict[str, Any]:
        """Return what a resumed job must find unchanged."""
        return {
            "identity_from": self.identity_from,
            "image_column": self.image_column,
            "identity_column": self.identity_column,
            "bytes_max": self.bytes_max,
        }


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """How pictures become vectors.

    Attributes:
        embedder: see `scanner.embedders.open_embedder`; None takes what is installed, and says which.
        faces: "detect", "aligned" or "whole"; None takes what the index was built with, else "detect".
        detector: an SCRFD file; None takes the pack's own.
        select: "central" (large and near the middle), "largest" or "all" faces of a picture.
        gates: quality gates.
        landmarks: for "aligned": where eyes, nose and mouth corners lie in every picture, as shares of its sides, where
            that is not the template.  Never taken from an index: its pictures are framed otherwise.
        pixels_max: larger pictures are rejected before they are decoded.
        device: "auto", "cpu" or "cuda".
        workers: threads; 0 takes one for each core that this process may use.  Changes no result.
    """

    embedder: str | None = None
    faces: Mode | None = None
    detector: str | None = None
    select: Literal["central", "largest", "all"] = "central"
    gates: Gates = field(default_factory=Gates)
    landmarks: Landmarks | None = None
    pixels_max: int = PIXELS_MAX
    device: str = "auto"
    workers: int = 0


def like_index(options: FaceOptions, recipe: Mapping[str, Any]) -> FaceOptions:
    """Fill what the user left open with what built an index.

    Args:
        options: the user's wishes, which come first.
        recipe: the index's `manifest.embedder`.
    """
    name, way = recipe.get("name"), recipe.get("faces") or {}
    if options.faces is None and way.get("mode") is not None:
        options = replace(options, faces=way["mode"])
    if not isinstance(name, str) or name == READY or options.embedder not in (None, name):
        return options
    return replace(options, embedder=name, detector=options.detector or recipe.get("detector"))


def changed_faces(options: FaceOptions, road: Mapping[str, Any]) -> list[str]:
    """Return which options are not those that a finished result was made with; opens no network.

    Args:
        options: what is asked for now; an embedder or a detector that is left open is the one of then.
        road: what an artefact says of then, see `OpenedRoad.description`.
    """
    then = road.get("faces")
    if then is None:
        return []  # ready embeddings: no pictures were looked at
    now = {
        "embedder": options.embedder or road["embedder"]["name"],
        "faces": options.faces or "detect",
        "select": options.select,
        "detector": Path(options.detector).name if options.detector else then["detector"],
        "gates": asdict(options.gates),
        "landmarks": options.landmarks and [list(point) for point in options.landmarks],
        "pixels_max": options.pixels_max,
    }
    was = {**then, "faces": then["mode"], "embedder": road["embedder"]["name"], "pixels_max": road["pixels_max"]}
    return sorted(name for name, value in now.items() if value != was.get(name))


@dataclass(frozen=True, slots=True)
class OpenedRoad:
    """A road, what artefacts say about it, and what the user should be told."""

    road: Road
    description: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """The embedder's."""
        return self.road.embedder.fingerprint


def open_road(options: FaceOptions, *, keep_crops: bool = False) -> OpenedRoad:
    """Open the embedder and the face finder that `options` ask for, before any long work.

    Raises:
        UsageError: the options do not fit together.
        ModelError: a network is missing, broken or not on the device asked for.
    """
    device = choose_device(options.device)
    mode: Mode = options.faces or "detect"
    spec = options.embedder
    notes: tuple[str, ...] = ()
    if spec is None:
        spec, why = find_embedder()
        notes = (f"embedder {spec} ({why})",)
    opened = open_embedder(spec, device)
    embedder = opened.embedder
    if mode == "whole" and not opened.described:
        raise UsageError(
            f"--faces whole with {spec} needs the JSON beside the network that says how pixels become its input: "
            "ArcFace's conventions, which would be assumed, are wrong for other networks. See docs/guide.md, Embedders."
        )
    detector = Path(options.detector).expanduser() if options.detector else opened.detector_path
    finder = open_finder(
        mode,
        crop_size_px=embedder.crop_size_px,
        device=device,
        detector_path=detector if mode == "detect" else None,
        for_dlib=spec == "dlib",
        select=options.select,
        gates=options.gates,
        landmarks=options.landmarks,
    )
    road = Road(finder, embedder, options.workers or cores(), options.pixels_max, keep_crops)
    description = {
        "embedder": embedder.describe(),
        "faces": {
            "mode": mode,
            "select": options.select,
            "detector": detector.name if detector and mode == "detect" else None,
            "gates": asdict(options.gates),
            "fingerprint": finder.fingerprint,
            **({} if options.landmarks is None else {"landmarks": options.landmarks}),
        },
        "pixels_max": options.pixels_max,
    }
    return OpenedRoad(road, description, notes + opened.notes)


def cores() -> int:
    """Return how many cores this process may use: containers and batch systems often give fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
