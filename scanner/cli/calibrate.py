"""`scanner calibrate`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from scanner.cli.options import face_options, face_values, quiet_value, source_options, source_values, talk_options
from scanner.cli.talk import answer, say, talk
from scanner.evidence.calibration import OperatingPoint


@click.command("calibrate")
@click.argument("on")
@click.option("--fmr", "fmrs", multiple=True, type=float, metavar="F", help="Wanted false match rate; more than once.  "
              "[default: 1e-2 to 1e-5, as far as the pairs go]")  # fmt: skip
@face_options
@source_options
@click.option("--seed", type=int, default=0, show_default=True, help="Draws faces when there are more than 20 000.")
@talk_options
def command(on: str, fmrs: tuple[float, ...], **given: Any) -> int:
    """Compare all pairs of people whose identity is known; print the threshold at each false match rate.

    ON is an index built with identities, or labelled images or embeddings.

    \b
    scanner calibrate people.idx
    scanner calibrate labelled.tar --embedder insightface:buffalo_l --fmr 1e-4
    """
    from scanner.jobs.calibrate import DEFAULT_FMRS, calibrate

    quiet = quiet_value(given)
    with talk(quiet=quiet) as progress:
        found = calibrate(
            on, fmrs=fmrs or DEFAULT_FMRS, faces=face_values(given), sources=source_values(given), seed=given["seed"],
            progress=progress, skip_thin=not fmrs, embedded_by=given["embedded_by"],
        )  # fmt: skip
    say(f"{found.faces} faces of {found.identities} identities, embedder {found.fingerprint}", quiet=quiet)
    say("     FMR  [95 % interval]           threshold  TAR     [95 % interval]   pairs (different, same)", quiet=quiet)
    for point in found.points:
        say(_row(point), quiet=quiet)
    for sentence in found.skipped:
        say(f"note: {sentence}", quiet=quiet)
    answer(asdict(found))
    return 0


def _row(point: OperatingPoint) -> str:
    low, high = point.fmr_interval
    tar = "   -                         "
    if point.tar is not None and point.tar_interval is not None:
        tar = f"{point.tar:.4f}  [{point.tar_interval[0]:.4f}, {point.tar_interval[1]:.4f}]"
    thin = "  thin: fewer than 30 false matches" if point.is_thin else ""
    return (
        f"{point.fmr:8.2e}  [{low:.2e}, {high:.2e}]  {point.threshold:9.4f}  {tar}  "
        f"{point.non_mated_pairs}, {point.mated_pairs}{thin}"
    )
