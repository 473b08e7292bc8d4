"""`JOB.toml`: what a nightly job looks at, against whom, and what it keeps; read whole, with every problem at once.

    [job]
    folder = "nightly"

    [[candidates]]
    name = "people"
    sources = ["photos/"]
    identity_from = "folder"

    [[queries]]
    name = "generator-a"
    sources = ["samples/"]

    [scan]
    fmr = 1e-4
    calibrate_on = "people"

Paths are relative to the file.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from scanner.documents import Section, read_document
from scanner.errors import UsageError
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.jobs.scanning.options import MEMORY_BYTES, ScanOptions
from scanner.nights.listing import ALL_GONE
from scanner.quantities import parse_bytes
from scanner.sessions import no_network
from scanner.sources.generated import GENERATED

PathText = Annotated[str, Field(min_length=1)]


def _no_file_name(name: str) -> str:
    if name.endswith((".json", ".parquet", ".idx")):
        raise ValueError(f"{name!r} ends like a file of the job's own; leave the ending out")
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"), AfterValidator(_no_file_name)]


def _no_generator(spec: str) -> str:
    if spec.startswith(GENERATED):
        raise ValueError(
            "a generator makes the same images every night: write them once with scanner generate, and name their folder"
        )
    return spec


SourceText = Annotated[PathText, AfterValidator(_no_generator)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class JobSection(Section):
    """`[job]`.

    Attributes:
        folder: where everything that the job keeps lies.
        gone_max: a source that lost more than this share of its entries since last night is taken for a lost mount, not for
            a wish to forget them; see `--allow-gone`.
    """

    folder: PathText
    gone_max: float = Field(default=0.5, ge=0.0, le=1.0)

    def share(self, *, allow_gone: bool) -> float:
        """Return the share of its entries that a source may lose tonight."""
        return ALL_GONE if allow_gone else self.gone_max


class EmbedderSection(Section):
    """`[embedder]`: how pictures become vectors; `spec`, `faces`, `detector`, `select` and `device` as the options of `scan`.

    `workers` is the number of threads; 0 takes one for each core.
    """

    spec: str | None = None
    faces: Literal["detect", "aligned", "whole"] = "detect"
    detector: PathText | None = None
    select: Literal["central", "largest", "all"] = "central"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: int = Field(default=0, ge=0)

    def way(self) -> dict[str, str | None]:
        """Return what faces depend on."""
        return self.model_dump(exclude={"device", "workers"})


class QueriesSection(Section):
    """`[[queries]]`: faces that are scanned, such as the samples of one generator; each has a run of its own every night."""

    name: Name
    sources: tuple[SourceText, ...] = Field(min_length=1)


class GallerySection(Section):
    """`[[candidates]]` and `[[null]]`: people who are searched for, and people known not to be in training.

    Attributes:
        name: what matches call it.
        sources: images; the job keeps an index of them.  Or
        index: an index that somebody else keeps; what is added to it is noticed.
        identity_from: "labels", "folder", "name" or "nothing", as the option of `index build`.
    """

    name: Name
    sources: tuple[SourceText, ...] = ()
    index: PathText | None = None
    identity_from: Literal["labels", "folder", "name", "nothing"] = "labels"

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if bool(self.sources) == (self.index is not None):
            raise ValueError(
                f"{self.name} needs either sources = [...], of which an index is kept, or index = a folder"
            )
        return self


class ScanSection(Section):
    """`[scan]`: how matches are decided, as the options of `scanner scan`.

    Exactly one of `threshold`, `fmr` and `fpir`; the latter two with `calibrate_on`, which names one of the job's candidates
    or nulls, or any index or labelled source.
    """

    threshold: float | None = None
    fmr: Share | None = None
    fpir: Share | None = None
    calibrate_on: PathText | None = None
    level: Share = 0.05
    engine: Literal["auto", "cpu", "exact", "compressed", "flat", "cuda"] = "auto"
    memory: str | None = None
    with_crops: bool = False
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _rules(self) -> Self:
        try:
            ScanOptions(
                threshold=self.threshold, fmr=self.fmr, fpir=self.fpir, calibrate_on=self.calibrate_on, level=self.level
            )
            if self.memory is not None:
                parse_bytes(self.memory)
        except (UsageError, ValueError) as error:
            raise ValueError(str(error).replace("--", "").replace("-", "_")) from error
        return self


class KeepSection(Section):
    """`[keep]`: run folders of so many newest `nights`, and crops of so many newest `crop_nights`; left out, all.

    A run that a kept night still stands on, because nothing has changed since, stays.
    """

    nights: PositiveInt | None = None
    crop_nights: PositiveInt | None = None


class GateSection(Section):
    """`[gate]`: when the night ends with exit code 1.

    `fail_on` is "never", or says which findings that nobody acknowledged: "new" (or of another verdict) since the night
    before; "named" by the evidence now and not then; or "any".
    """

    fail_on: Literal["never", "new", "named", "any"] = "never"


class MetricsSection(Section):
    """`[metrics]`: `textfile` is a file of metrics for Prometheus, written anew at the end of every start."""

    textfile: PathText | None = None


class AfterSection(Section):
    """`[after]`: a command that is run when a start ends.

    Attributes:
        command: program and arguments; no shell.
        timeout_s: it is ended after so many seconds.
        on: "always"; "findings": the night has findings that the night before had not, or its gate says no; "failure":
            something could not be done.
    """

    command: tuple[PathText, ...] = ()
    timeout_s: float = Field(default=60.0, gt=0.0, le=3600.0)
    on: Literal["always", "findings", "failure"] = "always"


class JobConfig(Section):
    """The whole file."""

    job: JobSection
    embedder: EmbedderSection = EmbedderSection()
    candidates: tuple[GallerySection, ...] = Field(min_length=1)
    null: tuple[GallerySection, ...] = ()
    queries: tuple[QueriesSection, ...] = Field(min_length=1)
    scan: ScanSection
    keep: KeepSection = KeepSection()
    gate: GateSection = GateSection()
    metrics: MetricsSection = MetricsSection()
    after: AfterSection = AfterSection()

    @model_validator(mode="after")
    def _names(self) -> Self:
        galleries = (*self.candidates, *self.null)
        for kind, given in (
            ("candidates and nulls", [one.name for one in galleries]),
            ("indexes", [f"{one.name}.idx" if one.index is None else Path(one.index).name for one in galleries]),
            ("queries", [one.name for one in self.queries]),
        ):
            twice = sorted({name for name in given if given.count(name) > 1})
            if twice:
                raise ValueError(f"two of the {kind} are called {', '.join(twice)}: give each a name of its own")
        return self

    def sets(self) -> dict[str, GallerySection | QueriesSection]:
        """Return every set by its kind and name, as in `candidates/people`, in the order in which a night takes them in."""
        galleries = (("candidates", self.candidates), ("nulls", self.null))
        found = {f"{kind}/{one.name}": one for kind, sections in galleries for one in sections}
        return found | {f"queries/{one.name}": one for one in self.queries}

    def faces(self, folder: Path) -> FaceOptions:
        """Return how pictures become vectors; a network's path is relative to `folder`."""
        chosen = self.embedder
        kind, _, path = (chosen.spec or "").partition(":")
        is_file = kind == "onnx" or (path and (folder / path).exists())  # insightface: a folder, or the name of a pack
        return FaceOptions(
            embedder=f"{kind}:{place_of(path, folder)}" if is_file else chosen.spec,
            faces=chosen.faces,
            detector=None if chosen.detector is None else place_of(chosen.detector, folder),
            select=chosen.select,
            device=chosen.device,
            workers=chosen.workers,
        )

    def options(self, *, calibrate_on: str | None, null: tuple[str, ...]) -> ScanOptions:
        """Return how matches are decided."""
        chosen = self.scan
        return ScanOptions(
            threshold=chosen.threshold,
            fmr=chosen.fmr,
            fpir=chosen.fpir,
            calibrate_on=calibrate_on,
            level=chosen.level,
            engine=chosen.engine,
            memory_bytes=MEMORY_BYTES if chosen.memory is None else parse_bytes(chosen.memory),
            with_crops=chosen.with_crops,
            null=null,
            seed=chosen.seed,
        )


