"""The `scanner` of the tests that run documents does what the real one does: exit code, output, folder and environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "command",
    [
        "scanner --version",
        "scanner nonsense",
        "echo scores > none.idx; scanner index show none.idx",
        "scanner embed none.parquet out.parquet 2>&1 | tail -n 1; ls -A",
        "SCANNER_KEY=short scanner embed . out.parquet --embedder drawn --faces aligned",
    ],
)
def test_a_command_is_that_of_a_process_of_its_own(command: str, warm_scanner: None, tmp_path: Path) -> None:
    told = []
    for name, first in (("warm", ""), ("cold", f"{Path(sys.executable).parent}:")):
        (tmp_path / name).mkdir()
        environment = {**os.environ, "PATH": first + os.environ["PATH"]}
        told.append(
            subprocess.run(
                command, shell=True, cwd=tmp_path / name, env=environment, capture_output=True, text=True, check=False
            )
        )

    warm, cold = ((done.returncode, done.stdout, done.stderr) for done in told)
    assert warm == cold
    assert (warm[0] == 0) == ("version" in command or "|" in command)
