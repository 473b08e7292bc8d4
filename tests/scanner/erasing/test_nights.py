"""A nightly job from which somebody was erased goes on as one that never had them."""

import shutil
import sys
from pathlib import Path

from drawn_people import name, photos_of, write_people
from everything_folder import AT

sys.path.insert(0, str(Path(__file__).parents[1] / "nights"))

from small_job import job, night, put, run_of, table, with_null

from scanner.erasing import Retention, Wanted, apply_retention, erase_everywhere
from scanner.jobs.checking.verify import verify


def first(folder: Path, *, without: int | None = None) -> None:
    people = [number for number in range(25) if number != without]
    write_people(folder / "people", photos_of(people, range(2)))
    for number in (2, 3, 40, 41):
        if number != without:
            put(folder, f"gen/a-{number}.png", number, 5)


def second(folder: Path) -> None:
    write_people(folder / "people", photos_of(range(25, 28), range(2)))
    for number in (26, 4, 42):
        put(folder, f"gen/b-{number}.png", number, 5)


def scores(run: Path) -> dict[tuple[str, str], float]:
    rows = table(run, "matches").to_pylist()
    return {
        (Path(row["query_uri"]).name, row["identity"] + Path(row["reference_uri"]).name): row["score"] for row in rows
    }


def test_after_an_erasure_the_next_night_is_that_of_a_job_without_the_person(tmp_path: Path) -> None:
    many, once = tmp_path / "many", tmp_path / "once"
    config = job(**with_null(many))
    with_null(once)
    first(many)
    night(many, config)
    shutil.rmtree(many / "people" / name(3))
    (many / "gen" / "a-3.png").unlink()
    state = many / "state"
    wanted = Wanted(identities=(name(3),), uris=(str(many / "gen" / "a-3.png"), "gen/a-3.png"))

    done = erase_everywhere([state], wanted, clock=lambda: AT, receipt=lambda: "ab" * 32)
    second(many)
    result = night(many, config)
    first(once, without=3)
    night(once, config)
    second(once)
    twin = night(once, config)

    assert done.complete, done.left
    assert done.counts["references"] == 2
    assert done.counts["embeddings"] == 1
    assert scores(run_of(result)) == scores(run_of(twin)) != {}
    assert verify(run_of(result)).holds
    assert verify(state / "nights" / "000001" / "gen").holds
    assert [p for p in state.rglob("*") if p.is_file() and name(3).encode() in p.read_bytes()] == []


def test_retention_of_a_real_job_keeps_the_run_that_the_newest_night_names(tmp_path: Path) -> None:
    first(tmp_path)
    night(tmp_path)
    second(tmp_path)
    night(tmp_path)
    unchanged = night(tmp_path)

    done = apply_retention(tmp_path / "state", Retention(nights=1), now=AT)

    assert unchanged.account["runs"]["gen"]["run"] == "000002/gen"
    assert [path.parent.name for path in done.runs] == ["000001"]
    assert (tmp_path / "state" / "nights" / "000002" / "gen" / "run.json").exists()
    put(tmp_path, "gen/c-7.png", 7, 5)
    assert night(tmp_path).account["runs"]["gen"]["results"]["queries"] == 8
