"""`scanner check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from scanner.cli.counts import tell
from scanner.cli.options import (
    face_options,
    face_values,
    force_option,
    quiet_value,
    seed_option,
    source_options,
    source_values,
    talk_options,
)
from scanner.cli.talk import answer, say, talk


@click.command("check")
@click.argument("photos", nargs=-1, required=True)
@click.option(
    "--run",
    required=True,
    type=click.Path(exists=True, file_okay=False),
    metavar="RUN",
    help="Finished run of scanner scan --null.",
)
@click.option(
    "--photos-of",
    type=click.Choice(["person", "many"]),
    default="person",
    show_default=True,
    help="All photos show one person; or they are independent of each other: many people, or works.",
)
@click.option(
    "--null",
    multiple=True,
    metavar="INDEX",
    help="The run's null, to test whether these photos are of its kind (--photos-of many).  More than once.",
)
@click.option(
    "--level",
    type=float,
    default=0.01,
    show_default=True,
    metavar="P",
    help="p-value from which the answer is 'closer'.",
)
@seed_option("Draws photos and permutations.")
@click.option("--out", type=click.Path(dir_okay=False), metavar="FILE", help="Write the answer as JSON too.")
@force_option
@face_options
@source_options
@talk_options
def command(photos: tuple[str, ...], run: str, out: str | None, **given: Any) -> int:  # fmt: skip
    """Was the person on PHOTOS in training?  One p-value for all of them, against the run's null.

    \b
    scanner check my-photos/ --run run
    scanner check works/ --run run --faces whole --photos-of many --null others.idx
    """
    from indexes.atomic import write_json
    from scanner.errors import UsageError
    from scanner.jobs.checking.check import CheckOptions, check

    quiet = quiet_value(given)
    if out is not None and Path(out).exists() and not given["force"]:
        raise UsageError(f"{out} exists already. Choose another name, or pass --force to replace it.")
    options = CheckOptions(
        of=given["photos_of"], level=given["level"], null=given["null"], seed=given["seed"],
        embedded_by=given.pop("embedded_by"),
    )  # fmt: skip
    with talk(quiet=quiet) as progress:
        found = check(
            photos, run=run, options=options, faces=face_values(given), sources=source_values(given), progress=progress
        )
    say(tell(found.counts), quiet=quiet)
    say("\n".join(["", found.sentence, *(f"- {word}" for word in found.words)]), quiet=quiet)
    document = found.document()
    if out is not None:
        write_json(Path(out), document)
    answer(document)
    return 0
