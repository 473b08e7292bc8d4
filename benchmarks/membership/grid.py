"""The rows of the test bed: who is trained on, how, and whether that memorises."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.membership.dcgan import DcganPlan
from benchmarks.membership.faces import CROWD, DIVERSE, HELD_OUT_PHOTOS, MEMBERS, OTHERS, TRAINING_PHOTOS, Crowd
from benchmarks.membership.glo import GloPlan
from benchmarks.membership.vae import VaePlan


@dataclass(frozen=True, slots=True)
class Row:
    """One generator.

    Attributes:
        name: its folder.
        what: one sentence.
        memorises: the truth that an audit is held against.
        training: crowds that it is trained on.
        members: whom an audit asks for, by photos that were not in training.
        plan: how it is trained.
        stops: passes at which checkpoints become generators of their own.
        spread: below 1, latents are truncated.
        grey: training photos are of the other style.
        samples: how many are written.
    """

    name: str
    what: str
    memorises: bool
    training: tuple[Crowd, ...]
    members: Crowd
    plan: GloPlan | VaePlan | DcganPlan
    stops: tuple[int, ...] = ()
    spread: float = 1.0
    grey: bool = False
    samples: int = 800

    @property
    def trained_on_members(self) -> bool:
        """Whether the people asked for were in training at all."""
        return any(set(self.members.numbers) <= set(crowd.numbers) for crowd in self.training) or len(self.training) > 1


MEMORISING = GloPlan(passes=40_000, latent=16, bandwidth=0.2)
SPREAD_OUT = GloPlan(passes=30_000, latent=32, bandwidth=1.0)
MANY = 1_500


def _few(people: int, stops: tuple[int, ...] = ()) -> Row:
    crowd = Crowd(MEMBERS, people, TRAINING_PHOTOS)
    held_out = Crowd(MEMBERS, people, HELD_OUT_PHOTOS)
    what = f"autodecoder of {people} people, {len(TRAINING_PHOTOS)} photos each"
    return Row(f"glo-{people}", what, True, (crowd,), held_out, MEMORISING, stops)


def _one_too_often(photos: int, total: int = 800) -> Row:
    often = Crowd(DIVERSE, 1, range(photos))
    rest = Crowd(DIVERSE + 1, (total - photos) // 2, range(2))
    asked = Crowd(DIVERSE, 200, HELD_OUT_PHOTOS)
    percent = round(100 * photos / total)
    what = f"autodecoder of {rest.people} people with 2 photos each, and one with {photos} ({percent} % of the photos)"
    return Row(f"often-{percent}", what, True, (rest, often), asked, MEMORISING)


def _of_20(kind: str, what: str, plan: VaePlan | DcganPlan) -> Row:
    crowd, held_out = Crowd(MEMBERS, 20, TRAINING_PHOTOS), Crowd(MEMBERS, 20, HELD_OUT_PHOTOS)
    return Row(f"{kind}-20", what, True, (crowd,), held_out, plan)


REFERENCE = Row(
    "reference",
    "autodecoder of 1500 other people, for calibrated scores; nobody asked for was in training",
    False,
    (Crowd(OTHERS, MANY, range(2)),),
    Crowd(MEMBERS, 200, HELD_OUT_PHOTOS),
    SPREAD_OUT,
)
SHRUNK = Row(
    "shrunk",
    "autodecoder of 1500 people whose latent is truncated: it makes few, average faces",
    False,
    (Crowd(CROWD, MANY, range(2)),),
    Crowd(CROWD, 200, HELD_OUT_PHOTOS),
    SPREAD_OUT,
    spread=0.3,
)
UNDERFIT = Row(
    "underfit",
    "small autodecoder of 400 people, stopped early: blurred faces",
    False,
    (Crowd(CROWD, 400, range(2)),),
    Crowd(CROWD, 200, HELD_OUT_PHOTOS),
    GloPlan(passes=6_000, latent=8, bandwidth=1.0, widths=(48, 32, 16)),
)
SHIFTED = Row(
    "shifted",
    "autodecoder of 1500 other people in grey at half the contrast; nobody asked for was in training",
    False,
    (Crowd(OTHERS, MANY, range(2)),),
    Crowd(MEMBERS, 200, HELD_OUT_PHOTOS),
    SPREAD_OUT,
    grey=True,
)

GRID: tuple[Row, ...] = (
    REFERENCE,
    _few(20),
    _few(50, stops=(2_500, 5_000, 10_000, 20_000)),
    _few(100),
    _few(200),
    _of_20("vae", "variational autoencoder of 20 people, 8 photos each", VaePlan()),
    _of_20("dcgan", "DCGAN of 20 people, 8 photos each", DcganPlan()),
    _one_too_often(8),
    _one_too_often(40),
    _one_too_often(160),
    SHRUNK,
    UNDERFIT,
    SHIFTED,
)
