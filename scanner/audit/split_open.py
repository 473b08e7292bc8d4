"""What a split audit works with, opened and held against each other before any long work."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexes.keys import current_keys
from scanner.audit.config import AuditConfig, place_of
from scanner.audit.split_config import SplitSection
from scanner.embedders import open_embedder
from scanner.embedders.base import Embedder
from scanner.errors import EmbedderMismatch, UsageError
from scanner.faces import FaceFinder, Mode, open_finder
from scanner.jobs.options import SourceOptions
from scanner.sessions import Device, choose_device
from scanner.sources import Source

if TYPE_CHECKING:
    import torch

    from scanner.inversion.features.stack import Inverse
    from scanner.inversion.perceptual import PerceptualGap
    from scanner.networks.network import Network

_IMAGE_AXES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """An embedder that the attack never saw.

    Attributes:
        name: short: the file's stem, or what was written.
        embedder: opened.
    """

    name: str
    embedder: Embedder


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """Everything that a split audit needs.

    Attributes:
        section: `[split]`.
        network: that is split, on `device`.
        inverse: the attack, on `device`.
        inverse_sha256: of its weights.
        real_data: the attack was trained with real pictures, so that it is an upper bound.
        cuts: that are audited, shallow to deep.
        layers: layers with weights up to each cut.
        judges: in order of the file; names differ.
        gap: the perceptual gap, where it is wanted.
        source: of the photos.
        finder: gives crops of `crop_px`.
        crop_px: width and height that judges see the originals at.
        device: of torch, and why.
    """

    section: SplitSection
    network: Network
    inverse: Inverse
    inverse_sha256: str
    real_data: bool
    cuts: tuple[str, ...]
    layers: tuple[int, ...]
    judges: tuple[Judge, ...]
    gap: PerceptualGap | None
    source: Source
    finder: FaceFinder
    crop_px: tuple[int, int]
    device: torch.device
    device_reason: str

    def plan(self) -> dict[str, Any]:
        """Return what a resumed audit must find unchanged besides its file."""
        return {
            "network": self.network.fingerprint,
            "inverse": self.inverse_sha256,
            "judges": [judge.embedder.fingerprint for judge in self.judges],
            "faces": self.finder.fingerprint,
            "photos": self.source.describe(),
        }

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the attacked network's input."""
        return self.network.input_shape[2], self.network.input_shape[1]


def open_split(config: AuditConfig, folder: Path) -> Opened:
    """Open the network, its inverse, the judges and the photos.

    Raises:
        UsageError: the section does not fit what it names.
        EmbedderMismatch: a judge is the attacked network, or took part in the attack.
        ScannerError: something is missing or broken.
    """
    from scanner.inversion.features.store import load_inverse, read_manifest
    from scanner.inversion.perceptual import PerceptualGap
    from scanner.networks.description import open_network
    from scanner.networks.device import torch_device

    section = config.split
    assert section is not None, "only called for files with [split]"
    if section.pictures and current_keys():
        raise UsageError(
            "[split] pictures = true puts faces into audit.json and its page, which are not encrypted, and a key is set. "
            "Leave it out, or unset the key."
        )
    device, reason = torch_device(config.embedder.device)
    path = Path(place_of(section.network, folder))
    network = open_network(path)
    if len(network.input_shape) != _IMAGE_AXES:
        raise UsageError(
            f"[split] network {network.name} eats {network.input_shape}, a latent and no picture. A split audit asks what of a "
            "picture is left in the features: name a classifier or a recogniser."
        )
    if network.classes is None and not section.judges:
        raise UsageError(
            f"[split] {network.name} is no classifier and there is no judge, so nothing says what is re-created of a person. "
            'Name one or more: judges = ["onnx:face.onnx"]; or write classes = N into the network\'s description.'
        )
    network = network.to(device)
    where = Path(place_of(section.inverse, folder))
    manifest = read_manifest(where)
    provider = choose_device(config.embedder.device)
    judges = _judges(section, folder, provider)
    _refuse_insiders(judges, network, path, manifest)
    inverse = load_inverse(where, network)
    cuts = _cuts(section, inverse)
    gap = None
    if section.perceptual is not None:
        gap = PerceptualGap(open_network(Path(place_of(section.perceptual, folder))).to(device))
    crop_px = judges[0].embedder.crop_size_px if judges else (network.input_shape[2], network.input_shape[1])
    layers = {block.name: block.layers for block in inverse.blocks}
    return Opened(
        section, network, inverse, str(manifest["weights_sha256"]), bool(manifest.get("real")), cuts,
        tuple(layers[name] for name in cuts), judges, gap, _photos(section, folder),
        _finder(config, folder, crop_px, provider, has_judges=bool(judges)), crop_px, device, reason,
    )  # fmt: skip


def _cuts(section: SplitSection, inverse: Inverse) -> tuple[str, ...]:
    wanted = section.cuts or inverse.names
    for name in (*wanted, *(section.gate_cuts or ())):
        inverse.shape(name)  # says what it takes instead
    return tuple(name for name in inverse.names if name in wanted)


def _judges(section: SplitSection, folder: Path, device: Device) -> tuple[Judge, ...]:
    found: list[Judge] = []
    for spec in section.judges:
        kind, _, rest = spec.partition(":")
        place = f"onnx:{place_of(rest, folder)}" if kind == "onnx" and rest else spec
        name = Path(rest).stem if kind == "onnx" and rest else spec
        found.append(Judge(name, open_embedder(place, device).embedder))
    names, prints = [judge.name for judge in found], [judge.embedder.fingerprint for judge in found]
    twice = sorted(
        {judge.name for judge in found if names.count(judge.name) > 1 or prints.count(judge.embedder.fingerprint) > 1}
    )
    if twice:
        raise UsageError(
            f"[split] judges: {', '.join(twice)} stands there twice. Two judges are two networks: name others."
        )
    return tuple(found)


def _refuse_insiders(judges: tuple[Judge, ...], network: Network, path: Path, manifest: dict[str, Any]) -> None:
    """Refuse judges that the attack knows: it may please them without showing anybody."""
    from scanner.networks.description import read_network

    weights = hashlib.sha256(Path(read_network(path).network.weights).read_bytes()).hexdigest()
    told = json.dumps(manifest)
    for judge in judges:
        facts = judge.embedder.describe()
        own = str(facts.get("sha256") or judge.embedder.fingerprint)
        if own == weights or judge.embedder.fingerprint == network.fingerprint:
            raise EmbedderMismatch(
                f"The judge {judge.name} is the attacked network {network.name} itself: a picture re-created from its own features "
                "pleases it without showing the person. Name embedders that the attack never saw."
            )
        if own in told or judge.embedder.fingerprint in told:
            raise EmbedderMismatch(
                f"The judge {judge.name} stands in the inverse's manifest: the attack was trained with it, so it is no witness. "
                "Name embedders that the attack never saw."
            )


def _photos(section: SplitSection, folder: Path) -> Source:
    return SourceOptions(identity_from=section.identity_from).open([place_of(section.photos, folder)])


def _finder(
    config: AuditConfig, folder: Path, crop_px: tuple[int, int], device: Device, *, has_judges: bool
) -> FaceFinder:
    """Return what finds faces; pictures for a classifier alone are taken whole where nothing else is said."""
    chosen = config.faces(folder)
    mode: Mode = chosen.faces or ("detect" if has_judges else "whole")
    detector = Path(chosen.detector) if chosen.detector and mode == "detect" else None
    return open_finder(mode, crop_size_px=crop_px, device=device, detector_path=detector)
