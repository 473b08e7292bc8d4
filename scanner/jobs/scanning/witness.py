"""Several embedders on one scan: each makes a run of its own, and what they say of the same people is weighed together.

The first embedder's run is the run folder itself; each further one, a *witness*, has a whole run in `RUN/witness-2` and
so on.  `joint.parquet` and then `joint.json` follow.  An embedder that the generator or its attack used is run and shown,
and has no part in the joint statement: what was optimised for a network looks like success to it (Ho et al. 2025).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from indexes import Index, open_index
from scanner.embedders import open_embedder
from scanner.errors import CalibrationError, UsageError
from scanner.evidence.identities import NULL_MIN
from scanner.jobs.embedding.ready import ReadyFaces, is_embeddings
from scanner.jobs.options import FaceOptions, SourceOptions
from scanner.jobs.scanning.joint import write_joint
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.scan import ScanResult, scan
from scanner.jobs.workers import Workers
from scanner.progress import Progress, Silent
from scanner.report.page import write_page
from scanner.sessions import choose_device
from scanner.sources.location import clean_uri

WITNESSES_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Witness:
    """One embedder and what belongs to it.

    Attributes:
        number: 1 for the run itself.
        spec: the embedder as the user wrote it, or the file of ready embeddings.
        fingerprint: the embedder's.
        queries: what it scans.
        against: its candidate indexes.
        null: its null indexes.
        counted: False when the generator or its attack used it.
    """

    number: int
    spec: str
    fingerprint: str
    queries: tuple[str, ...]
    against: tuple[str, ...] = ()
    null: tuple[str, ...] = ()
    counted: bool = True

    @property
    def folder(self) -> str:
        """Return the folder of its run, below the run folder."""
        return "." if self.number == 1 else f"witness-{self.number}"


@dataclass(frozen=True, slots=True)
class WitnessedResult:
    """A finished run with its witnesses: `summary` is the first embedder's `run.json`, `joint` stands in `joint.json`."""

    folder: Path
    summary: dict[str, Any] = field(repr=False)
    joint: dict[str, Any] = field(repr=False)
    runs: tuple[ScanResult, ...] = field(repr=False)

    def matches(self) -> pa.Table:
        """Return the matches of the first embedder."""
        return self.runs[0].matches()


