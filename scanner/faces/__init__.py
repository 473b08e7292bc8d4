"""Pixels → aligned crops: `open_finder` chooses the road, every finder keeps the same contract."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from scanner.errors import UsageError
from scanner.faces.base import FaceFinder, Found
from scanner.faces.domain import Landmarks
from scanner.faces.quality import Gates
from scanner.sessions import Device, read_model

__all__ = ["FaceFinder", "Found", "Gates", "Mode", "open_finder"]

Mode = Literal["detect", "aligned", "whole"]


def open_finder(
    mode: Mode,
    *,
    crop_size_px: tuple[int, int],
    device: Device,
    detector_path: Path | None = None,
    for_dlib: bool = False,
    select: Literal["largest", "central", "all"] = "central",
    gates: Gates | None = None,
    landmarks: Landmarks | None = None,
) -> FaceFinder:
    """Return the finder for `mode`.

    Args:
        mode: "detect" finds and aligns, "aligned" takes pictures as aligned crops, "whole" takes them as they are.
        crop_size_px: width and height that the embedder wants.
        device: where a detector runs.
        detector_path: SCRFD file; "detect" needs it, except with dlib.
        for_dlib: the embedder is dlib's, which needs dlib's own alignment.
        select: which faces of a picture.
        gates: quality gates; their defaults when None.
        landmarks: where the template's landmarks lie in pictures that are framed alike; for "aligned".

    Raises:
        UsageError: the combination makes no sense; says which does.
    """
    gates = gates or Gates()
    width, height = crop_size_px
    if gates.frontality_min > 0 and (mode != "detect" or for_dlib):
        raise UsageError(
            "--min-frontality needs the five landmarks of --faces detect with an SCRFD detector; leave it out."
        )
    if landmarks is not None and (mode != "aligned" or for_dlib):
        raise UsageError(
            "--landmarks says how pictures for --faces aligned are framed; leave it out, or pass --faces aligned."
        )
    if landmarks is not None and len(set(landmarks)) < len(landmarks):
        raise UsageError(
            f"Eyes, nose and mouth corners lie at five places of a picture, --landmarks names {len(set(landmarks))}; no "
            "picture could be aligned by them."
        )
    if mode == "whole":
        from scanner.faces.given import WholePictures

        return WholePictures(width, height, gates)
    if for_dlib:
        from scanner.faces.dlib_faces import DlibFaces

        if detector_path is not None:
            raise UsageError(
                "--detector cannot be combined with --embedder dlib: its network needs dlib's own alignment."
            )
        return DlibFaces(gates, all_faces=select == "all", aligned=mode == "aligned")
    if width != height:
        raise UsageError(f"This network takes pictures of {width}x{height}, not square face crops. Use --faces whole.")
    if mode == "aligned":
        from scanner.faces.given import AlignedCrops

        return AlignedCrops(width, gates, landmarks=landmarks)
    if detector_path is None:
        raise UsageError(
            "--faces detect needs a face detector, and this embedder brings none. Name an SCRFD file with landmarks "
            "(--detector scrfd_500m_kps.onnx), use a pack (--embedder insightface:PACK), or say --faces aligned "
            "if the pictures are aligned crops already, --faces whole if they are no faces."
        )
    from scanner.faces.detect import DetectedFaces
    from scanner.faces.scrfd import Scrfd

    return DetectedFaces(Scrfd(read_model(detector_path), device), width, select, gates)
