"""The head in 2.5 dimensions: from places on a face to pixels of a picture.

Features are drawn on the plane of the face; each point gets a depth from an ellipsoid,
so a turned head moves the nose more than the ears. No perspective.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scanner.world.canvas import SUPERSAMPLE
from scanner.world.curves import (
    TEMPLATE_112_PX,
    Points,
    compose,
    fit_similarity,
    points,
    similarity,
    smooth,
    transform,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from scanner.world.identity import Identity
    from scanner.world.nuisance import Nuisance

_DEPTH = 34.0  # how far the middle of the face stands out from the rim, face units
_CENTRE_Y = 10.0
_HALF_HEIGHT = 60.0
_RIM_TURN = 0.3  # the rim of a turning head slides back over the skull: it moves less


@dataclass(frozen=True, slots=True)
class Mouth:
    """Where the mouth is under the expression of the moment, face units."""

    centre_x: float
    centre_y: float
    half_width: float
    corner_lift: float
    gap: float


@dataclass(frozen=True, slots=True)
class Head:
    """A person in a pose, placed in a picture."""

    person: Identity
    photo: Nuisance
    mouth: Mouth
    to_px: NDArray[np.float32]  # (2, 3), turned face units -> picture pixels

    @property
    def unit_px(self) -> float:
        """Canvas pixels per face unit."""
        return SUPERSAMPLE * float(np.hypot(self.to_px[0, 0], self.to_px[1, 0]))

    @property
    def to_canvas(self) -> NDArray[np.float32]:
        """The (2, 3) transform from turned face units to canvas pixels."""
        matrix = self.to_px * np.float32(SUPERSAMPLE)
        matrix[:, 2] += np.float32((SUPERSAMPLE - 1) / 2)
        return matrix

    def project(self, plane: ArrayLike, *, lift: float = 0.0, turn: float = 1.0) -> Points:
        """Carry points of the face plane to canvas pixels.

        Args:
            plane: (n, 2) face units.
            lift: how far they stand out from the ellipsoid (nose, hat).
            turn: share of the head's turn they follow.
        """
        view, shift = _view(self.photo, lift, turn)
        to_canvas = self.to_canvas
        moved: Points = _solid(points(plane), self.person) @ (view @ to_canvas[:, :2].T)
        moved += to_canvas[:, :2] @ shift + to_canvas[:, 2]
        return moved

    def project_rim(self, plane: ArrayLike) -> Points:
        """Carry points of the head's outline, hair and ears to canvas pixels."""
        return self.project(plane, turn=_RIM_TURN)

    def landmarks_px(self) -> Points:
        """Say where the five landmarks are: (5, 2) picture pixels, order of the template."""
        return transform(self.to_px, _landmarks(self.person, self.photo, self.mouth))


def _solid(plane: Points, person: Identity) -> NDArray[np.float32]:
    """Give points of the face plane their depth: (n, 3), relative to the head's centre."""
    solid = np.empty((len(plane), 3), dtype=np.float32)
    solid[:, 0] = plane[:, 0]
    solid[:, 1] = plane[:, 1] - np.float32(_CENTRE_Y)
    flat = solid[:, :2]
    roundness = np.array([(_DEPTH / (person.half_width * 1.04)) ** 2, (_DEPTH / _HALF_HEIGHT) ** 2], dtype=np.float32)
    solid[:, 2] = np.sqrt(np.maximum(np.float32(_DEPTH**2) - (flat * flat) @ roundness, 0.0))
    return solid


def _view(photo: Nuisance, lift: float, turn: float) -> tuple[NDArray[np.float32], Points]:
    """Turn the head: the (3, 2) projection of `_solid` points and the (2,) shift after it."""
    yaw, pitch = photo.yaw * turn, photo.pitch * turn
    cos_yaw, sin_yaw = math.cos(yaw), math.sin(yaw)
    cos_pitch, sin_pitch = math.cos(pitch), math.sin(pitch)
    view = np.array(
        [(cos_yaw, sin_yaw * sin_pitch), (0.0, cos_pitch), (sin_yaw, -cos_yaw * sin_pitch)],
        dtype=np.float32,
    )
    return view, lift * view[2] + np.array([0.0, _CENTRE_Y], dtype=np.float32)


def turned(plane: Points, person: Identity, photo: Nuisance, *, lift: float = 0.0, turn: float = 1.0) -> Points:
    """Turn points of the face by the pose: (n, 2) face units, seen from the front."""
    view, shift = _view(photo, lift, turn)
    seen: Points = _solid(plane, person) @ view + shift
    return seen