def scan_with_witnesses(
    queries: str | Sequence[str],
    *,
    against: Sequence[str],
    null: Sequence[str],
    embedders: Sequence[str] = (),
    used_by_generator: Sequence[str] = (),
    out: str | Path,
    options: ScanOptions,
    faces: FaceOptions | None = None,
    sources: SourceOptions | None = None,
    resume: bool = False,
    force: bool = False,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> WitnessedResult:
    """Scan with each embedder and weigh what they say together.

    Args:
        queries: images; or one file of ready embeddings for each embedder, and no `embedders`.
        against: candidate indexes of all embedders; each belongs to the embedder whose fingerprint it has.
        null: null indexes, likewise; the same people for every embedder.
        embedders: two or more, see `scanner.embedders.open_embedder`; the first one's run is the run folder itself.
        used_by_generator: those of `embedders` (or of the files) that the generator or its attack used.
        out: run folder to make.
        options: of every run; `null` is taken from the argument, and `copies` is for the first one alone.
        faces: of every run, but for the embedder.
        sources: how sources are read.
        resume: go on where a killed job was; the bytes are those of an uninterrupted one.
        force: replace what is in `out`.
        workers: as of `scan`.
        progress: where to report.

    Raises:
        UsageError: embedders and indexes do not fit together; says which.
        CalibrationError: too few people are in the nulls of all embedders.
        ScannerError: as `scan`.
    """
    progress, faces, sources, out = progress or Silent(), faces or FaceOptions(), sources or SourceOptions(), Path(out)
    specs = [queries] if isinstance(queries, str) else list(queries)
    witnesses = plan_witnesses(
        specs, against=against, null=null, embedders=embedders, used_by_generator=used_by_generator, faces=faces,
        sources=sources, embedded_by=options.embedded_by,
    )  # fmt: skip
    if options.threshold is not None:
        progress.note(
            f"--threshold {options.threshold} means another false match rate for each embedder; --fmr does not"
        )
    runs: list[ScanResult] = []
    for witness in witnesses:
        progress.note(f"embedder {witness.number} of {len(witnesses)}: {witness.spec}{_remark(witness)}")
        own = replace(
            options, null=witness.null, calibrate_on=_calibrate_on(options, witnesses[0], witness),
            copies=options.copies if witness.number == 1 else None,  # pictures are what they are: once is enough
        )  # fmt: skip
        runs.append(scan(
            list(witness.queries), against=list(witness.against), out=out / witness.folder, options=own,
            faces=replace(faces, embedder=witness.spec) if embedders else faces, sources=sources, resume=resume,
            force=force and witness.number == 1, workers=workers, progress=progress,
        ))  # fmt: skip
    accounts = [_account(witness, run) for witness, run in zip(witnesses, runs, strict=True)]
    joint = write_joint(out, accounts, seed=options.seed, level=options.level)
    write_page(out)
    return WitnessedResult(out, runs[0].summary, joint, tuple(runs))


def plan_witnesses(
    queries: Sequence[str],
    *,
    against: Sequence[str],
    null: Sequence[str],
    embedders: Sequence[str],
    used_by_generator: Sequence[str],
    faces: FaceOptions,
    sources: SourceOptions,
    embedded_by: str | None = None,
) -> list[Witness]:
    """Give every index to the embedder that made it, and say before any long work what is missing.

    Arguments and errors as of `scan_with_witnesses`.
    """
    found = _embedders(queries, embedders, faces, sources, embedded_by)
    unknown = sorted(set(used_by_generator) - {witness.spec for witness in found})
    if unknown:
        raise UsageError(
            f"--used-by-generator names {', '.join(unknown)}, and the embedders are {_listed(found)}. Write it as there."
        )
    sides = {"--against": [open_index(Path(p)) for p in against], "--null": [open_index(Path(p)) for p in null]}
    known = {witness.fingerprint for witness in found}
    for option, indexes in sides.items():
        for index in indexes:
            if index.fingerprint not in known:
                raise UsageError(
                    f"{option} {index.path} was built with embedder {index.manifest.embedder.get('name', '?')} (fingerprint "
                    f"{index.fingerprint}), which is none of the scan's: {_listed(found)}. Name that embedder too, or leave "
                    "the index out."
                )
    witnesses = []
    for witness in found:
        mine = {
            option: tuple(str(index.path) for index in indexes if index.fingerprint == witness.fingerprint)
            for option, indexes in sides.items()
        }
        for option, paths in mine.items():
            if not paths:
                there = ", ".join(str(index.path) for index in sides[option]) or "none"
                raise UsageError(
                    f"No index under {option} was built with {witness.spec} (fingerprint {witness.fingerprint}); there: "
                    f"{there}. Build one of the same photos (scanner index build), or leave this embedder out."
                )
        counted = witness.spec not in used_by_generator
        witnesses.append(replace(witness, against=mine["--against"], null=mine["--null"], counted=counted))
    counted_ones = [witness for witness in witnesses if witness.counted]
    if not counted_ones:
        raise UsageError(
            f"All embedders ({_listed(found)}) are under --used-by-generator, so none is left whose answer is independent. "
            "Add an embedder that the generator did not use."
        )
    _check_people(counted_ones, {str(index.path): index for indexes in sides.values() for index in indexes})
    return witnesses


def _embedders(
    queries: Sequence[str],
    embedders: Sequence[str],
    faces: FaceOptions,
    sources: SourceOptions,
    embedded_by: str | None,
) -> list[Witness]:
    """Return the embedders in order, each with its fingerprint and its queries; indexes come later."""
    ready = [is_embeddings(spec, sources) for spec in queries]
    if any(ready) and (embedders or not all(ready)):
        raise UsageError(
            "Ready embeddings know their embedder, and cannot be mixed with images or with --embedder. Name one file for "
            "each embedder, or the images."
        )
    if any(ready):
        found = [
            Witness(number, spec, ReadyFaces(spec, sources, embedded_by=embedded_by).fingerprint, (spec,))
            for number, spec in enumerate(queries, 1)
        ]
    else:
        device = choose_device(faces.device)
        found = [
            Witness(number, spec, open_embedder(spec, device).embedder.fingerprint, tuple(queries))
            for number, spec in enumerate(embedders, 1)
        ]
    if not 2 <= len(found) <= WITNESSES_MAX:  # noqa: PLR2004 - one is a plain scan
        raise UsageError(
            f"Two to {WITNESSES_MAX} embedders are weighed together, got {len(found)}. For one, leave the others' options out."
        )
    for place, witness in enumerate(found):
        twin = next((other for other in found[:place] if other.fingerprint == witness.fingerprint), None)
        if twin is not None:
            raise UsageError(
                f"{twin.spec} and {witness.spec} are one embedder (fingerprint {witness.fingerprint}): asking it twice is no "
                "second opinion. Name each embedder once."
            )
    return found


def _check_people(witnesses: Sequence[Witness], indexes: dict[str, Index]) -> None:
    """Refuse, before any long work, embedders that did not see the same people."""
    people = {
        (witness.spec, side): _names(indexes[path] for path in paths)
        for witness in witnesses
        for side, paths in (("candidates", witness.against), ("null", witness.null))
    }
    candidates, nulls = ([names for (_, of), names in people.items() if of == side] for side in ("candidates", "null"))
    shared, shared_null = candidates[0].intersection(*candidates), nulls[0].intersection(*nulls)
    sizes = "; ".join(f"{spec}: {len(names)} {side}" for (spec, side), names in people.items())
    if not shared or len(shared_null) < NULL_MIN:
        raise CalibrationError(
            f"{len(shared)} candidate and {len(shared_null)} null identities are in the indexes of all embedders ({sizes}); "
            f"at least 1 and {NULL_MIN} are needed. Build the indexes of each embedder from the same photos, with the same "
            "--identity-from."
        )
    both = sorted(candidates[0].union(*candidates) & nulls[0].union(*nulls))
    if both:
        raise CalibrationError(
            f"{len(both)} identities are candidates for one embedder and null for another ({', '.join(both[:3])}): the null "
            "must be people known not to be in training. Build the indexes of each embedder from the same photos."
        )


def _names(indexes: Iterable[Index]) -> set[str]:
    return {name for index in indexes for name in index.column("identity").to_pylist() if name is not None}


def _calibrate_on(options: ScanOptions, first: Witness, witness: Witness) -> str | None:
    """Return what an embedder's threshold is calibrated on: its own counterpart of an index of the first one."""
    chosen = options.calibrate_on
    if chosen is None or witness is first or not (Path(chosen) / "manifest.json").is_file():
        return chosen
    for theirs, own in ((first.against, witness.against), (first.null, witness.null)):
        places = [place for place, path in enumerate(theirs) if Path(path).resolve() == Path(chosen).resolve()]
        if places and places[0] < len(own):
            return own[places[0]]
    return witness.null[0]


def _listed(witnesses: Sequence[Witness]) -> str:
    return ", ".join(f"{witness.spec} ({witness.fingerprint})" for witness in witnesses)


def _remark(witness: Witness) -> str:
    if witness.counted:
        return ""
    own = "; this run's own statement is inflated, name an independent embedder first" if witness.number == 1 else ""
    return f" (used by the generator: shown, but no part of the joint statement{own})"


def _account(witness: Witness, run: ScanResult) -> dict[str, Any]:
    """Return what stands about one embedder in `joint.json`."""
    return {
        "embedder": clean_uri(witness.spec),
        "fingerprint": witness.fingerprint,
        "folder": witness.folder,
        "counted": witness.counted,
        "reason": "" if witness.counted else "the generator or its attack used this embedder",
        "indexes": [Path(path).resolve().name for path in witness.against],
        "nulls": [Path(path).resolve().name for path in witness.null],
        "null_differs": run.summary["evidence"]["null_fit"]["differ"],
    }
