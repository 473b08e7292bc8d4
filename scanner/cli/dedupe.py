"""`scanner index dedupe`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from scanner.cli.options import (
    engine_value,
    face_options,
    face_values,
    quiet_value,
    search_options,
    seed_option,
    source_options,
    source_values,
    talk_options,
    target_options,
    threshold_options,
)
from scanner.cli.talk import answer, say, talk
from scanner.quantities import parse_bytes


@click.command("dedupe")
@click.argument("index", type=click.Path(exists=True, file_okay=False))
@click.option("--out", required=True, type=click.Path(), metavar="FOLDER", help="Folder to make.")
@threshold_options
@search_options
@click.option(
    "--with-crops", is_flag=True, help="Show faces in the report, where the index keeps them (biometric data)."
)
@seed_option("Draws the calibration sample.")
@click.option("--dry-run", is_flag=True, help="Search a few references, say what all would cost, and stop.")
@target_options
@face_options
@source_options
@talk_options
def command(index: str, out: str, **given: Any) -> int:
    """Compare the references of INDEX with each other: the same picture twice, one person under two labels.

    Writes pairs.parquet, groups.parquet, dedupe.json and report.html.  What says how faces are found and embedded
    concerns the pictures of --calibrate-on alone.

    \b
    scanner index dedupe people.idx --out duplicates --threshold 0.8
    scanner index dedupe people.idx --out duplicates --fmr 1e-5 --calibrate-on outsiders.idx
    """
    from scanner.jobs.indexing.dedupe import dedupe
    from scanner.jobs.scanning.options import ScanOptions
    from scanner.report.dedupe_page import headline

    quiet = quiet_value(given)
    names = ("threshold", "fmr", "fpir", "calibrate_on", "with_crops", "seed", "embedded_by")
    own = {name: given.pop(name) for name in names}
    options = ScanOptions(memory_bytes=parse_bytes(given.pop("memory")), engine=engine_value(given), **own)
    faces, sources = face_values(given), source_values(given)
    if given.pop("dry_run"):
        from scanner.jobs.indexing.dedupe_estimate import estimate

        with talk(quiet=quiet) as progress:
            cost = estimate(index, options=options, faces=faces, sources=sources, progress=progress)
        say(cost.sentence(), quiet=quiet)
        answer(asdict(cost))
        return 0
    with talk(quiet=quiet) as progress:
        result = dedupe(index, out=out, options=options, faces=faces, sources=sources, progress=progress, **given)
    counts = result.summary["counts"]
    say(
        f"{headline(result.summary)}\n{counts['pairs']} pairs, {counts['pairs_between']} of them between two identities"
        f"\nreport: {result.folder / 'report.html'}",
        quiet=quiet,
    )
    numbers = {name: value for name, value in counts.items() if name != "group_sizes"}  # which may be long
    answer({"out": str(result.folder), "threshold": result.summary["threshold"]["value"], **numbers})
    return 0
