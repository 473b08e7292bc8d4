"""A nightly job as an Airflow 3 DAG; Airflow starts again what fails, and a start goes on where the last one ended.

Exit codes that a second start would not change (the gate says no, the file is wrong, a bug, a source that is lost) fail the
task at once, by AirflowFailException.
"""
# ruff: noqa: INP001, S603, S607

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta

from airflow.exceptions import AirflowFailException
from airflow.sdk import dag, task

JOB = "/srv/scanner/nightly.toml"


@dag(
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001 - Airflow's time zone
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 5, "retry_delay": timedelta(minutes=1)},
)
def nightly_scan() -> None:
    """Run the job once a night."""

    @task(execution_timeout=timedelta(hours=10))
    def run() -> None:
        code = subprocess.run(["scanner", "run", JOB, "--log", "json"], check=False).returncode
        if code in (1, 2, 3, 4):
            raise AirflowFailException(f"scanner ended with exit code {code}")
        if code != 0:
            raise RuntimeError(f"scanner ended with exit code {code}")

    run()


nightly_scan()
