"""What a user may choose about a latent inversion."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from scanner.errors import UsageError
from scanner.faces.domain import Landmarks

if TYPE_CHECKING:
    from scanner.inversion.plan import LatentPlan

SHARD_IMAGES = 1024


@dataclass(frozen=True, slots=True)
class InvertOptions:
    """How images become latents; see `scanner.inversion.plan.LatentPlan` for what is not described here.

    Attributes:
        encoder: "none", "train" (on the generator's own samples, first), or the file of one that was trained before.
        encoder_steps: of the training.
        identity: an ONNX recogniser or a NET.toml whose embeddings of image and reconstruction shall agree.
        landmarks: where eyes, nose and mouth corners lie in the generator's pictures, for `identity`; as --landmarks.
        features: a NET.toml whose features shall agree.
        centre: share of the largest centred box of the generator's aspect that is taken of every picture.
        shard_images: entries per shard, the unit of resuming.
        device: "auto", "cpu" or "cuda".
        trusted: packages beside our own whose factories may be called.
    """

    restarts: int = 4
    steps_max: int = 300
    method: Literal["adam", "lbfgs", "adam+lbfgs"] = "lbfgs"
    draws: int = 1024
    space: Literal["z", "w", "w+"] = "z"
    tolerance: float = 0.005
    prior: float = 0.0
    identity_weight: float = 0.1
    feature_weight: float = 0.1
    encoder: str = "none"
    encoder_steps: int = 1500
    identity: str | None = None
    landmarks: Landmarks | None = None
    features: str | None = None
    centre: float = 1.0
    slots: int | None = None
    amp: bool = False
    compiled: bool = False
    seed: int = 0
    shard_images: int = SHARD_IMAGES
    device: str = "auto"
    trusted: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Raise UsageError where a value is out of its range; `LatentPlan` looks at its own."""
        if not 0 < self.centre <= 1:
            raise UsageError(f"--centre {self.centre}: a share above 0 and at most 1 is needed, as in 0.6.")
        if self.shard_images < 1:
            raise UsageError(f"--shard-images {self.shard_images}: at least 1 is needed.")
        if self.landmarks is not None and self.identity is None:
            raise UsageError("--landmarks says where the recogniser of --identity looks; leave it out, or name one.")

    def latent_plan(self, *, slots: int | None) -> LatentPlan:
        """Return the inversion's own plan.

        Raises:
            UsageError: names every value that is out of its range.
        """
        from scanner.inversion.plan import LatentPlan

        return LatentPlan(
            restarts=self.restarts, steps_max=self.steps_max, method=self.method, draws=self.draws, space=self.space,
            tolerance=self.tolerance, prior=self.prior, identity=self.identity_weight, feature=self.feature_weight,
            slots=slots, amp=self.amp, compiled=self.compiled, seed=self.seed,
        )  # fmt: skip

    def plan(self) -> dict[str, Any]:
        """Return what a resumed job must find unchanged: all but the device, and names in place of paths."""
        names = {f.name for f in fields(self)} - {"device", "trusted", "identity", "features", "encoder", "slots"}
        return {name: value for name, value in asdict(self).items() if name in names}
