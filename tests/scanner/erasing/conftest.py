"""The helpers of these tests: everything_folder.py beside them, drawn_people.py of the jobs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

# With --import-mode=importlib test modules do not see their folder.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "jobs")]

from everything_folder import write_everything  # noqa: E402 - the path is needed first


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of everything that is ever written; tests that change it copy it first."""
    return write_everything(tmp_path_factory.mktemp("everything"))


@pytest.fixture
def state(everything: Path, tmp_path: Path) -> Path:
    """A copy to erase from."""
    return Path(shutil.copytree(everything / "state", tmp_path / "state", symlinks=True))
