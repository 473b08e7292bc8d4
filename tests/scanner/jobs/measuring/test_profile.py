"""A machine's profile: written, read, refused, left aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from machine_profile import profile_of

from scanner.errors import UsageError
from scanner.jobs.measuring.profile import Profile, cpu_model, default_path, known_machine, read_profile, write_profile
from scanner.jobs.options import cores
from scanner.rates import Networks


def write_changed(path: Path, change: Any) -> Path:
    document = profile_of().model_dump(mode="json")
    change(document)
    path.write_text(json.dumps(document))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    profile = profile_of()

    write_profile(tmp_path / "machine.json", profile)

    assert read_profile(tmp_path / "machine.json") == profile
    assert profile.rates().product_gflop_s == 100.0
    assert profile.networks_of("a" * 16, None) == Networks(embed_ms=2.0, detect_320_ms=None, align_ms=0.5)
    assert profile.networks_of("a" * 16, "scrfd.onnx") is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d.pop("cpu"), "cpu: missing"),
        (lambda d: d["machine"].pop("row_us"), "machine.row_us: missing"),
        (
            lambda d: d["machine"].update(product_gflop_s=0),
            "machine.product_gflop_s: input should be greater than 0, got 0",
        ),
        (lambda d: d["machine"].update(row_us="2"), "machine.row_us: input should be a valid number, got '2'"),
        (lambda d: d["machine"].update(rowus=2.0), "machine.rowus: unknown key. Did you mean 'row_us'?"),
        (lambda d: d.update(format_version=2), "format_version: input should be 1, got 2"),
        (
            lambda d: d["machine"].update(memory_gb_s=float("inf")),
            "machine.memory_gb_s: input should be a finite number",
        ),
    ],
)
def test_a_broken_profile_is_refused_with_its_problem(change: Any, problem: str, tmp_path: Path) -> None:
    path = write_changed(tmp_path / "machine.json", change)

    with pytest.raises(UsageError) as caught:
        read_profile(path)

    assert str(caught.value).startswith(f"{path} has a problem:\n  {problem}")
    assert str(caught.value).endswith("Measure the machine again: scanner doctor --bench")


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "machine.json").write_text("{")

    with pytest.raises(UsageError, match=r"machine\.json is no JSON"):
        read_profile(tmp_path / "machine.json")


def test_a_profile_lies_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    write_profile(default_path(), profile_of())

    assert default_path() == tmp_path / "cache" / "identity-leak-scanner" / "machine.json"
    assert known_machine().profile == profile_of()


@pytest.mark.parametrize("name", ["machine.toml", "nowhere/machine.json"])
def test_a_profile_is_not_written_where_it_could_not_be_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_profile(tmp_path / name, profile_of())

    assert list(tmp_path.iterdir()) == []


def test_without_a_measurement_nothing_is_known() -> None:
    known = known_machine()

    assert known.profile is None
    assert known.sentence == "this machine has not been measured; `scanner doctor --bench` does it in 20 seconds"


@pytest.mark.parametrize("change", [{"cpu": "another processor"}, {"cores": cores() + 1}])
def test_a_profile_of_another_machine_is_left_aside_unless_it_is_named(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    theirs = other_machine(change)
    write_profile(default_path(), theirs)
    name = f"{theirs.cpu}, {theirs.machine.cores} cores"

    own, named = known_machine(), known_machine(default_path())

    assert own.profile is None
    assert own.sentence == (
        f"{default_path()} is of another machine ({name}) and was left aside; measure this one with `scanner doctor --bench`"
    )
    assert (named.profile, named.foreign) == (theirs, True)
    assert named.sentence == f"predicted for another machine than this one: {name}"


def other_machine(change: dict[str, Any]) -> Profile:
    document = profile_of().model_dump()
    document["machine"]["cores"] = change.get("cores", cores())
    document["cpu"] = change.get("cpu", cpu_model())
    return Profile.model_validate(document)
