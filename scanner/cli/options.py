"""Options that several commands share, and the plain values that they become."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from scanner.errors import UsageError
from scanner.faces.domain import Landmarks
from scanner.faces.quality import Gates
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.sources.options import IdentityFrom

F = TypeVar("F", bound=Callable[..., Any])


def parse_landmarks(text: str | None) -> Landmarks | None:
    """Return five points of `0.26,0.37,0.74,0.37,0.5,0.64,0.32,0.84,0.68,0.84`."""
    if text is None:
        return None
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) != _LANDMARK_NUMBERS or not all(math.isfinite(share) for share in shares):
        raise UsageError(
            f"--landmarks {text!r}: ten numbers are needed, x and y of left eye, right eye, nose and both corners of the "
            "mouth as shares of the picture's sides, as in 0.26,0.37,0.74,0.37,0.5,0.64,0.32,0.84,0.68,0.84."
        )
    return tuple(zip(shares[::2], shares[1::2], strict=True))


_LANDMARK_NUMBERS = 10


def device_option(what: str = "Where networks run.") -> Callable[[F], F]:
    """Return `--device`."""
    return click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help=what
    )


def seed_option(what: str, *, metavar: str = "N", default: int | None = 0) -> Callable[[F], F]:
    """Return `--seed`; `what` says what is drawn by it."""
    kind = click.IntRange(min=0)
    return click.option("--seed", type=kind, default=default, show_default=True, metavar=metavar, help=what)


trust_option = click.option(
    "--trust", multiple=True, metavar="PACKAGE", help="A package of yours whose factories may be called."
)
shard_images_option = click.option("--shard-images", type=click.IntRange(min=1), default=1024, show_default=True, metavar="N",
                                   help="Images per shard, the unit of resuming.")  # fmt: skip
ray_option = click.option("--ray", "ray", metavar="ADDRESS|local", help="Spread the work over a Ray cluster, or over processes of "
                          "this machine; same bytes.  --workers is then the threads of each worker, 1 if not given.")  # fmt: skip
force_option = click.option("--force", is_flag=True, help="Replace what is there.")

_EMBEDDER = (
    "Recogniser: insightface:PACK, onnx:FILE, dlib or drawn.  [default: the index's own, else what is installed]"
)
_ONE = (click.option("--embedder", metavar="SPEC", help=_EMBEDDER),)
_SEVERAL = (
    click.option("--embedder", multiple=True, metavar="SPEC", help=_EMBEDDER + "  Given more than once, with indexes of each: "
                 "joint evidence of independent embedders."),
)  # fmt: skip
_FACE = (
    click.option("--faces", type=click.Choice(["detect", "aligned", "whole"]),
                 help="Find and align faces; or pictures are aligned crops already; or no faces at all (art).  "
                 "[default: as the index was built, else detect]"),
    click.option("--detector", metavar="FILE", help="SCRFD file (.onnx) for --faces detect.  [default: the pack's own]"),
    click.option("--landmarks", metavar="X,Y,...",
                 help="Where both eyes, the nose and both corners of the mouth lie in every picture, as ten shares of its "
                 "sides: for --faces aligned, where faces are framed otherwise than ArcFace's template."),
    click.option("--select", type=click.Choice(["central", "largest", "all"]), default="central", show_default=True,
                 help="Which faces of a picture."),
    click.option("--min-face-px", type=float, default=Gates().size_min_px, show_default=True, metavar="PX",
                 help="Smaller faces are rejected."),
    click.option("--min-detection", type=float, default=Gates().detection_score_min, show_default=True, metavar="SCORE",
                 help="Less certain detections are rejected."),
    click.option("--min-sharpness", type=float, default=0.0, show_default=True, metavar="VAR", help="Blurred crops are rejected."),
    click.option("--min-frontality", type=float, default=0.0, show_default=True, metavar="0..1", help="Profiles are rejected."),
    device_option(),
    click.option("--workers", type=click.IntRange(min=0), default=0, metavar="N", help="Threads.  [default: all cores]"),
)  # fmt: skip

_SOURCE = (
    click.option("--identity-from", type=click.Choice([c.value for c in IdentityFrom]), default="labels", show_default=True,
                 help="Where identities come from: the format's labels, the first sub-folder, the file name up to its last "
                 "underscore, or nowhere."),
    click.option("--image-column", metavar="NAME", help="Parquet column that holds images.  [default: image]"),
    click.option("--identity-column", metavar="NAME", help="Parquet column that holds identities.  [default: identity]"),
    click.option("--embedded-by", metavar="NAME", help="Your name for the embedder of ready embeddings (.npy, Parquet)."),
)  # fmt: skip

_THRESHOLD = (
    click.option("--threshold", type=float, metavar="T", help="Cosine from which a pair is a match."),
    click.option("--fmr", type=float, metavar="F", help="Take the threshold at this false match rate, with --calibrate-on."),
    click.option("--fpir", type=float, metavar="F",
                 help="Take it where this share of faces finds a stranger in a gallery of this size."),
    click.option("--calibrate-on", metavar="LABELLED", help="Index with identities, or labelled images or embeddings."),
)  # fmt: skip

_SEARCH = (
    click.option("--engine", type=click.Choice(["auto", "exact", "compressed", "flat", "cuda"]), default="auto", show_default=True,
                 help="How to search.  Changes no hit, only time and memory.  --device cpu keeps auto off the GPU."),
    click.option("--memory", default="4GiB", show_default=True, metavar="BYTES", help="Budget of the search."),
)  # fmt: skip

_TALK = (
    click.option("--quiet", is_flag=True, help="No talk on stderr but errors."),
    click.option("--json", "only_json", is_flag=True, help="The same: only the JSON line on stdout."),
)

_DRY_RUN = (
    click.option("--dry-run", is_flag=True, help="Measure a little, say what the job would take (time, memory, disk), and stop."),
    click.option("--profile", type=click.Path(), metavar="FILE",
                 help="With --dry-run: predict for the machine of this profile (scanner doctor --bench --out FILE).  [default: this one]"),
)  # fmt: skip

_TARGET = (
    click.option("--resume", is_flag=True, help="Finish interrupted work; same bytes as without the interruption."),
    force_option,
)


def _all(options: tuple[Callable[[F], F], ...]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


face_options, face_options_of_several = _all((*_ONE, *_FACE)), _all((*_SEVERAL, *_FACE))
source_options, talk_options, target_options = _all(_SOURCE), _all(_TALK), _all(_TARGET)
threshold_options, search_options = _all(_THRESHOLD), _all(_SEARCH)
dry_run_options = _all(_DRY_RUN)


def engine_value(given: dict[str, Any]) -> str:
    """Take `--engine` out of what was given; a user who keeps networks off the GPU means the search as well."""
    engine: str = given.pop("engine")
    return "cpu" if engine == "auto" and given["device"] == "cpu" else engine


def face_values(given: dict[str, Any]) -> FaceOptions:
    """Take the face options out of a command's arguments; of several embedders the first."""
    gates = Gates(
        given.pop("min_face_px"), given.pop("min_detection"), given.pop("min_sharpness"), given.pop("min_frontality")
    )
    names = ("embedder", "faces", "detector", "select", "device", "workers")
    chosen = {name: given.pop(name) for name in names}
    if isinstance(chosen["embedder"], tuple):
        chosen["embedder"] = next(iter(chosen["embedder"]), None)
    return FaceOptions(gates=gates, landmarks=parse_landmarks(given.pop("landmarks")), **chosen)


def source_values(given: dict[str, Any]) -> SourceOptions:
    """Take the source options out of a command's arguments; `embedded_by` stays."""
    return SourceOptions(**{name: given.pop(name) for name in ("identity_from", "image_column", "identity_column")})


def dry_run_value(given: dict[str, Any]) -> tuple[bool, Path | None]:
    """Take the dry run's options out of a command's arguments: whether one is asked for, and for which machine."""
    dry, profile = given.pop("dry_run"), given.pop("profile")
    if profile is not None and not dry:
        raise UsageError("--profile says for which machine --dry-run predicts: pass both.")
    return bool(dry), None if profile is None else Path(profile)


def quiet_value(given: dict[str, Any]) -> bool:
    """Take the talk options out of a command's arguments."""
    quiet, only_json = given.pop("quiet"), given.pop("only_json")
    return bool(quiet or only_json)
