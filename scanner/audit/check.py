"""`scanner audit --check`: everything that can be known before the long work, and what that work would cost."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from indexes import open_index
from indexes.errors import IndexesError
from scanner.audit.config import AuditConfig, place_of
from scanner.audit.split_check import SplitCost, estimate_split
from scanner.errors import EmbedderMismatch, ScannerError, UsageError
from scanner.evidence.gate import members_at_least, share
from scanner.jobs.embedding.ready import ReadyFaces, is_embeddings
from scanner.jobs.options import open_road
from scanner.jobs.scanning.estimate import speed_of
from scanner.sources import open_embeddings


@dataclass(frozen=True, slots=True)
class Cost:
    """What an audit would read.

    Attributes:
        sources: entries of each source by its name in the file; None where that is not known cheaply.
        images: those of them that must be embedded; None where one is not known.
        images_per_s: measured just now on the first images of a source; None when nothing must be embedded.
        faces_s: predicted seconds of the embedding; None where not known.
        members_at_least: member identities that a pass of the gate takes at the very least; None without a gate.
        leak_rate_max: of the gate.
        split: of the split audit; None without [split].
        recovery_s: most seconds that running the generators backwards can take; None without [recovery] or where not known.
    """

    sources: dict[str, int | None]
    images: int | None
    images_per_s: float | None
    faces_s: float | None
    members_at_least: int | None
    leak_rate_max: float | None
    recovery_s: float | None = None
    split: SplitCost | None = None

    def sentence(self) -> str:
        """Return the estimate for people."""
        lines = [
            f"{name}: {'an unknown number of' if entries is None else entries} entries"
            for name, entries in self.sources.items()
        ]
        if self.split is not None:
            lines.append(self.split.sentence())
        if self.images_per_s is None and self.sources:
            lines.append("all are embeddings: minutes at most")
        elif self.sources:
            known = "not known" if self.faces_s is None else f"{self.faces_s:.0f} s"
            lines.append(f"{self.images or 'an unknown number of'} images at {self.images_per_s:.1f} images/s: {known}")
        if self.recovery_s is not None:
            lines.append(f"running the generators backwards: at most {self.recovery_s:.0f} s, usually far less")
        if self.members_at_least is not None and self.leak_rate_max is not None:
            lines.append(
                f"the gate cannot pass at {share(self.leak_rate_max)} with fewer than {self.members_at_least} member identities"
            )
        return "\n".join(lines)


def sources_of(config: AuditConfig) -> list[str]:
    """Return every source of the file, each once, in the order in which they are read."""
    if not config.generator:
        return []  # only a split network is audited
    named = [config.people.members, config.people.non_members]
    if all(generator.members is not None for generator in config.generator):
        named = named[1:]  # nobody asks for the members of [people]
    for generator in config.generator:
        named += [generator.samples, generator.members or "", generator.reference or "", generator.training or ""]
    return [name for name in dict.fromkeys(named) if name]


def check_sources(config: AuditConfig, folder: Path) -> dict[str, int | None]:
    """Open every source and read every table of shares, without embedding anything.

    Returns:
        Entries of each source, where that is known cheaply.

    Raises:
        UsageError: lists everything that is not there, or is not what it should be, with its key.
        EmbedderMismatch: ready embeddings or indexes are of two embedders.
    """
    counts: dict[str, int | None] = {}
    made_by: dict[str, str] = {}
    problems: list[str] = []
    for name in sources_of(config):
        try:
            counts[name], fingerprint = _look(config, place_of(name, folder))
            if fingerprint is not None:
                made_by[fingerprint] = name
        except (ScannerError, IndexesError, OSError) as error:
            problems.append(f"{', '.join(_keys(config, name))}: {error}")
    for number, generator in enumerate(config.generator):
        if generator.shares is not None:
            try:
                read_shares(Path(place_of(generator.shares, folder)))
            except UsageError as error:
                problems.append(f"generator[{number + 1}].shares: {error}")
    problems += _recovery_problems(config, folder)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise UsageError(f"The audit cannot be done:\n{listed}\nNothing was done. Mend the file or the sources.")
    if len(made_by) > 1:
        named = ", ".join(f"{name} with fingerprint {fingerprint}" for fingerprint, name in made_by.items())
        raise EmbedderMismatch(
            f"The sources were embedded by different embedders: {named}. Scores between them mean nothing: embed all sources "
            "of an audit alike, or name pictures."
        )
    return counts


def estimate_audit(config: AuditConfig, folder: Path) -> Cost:
    """Check everything, embed a few images, and scale up; nothing is written."""
    counts = check_sources(config, folder)
    sources = config.sources()
    pictures = [name for name in counts if not _is_vectors(config, place_of(name, folder))]
    images_per_s, images = None, None
    if pictures:
        opened = open_road(config.faces(folder))
        images_per_s = speed_of(sources.open([place_of(pictures[0], folder)]), opened.road)
        numbers = [counts[name] for name in pictures]
        images = None if None in numbers else sum(number or 0 for number in numbers)
    seconds = images / images_per_s if images is not None and images_per_s else None
    policy = config.gate.policy() if config.gate else None
    return Cost(
        counts, images, images_per_s, seconds if pictures else 0.0,
        members_at_least(policy) if policy else None, policy.leak_rate_max if policy else None,
        _recovery_s(config, folder), estimate_split(config, folder) if config.split is not None else None,
    )  # fmt: skip


def _recovery_s(config: AuditConfig, folder: Path) -> float | None:
    """Return the most seconds that the inversions can take, from a moment of each one's own steps."""
    section = config.recovery
    if section is None:
        return None
    from scanner.audit.recovery import invert_options
    from scanner.jobs.inverting.estimate import estimate

    options, seconds = invert_options(section, device=config.embedder.device), 0.0
    for generator in config.generator:
        for model in (generator.model, generator.reference_model):
            if model is not None:
                photos = [place_of(generator.training or generator.members or config.people.members, folder)]
                found = estimate(place_of(model, folder), photos, options=options, sources=config.sources())
                seconds += 2 * section.images_max * found.steps_each_max / found.image_steps_per_s
    return seconds


