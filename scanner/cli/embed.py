"""`scanner embed`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from scanner.cli.counts import exit_code, tell
from scanner.cli.options import (
    face_options,
    face_values,
    quiet_value,
    source_options,
    source_values,
    talk_options,
    target_options,
)
from scanner.cli.talk import answer, say, talk


@click.command("embed")
@click.argument("source", nargs=-1, required=True)
@click.argument("out", type=click.Path(dir_okay=False))
@face_options
@source_options
@click.option("--with-crops", is_flag=True, help="Keep the aligned crops (biometric data).")
@target_options
@talk_options
def command(source: tuple[str, ...], out: str, **given: Any) -> int:
    """Write one row a face: id, uri, identity, box, quality, embedding.

    \b
    scanner embed photos/ photos.parquet --embedder dlib
    scanner embed 'set-{00..03}.tar' set.parquet --embedder onnx:face.onnx --detector scrfd.onnx
    """
    from scanner.jobs.embed import embed

    quiet = quiet_value(given)
    given.pop("embedded_by")
    with talk(quiet=quiet) as progress:
        result = embed(
            source, out, faces=face_values(given), sources=source_values(given), keep_crops=given["with_crops"],
            resume=given["resume"], force=given["force"], progress=progress,
        )  # fmt: skip
    say(f"{tell(result.counts)}\n{result.path}: {result.counts.faces} embeddings of {result.dim} numbers", quiet=quiet)
    answer(
        {"out": str(result.path), "dim": result.dim, "fingerprint": result.fingerprint, "counts": asdict(result.counts)}
    )
    return exit_code(result.counts)
