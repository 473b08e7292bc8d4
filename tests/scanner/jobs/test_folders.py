"""Where results go, and what may be deleted to make room."""

from __future__ import annotations

from pathlib import Path

import pytest

from scanner.errors import UsageError
from scanner.jobs.folders import Kind, check_target, is_finished, remove_folder, sweep, work_beside


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.write_text("x")
    return folder


RUN = ("run.json", "costs.json", "report.html", "queries.parquet", "matches.parquet", "rejects.parquet")
INDEX = ("manifest.json", "segments/000000/rows.parquet", "lock", "intake/0001.json")
DEMO = ("world/truth.json", "indexes/set-a/manifest.json", "run/run.json", "outcome.json")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("run", RUN),
        ("run", (*RUN, "crops.parquet", ".matches.parquet.77.tmp")),
        ("run", ("unfinished/",)),
        ("run", ("unfinished/faces/plan.json", "unfinished/join/000000.json", "queries.parquet")),
        ("run", ()),
        ("index", INDEX),
        ("index", (*INDEX, "codec.json", "codec.safetensors", "tombstones/0.parquet", "erasures/0.json")),
        ("demo", DEMO),
        ("demo", ("world/", "indexes/")),
    ],
)
def test_force_may_replace_what_we_made(kind: Kind, names: tuple[str, ...], tmp_path: Path) -> None:
    folder = fill(tmp_path / "out", *names)
    folder.mkdir(exist_ok=True)

    check_target(folder, work_beside(folder), kind=kind, resume=False, force=True)

    assert folder.exists()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("run", (*RUN, "notes of mine.txt")),
        ("run", ("unfinished/thesis.txt",)),
        ("run", ("unfinished/", "holiday/photo.jpg")),
        ("run", INDEX),
        ("run", DEMO),
        ("index", RUN),
        ("index", ("manifest.json", "background.js")),
        ("index", ("segments/",)),
        ("demo", ("world/",)),
        ("demo", INDEX),
    ],
)
def test_force_may_not_replace_anything_else(kind: Kind, names: tuple[str, ...], tmp_path: Path) -> None:
    folder = fill(tmp_path / "out", *names)

    with pytest.raises(UsageError) as caught:
        check_target(folder, work_beside(folder), kind=kind, resume=False, force=True)

    article = "an" if kind == "index" else "a"
    assert str(caught.value) == f"{folder} is not, or not only, {article} {kind} of ours; --force does not delete it."


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    check_target(tmp_path / "out", tmp_path / "out" / "unfinished", kind="run", resume=False, force=False)


@pytest.mark.parametrize("name", [".", "..", "a/.."])
def test_a_result_needs_a_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fill(tmp_path, "a/"))

    with pytest.raises(UsageError) as caught:
        check_target(Path(name), Path(name) / "unfinished", kind="run", resume=False, force=True)

    assert str(caught.value) == f"{name} is no name for a result. Name a file or folder to be made."


@pytest.mark.parametrize("plan", ["plan.json", "faces/plan.json"])
def test_unfinished_work_wants_a_word(plan: str, tmp_path: Path) -> None:
    work = fill(tmp_path / ".out.work", plan)

    with pytest.raises(UsageError) as caught:
        check_target(tmp_path / "out", work, kind="index", resume=False, force=False)

    assert (
        str(caught.value) == f"{work} holds unfinished work. Pass --resume to finish it, or --force to throw it away."
    )
    check_target(tmp_path / "out", work, kind="index", resume=True, force=False)
    check_target(tmp_path / "out", work, kind="index", resume=False, force=True)


def test_a_job_is_finished_when_its_result_is_there_and_its_work_is_gone(tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / ".out.work"
    assert not is_finished(out, work, resume=True)
    out.write_text("x")
    assert is_finished(out, work, resume=True)
    assert not is_finished(out, work, resume=False)
    work.mkdir()
    assert not is_finished(out, work, resume=True)


def test_what_a_killed_removal_left_goes_with_the_next_look(tmp_path: Path) -> None:
    out, work = fill(tmp_path, "out") / "out", tmp_path / ".out.work"
    gone = fill(tmp_path / ".out.work.gone", "000001.faces.parquet")

    assert is_finished(out, work, resume=True)

    assert not gone.exists()


def test_removing_a_folder_takes_its_name_away_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "unfinished", "a", "b/c")

    def killed(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_folder(folder)
    assert not folder.exists()

    fill(folder, "d")
    remove_folder(folder)
    remove_folder(folder)
    assert list(tmp_path.iterdir()) == []


def test_removing_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    real = fill(tmp_path / "real", "a")
    (tmp_path / "link").symlink_to(real)

    remove_folder(tmp_path / "link")

    assert (real / "a").exists()
    assert not (tmp_path / "link").is_symlink()


def test_sweeping_takes_the_temporary_files_of_the_named_results_only(tmp_path: Path) -> None:
    fill(tmp_path, ".e.parquet.12.tmp", ".e.json.12.tmp", ".other.parquet.3.tmp", "e.tmp", ".e.parquet")

    sweep(tmp_path, ["e.parquet", "e.json"])

    assert sorted(p.name for p in tmp_path.iterdir()) == [".e.parquet", ".other.parquet.3.tmp", "e.tmp"]
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".e.parquet", "e.tmp"]
