"""insightface model packs: a detector and a recogniser that belong together.

insightface decides which file of a pack is what, and fetches a pack that it knows when it is not there.
The networks themselves run in our sessions: batched, and on the device that was asked for.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from scanner.embedders.sidecar import Sidecar
from scanner.errors import ModelError
from scanner.sessions import read_model

MODEL_FOLDER = "~/.insightface/models"
LICENCE = "insightface packs: non-commercial research only, unless you hold a licence"


@dataclass(frozen=True, slots=True)
class Pack:
    """The files of a pack, and how the recogniser is fed."""

    detector_path: Path
    recogniser_path: Path
    sidecar: Sidecar


def read_pack(name: str) -> Pack:
    """Find the pack `name`: a folder, or a pack that insightface knows (fetched by it where there is a network)."""
    from insightface.app import FaceAnalysis

    folder = Path(name).expanduser()
    for path in sorted((folder if folder.is_dir() else Path(MODEL_FOLDER).expanduser() / name).glob("*.onnx")):
        read_model(path)  # insightface opens every one of them, as it is
    try:
        # insightface prints what it finds; stdout is for data.
        with contextlib.redirect_stdout(io.StringIO()):
            app = FaceAnalysis(
                name=str(folder) if folder.is_dir() else name,
                allowed_modules=["detection", "recognition"],
                providers=["CPUExecutionProvider"],
            )
    except Exception as error:  # anything from a refused connection to a broken file
        raise ModelError(
            f"The insightface pack {name!r} cannot be opened: {_why(error)}. "
            f"Name a folder that holds an SCRFD detector and an ArcFace-style recogniser (both .onnx), put the pack into "
            f"{MODEL_FOLDER}/{name}/, or use --embedder onnx:FILE --detector FILE."
        ) from error
    recogniser = app.models.get("recognition")
    if recogniser is None:
        raise ModelError(
            f"The insightface pack {name!r} has no recogniser (found: {', '.join(app.models)}). "
            "Put an ArcFace-style .onnx file with a 112x112 input beside the detector."
        )
    width, height = recogniser.input_size
    mean, deviation = float(recogniser.input_mean), float(recogniser.input_std)
    sidecar = Sidecar(
        licence=LICENCE if not folder.is_dir() else "as stated by the pack's authors",
        input_size=(int(width), int(height)),
        mean=(mean, mean, mean),
        scale=1.0 / deviation,
    )
    return Pack(Path(app.det_model.model_file), Path(recogniser.model_file), sidecar)


def _why(error: Exception) -> str:
    """Say what insightface ran into; a pack without a detector is a bare assertion to it."""
    if isinstance(error, AssertionError) and not str(error):
        return "no detector in it"
    return f"{type(error).__name__}: {error}"
