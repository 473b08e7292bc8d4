"""The command that a job runs when a start has ended: a web hook, an e-mail, whatever the site uses."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scanner.nights.config import AfterSection
from scanner.nights.deadline import StoppedForTonight


def summary_of(
    job: str, exit_code: int, account: Mapping[str, Any] | None, folder: Path | None, error: BaseException | None
) -> dict[str, Any]:
    """Return what the command gets on stdin: counts, no picture and no identity.

    Args:
        job: name of the job.
        exit_code: of this start.
        account: of the night that it finished, or None.
        folder: of that night.
        error: what ended the start without a night, if that is so.
    """
    runs = {} if account is None else account["runs"]
    return {
        "format": "identity-leak-night-summary",
        "format_version": 1,
        "job": job,
        "exit_code": exit_code,
        "error": None if error is None else str(error) or type(error).__name__,
        "stopped_by_until": isinstance(error, StoppedForTonight),
        "night": None if account is None else account["night"],
        "folder": None if folder is None else str(folder),
        "errors": [] if account is None else account["errors"],
        "runs": {
            name: {
                "run": run["run"],
                "unchanged": run["unchanged"],
                "verdict": run["verdict"] and run["verdict"]["state"],
                **run["results"],
                "new": run["diff"]["findings"]["new"],
                "gone": run["diff"]["findings"]["gone"],
                "named": run["diff"]["findings"]["named_now"],
            }
            for name, run in runs.items()
        },
    }


def is_wanted(after: AfterSection, summary: Mapping[str, Any]) -> bool:
    """Say whether the command is to be run after a start that ended so."""
    if not after.command:
        return False
    found = summary["exit_code"] == 1 or any(run["new"] for run in summary["runs"].values())
    failed = (summary["night"] is None and not summary["stopped_by_until"]) or bool(summary["errors"])
    return {"always": True, "findings": found, "failure": failed}[after.on]


def run_after(after: AfterSection, beside: Path, summary: Mapping[str, Any]) -> str | None:
    """Run the command; return in a sentence how it failed, or None.

    It runs in the folder of JOB.toml, gets the summary as one JSON object on stdin, and finds SCANNER_NIGHT_FOLDER (empty
    where no night was finished) and SCANNER_EXIT_CODE in its environment.  What it says goes where our talk goes.
    """
    environment = {
        **os.environ,
        "SCANNER_NIGHT_FOLDER": summary["folder"] or "",
        "SCANNER_EXIT_CODE": str(summary["exit_code"]),
    }
    name = after.command[0]
    try:
        done = subprocess.run(  # noqa: S603 - the job's owner wrote it, and there is no shell
            after.command, input=json.dumps(summary).encode(), cwd=beside, env=environment, timeout=after.timeout_s,
            stdout=2, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"The command of [after], {name}, did not end within {after.timeout_s:g} s and was ended. The night is kept."
    except OSError as error:
        return f"The command of [after], {name}, cannot be started ({error.strerror}). The night is kept."
    if done.returncode:
        return f"The command of [after], {name}, ended with exit code {done.returncode}. The night is kept."
    return None
