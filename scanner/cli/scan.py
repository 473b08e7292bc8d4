"""`scanner scan`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from scanner.cli.counts import exit_code, tell
from scanner.cli.options import (
    dry_run_options,
    dry_run_value,
    engine_value,
    face_options_of_several,
    face_values,
    quiet_value,
    ray_option,
    search_options,
    seed_option,
    source_options,
    source_values,
    talk_options,
    target_options,
    threshold_options,
)
from scanner.cli.talk import answer, say, talk, tell_costs, tell_estimate
from scanner.errors import UsageError
from scanner.quantities import parse_bytes
from scanner.records import Counts

if TYPE_CHECKING:  # the command line starts fast
    from scanner.jobs.scanning.options import ScanOptions
    from scanner.jobs.scanning.scan import ScanResult


@click.command("scan")
@click.argument("queries", nargs=-1, required=True)
@click.option("--against", multiple=True, required=True, metavar="INDEX", help="Index to search; more than once.")
@click.option("--out", required=True, type=click.Path(), metavar="RUN", help="Run folder to make.")
@threshold_options
@click.option(
    "--null",
    multiple=True,
    metavar="INDEX",
    help="People known not to be in training, with identities: gives "
    "every candidate identity a p-value and q-values.  More than once.",
)
@click.option(
    "--null-match",
    is_flag=True,
    help="Bring candidates and null (indexes with crops) to the queries' resolution and compression.",
)
@click.option(
    "--level", type=float, default=0.05, show_default=True, metavar="Q", help="False discovery rate of naming."
)
@click.option(
    "--copies",
    metavar="INDEX",
    help="The candidates' pictures by a copy-detection network; flags near-copies among matches.",
)
@face_options_of_several
@click.option(
    "--used-by-generator",
    multiple=True,
    metavar="SPEC",
    help="This one of the embedders was used to make or attack the generator: shown, but left out of the joint evidence.",
)
@source_options
@search_options
@click.option("--with-crops", is_flag=True, help="Show the faces of matches in the report (biometric data).")
@seed_option("Draws the calibration sample.")
@dry_run_options
@ray_option
@target_options
@talk_options
def command(queries: tuple[str, ...], against: tuple[str, ...], out: str, **given: Any) -> int:  # fmt: skip
    """Search the faces of QUERIES against indexes; write matches, rejects, run.json and report.html.

    \b
    scanner scan generated/ --against people.idx --out run --fmr 1e-4 --calibrate-on people.idx
    scanner scan samples.parquet --against a.idx --against b.idx --out run --threshold 0.43
    """
    from scanner.jobs.ray_workers import ray_workers
    from scanner.jobs.scanning.scan import scan

    quiet = quiet_value(given)
    embedders, used, options = given["embedder"], given.pop("used_by_generator"), _options(given)
    faces, sources = face_values(given), source_values(given)
    dry, profile = dry_run_value(given)
    if dry:
        return _dry_run(
            queries, against=against, options=options, faces=faces, sources=sources, profile=profile, quiet=quiet
        )
    if used and len(embedders) < 2:  # noqa: PLR2004
        raise UsageError("--used-by-generator marks one of several embedders. Give --embedder more than once.")
    shared: dict[str, Any] = {
        "out": out, "options": options, "faces": faces, "sources": sources, "resume": given["resume"], "force": given["force"],
    }  # fmt: skip
    with talk(quiet=quiet) as progress, ray_workers(given["ray"], progress) as workers:
        shared["workers"] = workers
        if len(embedders) > 1:
            from scanner.jobs.scanning.witness import scan_with_witnesses

            joint = scan_with_witnesses(
                queries, against=against, null=options.null, embedders=embedders, used_by_generator=used,
                progress=progress, **shared,
            )  # fmt: skip
            result, statement = joint.runs[0], joint.joint
        else:
            result, statement = scan(queries, against=against, progress=progress, **shared), None
    return _tell(result, statement, quiet=quiet)


def _dry_run(queries: tuple[str, ...], *, quiet: bool, **given: Any) -> int:
    from scanner.jobs.scanning.estimate import estimate

    with talk(quiet=quiet) as progress:
        cost = estimate(queries, progress=progress, **given)
    return tell_estimate(cost, quiet=quiet)


def _tell(result: ScanResult, statement: dict[str, Any] | None, *, quiet: bool) -> int:
    from scanner.report.joint import joint_sentence

    counts = Counts(**result.summary["counts"])
    found = result.summary["results"]
    say(tell(counts), quiet=quiet)
    evidence = result.summary["evidence"]
    if evidence is not None:
        say(evidence["verdict"]["sentence"], quiet=quiet)
    if statement is not None:
        say(joint_sentence(statement), quiet=quiet)
    say(
        f"{found['matches']} matches of {found['matched_queries']} faces among {found['queries']}, "
        f"{_expected(found['false_matches_expected'])}\nreport: {result.folder / 'report.html'}",
        quiet=quiet,
    )
    _tell_copies(found, quiet=quiet)
    tell_costs(result.costs, quiet=quiet)
    answer(
        {
            "run": str(result.folder),
            "verdict": None if evidence is None else evidence["verdict"]["state"],
            "threshold": result.summary["threshold"]["value"],
            "counts": asdict(counts),
            **found,
        }
    )
    return exit_code(counts)


def _tell_copies(found: dict[str, Any], *, quiet: bool) -> None:
    if found["same_bytes"]:
        say(f"{found['same_bytes']} of the matches are the very same file on both sides (flag same_bytes)", quiet=quiet)
    if found["near_copies"]:
        say(f"{found['near_copies']} of the matches are near-copies of a photo (flag near_copy)", quiet=quiet)


def _options(given: dict[str, Any]) -> ScanOptions:
    """Take what is the scan's own out of what was given."""
    from scanner.jobs.scanning.options import ScanOptions

    names = (
        "threshold", "fmr", "fpir", "calibrate_on", "with_crops", "null", "null_match", "level", "copies", "seed",
        "embedded_by",
    )  # fmt: skip
    own = {name: given.pop(name) for name in names}
    return ScanOptions(memory_bytes=parse_bytes(given.pop("memory")), engine=engine_value(given), **own)


def _expected(false_matches: float | None) -> str:
    if false_matches is None:
        return "how many by chance is not known (--threshold was given by hand; --fmr says it)"
    return f"about {false_matches:.3g} expected by chance alone"
