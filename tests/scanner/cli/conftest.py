"""The command line in process; drawn people come from ../jobs/drawn_people.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

# With --import-mode=importlib test modules do not see their folder.
sys.path.insert(0, str(Path(__file__).parent.parent / "jobs"))

from drawn_people import BY_FOLDER, FACES, photos_of, write_people

from scanner.cli import main
from scanner.jobs.indexing.build import build


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run `scanner WORDS...` in this process."""

    def call(*words: object) -> Ran:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight people, two photos each."""
    return write_people(tmp_path_factory.mktemp("cli") / "people", photos_of(range(8), range(2)))


@pytest.fixture(scope="session")
def index(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their index; only read."""
    path = tmp_path_factory.mktemp("cli") / "people.idx"
    build(path, str(people), faces=FACES, sources=BY_FOLDER)
    return path


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """New photos of two of them, and two strangers."""
    return write_people(tmp_path_factory.mktemp("cli") / "generated", photos_of([2, 3, 20, 21], [2]))