def read_shares(path: Path) -> dict[str, float]:
    """Read a CSV with the columns identity and share.

    Raises:
        UsageError: not there, other columns, or a share that is no number of at least 0; names the line.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"{path} cannot be read: {error}. Name a CSV file with the columns identity and share."
        ) from error
    if not rows or not {"identity", "share"} <= set(rows[0]):
        found = ", ".join(map(str, rows[0])) if rows else "no row"
        raise UsageError(f"{path} has {found}; its columns must be identity and share, and each row one identity.")
    shares: dict[str, float] = {}
    for number, row in enumerate(rows, start=2):
        try:
            value = float(row["share"])
        except (TypeError, ValueError):
            value = -1.0
        if not 0.0 <= value < float("inf") or not row["identity"] or row["identity"] in shares:
            raise UsageError(
                f"{path}, line {number}: {row['identity']!r}, {row['share']!r} is no identity of its own with a share of at "
                "least 0. Write for instance: anna,0.05"
            )
        shares[row["identity"]] = value
    return shares


def _look(config: AuditConfig, place: str) -> tuple[int | None, str | None]:
    """Return the number of entries, where it is known cheaply, and the embedder's fingerprint, where there are vectors."""
    if (Path(place) / "manifest.json").is_file():
        index = open_index(Path(place))
        return index.rows, index.fingerprint
    sources = config.sources()
    if is_embeddings(place, sources):
        ready = ReadyFaces(place, sources, embedded_by=config.embedder.embedded_by)
        return open_embeddings(place).count(), ready.fingerprint
    return sources.open([place]).count(), None


def _recovery_problems(config: AuditConfig, folder: Path) -> list[str]:
    """Return what keeps `[recovery]` from being done, each with its key."""
    problems: list[str] = []
    for number, generator in enumerate(config.generator):
        for key in ("model", "reference_model"):
            model = getattr(generator, key)
            if model is not None and not Path(place_of(model, folder)).is_file():
                problems.append(f"generator[{number + 1}].{key}: there is no {model}; name a GEN.toml")
        if generator.model is not None:
            photos = (generator.training or generator.members or config.people.members, config.people.non_members)
            problems += [
                f"{', '.join(_keys(config, name))}: [recovery] needs the pictures, and {name} holds vectors"
                for name in photos
                if _is_vectors(config, place_of(name, folder))
            ]
    return problems


def _is_vectors(config: AuditConfig, place: str) -> bool:
    return (Path(place) / "manifest.json").is_file() or is_embeddings(place, config.sources())


def _keys(config: AuditConfig, name: str) -> list[str]:
    """Return the keys that name a source."""
    keys = [f"people.{key}" for key in ("members", "non_members") if getattr(config.people, key) == name]
    for number, generator in enumerate(config.generator):
        fields = ("samples", "members", "reference", "training")
        keys += [f"generator[{number + 1}].{key}" for key in fields if getattr(generator, key) == name]
    return keys
