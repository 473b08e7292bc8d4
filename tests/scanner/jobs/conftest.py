"""The helpers of these tests lie beside them: drawn_people.py and crash_driver.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# With --import-mode=importlib test modules do not see their folder.
sys.path.insert(0, str(Path(__file__).parent))

from drawn_people import BY_FOLDER, FACES, photos_of, write_people

from scanner.jobs.indexing.build import build


@pytest.fixture(scope="session")
def people_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten people, two photos each, in a folder a person."""
    return write_people(tmp_path_factory.mktemp("sources") / "people", photos_of(range(10), range(2)))


@pytest.fixture(scope="session")
def people_index(people_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their index; tests that change an index copy it first."""
    path = tmp_path_factory.mktemp("indexes") / "people"
    build(path, str(people_folder), faces=FACES, sources=BY_FOLDER)
    return path


@pytest.fixture(scope="session")
def generated_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """New photos of people 2 to 5, and of strangers 20 to 25."""
    folder = tmp_path_factory.mktemp("sources") / "generated"
    return write_people(folder, photos_of([2, 3, 4, 5, *range(20, 26)], [2]))
