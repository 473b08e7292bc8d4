"""`scanner status`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from scanner.cli.options import quiet_value, talk_options
from scanner.cli.talk import answer, say


@click.command("status")
@click.argument("job", type=click.Path(), metavar="JOB.toml")
@talk_options
def command(job: str, **given: Any) -> int:
    """Say what a nightly job is doing: done, being done, waiting, when it should end, and what the last night found."""
    from scanner.nights.config import place_of, read_job
    from scanner.nights.state import State
    from scanner.nights.status import status

    quiet = quiet_value(given)
    path = Path(job)
    config = read_job(path)
    found = status(State(Path(place_of(config.job.folder, path.resolve().parent))), datetime.now(UTC))
    by = "" if found["process"] is None else f" by process {found['process']}"
    night = "" if found["night"] is None else f", night {found['night']}"
    say(f"{found['doing']}{by}{night}", quiet=quiet)
    for step in found["steps"]:
        of = "" if step["of"] is None else f" of {step['of']}"
        say(f"  {step['step']}: {step['done']}{of} {step['unit']}{', done' if step['is_done'] else ''}", quiet=quiet)
    if found["predicted_end"]:
        say(f"  this step should end at {found['predicted_end']}", quiet=quiet)
    last = found["last"]
    if last is not None:
        say(f"last: night {last['night']}, ended {last['ended_at']}, exit code {last['exit_code']}", quiet=quiet)
        for name, run in last["runs"].items():
            verdict = "" if run["verdict"] is None else f"{run['verdict']}; "
            say(f"  {name}: {verdict}{run['matches']} matches, {run['new']} new findings ({run['run']})", quiet=quiet)
    answer(found)
    return 0
