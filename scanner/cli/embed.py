"""`scanner embed`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from scanner.cli.counts import exit_code, tell
from scanner.cli.options import (
    dry_run_options,
    dry_run_value,
    face_options,
    face_values,
    quiet_value,
    ray_option,
    source_options,
    source_values,
    talk_options,
    target_options,
)
from scanner.cli.talk import answer, say, talk, tell_costs, tell_estimate


@click.command("embed")
@click.argument("source", nargs=-1, required=True)
@click.argument("out", type=click.Path(dir_okay=False))
@face_options
@source_options
@click.option("--with-crops", is_flag=True, help="Keep the aligned crops (biometric data).")
@dry_run_options
@ray_option
@target_options
@talk_options
def command(source: tuple[str, ...], out: str, **given: Any) -> int:
    """Write one row a face: id, uri, identity, box, quality, embedding.

    \b
    scanner embed photos/ photos.parquet --embedder dlib
    scanner embed 'set-{00..03}.tar' set.parquet --embedder onnx:face.onnx --detector scrfd.onnx
    """
    from scanner.jobs.embedding.embed import embed
    from scanner.jobs.ray_workers import ray_workers

    quiet = quiet_value(given)
    given.pop("embedded_by")
    dry, profile = dry_run_value(given)
    faces, sources, keep_crops = face_values(given), source_values(given), given["with_crops"]
    if dry:
        from scanner.jobs.scanning.estimate import estimate_embed

        with talk(quiet=quiet) as progress:
            cost = estimate_embed(
                source, faces=faces, sources=sources, keep_crops=keep_crops, profile=profile, progress=progress
            )
        return tell_estimate(cost, quiet=quiet)
    with talk(quiet=quiet) as progress, ray_workers(given["ray"], progress) as workers:
        result = embed(
            source, out, faces=faces, sources=sources, keep_crops=keep_crops,
            resume=given["resume"], force=given["force"], workers=workers, progress=progress,
        )  # fmt: skip
    say(f"{tell(result.counts)}\n{result.path}: {result.counts.faces} embeddings of {result.dim} numbers", quiet=quiet)
    tell_costs(result.costs, quiet=quiet)
    answer(
        {"out": str(result.path), "dim": result.dim, "fingerprint": result.fingerprint, "counts": asdict(result.counts)}
    )
    return exit_code(result.counts)
