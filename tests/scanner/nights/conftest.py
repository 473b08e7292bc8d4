"""The drawn people of the jobs' tests, for nights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# With --import-mode=importlib test modules do not see other folders.
sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))
sys.path.insert(0, str(Path(__file__).parent))

from drawn_people import photos_of, write_people
from small_job import put


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with people/ (12 with two photos) and gen/ (three of them once more, and a stranger)."""
    write_people(tmp_path / "people", photos_of(range(12), range(2)))
    for number in (2, 3, 4, 40):
        put(tmp_path, f"gen/{number}.png", number, 5)
    return tmp_path
