"""What is said on stderr while a job runs."""

from __future__ import annotations

import sys

import pytest

from scanner.cli.talk import talk


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
