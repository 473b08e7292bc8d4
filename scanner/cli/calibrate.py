"""`scanner calibrate`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from scanner.cli.options import (
    face_options,
    face_values,
    quiet_value,
    seed_option,
    source_options,
    source_values,
    talk_options,
)
from scanner.cli.talk import answer, say, talk
from scanner.errors import UsageError
from scanner.evidence.calibration import OperatingPoint
from scanner.evidence.det import OneToMany
from scanner.evidence.one_to_many import RatePoint
from scanner.evidence.rates import Rate


@click.command("calibrate")
@click.argument("on")
@click.option("--fmr", "fmrs", multiple=True, type=float, metavar="F", help="Wanted false match rate; more than once.  "
              "[default: 1e-2 to 1e-5, as far as the pairs go]")  # fmt: skip
@click.option(
    "--fpir", type=float, metavar="F", help="Wanted share of searches of unrelated people that find somebody."
)
@click.option("--gallery-size", "gallery_sizes", multiple=True, type=click.IntRange(min=1), metavar="N",
              help="References that are searched, for --fpir; more than once.  [default: powers of ten within the set]")  # fmt: skip
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write a page with the curves and tables, with --fpir.")  # fmt: skip
@face_options
@source_options
@seed_option("Draws faces when there are more than 20 000.")
@talk_options
def command(
    on: str,
    fmrs: tuple[float, ...],
    fpir: float | None,
    gallery_sizes: tuple[int, ...],
    html: Path | None,
    **given: Any,
) -> int:
    """Compare all pairs of people whose identity is known; print the threshold at each false match rate.

    ON is an index built with identities, or labelled images or embeddings.  With --fpir every photo is also searched
    among one photo of each other person, which gives thresholds for searches of N references.

    \b
    scanner calibrate people.idx
    scanner calibrate labelled.tar --embedder insightface:buffalo_l --fmr 1e-4
    scanner calibrate people.idx --fpir 0.01 --gallery-size 5000 --html calibration.html
    """
    from scanner.jobs.indexing.calibrate import DEFAULT_FMRS, calibrate

    if fpir is None and (gallery_sizes or html is not None):
        raise UsageError(
            "--gallery-size and --html go with --fpir, the wanted share of searches that go wrong: add --fpir 0.01."
        )
    quiet = quiet_value(given)
    with talk(quiet=quiet) as progress:
        found = calibrate(
            on, fmrs=fmrs or DEFAULT_FMRS, fpir=fpir, gallery_sizes=gallery_sizes, faces=face_values(given),
            sources=source_values(given), seed=given["seed"], progress=progress, skip_thin=not fmrs,
            embedded_by=given["embedded_by"],
        )  # fmt: skip
    say(f"{found.faces} faces of {found.identities} identities, embedder {found.fingerprint}", quiet=quiet)
    say("     FMR  [95 % interval]           threshold  TAR     [95 % interval]   pairs (different, same)", quiet=quiet)
    for point in found.points:
        say(_row(point), quiet=quiet)
    for sentence in found.skipped:
        say(f"note: {sentence}", quiet=quiet)
    if found.one_to_many is not None:
        _say_rates(found.one_to_many, quiet=quiet)
    document = asdict(found)
    if html is not None and found.one_to_many is not None:
        from scanner.report.calibration_page import write_calibration_page

        write_calibration_page(
            html, on=on, fingerprint=found.fingerprint, faces=found.faces, identities=found.identities,
            points=found.points, rates=found.one_to_many,
        )  # fmt: skip
        say(f"page: {html}", quiet=quiet)
        document["html"] = str(html)
    answer(document)
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


def _say_rates(rates: OneToMany, *, quiet: bool) -> None:
    """Print the threshold at the wanted FPIR for each gallery size, and what false match rates become."""
    say(
        f"\nsearches: {rates.searches} among {rates.gallery} other people, {rates.mated_searches} for a second photo of the "
        f"same person; intervals count that they share people (95 %)",
        quiet=quiet,
    )
    if rates.points:
        say(f"threshold at FPIR {rates.fpir:g}\n{_RATES_HEAD}", quiet=quiet)
    for point in rates.points:
        say(_rate_row(point), quiet=quiet)
    for sentence in rates.skipped:
        say(f"note: {sentence}", quiet=quiet)
    if rates.closest:
        best = rates.closest[0]
        say(
            f"closest identities: {best.first} and {best.second} at {best.score:.4f}; one person under two names moves every "
            "threshold up", quiet=quiet,
        )  # fmt: skip
    if rates.sizes:
        say("FPIR of the thresholds above, measured and, in brackets, as 1 - (1 - FMR)^N", quiet=quiet)
        say(" gallery" + "".join(f"{'T ' + format(curve.threshold, '.4f'):>24}" for curve in rates.sizes), quiet=quiet)
        for rows in zip(*(curve.sizes for curve in rates.sizes), strict=True):
            cells = "".join(f"{row.fpir.value:>13.3g} ({row.by_fmr:.3g})".rjust(24) for row in rows)
            say(f"{rows[0].size:>8}{cells}{'  extrapolated' if rows[0].fpir.extrapolated else ''}", quiet=quiet)


_RATES_HEAD = (
    " gallery  threshold  [interval]        FPIR                         FNIR                         "
    "false matches in 1000 searches"
)


def _rate_row(point: RatePoint) -> str:
    low, high = point.threshold_interval
    missed = "-".ljust(27) if point.fnir is None else _rate(point.fnir)
    return (
        f"{point.gallery_size:>8}  {point.threshold:9.4f}  [{low:.4f}, {high:.4f}]  {_rate(point.fpir)}  {missed}  "
        f"{point.false_matches_per_1000:.3g}{'  extrapolated' if point.extrapolated else ''}"
    )


def _rate(rate: Rate) -> str:
    return f"{rate.value:.4f} [{rate.low:.4f}, {rate.high:.4f}]".ljust(27)
