"""What every command keeps: exit codes, what goes where, help, and a quick start."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from drawn_people import png

from scanner.cli import cli, main


def commands(group: click.Group = cli, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return every command and group with the words that call it."""
    found: list[tuple[str, ...]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((*before, name))
        if isinstance(command, click.Group):
            found += commands(command, (*before, name))
    return found


def test_the_commands_are_those_of_the_manual() -> None:
    assert [" ".join(words) for words in commands()] == [
        "demo", "index", "index add", "index build", "index compact", "index dedupe", "index remove", "index show", "index verify",
        "embed", "scan", "run", "status", "generate", "invert", "invert latent", "invert features", "invert apply", "audit", "check", "calibrate", "report", "report acknowledge", "report diff", "report html", "report query", "report show", "report trend", "report verify", "serve", "erase",
        "key", "key add", "key forget", "key new", "key open", "key rotate", "doctor",
    ]  # fmt: skip


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...], run: Callable[..., Any]) -> None:
    ran = run(*words, "--help")

    assert (ran.code, ran.err) == (0, "")
    first, _, rest = ran.out.partition("\n\n")
    assert first.startswith(f"Usage: scanner {' '.join(words)} ")
    assert rest.strip()


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_option_has_a_help_line(words: tuple[str, ...]) -> None:
    command: Any = cli
    for word in words:
        command = command.get_command(click.Context(command), word)

    silent = [option.name for option in command.params if isinstance(option, click.Option) and not option.help]
    assert silent == []


@pytest.mark.parametrize(
    "command", ["demo", "index build", "scan", "generate", "invert latent", "invert features", "check", "calibrate"]
)
def test_a_seed_is_no_negative_number(command: str, run: Callable[..., Any]) -> None:
    ran = run(*command.split(), "--seed", -1)

    assert ran.code == 2
    assert "Invalid value for '--seed': -1 is not in the range x>=0." in ran.err


def test_the_command_line_starts_without_heavy_libraries_and_at_once() -> None:
    code = (
        "import sys, scanner.cli\n"
        "heavy = {'numpy', 'torch', 'onnxruntime', 'pyarrow', 'faiss', 'cv2', 'PIL', 'scipy', 'rich', 'jinja2'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        helped = subprocess.run([sys.executable, "-m", "scanner", "--help"], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - started)

    assert loaded.stdout.strip() == "[]"
    assert "scanner index build people.idx photos/" in helped.stdout
    assert min(seconds) < 0.5


def test_a_job_without_intervals_starts_without_the_library_that_makes_them() -> None:
    """It takes as long to import as all the rest of a scan's start."""
    code = (
        "import sys, scanner.jobs.scanning.scan, scanner.jobs.indexing.build, scanner.nights.night\n"
        "print(sorted({'scipy.stats', 'torch', 'sklearn', 'duckdb'} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"


def test_version_is_told(run: Callable[..., Any]) -> None:
    from scanner import __version__

    ran = run("--version")

    assert (ran.code, ran.out) == (0, f"scanner, version {__version__}\n")


def test_a_wrong_option_is_met_with_a_suggestion(run: Callable[..., Any]) -> None:
    ran = run("scan", "x", "--against", "y", "--out", "z", "--treshold", "0.4")

    assert ran.code == 2
    assert ran.out == ""
    assert ran.err == (
        "Usage: scanner scan [OPTIONS] QUERIES...\nTry 'scanner scan --help' for help.\n\n"
        "Error: No such option '--treshold'. Did you mean '--threshold'?\n"
    )


def test_a_wrong_command_is_named(run: Callable[..., Any]) -> None:
    ran = run("scna")

    assert ran.code == 2
    assert ran.err.startswith("Usage: scanner [OPTIONS] COMMAND [ARGS]...\n")
    assert "There is no command 'scna'. Did you mean 'scan'?" in ran.err


def test_a_missing_option_is_named(run: Callable[..., Any]) -> None:
    ran = run("scan", "x", "--out", "z")

    assert ran.code == 2
    assert ran.err.endswith("Error: Missing option '--against'.\n")


def test_a_bug_is_reported_as_ours_with_its_trace(
    run: Callable[..., Any], index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("indexes.open_index", broken)

    ran = run("index", "show", index)

    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("Traceback (most recent call last):\n")
    assert ran.err.endswith(
        "ZeroDivisionError: a bug\n"
        "error: this is a bug of the scanner, not of your input. Please report it with the lines above.\n"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("scan", "q", "--against", "i", "--out", "r", "--threshold", "0.5"),
            "interrupted: what was finished is kept; the same command with --resume goes on from there.\n",
        ),
        (("calibrate", "x"), "interrupted.\n"),
    ],
)
def test_an_interrupt_says_whether_it_can_be_resumed(
    words: tuple[str, ...], sentence: str, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scanner.jobs.scanning.scan.scan", interrupted)
    monkeypatch.setattr("scanner.jobs.indexing.calibrate.calibrate", interrupted)

    ran = run(*words)

    assert (ran.code, ran.out, ran.err) == (130, "", f"\n{sentence}")


@pytest.mark.parametrize("flag", ["--quiet", "--json"])
def test_the_quiet_flags_leave_only_the_answer(flag: str, run: Callable[..., Any], index: Path) -> None:
    talking, quiet = run("index", "show", index), run("index", "show", index, flag)

    assert talking.err != ""
    assert (quiet.code, quiet.err) == (0, "")
    assert quiet.out == talking.out
    assert json.loads(quiet.out)["rows"] == 16


def test_errors_are_told_even_when_quiet(run: Callable[..., Any], tmp_path: Path) -> None:
    ran = run("calibrate", tmp_path / "nowhere", "--embedder", "drawn", "--faces", "aligned", "--quiet")

    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith(f"error: There is no {tmp_path}/nowhere.")


def test_a_place_that_may_not_be_used_is_named_with_what_to_do(
    run: Callable[..., Any], index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("indexes.open_index", refused)

    ran = run("index", "show", index)

    assert ran.code == 2
    assert ran.err == (
        f"error: {index}: Permission denied. This account may not use it. Change its owner or mode (ls -ld shows them), or "
        "choose another place.\n"
    )


def test_a_mistyped_index_is_met_with_those_that_are_there(
    run: Callable[..., Any], index: Path, tmp_path: Path
) -> None:
    ran = run("scan", tmp_path, "--against", index.with_name("poeple.idx"), "--out", tmp_path / "r", "--threshold", 0.5)

    assert ran.code == 2
    assert f"is no index: it has no manifest.json. Indexes in '{index.parent}': people.idx" in ran.err


def test_without_any_embedder_the_error_says_what_to_do(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("scanner.dlib_files.is_installed", lambda: False)
    (tmp_path / "q.png").write_bytes(png(1, 0))

    ran = run("index", "build", tmp_path / "idx", tmp_path / "q.png")

    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "error: No face recogniser was found: no --embedder given, no insightface pack in ~/.insightface/models, and the "
        "'dlib' extra is not installed. Do one of these:\n"
        "  pip install 'identity-leak-scanner[dlib]'        weights inside the package, about 10 faces/s\n"
        "  --embedder insightface:buffalo_l                 fetched by insightface (non-commercial research)\n"
        "  --embedder onnx:FILE.onnx --detector SCRFD.onnx  any ArcFace-style network of yours\n"
    )
    assert not (tmp_path / "idx").exists()


def test_main_without_arguments_reads_those_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scanner", "--version"])

    assert main() == 0
    assert capsys.readouterr().out.startswith("scanner, version ")
