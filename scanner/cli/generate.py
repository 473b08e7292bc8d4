"""`scanner generate`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from scanner.cli import EXIT_DONE, EXIT_INCOMPLETE
from scanner.cli.options import (
    device_option,
    quiet_value,
    ray_option,
    seed_option,
    talk_options,
    target_options,
    trust_option,
)
from scanner.cli.talk import answer, say, talk


@click.command("generate")
@click.argument("generator", metavar="GEN.toml", type=click.Path())
@click.argument("out", type=click.Path(file_okay=False))
@click.option("-n", "count", type=click.IntRange(min=1), required=True, metavar="N", help="How many images.")
@seed_option("With an image's number it gives the image.", metavar="S")
@click.option(
    "--as",
    "form",
    type=click.Choice(["tar", "parquet"]),
    default="tar",
    show_default=True,
    help="WebDataset tars or Parquet files, of 1 000 images each.",
)
@device_option("Where the generator runs.")
@trust_option
@click.option("--dry-run", is_flag=True, help="Open it, measure one batch, predict time and bytes, write nothing.")
@ray_option
@target_options
@talk_options
def command(generator: str, out: str, **given: Any) -> int:
    """Sample a generator: N images, of which image i depends on the seed and i alone.

    \b
    scanner generate gen.toml samples -n 10000 --seed 1
    scanner scan 'samples/images-*.tar' --against people.idx --out run

    No images on disk are needed to scan: generated:gen.toml?n=10000&seed=1 is a source like any other.
    """  # fmt: skip
    from scanner.jobs.generating.generate import estimate_generate, generate
    from scanner.jobs.ray_workers import ray_workers

    quiet = quiet_value(given)
    trusted, is_dry, ray = given.pop("trust"), given.pop("dry_run"), given.pop("ray")
    if is_dry:
        found = estimate_generate(
            generator, count=given["count"], seed=given["seed"], device=given["device"], trusted=trusted
        )
        say(found.sentence(), quiet=quiet)
        answer({"dry_run": True, **asdict(found)})
        return EXIT_DONE
    with talk(quiet=quiet) as progress, ray_workers(ray, progress) as workers:
        result = generate(generator, out, trusted=trusted, workers=workers, progress=progress, **given)
    left = f", {result.rejected} left out: NaN or infinities" if result.rejected else ""
    say(f"{result.path}: {result.images} images in {len(result.shards)} files{left}", quiet=quiet)
    answer({**asdict(result), "path": str(result.path)})
    return EXIT_INCOMPLETE if result.rejected else EXIT_DONE
