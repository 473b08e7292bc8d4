"""`scanner report …`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from scanner.cli import report_query
from scanner.cli.options import quiet_value, talk_options
from scanner.cli.report_diff import acknowledge_command, diff_command, trend_command
from scanner.cli.talk import answer, say


@click.group("report")
def command() -> None:
    """Show a finished run, ask it questions, compare runs, make its page again, or verify it."""


for _command in (report_query.command, diff_command, acknowledge_command, trend_command):
    command.add_command(_command)


@command.command("show")
@click.argument("run", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--top", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="Identities to list."
)
@talk_options
def show_command(run: str, top: int, **given: Any) -> int:
    """Say in a few lines what a run found."""
    from scanner.report.damage import damage_explained
    from scanner.report.page import headline
    from scanner.report.read import read_run

    quiet = quiet_value(given)
    with damage_explained(Path(run)):
        found = read_run(Path(run))
        say(headline(found), quiet=quiet)
        for group in found.groups[:top]:
            name = group.identity if group.identity is not None else f"reference {group.reference_id}"
            say(
                f"  {group.best_score:.3f}  {name}  ({group.index}; {group.matches} pair{'s' * (group.matches != 1)})",
                quiet=quiet,
            )
        answer({"run": run, "counts": found.summary["counts"], **found.summary["results"]})
    return 0


@command.command("html")
@click.argument("run", type=click.Path(exists=True, file_okay=False))
@talk_options
def html_command(run: str, **given: Any) -> int:
    """Write report.html again, of a run or of duplicates."""
    from scanner.report.damage import damage_explained
    from scanner.report.dedupe_page import write_dedupe_page
    from scanner.report.page import write_page

    quiet = quiet_value(given)
    with damage_explained(Path(run)):
        path = write_dedupe_page(Path(run)) if (Path(run) / "dedupe.json").is_file() else write_page(Path(run))
    say(f"{path} written", quiet=quiet)
    answer({"page": str(path)})
    return 0


@command.command("verify")
@click.argument("run", type=click.Path(exists=True, file_okay=False))
@talk_options
def verify_command(run: str, **given: Any) -> int:
    """Work out again everything that a run with a null says, and list what differs."""
    from scanner.jobs.checking.verify import verify

    quiet = quiet_value(given)
    found = verify(run)
    for line in (*found.differences, *(f"note: {note}" for note in found.notes)):
        say(line, quiet=quiet)
    n = len(found.differences)
    says = (
        f"holds: {', '.join(found.checked)}" if found.holds else f"does not hold: {n} difference{'s' if n > 1 else ''}"
    )
    say(f"{run} {says}", quiet=quiet)
    document = {"checked": found.checked, "differences": found.differences, "notes": found.notes}
    hashes = {"evidence_sha256": found.evidence_sha256, "evidence_sha256_before": found.evidence_sha256_before}
    answer({"run": run, "holds": found.holds, **document, **hashes, "erased": found.erased})
    return 0 if found.holds else 1
