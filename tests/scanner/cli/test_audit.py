"""`scanner audit`: exit codes, what is said where, and pictures from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from audit_world import make_world
from drawn_people import photos_of, write_people, write_tar

from scanner.audit.check import read_shares
from scanner.errors import UsageError


@pytest.fixture(scope="module")
def toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One generator that gives people away, one that does not; no sweeps."""
    path = make_world(tmp_path_factory.mktemp("audit-cli") / "world")
    text = path.read_text()
    path.write_text(text.replace("samples = [100, 300, 1000]\nphotos = [1, 3, 4]", ""))
    return path


def only(toml: Path, name: str, *, gate: str = "leak_rate_max = 0.2\nfpr = 0.02") -> Path:
    path = toml.parent / f"{name}.toml"
    path.write_text(
        f'[embedder]\nembedded_by = "net"\n[people]\nmembers = "members.parquet"\nnon_members = "others.parquet"\n'
        f'[[generator]]\nname = "{name}"\nsamples = "{name}.parquet"\n' + (f"[gate]\n{gate}\n" if gate else "")
    )
    return path


def answer_of(ran: Any) -> dict[str, Any]:
    assert ran.out.count("\n") == 1
    return json.loads(ran.out)


@pytest.mark.parametrize(
    ("name", "gate", "code", "state"),
    [
        ("leaking", "leak_rate_max = 0.2\nfpr = 0.02", 1, "fail"),
        ("innocent", "leak_rate_max = 0.2\nfpr = 0.02", 0, "pass"),
        ("innocent", "leak_rate_max = 0.01", 1, "inconclusive"),
        ("leaking", "", 0, "measured"),
    ],
)
def test_the_exit_code_is_the_gates_word(
    name: str, gate: str, code: int, state: str, toml: Path, tmp_path: Path, run: Callable[..., Any]
) -> None:
    ran = run("audit", only(toml, name, gate=gate), "--out", tmp_path / "out", "--json")

    assert ran.code == code
    assert ran.err == ""
    answer = answer_of(ran)
    assert answer["state"] == state
    assert answer["audit"] == str(tmp_path / "out")
    assert answer["generators"][0]["state"] == (state if gate else None)
    assert (tmp_path / "out" / "report.html").is_file()


