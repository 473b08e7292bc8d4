"""`scanner report diff`, `acknowledge` and `trend`: runs beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scanner.cli.options import quiet_value, talk_options
from scanner.cli.talk import answer, say

if TYPE_CHECKING:  # the command line starts fast
    from scanner.report.diff import RunDiff
    from scanner.report.diff_findings import FindingChange

EXIT_GATE = 1
_TOLD = 10
"""Findings of a kind that are told one by one on stderr."""
_run_folder = click.Path(exists=True, file_okay=False)


@click.command("diff")
@click.argument("base", type=_run_folder)
@click.argument("run", type=_run_folder)
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write a page of it.")
@click.option(
    "--top", type=click.IntRange(min=1), default=100, show_default=True, metavar="N",
    help="Findings of each kind to name in the JSON and on the page; all are counted.",
)  # fmt: skip
@click.option(
    "--fail-on", type=click.Choice(["new", "changed", "named"]),
    help="Exit with 1 if there is a finding that nobody acknowledged and that is new; or new or of another verdict; or newly named.",
)  # fmt: skip
@talk_options
def diff_command(base: str, run: str, html: str | None, top: int, fail_on: str | None, **given: Any) -> int:
    """Say what changed from the run BASE to RUN: findings that are new, gone, or have another verdict.

    \b
    scanner report diff run-monday run-tuesday --html changes.html
    scanner report diff nights/000011/gen nights/000012/gen --fail-on named
    """
    from scanner.report.diff import diff_runs

    quiet = quiet_value(given)
    _check_page(html)
    diff = diff_runs(base, run, listed=top)
    _tell(diff, quiet=quiet)
    if html is not None:
        from scanner.report.diff_page import write_diff_page

        say(f"{write_diff_page(Path(html), diff, base=Path(base), run=Path(run))} written", quiet=quiet)
    failed = fail_on is not None and diff.fails(fail_on)
    if fail_on is not None:
        say(f"gate ({fail_on}): {'no' if failed else 'yes'}", quiet=quiet)
    answer({**diff.as_json(), "gate": None if fail_on is None else {"fail_on": fail_on, "failed": failed}})
    return EXIT_GATE if failed else 0


def _check_page(html: str | None) -> None:
    """Refuse a page that could not be written, before the long work."""
    from scanner.errors import UsageError

    if html is not None and not Path(html).absolute().parent.is_dir():
        raise UsageError(f"--html {html}: there is no folder {Path(html).parent}. Make it, or name another file.")


def _tell(diff: RunDiff, *, quiet: bool) -> None:
    """Say a diff in a few lines."""
    from scanner.report.diff_page import headline

    found, matches = diff.findings, diff.matches
    say(headline(diff), quiet=quiet)
    say(
        f"  matching pairs: {matches.now} ({matches.new} new, {matches.gone} gone); findings: {found.now} "
        f"({found.open_new} new and {found.open_changed} changed that nobody acknowledged)",
        quiet=quiet,
    )
    for change in diff.inputs:
        say(f"  input changed: {change.what}: {change.before or 'none'} -> {change.now or 'none'}", quiet=quiet)
    if matches.renamed:
        say(
            f"  note: {matches.renamed} of the pairs that are still there are with a reference that has another uri now: was an index "
            "built anew under its old name?  Findings are compared by identity; read the counts of pairs with care.",
            quiet=quiet,
        )
    for name, changes, of in (
        ("new", diff.new, found.new), ("changed", diff.changed, found.changed), ("gone", diff.gone, found.gone),
    ):  # fmt: skip
        for one in changes[:_TOLD]:
            say(f"  {name:8} {_line(one)}", quiet=quiet)
        if of > _TOLD:
            say(f"  {name:8} and {of - len(changes[:_TOLD])} more", quiet=quiet)


def _line(change: FindingChange) -> str:
    verdicts = " -> ".join(verdict for verdict in (change.verdict_before, change.verdict_now) if verdict is not None)
    score = change.score_now if change.verdict_now is not None else change.score_before
    q = change.q_now if change.verdict_now is not None else change.q_before
    weighed = "" if q is None else f", q {q:.2g}"
    why = "" if change.acknowledged is None else f", acknowledged: {change.acknowledged.reason}"
    return f"{score:.3f}  {change.finding.name}  ({change.finding.index}; {verdicts}{weighed}{why})"


@click.command("acknowledge")
@click.argument("run", type=_run_folder)
@click.option("--identity", metavar="I", help="The identity that was looked at.")
@click.option("--uri", metavar="U", help="The matched reference that was looked at, where it has no identity.")
@click.option("--index", metavar="NAME", help="Its index, where several have one of this name.")
@click.option("--reason", metavar="TEXT", help="Why it needs no further look.  Not who says so.")
@click.option("--withdraw", is_flag=True, help="Take an acknowledgement back.")
@click.option("--list", "list_all", is_flag=True, help="List what is acknowledged.")
@talk_options
def acknowledge_command(
    run: str,
    identity: str | None,
    uri: str | None,
    index: str | None,
    reason: str | None,
    *,
    withdraw: bool,
    list_all: bool,
    **given: Any,
) -> int:
    """Mark a finding of RUN as looked at, so that the next diff does not raise it again.

    It is written to acknowledged.json beside the runs, with the reason; who did it is not stored.

    \b
    scanner report acknowledge run-tuesday --identity person-7 --reason "licensed in 2024"
    scanner report acknowledge run-tuesday --list
    """
    from scanner.errors import UsageError
    from scanner.report.acknowledged import acknowledge, acknowledged_path, read_acknowledged
    from scanner.report.acknowledged import withdraw as take_back
    from scanner.report.finding_names import acknowledged_called, finding_called
    from scanner.report.runs import run_label

    quiet = quiet_value(given)
    path = acknowledged_path(Path(run))
    if list_all + withdraw + (reason is not None) != 1 or (list_all == ((identity is None) != (uri is None))):
        raise UsageError("Pass --identity I or --uri U with either --reason TEXT or --withdraw; or --list alone.")
    if withdraw:
        finding = acknowledged_called(path, identity=identity, uri=uri, index=index)
        take_back(path, finding)
        say(f"{finding.name} ({finding.index}) counts again", quiet=quiet)
    elif reason is not None:
        finding = finding_called(Path(run), identity=identity, uri=uri, index=index)
        acknowledge(path, finding, reason=reason, seen_in=run_label(Path(run)))
        say(f"{finding.name} ({finding.index}) is acknowledged in {path}", quiet=quiet)
    known = sorted(read_acknowledged(path).items(), key=lambda item: item[0].sort_key)
    if list_all:
        for one, said in known:
            say(f"  {one.name}  ({one.index}; seen in {said.seen_in}): {said.reason}", quiet=quiet)
        say(f"{len(known)} acknowledged in {path}", quiet=quiet)
    rows = [
        {"index": one.index, "identity": one.identity, "uri": one.uri, "reason": said.reason, "seen_in": said.seen_in}
        for one, said in known
    ]
    answer({"file": str(path), "findings": rows})
    return 0


@click.command("trend")
@click.argument("runs", type=_run_folder, nargs=-1, required=True)
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write a page with a figure.")
@talk_options
def trend_command(runs: tuple[str, ...], html: str | None, **given: Any) -> int:
    """Show how RUNS follow each other: what each found, and what was new since the one before.

    Name runs oldest first, or a folder of them (nights/).

    \b
    scanner report trend run-monday run-tuesday run-wednesday
    scanner report trend nights/ --html trend.html
    """
    from scanner.report.runs import find_runs
    from scanner.report.trend import trend_of

    quiet = quiet_value(given)
    _check_page(html)
    trend = trend_of(find_runs(runs))
    wide = max(len(row.run) for row in trend.rows)
    say(f"{'':{wide}}  faces  pairs  identities  named  new  gone  best score  rejects", quiet=quiet)
    for row in trend.rows:
        named, new, gone = ("-" if value is None else str(value) for value in (row.named, row.new, row.gone))
        best = "-" if row.best_score is None else f"{row.best_score:.3f}"
        say(
            f"{row.run:{wide}}  {row.queries:5}  {row.matches:5}  {row.matched_identities:10}  {named:>5}  {new:>3}  {gone:>4}  "
            f"{best:>10}  {row.rejects:7}",
            quiet=quiet,
        )
    if html is not None:
        from scanner.report.trend_page import write_trend_page

        say(f"{write_trend_page(Path(html), trend)} written", quiet=quiet)
    answer(trend.as_json())
    return 0
