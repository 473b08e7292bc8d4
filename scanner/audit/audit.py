"""The audit: which generators give away the people they were trained on, and does a release policy allow it?

    AUDIT.toml ──► sources, embedded once each ──► people, cleaned ──► scores, rates, gate ──► audit.json, report.html
               └──► a split network's features ──► re-created photos ──► match rates ──────────┘

A kill leaves finished sources in `OUT/unfinished`; resumed, the bytes are those of an uninterrupted audit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexes.atomic import write_json
from scanner import artefacts
from scanner.audit.check import check_sources, read_shares, sources_of
from scanner.audit.config import AuditConfig, GeneratorSection, place_of, read_config
from scanner.audit.look import Input
from scanner.audit.people import sort_people
from scanner.audit.recovery import recover
from scanner.audit.results import measure, plain
from scanner.audit.sources import Reader
from scanner.audit.split import split_audit
from scanner.audit.split_open import Opened, open_split
from scanner.audit.split_results import joined, write_split
from scanner.audit.verdict import verdict_of
from scanner.errors import RunMismatch
from scanner.jobs.folders import check_target, is_finished, remove_folder, sweep
from scanner.jobs.parts import begin_work
from scanner.jobs.versions import versions
from scanner.progress import Progress, Silent
from scanner.report.audit_page import write_audit_page

AUDIT_FORMAT = "identity-leak-audit"
AUDIT_VERSION = 1
_FIXED = (
    pa.field("generator", pa.string(), nullable=False),
    pa.field("identity", pa.string(), nullable=False),
    pa.field("member", pa.bool_(), nullable=False),
    pa.field("photos", pa.int32(), nullable=False),
    pa.field("best_score", pa.float32(), nullable=False),
    pa.field("p_value", pa.float64()),
    pa.field("q_value", pa.float64()),
)
"""Columns of `scores.parquet` besides one a score: one row an identity of a generator's audit, members first."""


@dataclass(frozen=True, slots=True)
class AuditResult:
    """A finished audit: its folder and what stands in its `audit.json`."""

    folder: Path
    document: dict[str, Any] = field(repr=False)

    @property
    def allows(self) -> bool:
        """True when every gate of the file passes, or there is none."""
        gates = [generator["gate"] for generator in self.document["generators"] if generator["gate"] is not None]
        split = self.document.get("split")  # audits of an older scanner have none
        gates += [split["gate"]] if split is not None and split["gate"] is not None else []
        return all(gate["state"] == "pass" for gate in gates)


