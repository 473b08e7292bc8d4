"""Each command once on drawn people: the answer on stdout, the talk on stderr, the exit code."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_people import name, opened, photos_of, png, scores_of, write_people, write_tar

from scanner import artefacts
from scanner.errors import UsageError

ALIGNED = ("--embedder", "drawn", "--faces", "aligned", "--workers", "2")
REFERENCES = photos_of(range(8), range(2))
QUERIES = photos_of([2, 3, 20, 21], [2])
NO_REASONS = {"duplicates": 0, "rejected": 0, "faces_rejected": 0, "reasons": {}}


def answer_of(ran: Any) -> dict[str, Any]:
    """Return the JSON object on the last line of stdout, which is its only line."""
    assert ran.out.endswith("}\n")
    assert ran.out.count("\n") == 1
    return json.loads(ran.out)


def test_embed_answers_with_its_counts(run: Callable[..., Any], people: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.parquet"

    ran = run("embed", people, out, *ALIGNED, "--identity-from", "folder")

    assert ran.code == 0
    assert answer_of(ran) == {
        "out": str(out), "dim": 128, "fingerprint": opened().fingerprint,
        "counts": {"entries": 16, "items": 16, "faces": 16, **NO_REASONS},
    }  # fmt: skip
    lines = ran.err.splitlines()
    assert lines[0].startswith("faces: 16/16 images, ")
    assert lines[1:] == [
        "16 entries: 16 with 16 faces, 0 duplicates, 0 rejected", f"{out}: 16 embeddings of 128 numbers", lines[-1],
    ]  # fmt: skip
    assert lines[-1].startswith("took ")
    assert artefacts.read_table(out, "embeddings")["identity"].to_pylist() == [name(n) for n, _ in REFERENCES]


def test_build_show_verify_add_remove_and_compact_follow_one_another(
    run: Callable[..., Any], people: Path, tmp_path: Path
) -> None:
    idx = tmp_path / "idx"
    built = run("index", "build", idx, people, *ALIGNED, "--identity-from", "folder")
    more = write_people(tmp_path / "more", [(7, 1), (30, 0)])
    added = run("index", "add", idx, more, "--faces", "aligned", "--identity-from", "folder")
    removed = run("index", "remove", idx, "--identity", name(3), "--request", "17")
    gone = run("index", "remove", idx, "--identity", name(3))
    compacted = run("index", "compact", idx)
    shown = run("index", "show", idx)
    verified = run("index", "verify", idx)

    assert [r.code for r in (built, added, removed, gone, compacted, shown, verified)] == [0, 0, 0, 2, 0, 0, 0]
    counts = {"entries": 16, "items": 16, "faces": 16, **NO_REASONS}
    assert answer_of(built) == {"index": str(idx), "rows": 16, "added": 16, "counts": counts}
    assert answer_of(added)["added"] == 1
    assert answer_of(added)["rows"] == 17
    assert (
        removed.err
        == f"2 references erased from {idx}; 15 are left. Their bytes go with: scanner index compact {idx}\n"
    )
    assert (answer_of(removed)["erased"], answer_of(removed)["rows"]) == (2, 15)
    assert gone.err == "error: nothing in index 'idx' fits. Nothing was erased.\n"
    assert compacted.err == f"{idx}: 15 references in 2 segments, none erased\n"
    facts = answer_of(shown)
    assert (facts["rows"], facts["identities"], facts["embedder"], facts["engine"]) == (15, 8, "drawn", "exact")
    assert verified.err == f"{idx}: every file is as it was written\n"
    assert answer_of(verified) == {"index": str(idx), "sound": True, "findings": []}


def test_verify_finds_one_changed_byte(run: Callable[..., Any], index: Path, tmp_path: Path) -> None:
    idx = Path(shutil.copytree(index, tmp_path / "idx"))
    path = idx / "segments" / "000000" / "vectors.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)

    ran = run("index", "verify", idx)

    assert ran.code == 2
    assert ran.err == f"error: '{path}' has changed: its SHA-256 is not the manifest's.\n"
    assert answer_of(ran)["sound"] is False


def test_remove_wants_exactly_one_way_to_name_what_goes(run: Callable[..., Any], index: Path) -> None:
    for words in ((), ("--id", 1, "--uri", "x")):
        ran = run("index", "remove", index, *words)

        assert (ran.code, ran.err) == (2, "error: Say what to erase by one of --id, --identity, --uri.\n")


def test_scan_answers_with_what_all_pairs_give(
    run: Callable[..., Any], index: Path, generated: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"

    ran = run("scan", generated, "--against", index, "--out", out, "--threshold", 0.5, *ALIGNED)

    scores = scores_of(QUERIES, REFERENCES)
    matches, matched = int((scores >= 0.5).sum()), int((scores >= 0.5).any(1).sum())
    found = answer_of(ran)
    people_found = len({REFERENCES[r][0] for r in np.flatnonzero((scores >= 0.5).any(0))})
    assert (ran.code, matched) == (0, 2)
    assert found == {
        "run": str(out), "threshold": 0.5, "queries": 4, "matches": matches, "matched_queries": matched,
        "same_bytes": 0, "near_copies": 0, "verdict": None, "matched_identities": people_found, "comparisons": 64, "false_matches_expected": None,
        "counts": {"entries": 4, "items": 4, "faces": 4, **NO_REASONS},
    }  # fmt: skip
    assert ran.err.splitlines()[-4:-1] == [
        "4 entries: 4 with 4 faces, 0 duplicates, 0 rejected",
        f"{matches} matches of 2 faces among 4, how many by chance is not known (--threshold was given by hand; "
        "--fmr says it)",
        f"report: {out}/report.html",
    ]


def test_scan_at_a_rate_says_how_many_matches_chance_makes(
    run: Callable[..., Any], index: Path, generated: Path, tmp_path: Path
) -> None:
    ran = run(
        "scan",
        generated,
        "--against",
        index,
        "--out",
        tmp_path / "run",
        "--fmr",
        0.1,
        "--calibrate-on",
        index,
        *ALIGNED,
    )

    found = answer_of(ran)
    expected = 64 * int(0.1 * 112) / 112
    assert ran.code == 0
    assert found["false_matches_expected"] == pytest.approx(expected)
    assert f"about {expected:.3g} expected by chance alone" in ran.err
    assert (
        "note: the threshold rests on 11 false matches among 112 pairs; 30 or more make the rate good to about 30 %\n"
        in ran.err
    )


def test_a_dry_run_measures_and_writes_nothing(
    run: Callable[..., Any], index: Path, generated: Path, tmp_path: Path
) -> None:
    words = (
        "scan",
        generated,
        "--against",
        index,
        "--out",
        tmp_path / "run",
        "--threshold",
        0.5,
        *ALIGNED,
        "--dry-run",
    )

    ran = run(*words)

    cost = answer_of(ran)
    faces, search = cost["stages"]
    assert ran.code == 0
    assert (cost["job"], cost["images"], cost["references"], cost["engines"]) == ("scan", 4, 16, ["exact"])
    assert faces["seconds"] == pytest.approx(4 / faces["items_per_s"])
    assert cost["seconds"] == pytest.approx(faces["seconds"] + search["seconds"])
    assert "faces: 4 images at " in ran.err
    assert "16 references (exact)\nmemory at most " in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [("embed", "{photos}", "{out}/f.parquet"), ("index", "build", "{out}/i.idx", "{photos}")]
)
def test_embed_and_build_say_what_they_would_take_and_write_nothing(
    words: tuple[str, ...], run: Callable[..., Any], people: Path, tmp_path: Path
) -> None:
    given = [word.format(photos=people, out=tmp_path) for word in words]

    ran = run(*given, *ALIGNED, "--dry-run")

    cost = answer_of(ran)
    assert ran.code == 0
    assert (cost["images"], cost["stages"][0]["name"], cost["stages"][0]["items"]) == (16, "faces", 16)
    assert cost["memory_bytes"] > 0
    assert cost["disk_bytes"] > 0
    assert "in all not known; this machine has not been measured" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_a_profile_without_a_dry_run_is_refused(run: Callable[..., Any], people: Path, tmp_path: Path) -> None:
    ran = run("embed", people, tmp_path / "f.parquet", "--profile", tmp_path / "machine.json")

    assert ran.code == 2
    assert ran.err == "error: --profile says for which machine --dry-run predicts: pass both.\n"


def test_a_job_ends_with_what_it_took(run: Callable[..., Any], people: Path, tmp_path: Path) -> None:
    ran = run("embed", people, tmp_path / "f.parquet", *ALIGNED)

    assert (
        "no prediction: this machine has not been measured; `scanner doctor --bench` does it in 20 seconds\n" in ran.err
    )
    assert (tmp_path / "f.costs.json").exists()


def test_the_cuda_engine_is_refused_in_a_sentence_where_it_cannot_search(
    run: Callable[..., Any], index: Path, tmp_path: Path
) -> None:
    ran = run(
        "scan",
        index,
        "--against",
        index,
        "--out",
        tmp_path / "run",
        "--threshold",
        0.5,
        "--engine",
        "cuda",
        "--dry-run",
    )

    assert ran.code == 2
    assert "the cuda engine needs codes, and this index has none" in ran.err


@pytest.mark.parametrize(
    ("words", "engine"),
    [((), "auto"), (("--device", "cpu"), "cpu"), (("--device", "cpu", "--engine", "exact"), "exact")],
)
def test_device_cpu_keeps_auto_off_the_gpu(
    run: Callable[..., Any],
    index: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str],
    engine: str,
) -> None:
    def estimate(*_: Any, options: Any, **__: Any) -> None:
        raise UsageError(f"engine {options.engine}")

    monkeypatch.setattr("scanner.jobs.scanning.estimate.estimate", estimate)

    ran = run("scan", index, "--against", index, "--out", tmp_path / "run", "--threshold", 0.5, "--dry-run", *words)

    assert ran.err == f"error: engine {engine}\n"


def test_calibrate_prints_a_row_a_rate(run: Callable[..., Any], index: Path) -> None:
    ran = run("calibrate", index, "--fmr", 0.2, "--fmr", 0.1)

    points = answer_of(ran)["points"]
    assert ran.code == 0
    assert [point["false_matches"] for point in points] == [22, 11]
    lines = ran.err.splitlines()
    assert lines[0] == f"16 faces of 8 identities, embedder {opened().fingerprint}"
    assert lines[2].startswith(f"{22 / 112:8.2e}  [")
    assert lines[2].endswith("112, 8  thin: fewer than 30 false matches")


def test_calibrate_without_a_rate_says_which_the_set_cannot_support(run: Callable[..., Any], index: Path) -> None:
    ran = run("calibrate", index)

    assert ran.code == 0
    assert answer_of(ran)["points"] == []
    assert [line[:38] for line in ran.err.splitlines()[2:]] == [
        "note: A threshold at FMR 0.01 needs at", "note: A threshold at FMR 0.001 needs a",
        "note: A threshold at FMR 0.0001 needs ", "note: A threshold at FMR 1e-05 needs a",
    ]  # fmt: skip


def test_report_shows_a_run_and_writes_its_page_again(
    run: Callable[..., Any], index: Path, generated: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    run("scan", generated, "--against", index, "--out", out, "--threshold", 0.5, *ALIGNED)
    page = (out / "report.html").read_bytes()
    (out / "report.html").unlink()

    shown, written = run("report", "show", out), run("report", "html", out)

    assert (shown.code, written.code) == (0, 0)
    assert name(2) in shown.err
    assert name(3) in shown.err
    assert answer_of(shown)["matched_queries"] == 2
    assert (out / "report.html").read_bytes() == page
    assert answer_of(written) == {"page": str(out / "report.html")}


def test_a_folder_that_is_no_run_has_no_report(run: Callable[..., Any], tmp_path: Path) -> None:
    ran = run("report", "show", tmp_path)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"error: {tmp_path}/run.json is not there: is this a finished run?\n"


def test_doctor_says_what_there_is(run: Callable[..., Any]) -> None:
    ran = run("doctor")

    facts = answer_of(ran)
    assert ran.code == 0
    assert facts["drawn_embedder"] is True
    assert facts["versions"]["python"].startswith("3.")
    assert f"cores              {facts['cores']}" in ran.err


def test_doctor_measures_this_machine_and_dry_runs_predict_from_it(
    run: Callable[..., Any], people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"BUDGET_S": 0.0, "_FILE_BYTES": 16 << 20, "_BUILD_ROWS": (64, 640), "_CODED_ROWS": 256, "_ITEMS": 4}
    for constant, value in small.items():
        monkeypatch.setattr(f"scanner.jobs.measuring.bench_machine.{constant}", value)

    ran = run("doctor", "--bench", "--embedder", "drawn", "--out", tmp_path / "machine.json", "--folder", tmp_path)
    told = run("embed", people, tmp_path / "f.parquet", *ALIGNED, "--dry-run", "--profile", tmp_path / "machine.json")

    measured, cost = answer_of(ran), answer_of(told)
    assert (ran.code, told.code) == (0, 0)
    assert measured["profile"] == str(tmp_path / "machine.json")
    assert measured["machine"]["cores"] >= 1
    assert [one["embedder"] for one in measured["networks"]] == ["drawn"]
    assert "float32 matrix product, all cores, GFLOP/s" in ran.err
    assert cost["seconds"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["machine.json"]


def test_doctor_refuses_a_name_before_it_measures(run: Callable[..., Any], tmp_path: Path) -> None:
    ran = run("doctor", "--bench", "--out", tmp_path / "machine.toml")

    assert ran.code == 2
    assert ran.err == (
        f"error: {tmp_path}/machine.toml is no name for a machine's profile, which is read as JSON. "
        f"Call it {tmp_path}/machine.toml.json.\n"
    )


@pytest.mark.parametrize("memory", ["lots", "4 PB", "-1G", ""])
def test_an_amount_of_memory_that_is_none_is_refused(
    memory: str, run: Callable[..., Any], index: Path, generated: Path, tmp_path: Path
) -> None:
    ran = run(
        "scan",
        generated,
        "--against",
        index,
        "--out",
        tmp_path / "run",
        "--threshold",
        0.5,
        *ALIGNED,
        "--memory",
        memory,
    )

    assert ran.code == 2
    assert ran.err == f"error: {memory!r} is no amount of memory. Write it as 4GiB, 512MiB or 1000000.\n"


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GiB", 4 << 30), ("4gb", 4 << 30), ("4G", 4 << 30), ("512M", 512 << 20), ("0.5k", 512), (" 1000 ", 1000)],
)
def test_amounts_of_memory_are_read(text: str, size: int) -> None:
    from scanner.quantities import parse_bytes

    assert parse_bytes(text) == size


def test_scanning_an_empty_folder_says_what_was_looked_for(
    run: Callable[..., Any], index: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()

    ran = run("scan", tmp_path / "empty", "--against", index, "--out", tmp_path / "run", "--threshold", 0.5, *ALIGNED)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"error: {tmp_path}/empty holds not one entry; what was looked for: names ending in ")
    assert not (tmp_path / "run").exists()


def test_pictures_that_are_no_crops_end_with_a_hint(run: Callable[..., Any], index: Path, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "wide").mkdir()
    for number in range(3):
        Image.new("RGB", (200, 90), (number, 0, 0)).save(tmp_path / "wide" / f"{number}.png")

    ran = run("scan", tmp_path / "wide", "--against", index, "--out", tmp_path / "run", "--threshold", 0.5, *ALIGNED)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith(
        f"error: Nothing was scanned: 3 entries in {tmp_path}/wide, no usable face (3 not_aligned). "
        "Look at the pictures, and at --faces (detect, aligned, whole).\n"
    )


def test_a_cut_archive_is_scanned_as_far_as_it_goes_and_the_exit_code_says_so(
    run: Callable[..., Any], index: Path, tmp_path: Path
) -> None:
    whole = write_tar(tmp_path / "whole.tar", QUERIES).read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[: len(whole) * 6 // 10])

    ran = run("scan", cut, "--against", index, "--out", tmp_path / "run", "--threshold", 0.5, *ALIGNED)

    counts = answer_of(ran)["counts"]
    assert ran.code == 4
    assert counts["reasons"] == {"archive_cut": 1}
    assert counts["entries"] == counts["items"] + 1
    assert 1 <= counts["items"] <= 3
    again = run("scan", cut, "--against", index, "--out", tmp_path / "run", "--threshold", 0.5, *ALIGNED, "--resume")
    assert (again.code, again.out) == (4, ran.out)


def test_a_second_run_needs_a_word(run: Callable[..., Any], index: Path, generated: Path, tmp_path: Path) -> None:
    words = ("scan", generated, "--against", index, "--out", tmp_path / "run", "--threshold", 0.5, *ALIGNED)
    first = run(*words)

    refused, resumed, both = run(*words), run(*words, "--resume"), run(*words, "--resume", "--force")
    forced = run(*words, "--force")

    assert (refused.code, refused.out) == (2, "")
    assert refused.err == (
        f"error: {tmp_path}/run is already there. Choose another name, or pass --force to replace it.\n"
    )
    assert (resumed.code, resumed.out) == (0, first.out)
    assert both.err == "error: --resume keeps unfinished work, --force throws it away: pass one of them.\n"
    assert (forced.code, forced.out) == (0, first.out)


def test_unknown_embedders_are_told_from_missing_ones(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "q.png").write_bytes(png(1, 0))
    words = ("index", "build", tmp_path / "idx", tmp_path / "q.png", "--faces", "aligned", "--embedder")

    unknown, missing = run(*words, "face.onnx"), run(*words, f"onnx:{tmp_path}/face.onnx")

    assert unknown.err == (
        "error: --embedder 'face.onnx' is none of insightface:PACK, onnx:FILE, dlib, drawn. "
        "Did you mean onnx:face.onnx?\n"
    )
    assert (unknown.code, missing.code) == (2, 2)
    assert str(tmp_path / "face.onnx") in missing.err


def test_aligned_crops_without_a_detector_are_met_with_the_ways_out(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "q.png").write_bytes(png(1, 0))

    ran = run("index", "build", tmp_path / "idx", tmp_path / "q.png", "--embedder", "drawn")

    assert ran.code == 2
    assert ran.err == (
        "error: --faces detect needs a face detector, and this embedder brings none. Name an SCRFD file with landmarks "
        "(--detector scrfd_500m_kps.onnx), use a pack (--embedder insightface:PACK), or say --faces aligned "
        "if the pictures are aligned crops already, --faces whole if they are no faces.\n"
    )


def test_the_demo_tells_what_was_planted_and_found(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from functools import partial

    from scanner.world import demo

    tiny = partial(demo.World, strangers=4, leaks=3, copies=2, outsiders=105, fmr=5e-3)
    monkeypatch.setattr(demo, "World", tiny)

    ran = run("demo", "--out", tmp_path / "d", "--people", 20, "--seed", 2026, "--quiet")

    found = answer_of(ran)
    assert (ran.code, ran.err) == (0, "")
    assert found["planted"] == found["found"] + found["missed"] == 5
    assert Path(found["report"]).is_file()