def mistakes(config: JobConfig, folder: Path) -> list[str]:
    """Return what the file names and is not there, and no night can do without: networks, and what is calibrated on."""
    faces, on = config.faces(folder), config.scan.calibrate_on
    kind, _, network = (faces.embedder or "").partition(":")
    networks = [Path(path) for path in (network if kind == "onnx" else None, faces.detector) if path]
    found = [f"embedder: {no_network(path)}" for path in networks if not path.exists()]
    names = [one.name for one in (*config.candidates, *config.null)]
    if on is not None and "/" not in on and on not in names and not (folder / on).exists():
        near = difflib.get_close_matches(on, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        found.append(f"scan.calibrate_on: {on!r} is neither a name of [[candidates]] or [[null]] nor a path.{hint}")
    return found


def sources_of(section: QueriesSection | GallerySection) -> SourceOptions:
    """Return how the sources of a section are read."""
    return SourceOptions(identity_from=section.identity_from if isinstance(section, GallerySection) else "labels")


def place_of(written: str, folder: Path) -> str:
    """Return a path of the file as one that can be opened: URLs as they are, the rest relative to `folder`."""
    return written if "://" in written else str(folder / Path(written).expanduser())


def read_job(path: Path) -> JobConfig:
    """Read a JOB.toml.

    Raises:
        UsageError: not there, no TOML, or wrong; every problem is listed with its key and the nearest right name.
    """
    return read_document(
        path,
        JobConfig,
        error=UsageError,
        described_in="docs/nightly.md",
        closing="Nothing was done. Mend the file and try again.",
    )
