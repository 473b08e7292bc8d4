"""`python -m scanner` killed, interrupted and out of room; then the same command with --resume."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_people import FACES, crop, files_of, photos_of

from scanner.cli import main
from scanner.images import encode_png
from scanner.jobs.indexing.build import build
from scanner.pipeline import SHARD_ENTRIES

ALIGNED = ("--embedder", "drawn", "--faces", "aligned")
FACES_EACH_SHARD = 16


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards and a bit: mostly broken files, which cost nothing, with some faces and duplicates among them."""
    folder = tmp_path_factory.mktemp("kill") / "crowd"
    folder.mkdir()
    photos = photos_of(range(20), range(2))
    for place in range(3 * SHARD_ENTRIES + 40):
        data = f"no picture {place % 700}".encode()
        if place % (SHARD_ENTRIES // FACES_EACH_SHARD) == 0:
            number = place // (SHARD_ENTRIES // FACES_EACH_SHARD)
            pixels = crop(*photos[number % 40]).copy()
            pixels[0, 0] = number // 44  # the last faces are the first again, to the byte or nearly
            data = encode_png(pixels)
        (folder / f"{place:05d}.png").write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def crowd_index(crowd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of one half of them."""
    some = tmp_path_factory.mktemp("kill") / "some"
    some.mkdir()
    for path in sorted(crowd.iterdir())[::32]:
        (some / path.name).write_bytes(path.read_bytes())
    build(some.parent / "idx", str(some), faces=FACES)
    return some.parent / "idx"


def words_for(job: str, crowd: Path, crowd_index: Path, folder: Path) -> list[str]:
    words = {
        "embed": ["embed", crowd, folder / "out.parquet"],
        "build": ["index", "build", folder / "out", crowd],
        "scan": ["scan", crowd, "--against", crowd_index, "--out", folder / "out", "--threshold", "0.6"],
    }[job]
    return [*(str(word) for word in words), *ALIGNED]


def work_of(job: str, folder: Path) -> Path:
    return {
        "embed": folder / ".out.parquet.work",
        "build": folder / ".out.work",
        "scan": folder / "out/unfinished/faces",
    }[job]


def start(words: list[str], **given: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "scanner", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **given)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.001)


@pytest.fixture
def whole(crowd: Path, crowd_index: Path, tmp_path: Path) -> Callable[[str], dict[str, bytes]]:
    """What an uninterrupted run of a job leaves."""

    def run(job: str) -> dict[str, bytes]:
        (tmp_path / "whole").mkdir()
        assert main([*words_for(job, crowd, crowd_index, tmp_path / "whole"), "--workers", "1"]) == 0
        return files_of(tmp_path / "whole")

    return run


@pytest.mark.parametrize(("job", "shard"), [("embed", 0), ("build", 1), ("scan", 0), ("scan", 2)])
def test_a_command_killed_after_some_shard_and_resumed_leaves_the_same_bytes(
    job: str, shard: int, crowd: Path, crowd_index: Path, tmp_path: Path, whole: Callable[[str], dict[str, bytes]]
) -> None:
    folder = tmp_path / "killed"
    folder.mkdir()
    words = words_for(job, crowd, crowd_index, folder)
    process = start(words)
    wait_for(work_of(job, folder) / f"{shard:06d}.json", process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    assert main([*words, "--resume"]) == 0

    assert files_of(folder) == whole(job)


def test_an_interrupted_command_says_how_to_go_on_and_goes_on(
    crowd: Path, crowd_index: Path, tmp_path: Path, whole: Callable[[str], dict[str, bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = tmp_path / "stopped"
    folder.mkdir()
    words = words_for("scan", crowd, crowd_index, folder)
    process = start(words)
    wait_for(folder / "out/unfinished/faces/000000.json", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == (
        "interrupted: what was finished is kept; the same command with --resume goes on from there."
    )
    assert "Traceback" not in err
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"error: {folder}/out/unfinished holds unfinished work. Pass --resume to finish it, or --force to throw it away.\n"
    )
    changed = ["0.7" if word == "0.6" else word for word in words]
    assert main([*changed, "--resume", "--min-sharpness", "1"]) == 2
    assert capsys.readouterr().err.endswith(
        f"error: {folder}/out/unfinished/faces cannot be resumed: road, threshold changed since it was started. "
        "Give the same sources and options as then, or pass --force to begin again.\n"
    )
    assert main([*words, "--resume"]) == 0
    assert "were done before" in capsys.readouterr().err
    assert files_of(folder) == whole("scan")


@pytest.mark.parametrize(
    ("job", "call"), [("embed", 1), ("embed", 12), ("build", 4), ("build", 12), ("scan", 1), ("scan", 12), ("scan", 24)]
)
def test_a_full_disk_is_told_and_costs_nothing_but_time(
    job: str, call: int, crowd_index: Path, generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = tmp_path / "full"
    folder.mkdir()
    words = words_for(job, generated, crowd_index, folder)
    calls = 0

    def full(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        code = main(words)
    assert calls >= call
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert "error: [Errno 28] no" in said.err.replace("No space", "no space")
    assert said.err.splitlines()[-1] == (
        "Nothing that was finished is lost. Make room, then give the same command with --resume where it has that option."
    )

    assert main([*words, "--resume"]) == 0

    (tmp_path / "whole").mkdir()
    assert main(words_for(job, generated, crowd_index, tmp_path / "whole")) == 0
    assert files_of(folder) == files_of(tmp_path / "whole")


def test_files_that_may_not_grow_end_the_command_in_order(generated: Path, crowd_index: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    process = start(words_for("build", generated, crowd_index, tmp_path), preexec_fn=limit)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (2, "")
    assert err.splitlines()[-2].startswith("error: ")
    assert "File too large" in err.splitlines()[-2]
    assert not (tmp_path / "out").exists()


def test_a_folder_that_may_not_be_written_is_told(
    run: Callable[..., Any], generated: Path, crowd_index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.mkdir

    def refuse(path: Any, *given: Any, **named: Any) -> None:
        if Path(path) == tmp_path / "out":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        make(path, *given, **named)

    monkeypatch.setattr(os, "mkdir", refuse)

    ran = run(*words_for("scan", generated, crowd_index, tmp_path))

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1] == (
        f"error: {tmp_path}/out: Permission denied. This account may not use it. Change its owner or mode (ls -ld shows them), "
        "or choose another place."
    )
