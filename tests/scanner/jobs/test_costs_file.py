"""Jobs write what they took beside what was predicted, and nothing else of them changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_people import BY_FOLDER, FACES, files_of, opened, photos_of, write_people
from machine_profile import profile_of

from scanner import costs
from scanner.jobs.embedding.embed import embed
from scanner.jobs.indexing.build import BuildOptions, add, build
from scanner.jobs.measuring.meter import COSTS_NAME, Meter, costs_sentence, peak_rss_bytes
from scanner.jobs.measuring.profile import default_path, write_profile
from scanner.jobs.scanning import join
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.scan import scan
from scanner.progress import Silent
from scanner.quantities import time_words

OPTIONS = ScanOptions(threshold=0.5)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This machine has a profile."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_profile(default_path(), profile_of(opened().fingerprint))


def stages_of(document: dict[str, Any]) -> dict[str, tuple[int, float | None]]:
    return {stage["name"]: (stage["items"], stage["predicted_s"]) for stage in document["stages"]}


def test_a_scan_says_what_was_predicted_and_what_it_took(
    measured: None, people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    result = scan(str(generated_folder), against=people_index, out=tmp_path / "run", options=OPTIONS, faces=FACES)

    document = json.loads((tmp_path / "run" / COSTS_NAME).read_text())
    machine, networks = profile_of().rates(), profile_of().networks_of("a" * 16, None)
    assert networks is not None
    each_ms = costs.image_ms(machine, networks, megapixels=112 * 112e-6, side_px=112)
    search = costs.exact_join(machine, 10, 20, opened().road.embedder.dim)
    assert document == result.costs
    assert stages_of(document) == {
        "set-up": (0, None),
        "faces": (10, pytest.approx(10 * each_ms * 1e-3 / machine.cores, abs=1e-3)),
        "search": (10, pytest.approx(search.seconds, abs=1e-3)),
        "results": (10, None),
    }
    assert (document["job"], document["resumed"], document["covers"]) == ("scan", False, "the whole job")
    assert document["actual_s"] == pytest.approx(sum(stage["actual_s"] for stage in document["stages"]))
    assert 0 < document["peak_rss_bytes"] <= peak_rss_bytes()
    assert costs_sentence(document).startswith(f"took {time_words(document['actual_s'])}; faces and search: predicted ")


def test_evidence_is_a_stage_of_its_own_and_results_come_after_it(
    people_index: Path, generated_folder: Path, tmp_path: Path
) -> None:
    null = write_people(tmp_path / "outsiders", photos_of(range(100, 200), [0]))
    build(tmp_path / "null", str(null), faces=FACES, sources=BY_FOLDER)
    options = replace(OPTIONS, null=(str(tmp_path / "null"),))

    found = scan(str(generated_folder), against=people_index, out=tmp_path / "run", options=options, faces=FACES)

    assert found.costs is not None
    assert [(name, items) for name, (items, _) in stages_of(found.costs).items()] == [
        ("set-up", 0), ("faces", 10), ("search", 10), ("evidence", 20 + 100), ("results", 10),
    ]  # fmt: skip


def test_a_build_and_an_embedding_do_so_too(measured: None, people_folder: Path, tmp_path: Path) -> None:
    built = build(tmp_path / "idx", str(people_folder), faces=FACES, sources=BY_FOLDER)
    embedded = embed(str(people_folder), tmp_path / "faces.parquet", faces=FACES, sources=BY_FOLDER)

    index = json.loads((tmp_path / "idx" / COSTS_NAME).read_text())
    file = json.loads((tmp_path / f"faces.{COSTS_NAME}").read_text())
    assert (built.costs, embedded.costs) == (index, file)
    for document, last in ((index, "index"), (file, "writing")):
        stages = stages_of(document)
        assert [(name, items) for name, (items, _) in stages.items()] == [("set-up", 0), ("faces", 20), (last, 20)]
        assert stages["faces"][1] is not None
        assert stages[last][1] is not None
    parts = (path for path in (tmp_path / "idx").rglob("*") if path.is_file() and path.name not in (COSTS_NAME, "lock"))
    assert index["disk_bytes"] == sum(path.stat().st_size for path in parts)
    assert file["disk_bytes"] == (tmp_path / "faces.parquet").stat().st_size


def test_adding_says_what_the_new_ones_took(measured: None, tmp_path: Path) -> None:
    people = write_people(tmp_path / "people", photos_of(range(32), range(2)))  # as many as codes need
    idx, more = tmp_path / "idx", write_people(tmp_path / "more", photos_of([3, 40, 41], [0]))
    build(idx, str(people), faces=FACES, sources=BY_FOLDER, options=BuildOptions(codec="always"))
    before = files_of(idx, but=())

    added = add(idx, str(more), faces=FACES, sources=BY_FOLDER)

    document = json.loads((idx / COSTS_NAME).read_text())
    machine, dim = profile_of().rates(), opened().road.embedder.dim
    cost = costs.build(replace(machine, codec_fit_s=0.0), 2, dim, code_bytes=costs.code_bytes_of(dim))
    assert document == added.costs
    assert (document["job"], document["resumed"]) == ("index add", False)
    assert [(name, items) for name, (items, _) in stages_of(document).items()] == [
        ("set-up", 0), ("faces", 3), ("index", 3),
    ]  # fmt: skip
    assert stages_of(document)["index"][1] == pytest.approx(cost.seconds, abs=1e-3)
    sizes = [sum(map(len, files.values())) for files in (before, files_of(idx, but=()))]
    assert (document["predicted_disk_bytes"], document["disk_bytes"]) == (cost.disk_bytes, sizes[1] - sizes[0])


def test_without_a_profile_nothing_is_predicted_and_the_reason_is_said(people_folder: Path, tmp_path: Path) -> None:
    built = build(tmp_path / "idx", str(people_folder), faces=FACES, sources=BY_FOLDER)

    assert built.costs is not None
    assert (built.costs["predicted_s"], built.costs["rates"]) == (None, None)
    assert costs_sentence(built.costs) == (
        f"took {time_words(built.costs['actual_s'])}; no prediction: this machine has not been measured; "
        "`scanner doctor --bench` does it in 20 seconds"
    )


def test_a_broken_profile_stops_no_job(measured: None, people_folder: Path, tmp_path: Path) -> None:
    default_path().write_text("{}")
    heard = Heard()

    built = build(tmp_path / "idx", str(people_folder), faces=FACES, sources=BY_FOLDER, progress=heard)

    assert built.rows == 20
    assert built.costs is not None
    assert built.costs["machine_note"] == "the machine's profile is broken"
    assert len(heard.notes) == 1
    assert heard.notes[0].startswith(f"{default_path()} has 3 problems:")


def test_whether_the_machine_was_measured_changes_no_other_byte(
    people_folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    build(tmp_path / "before", str(people_folder), faces=FACES, sources=BY_FOLDER)
    request.getfixturevalue("measured")
    build(tmp_path / "after", str(people_folder), faces=FACES, sources=BY_FOLDER)

    assert (tmp_path / "before" / COSTS_NAME).read_bytes() != (tmp_path / "after" / COSTS_NAME).read_bytes()
    assert files_of(tmp_path / "before") == files_of(tmp_path / "after")
    assert COSTS_NAME not in files_of(tmp_path / "after")


def test_a_resumed_scan_counts_its_last_session_only(
    people_index: Path, generated_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(join, "BLOCK_ROWS", 4)
    whole = join.JoinParts._write

    def die_at_the_third(self: Any, number: int, *rest: Any) -> None:
        if number == 2:
            raise KeyboardInterrupt
        whole(self, number, *rest)

    monkeypatch.setattr(join.JoinParts, "_write", die_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        scan(str(generated_folder), against=people_index, out=tmp_path / "run", options=OPTIONS, faces=FACES)
    monkeypatch.setattr(join.JoinParts, "_write", whole)

    result = scan(
        str(generated_folder), against=people_index, out=tmp_path / "run", options=OPTIONS, faces=FACES, resume=True
    )

    assert result.costs is not None
    assert (result.costs["resumed"], result.costs["covers"]) == (True, "the last session only")
    done = {stage["name"]: (stage["items"], stage["items_before"]) for stage in result.costs["stages"]}
    assert (done["faces"], done["search"]) == ((0, 10), (2, 8))
    assert "(last session only)" in costs_sentence(result.costs)


def test_a_finished_job_that_is_resumed_took_nothing(people_folder: Path, tmp_path: Path) -> None:
    build(tmp_path / "idx", str(people_folder), faces=FACES, sources=BY_FOLDER)
    before = (tmp_path / "idx" / COSTS_NAME).read_bytes()

    again = build(tmp_path / "idx", str(people_folder), faces=FACES, sources=BY_FOLDER, resume=True)

    assert again.costs is None
    assert (tmp_path / "idx" / COSTS_NAME).read_bytes() == before


def test_ready_embeddings_have_no_stage_of_faces(measured: None, tmp_path: Path) -> None:
    vectors = np.eye(8, dtype=np.float32)
    np.save(tmp_path / "ready.npy", vectors)

    built = build(tmp_path / "idx", str(tmp_path / "ready.npy"), options=BuildOptions(embedded_by="mine"))

    assert built.costs is not None
    assert list(stages_of(built.costs)) == ["set-up", "index"]


def test_stages_of_one_name_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100, 10))
    monkeypatch.setattr("scanner.jobs.measuring.meter.time.monotonic", lambda: float(next(clock)))
    meter = Meter(Silent())

    meter.stage("faces", total=None, unit="images", done=3)
    meter.advance(5)
    meter.stage("search", total=7, unit="faces")
    meter.advance(7)
    meter.stage("faces", total=None, unit="images")
    meter.advance(2)
    stages = meter.stages()

    found = [(stage.name, stage.items, stage.before, stage.seconds) for stage in stages]
    assert found == [("set-up", 0, 0, 10.0), ("faces", 7, 3, 20.0), ("search", 7, 0, 10.0)]


class Heard(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)