def pose_mouth(person: Identity, photo: Nuisance) -> Mouth:
    """Work out the mouth under a smile and an open jaw."""
    return Mouth(
        centre_x=person.mouth_skew,
        centre_y=person.mouth_y + 0.6 * photo.mouth_open - 0.5 * photo.smile,
        half_width=person.mouth_width * (1.0 + 0.14 * photo.smile - 0.1 * photo.mouth_open),
        corner_lift=person.mouth_curve + 2.2 * photo.smile,
        gap=6.5 * photo.mouth_open + (1.6 * max(0.0, photo.smile - 0.6) if photo.mouth_open else 0.0),
    )


def _landmarks(person: Identity, photo: Nuisance, mouth: Mouth) -> Points:
    left, right = mouth.centre_x - mouth.half_width, mouth.centre_x + mouth.half_width
    corner_y = mouth.centre_y - mouth.corner_lift
    flat = turned(
        points([(-person.eye_x, 0), (person.eye_x, 0), (left, corner_y), (right, corner_y)]),
        person,
        photo,
    )
    nose = turned(points([(person.nose_skew, person.nose_y)]), person, photo, lift=nose_lift(person))
    return np.concatenate([flat[:2], nose, flat[2:]])


def nose_lift(person: Identity) -> float:
    """How far the nose tip stands out, face units."""
    return 7.0 + 4.0 * person.nose_relief


def stand_aligned(person: Identity, photo: Nuisance, size_px: int) -> Head:
    """Place a head as an aligner would crop it, with the photo's small landmark error."""
    mouth = pose_mouth(person, photo)
    fitted = fit_similarity(_landmarks(person, photo, mouth), TEMPLATE_112_PX)
    middle = np.array([55.5, 71.0], dtype=np.float32)
    slip = similarity(float(np.exp(photo.slip_scale)), photo.slip_roll, (0.0, 0.0))
    slip[:, 2] = middle - slip[:, :2] @ middle + (photo.slip_x_px, photo.slip_y_px)
    # Pixel centres sit at whole numbers, so other sizes scale about (-0.5, -0.5).
    scale = size_px / 112.0
    resize = similarity(scale, 0.0, ((scale - 1) / 2, (scale - 1) / 2))
    return Head(person, photo, mouth, compose(resize, compose(slip, fitted)))


def stand_in_photo(person: Identity, photo: Nuisance, size_px: int) -> Head:
    """Place a head in a wider picture: rolled, off centre, nearer or farther."""
    scale = size_px / 160.0 * photo.zoom
    placed = similarity(
        scale,
        photo.roll,
        (size_px * (0.5 + photo.place_x), size_px * (0.5 + photo.place_y)),
    )
    # The middle of the head, not of the eyes, goes to the middle of the picture.
    placed[:, 2] += placed[:, :2] @ np.array([0.0, -10.0], dtype=np.float32)
    return Head(person, photo, pose_mouth(person, photo), placed)


def outline(person: Identity) -> Points:
    """Trace the edge of the face, forehead and crown included: closed curve, face units."""
    w, top = person.half_width, -person.skull * 0.95
    right = np.array(
        [
            (0.0, top),
            (0.57 * w, 0.87 * top),
            (0.90 * w, 0.53 * top),
            (0.99 * w, 0.12 * top),
            (person.cheek * 1.01 * w, 12.0),
            (0.5 * (person.cheek + person.jaw) * 1.02 * w, 0.66 * person.jaw_y),
            (person.jaw * w, person.jaw_y),
            (0.5 * (person.jaw + person.chin) * w * 1.06, 0.42 * person.jaw_y + 0.56 * person.chin_y),
            (person.chin * w, person.chin_y - 1.6),
            (0.0, person.chin_y),
        ]
    )
    left = right[-2:0:-1] * (-1.0, 1.0)
    return smooth(np.concatenate([right, left]), closed=True, steps=4)


def jaw_drop(person: Identity, photo: Nuisance, plane: Points) -> Points:
    """Lower the chin of an outline when the mouth opens."""
    share = np.clip((plane[:, 1] - 20.0) / (person.chin_y - 20.0), 0.0, 1.0)
    lowered = plane.copy()
    lowered[:, 1] += 4.5 * photo.mouth_open * share
    return lowered
