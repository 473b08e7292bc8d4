"""An inverse on disk: `inverse.safetensors` (weights) and `inverse.json` (what it undoes, how it was made), no code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexes.atomic import write_json
from scanner.errors import ArtefactError
from scanner.inversion.features.stack import Inverse, make_blocks, make_modules
from scanner.networks.network import Network
from scanner.networks.tensors import read_tensors, write_tensors

FORMAT = 1
MANIFEST, WEIGHTS = "inverse.json", "inverse.safetensors"


def save_inverse(
    inverse: Inverse, folder: Path, *, plan: Mapping[str, Any], account: Mapping[str, Any] | None = None
) -> None:
    """Write an inverse into `folder`, which is made if it is not there; the manifest comes last.

    Args:
        inverse: to be kept.
        folder: its place.
        plan: the training's plan (`DciPlan` as a mapping); `layers_max` and `width` are needed to open it again.
        account: what else the manifest shall say: the stream, the network's path, the time it took.

    Raises:
        OSError: no room, or no such parent folder.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    write_tensors(folder / WEIGHTS, inverse.modules.state_dict(), {"network": inverse.network_fingerprint})
    manifest = {
        "format": FORMAT,
        "weights_sha256": _sha256(folder / WEIGHTS),
        "network": {"name": inverse.network_name, "fingerprint": inverse.network_fingerprint},
        "input_shape": list(inverse.input_shape),
        "cuts": [{"name": name, "shape": list(inverse.shape(name))} for name in inverse.names],
        "plan": {**plan},
        **(account or {}),
    }
    write_json(folder / MANIFEST, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what `inverse.json` says.

    Raises:
        ArtefactError: not there, broken, or of a newer format.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text("utf-8"))
        version = manifest["format"]
        told = all(key in manifest for key in ("weights_sha256", "cuts", "plan", "input_shape")) and all(
            isinstance(manifest["network"][key], str) for key in ("name", "fingerprint")
        )
    except FileNotFoundError as error:
        raise ArtefactError(
            f"{path} is not there: {folder} holds no finished inverse. Make one with scanner invert features."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}. Make the inverse again.") from error
    if version != FORMAT or not told:
        raise ArtefactError(
            f"{path} has the format {version!r}, this version reads {FORMAT}. Use the version that wrote it, or make it again."
        )
    return dict(manifest)


def load_inverse(folder: Path, network: Network) -> Inverse:
    """Open an inverse for the network that it was made for.

    Args:
        folder: written by `save_inverse`.
        network: must have the fingerprint in the manifest.

    Returns:
        The inverse on the network's device.

    Raises:
        ArtefactError: not there, broken, changed since it was written, or of another network.
    """
    manifest = read_manifest(folder)
    wanted = manifest["network"]
    if wanted["fingerprint"] != network.fingerprint:
        raise ArtefactError(
            f"{folder} undoes {wanted['name']} ({wanted['fingerprint']}), not {network.name} ({network.fingerprint}): its "
            "images would be noise. Name the network that it was trained for, or train an inverse of this one."
        )
    path = folder / WEIGHTS
    if not path.is_file() or _sha256(path) != manifest["weights_sha256"]:
        raise ArtefactError(
            f"{path} is missing or is not what {MANIFEST} says it is. Copy the folder again, or make it again."
        )
    tensors = read_tensors(path)
    try:
        names = tuple(str(entry["name"]) for entry in manifest["cuts"])
        plan = manifest["plan"]
        at = None if plan["at"] is None else names
        blocks, found = make_blocks(network, at, layers_max=int(plan["layers_max"]))
        modules = make_modules(blocks, width=float(plan["width"]), seed=0)
        modules.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ArtefactError(
            f"{folder}: manifest and weights do not fit together: {error}. Make the inverse again."
        ) from error
    if found != names:
        raise ArtefactError(
            f"{folder} takes features at {', '.join(names)}, but the network is cut at {', '.join(found)}. "
            "Make the inverse again with this version."
        )
    modules.requires_grad_(requires_grad=False).eval()
    return Inverse(network, blocks, names, modules.to(network.device))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
