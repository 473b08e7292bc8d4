"""`AUDIT.toml`: what an audit compares, how, and what the gate tolerates; read whole, with every problem at once.

    [people]                        # what must be there: [people] and [[generator]], or [split], or all three
    members = "members.tar"
    non_members = "others.tar"

    [[generator]]
    name = "glo-20"
    samples = "samples.tar"

Paths are relative to the file.  What is written here is fixed before anything is measured: its hash is in every result.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from indexes.atomic import encode_json
from scanner.audit.recovery_config import RecoverySection
from scanner.audit.split_config import SplitSection
from scanner.documents import Section, read_document
from scanner.errors import UsageError
from scanner.evidence.gate import Policy
from scanner.jobs.options import FaceOptions, SourceOptions

Share = Annotated[float, Field(gt=0.0, lt=1.0)]
PathText = Annotated[str, Field(min_length=1)]


class AuditSection(Section):
    """`[audit]`: `seed` draws photos, folds and bootstraps; equal seeds give equal bytes."""

    seed: int = Field(default=0, ge=0)


class EmbedderSection(Section):
    """`[embedder]`: how pictures become vectors.

    Attributes:
        spec: as `--embedder`; left out, what is installed is taken.  A file beside this one comes first.
        faces: as `--faces`.
        detector: an SCRFD file for faces = "detect"; left out, the pack's own.
        device: "auto", "cpu" or "cuda".
        embedded_by: your name for the embedder of ready embeddings that do not say it.
        used_by_generator: true marks the result: an embedder that the generator was trained with says less.
    """

    spec: str | None = None
    faces: Literal["detect", "aligned", "whole"] | None = None
    detector: PathText | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    embedded_by: str | None = None
    used_by_generator: bool = False


class PeopleSection(Section):
    """`[people]`: whose membership is known; each a source of images, a file of ready embeddings or an index folder.

    Attributes:
        members: photos of identities in training, not the training photos themselves.
        non_members: pictures of the same kind, of identities known not to be in training.
        identity_from: as `--identity-from`.
        photos: photos that everybody is seen through; identities with fewer are left out.  Left out, it is the number
            that even the poorest identity has.
    """

    members: PathText
    non_members: PathText
    identity_from: Literal["labels", "folder", "name"] = "labels"
    photos: PositiveInt | None = None


class GeneratorSection(Section):
    """`[[generator]]`: one generator, or one state of it; several make the sweep.

    Attributes:
        name: what the result calls it.
        samples: generated faces: a source of images, ready embeddings or an index folder.
        members: members of this generator, where they are not those of `[people]`.
        reference: samples of a generator that did not see the members (GAN-Leaks' calibration).
        training: the training photos, for the baselines that compare with them.
        shares: a CSV with the columns identity and share (of the training set): the dose of the dose-response.
        identities: |Y_G|, number of identities in training; left out, the number of members.
        step: how long it was trained, in any unit.
        model: the generator itself (GEN.toml), for `[recovery]`.
        reference_model: another one that did not see the members; its recovery errors calibrate those of `model`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    samples: PathText
    members: PathText | None = None
    reference: PathText | None = None
    training: PathText | None = None
    shares: PathText | None = None
    identities: PositiveInt | None = None
    step: float | None = None
    model: PathText | None = None
    reference_model: PathText | None = None


class AttackSection(Section):
    """`[attack]`: `k` nearest samples that scores look at; `folds` of the learned attack, cut by identity."""

    k: int = Field(default=5, ge=1, le=100)
    folds: int = Field(default=5, ge=2, le=20)


class SweepSection(Section):
    """`[sweep]`: sizes at which the attack is repeated: numbers of samples, and photos an identity."""

    samples: tuple[PositiveInt, ...] = ()
    photos: tuple[PositiveInt, ...] = ()


class GateSection(Section):
    """`[gate]`: see `scanner.evidence.gate.Policy`; without the section the audit measures and does not judge."""

    leak_rate_max: Share
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    fpr: float = Field(default=0.01, gt=0.0, le=0.5)
    power_min: float = Field(default=0.8, gt=0.0, le=1.0)

    def policy(self) -> Policy:
        """Return it as the evidence layer wants it."""
        return Policy(self.leak_rate_max, self.confidence, self.fpr, self.power_min)


_NOBODY = PeopleSection.model_construct(members="", non_members="", identity_from="labels", photos=None)


class AuditConfig(Section):
    """The whole file: [people] and [[generator]], or [split], or all three."""

    audit: AuditSection = AuditSection()
    embedder: EmbedderSection = EmbedderSection()
    people: PeopleSection
    generator: tuple[GeneratorSection, ...]
    attack: AttackSection = AttackSection()
    sweep: SweepSection = SweepSection()
    gate: GateSection | None = None
    recovery: RecoverySection | None = None
    split: SplitSection | None = None

    @model_validator(mode="before")
    @classmethod
    def _split_alone(cls, document: Any) -> Any:
        alone = isinstance(document, dict) and "split" in document and not {"people", "generator"} & document.keys()
        return {**document, "people": _NOBODY, "generator": ()} if alone else document

    @field_validator("generator")
    @classmethod
    def _one_name_each(cls, generators: tuple[GeneratorSection, ...]) -> tuple[GeneratorSection, ...]:
        names = [generator.name for generator in generators]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two generators are called {', '.join(twice)}: give each a name of its own")
        return generators

    @model_validator(mode="after")
    def _generators_have_people(self) -> Self:
        if self.people is not _NOBODY and not self.generator:
            raise ValueError(
                "[people] are for generators, and there is none: write a [[generator]], or leave [people] out"
            )
        if self.people is _NOBODY and (self.gate is not None or self.recovery is not None):
            raise ValueError(
                "[gate] and [recovery] are for generators, and there is none; [split] has match_rate_max for its gate"
            )
        return self

    @model_validator(mode="after")
    def _recovery_has_a_model(self) -> Self:
        with_model = [generator.name for generator in self.generator if generator.model is not None]
        if self.recovery is None and with_model:
            raise ValueError(
                f"the model of {with_model[0]} is for recovery: write a section [recovery], or leave it out"
            )
        if self.recovery is not None and not with_model:
            raise ValueError('[recovery] needs a generator to run backwards: give a [[generator]] a model = "gen.toml"')
        alone = [g.name for g in self.generator if g.reference_model is not None and g.model is None]
        if alone:
            raise ValueError(f"the reference_model of {alone[0]} calibrates a model, and there is none: give it one")
        return self

    def document(self) -> dict[str, Any]:
        """Return every key, as written or by default, as plain JSON values."""
        told = self.model_dump(mode="json")
        return told if self.generator else {**told, "people": None}

    def sha256(self) -> str:
        """Return the hash of `document`."""
        return hashlib.sha256(encode_json(self.document())).hexdigest()

    def faces(self, folder: Path) -> FaceOptions:
        """Return how pictures become vectors; a network's path is relative to `folder`."""
        chosen = self.embedder
        detector = place_of(chosen.detector, folder) if chosen.detector else None
        return FaceOptions(
            embedder=_embedder_of(chosen.spec, folder), faces=chosen.faces, detector=detector, device=chosen.device
        )

    def sources(self) -> SourceOptions:
        """Return how sources are read."""
        return SourceOptions(identity_from=self.people.identity_from)


def _embedder_of(spec: str | None, folder: Path) -> str | None:
    """Return an embedder whose network lies beside the file with its whole path; others as they are."""
    kind, colon, path = (spec or "").partition(":")
    beside = folder / path
    return f"{kind}:{beside}" if colon and path and not Path(path).is_absolute() and beside.exists() else spec


GENERATED = "generated:"
"""Before the file of a generator that is sampled directly."""


def place_of(written: str, folder: Path) -> str:
    """Return a path of the file as one that can be opened: URLs as they are, the rest relative to `folder`."""
    if written.startswith(GENERATED):
        return GENERATED + str(folder / Path(written.removeprefix(GENERATED)).expanduser())
    return written if "://" in written else str(folder / Path(written).expanduser())


def read_config(path: Path) -> AuditConfig:
    """Read an AUDIT.toml.

    Raises:
        UsageError: not there, neither TOML nor JSON, or wrong; every problem is listed with its key and the nearest right name.
    """
    return read_document(
        path,
        AuditConfig,
        error=UsageError,
        described_in="docs/guide.md, Audit",
        closing="Nothing was done. Mend the file and try again.",
    )
