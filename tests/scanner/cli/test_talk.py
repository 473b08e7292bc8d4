"""What is said on stderr while a job runs; texts from files cannot steer a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scanner.cli.talk import TEXT_CHARS_MAX, shown, talk


@pytest.mark.parametrize("terminal", [False, True])
def test_a_note_is_told_once(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)

    with talk(quiet=False) as progress:
        for sentence in ("no profile", "no weights", "no profile"):
            progress.note(sentence)

    said = capsys.readouterr().err
    assert [said.count(f"note: {sentence}\n") for sentence in ("no profile", "no weights")] == [1, 1]


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert shown("a plain line\nand another") == "a plain line\nand another"
    assert shown("\x1b[2J\x1b]0;x\x07\u202e\x9b\r") == r"\x1b[2J\x1b]0;x\x07\u202e\x9b\r"
    assert shown("é ü 中") == "é ü 中"


def test_a_message_of_a_megabyte_is_cut() -> None:
    assert shown("x" * 1_000_000) == "x" * TEXT_CHARS_MAX + " ..."


def test_an_error_quotes_a_file_without_what_it_would_do(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "audit.toml").write_text('[audit]\n"\\u001b[31mred" = 1\n')

    ran = run("audit", tmp_path / "audit.toml", "--out", tmp_path / "out")

    assert ran.code == 2
    assert "\x1b" not in ran.err
    assert r"\x1b[31mred" in ran.err
