"""Run folders that somebody has edited: a sentence, not a traceback; and links that lead round do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_folder import match, write_run

from scanner.errors import ArtefactError
from scanner.jobs.checking.verify_joint import witness_folders
from scanner.report.damage import damage_explained
from scanner.report.page import write_page


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", None),
        ("counts", []),
        ("results", {}),
        ("indexes", 7),
        ("road", {}),
        ("evidence", "x"),
    ],
)
def test_what_does_not_fit_together_is_said_of_the_folder(tmp_path: Path, key: str, value: object) -> None:
    folder = write_run(tmp_path / "run", [match(0, 1, 0.9)])
    document = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**document, key: value}))

    with (
        pytest.raises(ArtefactError, match=r"run cannot be shown: what its files say does not fit together"),
        damage_explained(folder),
    ):
        write_page(folder)


def test_a_sound_folder_is_shown(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [match(0, 1, 0.9)])

    with damage_explained(folder):
        assert write_page(folder).read_text().startswith("<!")


def test_a_document_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [match(0, 1, 0.9)])
    for text in ("[" * 100_000, '{"a":' * 100_000):
        (folder / "run.json").write_text(text)

        with pytest.raises(ArtefactError, match=r"run\.json cannot be read"):
            write_page(folder)


def test_names_in_a_run_do_not_become_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\x1b[2J\u202e"
    folder = write_run(
        tmp_path / "run",
        [match(0, 1, 0.9, identity=evil, query_uri=evil, reference_uri=evil, index=evil)],
        queries=[evil],
    )

    page = write_page(folder).read_text()

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_witnesses_are_folders_of_the_run_not_links_or_other_names(tmp_path: Path) -> None:
    for name in ("witness-2", "witness-10", "witness-x", "witness-", "witness-3.old"):
        (tmp_path / name).mkdir()
    (tmp_path / "witness-4").symlink_to(".")

    assert [path.name for path in witness_folders(tmp_path)] == ["witness-2", "witness-10"]
