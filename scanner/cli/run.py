"""`scanner run`."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scanner.cli import EXIT_BUG
from scanner.cli.log import json_lines, night_end, stopped
from scanner.cli.options import quiet_value, talk_options
from scanner.cli.talk import answer, say, talk
from scanner.quantities import time_words

if TYPE_CHECKING:  # the command line starts fast
    from scanner.nights.night import NightResult
    from scanner.progress import Progress

_MINDED = {"new": "new or changed findings", "named": "newly named people", "any": "findings"}


@click.command("run")
@click.argument("job", type=click.Path(), metavar="JOB.toml")
@click.option(
    "--check", is_flag=True, help="Check the file and its sources, and say what a night would do; do nothing."
)
@click.option("--until", metavar="HH:MM", help="Stop at this time of day; the next start goes on there.")
@click.option(
    "--allow-gone", is_flag=True, help="Forget entries that are gone from the sources, however many they are."
)
@click.option(
    "--log",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How stderr tells what happens; json is one object a line.",
)
@talk_options
def command(job: str, **given: Any) -> int:
    """Run a nightly job once: take in what is new, compare what never met, write a run folder for each set of queries.

    A night that was interrupted is gone on with.  See docs/nightly.md for JOB.toml.

    \b
    scanner run nightly.toml --check
    scanner run nightly.toml --until 06:00
    """
    from scanner.nights.start import exit_code_after

    as_json = given.pop("log") == "json"
    try:
        return _run(Path(job), as_json=as_json, quiet=quiet_value(given), **given)
    except BaseException as error:
        if not as_json:
            raise
        stopped(error)
        code = exit_code_after(error)
        if code == EXIT_BUG:
            raise
        return code


def _run(path: Path, *, check: bool, until: str | None, allow_gone: bool, as_json: bool, quiet: bool) -> int:
    from scanner.nights.config import read_job
    from scanner.nights.deadline import Deadline, next_time
    from scanner.nights.night import run_night
    from scanner.nights.start import Start

    config, beside = read_job(path), path.resolve().parent
    if check:
        return _check(config, beside, allow_gone=allow_gone, quiet=quiet or as_json)
    stop = None if until is None else next_time(until, datetime.now().astimezone())
    with _terminate_in_order(), json_lines() if as_json else talk(quiet=quiet) as progress:

        def night(told: Progress) -> NightResult:
            ends = told if stop is None else Deadline(told, stop=stop, clock=lambda: datetime.now(UTC))
            return run_night(config, beside, allow_gone=allow_gone, progress=ends)

        tell = progress.note if as_json else _not_done
        result, exit_code = Start(path.stem, config, beside).run(night, progress, tell)
    if as_json:
        night_end(result.account, exit_code=exit_code, folder=str(result.folder))
    return _tell(result, exit_code, as_json=as_json, quiet=quiet or as_json)


@contextmanager
def _terminate_in_order() -> Iterator[None]:
    """Take SIGTERM, with which systemd and Kubernetes stop what they started, for Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check(config: Any, beside: Path, *, allow_gone: bool, quiet: bool) -> int:
    from scanner.nights.preview import preview

    found = preview(config, beside, allow_gone=allow_gone)
    for name, one in found["sets"].items():
        new = "an archive to read" if one["new"] is None else f"{one['new']} new"
        say(f"{name}: {one['there']} there, {new}, {one['gone']} gone", quiet=quiet)
    for problem in found["problems"]:
        say(f"problem: {problem}", quiet=quiet)
    many = "not known" if found["comparisons"] is None else f"about {found['comparisons']:,}"
    is_first = found["images"] is not None and found["embed_s"] is None
    time = "the first night will tell" if is_first else time_words(found["embed_s"])
    work = f"comparisons: {many}; time for the pictures: {time}"
    is_idle = found["images"] == found["comparisons"] == 0
    say("nothing is new" if is_idle else work, quiet=quiet)
    answer(found)
    return 2 if found["problems"] else 0


def _not_done(why: str) -> None:
    say(f"not done: {why}")


def _tell_what_failed(account: Mapping[str, Any]) -> None:
    from scanner.nights.account import gate_counts

    for error in account["errors"]:
        _not_done(f"{error['set']}: {error['why']}")
    for name, count in gate_counts(account).items():
        say(f"gate: {name}: {count} {_MINDED[account['fail_on']]} that nobody acknowledged (exit code 1)")


def _tell(result: NightResult, exit_code: int, *, as_json: bool, quiet: bool) -> int:
    account = result.account
    for name, run in account["runs"].items():
        found, changed = run["results"], run["diff"]["findings"]
        what = "nothing has changed" if run["unchanged"] else f"{changed['new']} new, {changed['gone']} gone"
        said = "" if run["verdict"] is None else f"; {run['verdict']['sentence']}"
        say(
            f"{name}: {found['matches']} matches of {found['matched_identities']} identities, {what}{said}", quiet=quiet
        )
    if not as_json:  # told also when quiet: cron mails what stands on stderr
        _tell_what_failed(account)
    say(f"night {account['night']}: {result.folder}", quiet=quiet)
    runs = {
        name: {"run": str(result.folder.parent / run["run"]), "unchanged": run["unchanged"], **run["results"],
               "new": run["diff"]["findings"]["new"], "gone": run["diff"]["findings"]["gone"]}
        for name, run in account["runs"].items()
    }  # fmt: skip
    answer({"night": account["night"], "folder": str(result.folder), "runs": runs, "errors": account["errors"],
            "exit_code": exit_code})  # fmt: skip
    return exit_code