def test_the_talk_says_each_generator_and_the_verdict(toml: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    ran = run("audit", toml, "--out", tmp_path / "out")

    assert ran.code == 1
    lines = ran.err.splitlines()
    assert any(line.startswith("leaking: ") and "TPR" in line and "of 40 members named" in line for line in lines)
    assert any(line.startswith("  Pass: at most ") for line in lines)
    assert lines[-2:] == [
        "Fail: 1 of 2 generators gives away more people than is tolerated (leaking).",
        f"report: {tmp_path / 'out' / 'report.html'}",
    ]


def test_check_does_no_work_and_says_the_cost(toml: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    before = sorted(path.name for path in toml.parent.iterdir())

    ran = run("audit", only(toml, "leaking"), "--check")

    assert ran.code == 0
    assert ran.err.splitlines() == [
        "members.parquet: 120 entries", "others.parquet: 600 entries", "leaking.parquet: 300 entries",
        "all are embeddings: minutes at most", "the gate cannot pass at 20 % with fewer than 16 member identities",
    ]  # fmt: skip
    assert answer_of(ran)["sources"] == {"members.parquet": 120, "others.parquet": 600, "leaking.parquet": 300}
    assert answer_of(ran)["members_at_least"] == 16
    assert sorted({*before, "leaking.toml"}) == sorted(path.name for path in toml.parent.iterdir())


def test_everything_that_is_missing_is_named_at_once(toml: Path, tmp_path: Path, run: Callable[..., Any]) -> None:
    path = only(toml, "leaking")
    path.write_text(
        path.read_text()
        .replace("members.parquet", "member.tar")
        .replace("leaking.parquet", "samples.npy")
        .replace("[gate]", 'shares = "nothing.csv"\n[gate]')
    )
    for words in (("--check",), ("--out", tmp_path / "out")):
        ran = run("audit", path, *words)

        assert ran.code == 2
        assert ran.out == ""
        assert "people.members: There is no " in ran.err
        assert "generator[1].samples: " in ran.err
        assert "generator[1].shares: " in ran.err
        assert "Traceback" not in ran.err
        assert not (tmp_path / "out").exists()


def test_a_wrong_file_and_no_place_to_write_are_usage_errors(toml: Path, run: Callable[..., Any]) -> None:
    bad = toml.parent / "bad.toml"
    bad.write_text("[peopel]\nmembers = 3")

    wrong, nowhere = run("audit", bad, "--out", "x"), run("audit", toml)

    assert (wrong.code, nowhere.code) == (2, 2)
    assert "peopel: unknown key. Did you mean 'people'?" in wrong.err
    assert "people: missing" in wrong.err
    assert "--out AUDIT names the folder to make" in nowhere.err


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name,share\na,0.1", "has name, share; its columns must be identity and share"),
        ("identity,share", "has no row"),
        ("identity,share\na,0.1\nb,much", "line 3: 'b', 'much' is no identity of its own with a share"),
        ("identity,share\na,0.1\na,0.2", "line 3: 'a', '0.2' is no identity of its own"),
        ("identity,share\na,-1", "line 2"),
        ("identity,share\na", "line 2"),
        (f'identity,share\n"{"x" * 200_000}",1', "cannot be read: field larger than field limit"),
    ],
)
def test_a_table_of_shares_that_is_wrong_names_the_line(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "shares.csv").write_text(text)

    with pytest.raises(UsageError) as caught:
        read_shares(tmp_path / "shares.csv")

    assert why in str(caught.value)


def test_pictures_go_all_the_way(tmp_path: Path, run: Callable[..., Any]) -> None:
    write_people(tmp_path / "members", photos_of(range(20), [0]))
    write_people(tmp_path / "others", photos_of(range(100, 200), [0]))
    write_tar(tmp_path / "samples.tar", [*photos_of(range(20), [1]), *photos_of(range(300, 310), [0]), (0, 0)])
    (tmp_path / "audit.toml").write_text(
        '[embedder]\nspec = "drawn"\nfaces = "aligned"\n[people]\nmembers = "members"\nnon_members = "others"\n'
        'identity_from = "folder"\n[[generator]]\nname = "copier"\nsamples = "samples.tar"\n[attack]\nk = 3\nfolds = 2\n'
    )
    (tmp_path / "members" / "person-001" / "again.png").write_bytes(
        (tmp_path / "members" / "person-001" / "0.png").read_bytes()
    )

    refused = run("audit", tmp_path / "audit.toml", "--out", tmp_path / "refused")
    write_people(tmp_path / "members", [(20, 0)])
    ran = run("audit", tmp_path / "audit.toml", "--out", tmp_path / "out")

    assert refused.code == 2
    assert "copier has 19 identities as members; at least 20 are needed. Photos left out: 1 in_samples" in refused.err
    assert ran.code == 0
    document = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert document["sources"]["members"]["duplicates"] == 1
    entry = document["generators"][0]
    assert entry["people"]["members"]["left_out"]["in_samples_or_training"] == 1
    assert entry["people"]["members"]["identities"] == 20
    assert entry["scores"]["best_match"]["auc"]["value"] > 0.9
    assert not (tmp_path / "out" / "unfinished").exists()

    checked = run("audit", tmp_path / "audit.toml", "--check")
    assert checked.code == 0
    assert answer_of(checked)["sources"] == {"members": 22, "others": 100, "samples.tar": None}
    assert answer_of(checked)["images"] is None  # a tar says how many it holds only when it is read
    assert "samples.tar: an unknown number of entries" in checked.err
    assert answer_of(checked)["images_per_s"] > 0
