"""`scanner scan`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from scanner.cli.counts import exit_code, tell
from scanner.cli.options import (
    face_options,
    face_values,
    parse_bytes,
    quiet_value,
    source_options,
    source_values,
    talk_options,
    target_options,
)
from scanner.cli.talk import answer, say, talk
from scanner.records import Counts


@click.command("scan")
@click.argument("queries", nargs=-1, required=True)
@click.option("--against", multiple=True, required=True, metavar="INDEX", help="Index to search; more than once.")
@click.option("--out", required=True, type=click.Path(), metavar="RUN", help="Run folder to make.")
@click.option("--threshold", type=float, metavar="T", help="Cosine from which a pair is a match.")
@click.option(
    "--fmr", type=float, metavar="F", help="Take the threshold at this false match rate, with --calibrate-on."
)
@click.option("--calibrate-on", metavar="LABELLED", help="Index with identities, or labelled images or embeddings.")
@click.option(
    "--null",
    multiple=True,
    metavar="INDEX",
    help="People known not to be in training, with identities: gives "
    "every candidate identity a p-value and q-values.  More than once.",
)
@face_options
@source_options
@click.option(
    "--engine",
    type=click.Choice(["auto", "exact", "compressed", "flat"]),
    default="auto",
    show_default=True,
    help="How to search.  Changes no hit, only time and memory.",
)
@click.option("--memory", default="4GiB", show_default=True, metavar="BYTES", help="Budget of the search.")
@click.option("--with-crops", is_flag=True, help="Show the faces of matches in the report (biometric data).")
@click.option("--seed", type=int, default=0, show_default=True, help="Draws the calibration sample.")
@click.option("--dry-run", is_flag=True, help="Measure a few images, say what the scan would cost, and stop.")
@target_options
@talk_options
def command(queries: tuple[str, ...], against: tuple[str, ...], out: str, **given: Any) -> int:  # fmt: skip
    """Search the faces of QUERIES against indexes; write matches, rejects, run.json and report.html.

    \b
    scanner scan generated/ --against people.idx --out run --fmr 1e-4 --calibrate-on people.idx
    scanner scan samples.parquet --against a.idx --against b.idx --out run --threshold 0.43
    """
    from scanner.jobs.scan import ScanOptions, scan

    quiet = quiet_value(given)
    names = ("threshold", "fmr", "calibrate_on", "engine", "with_crops", "null", "seed", "embedded_by")
    options = ScanOptions(memory_bytes=parse_bytes(given.pop("memory")), **{name: given.pop(name) for name in names})
    faces, sources = face_values(given), source_values(given)
    if given["dry_run"]:
        from scanner.jobs.estimate import estimate

        with talk(quiet=quiet) as progress:
            cost = estimate(queries, against=against, options=options, faces=faces, sources=sources, progress=progress)
        say(cost.sentence(), quiet=quiet)
        answer(asdict(cost))
        return 0
    with talk(quiet=quiet) as progress:
        result = scan(
            queries, against=against, out=out, options=options, faces=faces, sources=sources,
            resume=given["resume"], force=given["force"], progress=progress,
        )  # fmt: skip
    counts = Counts(**result.summary["counts"])
    found = result.summary["results"]
    say(tell(counts), quiet=quiet)
    evidence = result.summary["evidence"]
    if evidence is not None and evidence["null_fit"]["differ"]:
        say(
            f"inconclusive: a classifier tells candidates from null (AUC {evidence['null_fit']['auc']:.2f}); take both from one "
            "collection, cropped and compressed alike",
            quiet=quiet,
        )
    elif evidence is not None:
        say(
            f"{evidence['below_level']} of {evidence['identities']} identities are closer to the scanned faces than people "
            f"known not to be in training, at a false discovery rate of {evidence['level']}",
            quiet=quiet,
        )
    say(
        f"{found['matches']} matches of {found['matched_queries']} faces among {found['queries']}, "
        f"{_expected(found['false_matches_expected'])}\nreport: {result.folder / 'report.html'}",
        quiet=quiet,
    )
    if found["same_bytes"]:
        say(f"{found['same_bytes']} of the matches are the very same file on both sides (flag same_bytes)", quiet=quiet)
    answer(
        {
            "run": str(result.folder),
            "threshold": result.summary["threshold"]["value"],
            "counts": asdict(counts),
            **found,
        }
    )
    return exit_code(counts)


def _expected(false_matches: float | None) -> str:
    if false_matches is None:
        return "how many by chance is not known (--threshold was given by hand; --fmr says it)"
    return f"about {false_matches:.3g} expected by chance alone"