def audit(
    toml: str | Path,
    *,
    out: str | Path,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> AuditResult:
    """Carry out an audit and write its folder.

    Args:
        toml: the AUDIT.toml, see `scanner.audit.config`.
        out: the folder to make.
        resume: finish the audit that was interrupted in `out`.
        force: replace what is in `out`.
        progress: where to report.

    Raises:
        ScannerError: see `scanner.errors`; before any long work wherever it can be known before.
    """
    progress, toml, out = progress or Silent(), Path(toml), Path(out)
    config, folder, work = read_config(toml), Path(toml).parent, Path(out) / "unfinished"
    check_target(out, work, kind="audit", resume=resume, force=force)
    if is_finished(out / "audit.json", work, resume=resume):
        return _finished(out, config)
    check_sources(config, folder)
    opened = open_split(config, folder) if config.split is not None else None
    if force:
        remove_folder(out)
    artefacts.make_private_folder(out)
    sweep(out)
    files = {} if opened is None else {"files of [split]": opened.plan()}
    begin_work(work, {"policy_sha256": config.sha256(), **config.document(), **files}, resume=resume)
    reader = Reader(config, folder, work, resume=resume, progress=progress)
    generators = _generators(config, folder, out, reader, work, progress) if config.generator else []
    split = _split(opened, config, out, work, progress) if opened is not None else None
    verdict = verdict_of(generators, used_by_generator=config.embedder.used_by_generator) if generators else None
    tables = [name for name, there in (("scores.parquet", generators), ("split.parquet", split)) if there]
    document = {
        "format": AUDIT_FORMAT,
        "format_version": AUDIT_VERSION,
        "config": config.document(),
        "policy_sha256": config.sha256(),
        "embedder": {
            "fingerprint": reader.read(config.people.non_members).fingerprint if generators else None,
            "used_by_generator": config.embedder.used_by_generator,
            "names": sorted({str(road["embedder"].get("name", "?")) for road in reader.roads.values()}),
        },
        "sources": reader.counts(),
        "generators": generators,
        "split": split,
        "verdict": joined(verdict, split["verdict"] if split else None),
        "files": {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in tables},
        "versions": versions(),
    }
    write_json(out / "audit.json", document)  # the last of the data: a folder with audit.json is complete
    write_audit_page(out)
    remove_folder(work)
    return AuditResult(out, document)


def _generators(
    config: AuditConfig, folder: Path, out: Path, reader: Reader, work: Path, progress: Progress
) -> list[dict[str, Any]]:
    """Attack every generator and write `scores.parquet`; return their entries in `audit.json`."""
    for name in sources_of(config):
        reader.read(name)
    progress.stage("audit", total=len(config.generator), unit="generators")
    measured = []
    for generator in config.generator:
        entry, columns = measure(generator, _input(generator, config, folder, reader), config)
        if config.recovery is not None:
            found, score = recover(generator, config, folder, reader, work, progress)
            entry["recovery"] = plain(found)
            columns["scores"]["recovery"] = [score.get(name) for name in columns["identity"]]
        measured.append((entry, columns))
        progress.advance(1)
    fingerprint = reader.read(config.people.non_members).fingerprint
    _write_scores(out / "scores.parquet", [columns for _, columns in measured], fingerprint)
    return [document for document, _ in measured]


def _split(opened: Opened, config: AuditConfig, out: Path, work: Path, progress: Progress) -> dict[str, Any]:
    """Attack the split network and write `split.parquet`; return its section of `audit.json`."""
    section, rows = split_audit(opened, work / "split", seed=config.audit.seed, progress=progress)
    write_split(out / "split.parquet", rows, opened.network.fingerprint)
    return section


def _input(generator: GeneratorSection, config: AuditConfig, folder: Path, reader: Reader) -> Input:
    samples = reader.read(generator.samples)
    training = reader.read(generator.training) if generator.training else None
    people = sort_people(
        reader.read(generator.members or config.people.members), reader.read(config.people.non_members),
        used=[samples] if training is None else [samples, training],
        photos=config.people.photos, seed=config.audit.seed, what=generator.name,
    )  # fmt: skip
    return Input(
        people,
        samples,
        reader.read(generator.reference) if generator.reference else None,
        training,
        read_shares(Path(place_of(generator.shares, folder))) if generator.shares else {},
    )


def _write_scores(path: Path, columns: Sequence[dict[str, Any]], fingerprint: str) -> None:
    names = list(columns[0]["scores"])
    schema = pa.schema([*_FIXED, *(pa.field(name, pa.float64()) for name in names)])
    schema = artefacts.stamped(schema, "scores", fingerprint=fingerprint)
    tables = (
        artefacts.table_of(schema, {**{k: v for k, v in part.items() if k != "scores"}, **part["scores"]})
        for part in columns
    )
    artefacts.write_tables(path, schema, tables)


def _finished(out: Path, config: AuditConfig) -> AuditResult:
    """Return an audit that has nothing left to do, unless it was of another file than this."""
    document = artefacts.read_json(out / "audit.json")
    if document["policy_sha256"] != config.sha256():
        now, then = config.document(), document["config"]
        changed = sorted(key for key in {*now, *then} if now.get(key) != then.get(key))
        raise RunMismatch(
            f"{out} is a finished audit of another file: {', '.join(changed)} differ. Choose another name, or pass --force "
            "to replace it."
        )
    return AuditResult(out, document)
