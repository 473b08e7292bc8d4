"""An inverse network trained: OUT/inverse.safetensors and, last, OUT/inverse.json; killed, it goes on with --resume."""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanner import artefacts
from scanner.errors import RunMismatch
from scanner.jobs.folders import check_target, is_finished, remove_folder, sweep
from scanner.jobs.inverting.feature_inputs import FeatureOptions, make_stream, open_attacked
from scanner.jobs.options import SourceOptions
from scanner.jobs.parts import begin_work
from scanner.progress import Progress, Silent
from scanner.sources.location import clean_uri

if TYPE_CHECKING:
    from scanner.inversion.features.stream import Stream
    from scanner.networks.network import Network

_TRIAL_STEPS = 3


@dataclass(frozen=True, slots=True)
class FeaturesResult:
    """Where the inverse is, and what its manifest says."""

    path: Path
    manifest: dict[str, Any]


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """Predicted cost, from a few steps."""

    steps: int
    images_per_s: float
    train_s: float
    weights: int
    cuts: tuple[str, ...]
    device: str

    def sentence(self) -> str:
        """Return the estimate for people."""
        return (
            f"{len(self.cuts)} cuts ({', '.join(self.cuts)}), {self.weights} weights to train on {self.device}\n"
            f"{self.steps} steps at {self.images_per_s:.0f} images/s: about {math.ceil(self.train_s / 60)} min "
            "(measured on a few steps just now, good to a factor of about two)"
        )


def invert_features(
    network: str | Path,
    out: str | Path,
    *,
    options: FeatureOptions | None = None,
    sources: SourceOptions | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> FeaturesResult:
    """Train the inverse of a network, from the features at every cut back to its input.

    Args:
        network: NET.toml, a bare .onnx file with its sidecar, or GEN.toml (image to latent).
        out: the folder to be made.
        options: how it is trained.
        sources: how real images are read, where there are some.
        resume: go on with interrupted training.
        force: replace what is there.
        progress: where to report.

    Raises:
        UsageError: options that do not fit; something is there already; a name that is no cut.
        ModelError: the network cannot be opened or inverted, or the training diverged.
        NothingScanned: real images were asked for and there is none.
    """
    options, progress, out = options or FeatureOptions(), progress or Silent(), Path(out)
    plan, work = options.plan(), out / "unfinished"
    check_target(out, work, kind="inverse", resume=resume, force=force)
    if is_finished(out, work, resume=resume):
        return _finished(out, options)
    from scanner.inversion.features.stack import make_blocks
    from scanner.inversion.features.store import save_inverse
    from scanner.inversion.features.train import train_inverse

    attacked, law = open_attacked(network, options)
    make_blocks(attacked, plan.at, layers_max=plan.layers_max)  # a wrong name fails here, before anything is written
    description = {
        "job": "invert features", "network": attacked.fingerprint, "plan": json.loads(json.dumps(asdict(plan))),
        "real": [clean_uri(spec) for spec in options.real], "synthesise": options.synthesise,
    }  # fmt: skip
    if force:
        remove_folder(out)
    artefacts.make_private_folder(out)
    begin_work(work, description, resume=resume)
    sweep(out)
    stream = make_stream(attacked, law, options, sources or SourceOptions(), work=work, progress=progress)
    inverse = train_inverse(attacked, stream, plan=plan, work=work, device=attacked.device, progress=progress)
    save_inverse(inverse, out, plan=description["plan"], account=_account(network, out, options, stream, attacked))
    remove_folder(work)
    return FeaturesResult(out, artefacts.read_json(out / "inverse.json"))


def estimate_training(
    network: str | Path, *, options: FeatureOptions, sources: SourceOptions | None = None
) -> TrainingEstimate:
    """Open everything, take a few steps, predict the rest; nothing is written.

    Raises:
        UsageError, ModelError, NothingScanned: as `invert_features` would.
    """
    from scanner.inversion.features.train import train_inverse

    plan = options.plan()
    attacked, law = open_attacked(network, options)
    short = replace(options, synthesise=0)  # the pool is made once; a step costs the same without it
    stream = make_stream(attacked, law, short, sources or SourceOptions(), work=None, progress=Silent())
    times: list[float] = []
    trial = replace(plan, steps=_TRIAL_STEPS, alone=0.0)
    inverse = train_inverse(
        attacked, stream, plan=trial, device=attacked.device, keep_every=1,
        look=lambda _step, _inverse: times.append(time.perf_counter()),
    )  # fmt: skip
    per_step = (times[-1] - times[0]) / (len(times) - 1)
    return TrainingEstimate(
        steps=plan.steps,
        images_per_s=plan.batch / per_step,
        train_s=plan.steps * per_step,
        weights=sum(weight.numel() for weight in inverse.modules.parameters()),
        cuts=inverse.names,
        device=str(attacked.device),
    )


def _account(
    network: str | Path, out: Path, options: FeatureOptions, stream: Stream, attacked: Network
) -> dict[str, Any]:
    """Return what the manifest says beside the plan: no clock, so that equal trainings have equal bytes."""
    from scanner.jobs.versions import versions

    return {
        "network_path": os.path.relpath(network, out),
        "trusted": list(options.trusted),
        "data": "real images: an upper bound, no data-free attack" if options.real else "none",
        "real": [clean_uri(spec) for spec in options.real],
        "stream": stream.describe(),
        "device": attacked.device.type,
        "versions": versions(),
    }


def _finished(out: Path, options: FeatureOptions) -> FeaturesResult:
    """Return what is there, if it is what was asked for."""
    manifest = artefacts.read_json(out / "inverse.json")
    asked = json.loads(json.dumps(asdict(options.plan())))
    if manifest.get("plan") != asked or manifest.get("real") != [clean_uri(spec) for spec in options.real]:
        raise RunMismatch(
            f"{out} is finished, and was trained with other options. Choose another name, or pass --force to replace it."
        )
    return FeaturesResult(out, manifest)
