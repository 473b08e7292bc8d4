"""`scanner index …`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scanner.cli.counts import exit_code, tell
from scanner.cli.dedupe import command as dedupe_command
from scanner.cli.options import (
    dry_run_options,
    dry_run_value,
    face_options,
    face_values,
    quiet_value,
    ray_option,
    seed_option,
    source_options,
    source_values,
    talk_options,
    target_options,
)
from scanner.cli.talk import answer, say, talk, tell_costs, tell_estimate

if TYPE_CHECKING:  # the command line starts fast
    from scanner.jobs.indexing.build import BuildResult

_STORED = (
    click.option("--dtype", type=click.Choice(["float32", "float16"]), default="float32", show_default=True,
                 help="float16 halves the disk; scores are then good to about 5e-4."),
    click.option("--codec", type=click.Choice(["auto", "always", "none"]), default="auto", show_default=True,
                 help="Keep compressed codes for a fast complete search."),
)  # fmt: skip


@click.group("index")
def command() -> None:
    """Build, add to, erase from and check indexes of candidate data sets."""


command.add_command(dedupe_command)


@command.command("build")
@click.argument("out", type=click.Path())
@click.argument("source", nargs=-1, required=True)
@face_options
@source_options
@_STORED[0]
@_STORED[1]
@click.option("--with-crops", is_flag=True, help="Keep aligned crops, so that reports can show them (biometric data).")
@seed_option("Draws what the codec is trained on.")
@dry_run_options
@ray_option
@target_options
@talk_options
def build_command(out: str, source: tuple[str, ...], **given: Any) -> int:
    """Embed the faces of SOURCE (folders, archives, URLs, or ready embeddings) and make the index OUT.

    \b
    scanner index build people.idx photos/ --identity-from folder
    scanner index build people.idx 'set-{00..07}.tar' --embedder onnx:face.onnx --detector scrfd.onnx
    """
    from scanner.jobs.indexing.build import BuildOptions, build
    from scanner.jobs.ray_workers import ray_workers

    quiet = quiet_value(given)
    names = ("dtype", "codec", "with_crops", "seed", "embedded_by")
    options = BuildOptions(**{name: given.pop(name) for name in names})
    faces, sources = face_values(given), source_values(given)
    dry, profile = dry_run_value(given)
    if dry:
        from scanner.jobs.scanning.estimate import estimate_build

        with talk(quiet=quiet) as progress:
            cost = estimate_build(
                source, options=options, faces=faces, sources=sources, profile=profile, progress=progress
            )
        return tell_estimate(cost, quiet=quiet)
    with talk(quiet=quiet) as progress, ray_workers(given.pop("ray"), progress) as workers:
        result = build(
            out, source, options=options, faces=faces, sources=sources, workers=workers, progress=progress, **given
        )
    return _tell(result, f"{result.rows} references", quiet=quiet)


@command.command("add")
@click.argument("index", type=click.Path(exists=True, file_okay=False))
@click.argument("source", nargs=-1, required=True)
@face_options
@source_options
@click.option("--with-crops", is_flag=True, help="Keep aligned crops (biometric data).")
@ray_option
@click.option("--resume", is_flag=True, help="Finish interrupted work.")
@click.option("--force", is_flag=True, help="Throw interrupted work away; the index keeps what it holds.")
@talk_options
def add_command(index: str, source: tuple[str, ...], **given: Any) -> int:
    """Embed SOURCE with the index's own embedder and add what is not there yet."""
    from scanner.jobs.indexing.build import BuildOptions, add
    from scanner.jobs.ray_workers import ray_workers

    quiet = quiet_value(given)
    options = BuildOptions(with_crops=given.pop("with_crops"), embedded_by=given.pop("embedded_by"))
    faces, sources = face_values(given), source_values(given)
    with talk(quiet=quiet) as progress, ray_workers(given.pop("ray"), progress) as workers:
        result = add(
            index, source, options=options, faces=faces, sources=sources, workers=workers, progress=progress, **given
        )
    return _tell(result, f"{result.added} added, {result.rows} references", quiet=quiet)


def _tell(result: BuildResult, what: str, *, quiet: bool) -> int:
    say(f"{tell(result.counts)}\n{result.path}: {what}", quiet=quiet)
    tell_costs(result.costs, quiet=quiet)
    answer({"index": str(result.path), "rows": result.rows, "added": result.added, "counts": asdict(result.counts)})
    return exit_code(result.counts)


@command.command("remove")
@click.argument("index", type=click.Path(exists=True, file_okay=False))
@click.option("--id", "ids", type=int, multiple=True, metavar="ID", help="Reference id; more than once.")
@click.option("--identity", multiple=True, metavar="LABEL", help="Every reference of this identity; more than once.")
@click.option("--uri", multiple=True, metavar="URI", help="Every reference from this uri; more than once.")
@click.option("--request", metavar="NUMBER", help="Your number for the request; never write who asked.")
@talk_options
def remove_command(
    index: str, ids: tuple[int, ...], identity: tuple[str, ...], uri: tuple[str, ...], **given: Any
) -> int:
    """Erase references: they are no longer found, and a record says what was erased and when, not who asked.

    The bytes go with `scanner index compact`.
    """
    from scanner.jobs.indexing.erase import erase

    quiet = quiet_value(given)
    done = erase(index, ids=ids, identities=identity, uris=uri, request=given["request"])
    say(
        f"{done.erased} references erased from {index}; {done.rows} are left. "
        f"Their bytes go with: scanner index compact {index}",
        quiet=quiet,
    )
    answer({"index": index, **asdict(done)})
    return 0


@command.command("compact")
@click.argument("index", type=click.Path(exists=True, file_okay=False))
@talk_options
def compact_command(index: str, **given: Any) -> int:
    """Rewrite what holds erased references, so that their bytes are gone from the disk."""
    from indexes import open_index

    quiet = quiet_value(given)
    opened = open_index(Path(index)).compact()
    say(f"{index}: {opened.rows} references in {len(opened.manifest.segments)} segments, none erased", quiet=quiet)
    answer({"index": index, "rows": opened.rows, "segments": len(opened.manifest.segments)})
    return 0


@command.command("show")
@click.argument("index", type=click.Path(exists=True, file_okay=False))
@talk_options
def show_command(index: str, **given: Any) -> int:
    """Say what an index holds and which embedder made it."""
    from indexes import open_index

    quiet = quiet_value(given)
    opened = open_index(Path(index))
    names = [name for name in opened.column("identity").to_pylist() if name is not None]
    engine, reason = opened.engine(memory_bytes=4 << 30)
    facts = {
        "index": index,
        "rows": opened.rows,
        "identities": len(set(names)),
        "dim": opened.dim,
        "dtype": opened.manifest.dtype,
        "fingerprint": opened.fingerprint,
        "embedder": opened.manifest.embedder.get("name"),
        "segments": len(opened.manifest.segments),
        "codes": bool(opened.manifest.codec),
        "engine": engine.name,
        "engine_reason": reason,
    }
    for name, value in facts.items():
        say(f"{name:14} {value}", quiet=quiet)
    answer(facts)
    return 0


@command.command("verify")
@click.argument("index", type=click.Path(exists=True, file_okay=False))
@talk_options
def verify_command(index: str, **given: Any) -> int:
    """Read every byte of an index and check it against its manifest."""
    from indexes import open_index

    quiet = quiet_value(given)
    findings = open_index(Path(index)).verify()
    for finding in findings:
        say(f"error: {finding}")
    if not findings:
        say(f"{index}: every file is as it was written", quiet=quiet)
    answer({"index": index, "sound": not findings, "findings": findings})
    return 2 if findings else 0
