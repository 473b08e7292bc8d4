"""`scanner run` as a timer starts it: its log, its metrics, the command after it, and how it is stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from drawn_people import photos_of, write_people
from small_job import document, put

from scanner.cli import main
from scanner.nights.account import gate_counts
from scanner.nights.state import State, one_at_a_time

KEEP = "import os, pathlib, sys; pathlib.Path('said.json').write_bytes(sys.stdin.buffer.read()); " + (  # noqa: ISC003
    "pathlib.Path('env').write_text(os.environ['SCANNER_NIGHT_FOLDER'] + ' ' + os.environ['SCANNER_EXIT_CODE'])"
)


def toml(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, list) else "[" + ", ".join(map(toml, value)) + "]"


def write_job(folder: Path, **changes: Any) -> Path:
    """Write a job and what it looks at: 10 photos of 5 people, and 3 generated pictures, 2 of them of 2 of these people."""
    if not (folder / "gen").exists():
        write_people(folder / "people", photos_of(range(5), range(2)))
        for number in (2, 3, 40):
            put(folder, f"gen/picture-{number}.png", number, 5)
    lines: list[str] = []
    for name, section in document(**changes).items():
        for one in section if isinstance(section, list) else [section]:
            lines.append(f"[[{name}]]" if isinstance(section, list) else f"[{name}]")
            lines += [f"{key} = {toml(value)}" for key, value in one.items()]
    path = folder / "drawn.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def metrics_of(path: Path) -> dict[str, float]:
    """Read a text file of metrics as strictly as its format is written down."""
    found, helped, typed = {}, set(), set()
    for line in path.read_text().splitlines():
        if match := re.fullmatch(r"# HELP (\w+) \S.*", line):
            helped.add(match[1])
        elif match := re.fullmatch(r"# TYPE (\w+) gauge", line):
            typed.add(match[1])
        else:
            match = re.fullmatch(r'(\w+)(\{\w+="(?:[^"\\\n]|\\.)*"(?:,\w+="(?:[^"\\\n]|\\.)*")*\}) (\S+)', line)
            assert match, line
            assert {match[1]} <= helped & typed
            found[match[1].removeprefix("scanner_night_") + match[2].replace('job="drawn"', "").replace("{,", "{")] = (
                float(match[3])
            )
    return found


def test_the_command_gets_the_night_and_the_metrics_say_what_it_did(tmp_path: Path, capfd) -> None:
    path = write_job(tmp_path, after={"command": [sys.executable, "-c", KEEP]}, metrics={"textfile": "out/drawn.prom"})
    before = time.time()

    assert main(["run", str(path)]) == 0
    summary = json.loads((tmp_path / "said.json").read_text())
    assert (summary["job"], summary["night"], summary["exit_code"], summary["error"]) == ("drawn", 1, 0, None)
    assert summary["runs"]["gen"]["new"] == summary["runs"]["gen"]["matched_identities"] == 2
    folder = str(tmp_path / "state" / "nights" / "000001")
    assert (tmp_path / "env").read_text() == f"{folder} 0"
    found = metrics_of(tmp_path / "out" / "drawn.prom")
    assert found["exit_code{}"] == found["hook_failed{}"] == found["errors{}"] == 0
    assert found["number{}"] == 1
    assert found['entries_new{set="candidates/people"}'] == 10
    assert found['comparisons{set="queries/gen"}'] == 30
    assert found['comparisons_spared{set="queries/gen"}'] == 0
    assert found['findings_new{set="queries/gen"}'] == 2
    assert before <= found["end_time_seconds{}"] <= time.time()
    assert 0 < found["duration_seconds{}"] < time.time() - before
    assert (tmp_path / "out" / "drawn.prom").stat().st_mode & 0o777 == 0o644
    assert "picture-" not in (tmp_path / "out" / "drawn.prom").read_text() + (tmp_path / "said.json").read_text()

    (tmp_path / "gen" / "broken.png").write_bytes(b"nothing")
    assert main(["run", str(path)]) == 0
    found = metrics_of(tmp_path / "out" / "drawn.prom")
    assert found["number{}"] == 2
    assert found['rejected{set="queries/gen",reason="not_an_image"}'] == 1
    assert found['comparisons{set="queries/gen"}'] == found['findings_new{set="queries/gen"}'] == 0
    capfd.readouterr()


def test_metrics_are_read_by_the_reader_of_prometheus(tmp_path: Path, capfd) -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="needs prometheus-client")
    path = write_job(tmp_path, metrics={"textfile": "drawn.prom"})
    assert main(["run", str(path)]) == 0

    families = list(parser.text_string_to_metric_families((tmp_path / "drawn.prom").read_text()))
    samples = {(s.name, s.labels.get("set")): s.value for family in families for s in family.samples}
    assert samples["scanner_night_matches", "queries/gen"] >= 2
    assert {s.labels["job"] for family in families for s in family.samples} == {"drawn"}
    capfd.readouterr()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["no-such-program"], "cannot be started (No such file or directory)"),
        ([sys.executable, "-c", "raise SystemExit(7)"], "ended with exit code 7"),
        ([sys.executable, "-c", "import time; time.sleep(60)"], "did not end within 0.5 s"),
    ],
)
def test_a_command_that_fails_is_told_and_loses_nothing(tmp_path: Path, capfd, command: list[str], said: str) -> None:
    path = write_job(tmp_path, after={"command": command, "timeout_s": 0.5}, metrics={"textfile": "drawn.prom"})

    assert main(["run", str(path)]) == 4
    out, err = capfd.readouterr()
    assert said in err
    assert json.loads(out)["exit_code"] == 4
    assert json.loads((tmp_path / "state" / "nights" / "000001" / "night.json").read_text())["exit_code"] == 0
    assert metrics_of(tmp_path / "drawn.prom")["hook_failed{}"] == 1


def test_metrics_that_cannot_be_written_are_told_and_lose_nothing(tmp_path: Path, capfd) -> None:
    (tmp_path / "file").touch()
    path = write_job(tmp_path, metrics={"textfile": "file/drawn.prom"})

    assert main(["run", str(path)]) == 4
    assert "not done: The metrics could not be written: " in capfd.readouterr().err
    assert (tmp_path / "state" / "nights" / "000001" / "night.json").exists()


@pytest.mark.parametrize(("on", "times"), [("always", 3), ("findings", 1), ("failure", 1)])
def test_the_command_runs_when_it_is_asked_for(tmp_path: Path, capfd, on: str, times: int) -> None:
    """A night with findings, one without anything new, and one that cannot be: its only set is gone."""
    count = "import sys; open('times', 'a').write('x')"
    path = write_job(tmp_path, after={"command": [sys.executable, "-c", count], "on": on})

    assert main(["run", str(path)]) == 0
    assert main(["run", str(path)]) == 0
    (tmp_path / "gen").rename(tmp_path / "elsewhere")
    assert main(["run", str(path)]) == 4
    assert (tmp_path / "times").read_text() == "x" * times
    capfd.readouterr()


def test_a_start_that_fails_writes_metrics_and_tells_the_command(tmp_path: Path, capfd) -> None:
    path = write_job(
        tmp_path, after={"command": [sys.executable, "-c", KEEP], "on": "failure"}, metrics={"textfile": "drawn.prom"},
        embedder={"spec": "onnx:missing.onnx", "faces": "aligned"},
    )  # fmt: skip

    assert main(["run", str(path)]) == 2
    summary = json.loads((tmp_path / "said.json").read_text())
    assert summary["night"] is None
    assert "missing.onnx" in summary["error"]
    assert metrics_of(tmp_path / "drawn.prom")["exit_code{}"] == 2
    assert (tmp_path / "env").read_text() == " 2"
    capfd.readouterr()


def test_the_log_is_json_lines_without_a_name_of_a_picture(tmp_path: Path, capfd) -> None:
    path = write_job(tmp_path)
    (tmp_path / "gen" / "picture-broken.png").write_bytes(b"nothing")

    assert main(["run", str(path), "--log", "json"]) == 0
    out, err = capfd.readouterr()
    lines = [json.loads(line) for line in err.splitlines()]
    assert json.loads(out)["night"] == 1
    assert {(line["level"], line["event"]) for line in lines} == {
        ("info", name) for name in ("stage_start", "stage_end", "set_end", "run_end", "night_end")
    }
    ends = {line["stage"]: line for line in lines if line["event"] == "stage_end"}
    assert (ends["faces of gen"]["done"], ends["faces of gen"]["unit"]) == (4, "images")
    sets = {line["set"]: line for line in lines if line["event"] == "set_end"}
    assert sets["queries/gen"]["new"]["reasons"] == {"not_an_image": 1}
    assert lines[-1] | {"night": 1, "exit_code": 0, "event": "night_end"} == lines[-1]
    assert "picture-" not in err
    assert "person-" not in err


def test_what_ends_a_start_is_the_last_line_of_the_log(tmp_path: Path, capfd) -> None:
    path = write_job(tmp_path, embedder={"spec": "onnx:missing.onnx", "faces": "aligned"})

    assert main(["run", str(path), "--log", "json"]) == 2
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert (lines[-1]["level"], lines[-1]["event"], lines[-1]["kind"]) == ("error", "stopped", "UsageError")
    assert "missing.onnx" in lines[-1]["text"]


def test_a_second_start_says_who_holds_the_job(tmp_path: Path, capfd) -> None:
    path = write_job(tmp_path)
    assert main(["run", str(path)]) == 0
    with one_at_a_time(State(tmp_path / "state")):
        capfd.readouterr()
        assert main(["run", str(path)]) == 2
        assert f"is being run by process {os.getpid()}. Wait for it" in capfd.readouterr().err
        assert main(["status", str(path)]) == 0
        assert json.loads(capfd.readouterr().out)["process"] == os.getpid()
    assert main(["run", str(path)]) == 0
    capfd.readouterr()


def test_a_check_says_what_would_happen_and_does_nothing(tmp_path: Path, capfd) -> None:
    path = write_job(tmp_path)

    assert main(["run", str(path), "--check"]) == 0
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert (found["images"], found["comparisons"], found["problems"]) == (13, 30, [])
    assert "candidates/people: 0 there, 10 new, 0 gone" in err
    assert err.endswith("comparisons: about 30; time for the pictures: the first night will tell\n")
    assert not (tmp_path / "state").exists()
    assert main(["run", str(path)]) == 0
    capfd.readouterr()
    assert main(["run", str(path), "--check"]) == 0
    assert capfd.readouterr().err.endswith("\nnothing is new\n")
    put(tmp_path, "gen/picture-41.png", 41, 5)
    (tmp_path / "gen" / "picture-2.png").unlink()
    capfd.readouterr()
    assert main(["run", str(path), "--check", "--log", "json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["sets"]["queries/gen"] == {"there": 3, "new": 1, "gone": 1, "problems": []}
    assert err == ""
    for photo in list((tmp_path / "people").glob("*/*.png"))[:8]:
        photo.unlink()
    assert main(["run", str(path), "--check"]) == 2
    assert "a mount may be missing" in json.loads(capfd.readouterr().out)["problems"][0]


def test_a_mistake_that_would_end_the_night_is_told_before_anything_is_done(tmp_path: Path, capfd) -> None:
    path = write_job(
        tmp_path, embedder={"spec": "onnx:missing.onnx", "detector": "scrfd.onnx"}, scan={"fmr": 0.1, "calibrate_on": "peple"}
    )  # fmt: skip

    assert main(["run", str(path), "--check"]) == 2
    problems = "\n".join(json.loads(capfd.readouterr().out)["problems"])
    assert f"embedder: There is no network {tmp_path / 'missing.onnx'}." in problems
    name = (
        "scan.calibrate_on: 'peple' is neither a name of [[candidates]] or [[null]] nor a path. Did you mean 'people'?"
    )
    assert name in problems
    assert main(["run", str(path)]) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("missing.onnx"), err.count(name)) == ("", 1, 1)
    assert "Nothing was done." in err
    assert not (tmp_path / "state").exists()


def test_a_detector_that_is_missing_is_told_by_a_check(tmp_path: Path, capfd) -> None:
    path = write_job(tmp_path, embedder={"spec": "drawn"})

    assert main(["run", str(path), "--check"]) == 2
    assert "needs a face detector" in json.loads(capfd.readouterr().out)["problems"][0]


def test_quiet_leaves_what_a_person_must_know(tmp_path: Path, capfd) -> None:
    """cron mails what stands on stderr."""
    path = write_job(tmp_path, gate={"fail_on": "new"})
    fails = write_job(tmp_path, after={"command": ["no-such-program"], "on": "failure"}).rename(tmp_path / "fails.toml")
    write_job(tmp_path, gate={"fail_on": "new"})

    assert main(["run", str(path), "--quiet"]) == 1
    assert capfd.readouterr().err == "gate: gen: 2 new or changed findings that nobody acknowledged (exit code 1)\n"
    assert main(["run", str(path), "--quiet"]) == 0
    assert capfd.readouterr().err == ""
    (tmp_path / "people").rename(tmp_path / "elsewhere")
    assert main(["run", str(path), "--quiet"]) == 4
    assert capfd.readouterr().err.startswith("not done: candidates/people: ")
    assert main(["run", str(fails), "--quiet"]) == 4
    assert "not done: The command of [after], no-such-program, cannot be started" in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_night_that_is_stopped_by_a_signal_keeps_what_is_finished(tmp_path: Path, capfd, number: int) -> None:
    path = write_job(tmp_path)
    driver = Path(__file__).parent / "slow_driver.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start = subprocess.Popen(
        [sys.executable, str(driver), "run", str(path)],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    shards = tmp_path / "state" / "tonight" / "candidates" / "people" / "faces"
    until = time.monotonic() + 120
    while not (shards / "000000.json").exists() and time.monotonic() < until:
        time.sleep(0.02)
    start.send_signal(number)
    _, err = start.communicate(timeout=60)

    assert start.returncode == 130, err
    assert "what was finished is kept; the same command goes on from there" in err
    assert (shards / "000000.json").exists()
    assert not (shards.parent / "walking.json").exists()
    done = subprocess.run(
        [sys.executable, str(driver), "run", str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # 10, all of them, where the machine was so busy that the signal came late.
    assert re.search(r"faces of people: (4|8|10) images were done before", done.stderr)


@pytest.mark.parametrize(
    ("fail_on", "minded"), [("never", {}), ("new", {"gen": 5}), ("named", {"gen": 1}), ("any", {"gen": 7})]
)
def test_the_gate_minds_what_it_is_told_to(fail_on: str, minded: dict[str, int]) -> None:
    findings = {"now": 9, "acknowledged": 2, "open_new": 3, "open_changed": 2, "open_newly_named": 1}
    runs = {"gen": {"diff": {"findings": findings}}, "quiet": {"diff": {"findings": dict.fromkeys(findings, 0)}}}

    assert gate_counts({"fail_on": fail_on, "runs": runs}) == minded
