"""The demo on a small world: what it says about itself is true, and it is the same every time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from indexes import open_index
from scanner import artefacts
from scanner.cli import main
from scanner.errors import UsageError
from scanner.images import decode_rgb
from scanner.jobs.checking.verify import verify
from scanner.jobs.scanning.scan import ScanResult
from scanner.networks.modules import load_module
from scanner.sources import open_sources
from scanner.world.demo import Outcome, World, compare, run_demo
from scanner.world.draw import face_pixels

WORLD = World(people=24, strangers=12, leaks=6, copies=3, outsiders=110, fmr=1e-3)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks beside other tests: more threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def drawn_once() -> Iterator[None]:
    """That a picture is drawn the same again is tested in test_draw.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scanner.world.demo.face_pixels", cache(face_pixels))
        yield


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ScanResult, Outcome]:
    """A finished demo: its folder, its run, its outcome."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    return folder, *run_demo(folder, world=WORLD)


def test_the_same_seed_gives_the_same_bytes_and_force_replaces_a_demo(
    demo: tuple[Path, ScanResult, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _, outcome = demo
    monkeypatch.chdir(folder.parent)  # run.json names its sources as they were given
    first = _files(folder)

    with pytest.raises(UsageError) as caught:
        run_demo("demo", world=WORLD)
    again = run_demo(folder, world=WORLD, force=True)[1]

    assert str(caught.value) == "demo is already there. Choose another name, or pass --force to replace it."
    assert again == outcome
    second = _files(folder)
    assert sorted(n for n in {*first, *second} if first.get(n) != second.get(n)) == []


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "costs.json"
    }


def test_planted_leaks_are_found_and_the_outcome_adds_up(demo: tuple[Path, ScanResult, Outcome]) -> None:
    folder, result, outcome = demo

    assert outcome.planted == outcome.found + outcome.missed == WORLD.leaks + WORLD.copies
    assert outcome.found > 2 * outcome.missed
    assert outcome.false_images <= outcome.false_pairs
    assert outcome.false_pairs_expected == result.summary["results"]["false_matches_expected"]
    assert outcome.strangers == WORLD.strangers + 4  # and four broken files
    assert json.loads((folder / "outcome.json").read_text())["found"] == outcome.found


def test_every_generated_file_is_accounted_for(demo: tuple[Path, ScanResult, Outcome]) -> None:
    folder, result, _ = demo

    files = list((folder / "world" / "generated").iterdir())
    counts = result.summary["counts"]
    assert counts["entries"] == len(files) == 12 + 6 + 3 + 4
    assert counts["reasons"] == {"duplicate": 1, "empty_file": 1, "not_an_image": 1, "truncated": 1}
    assert (counts["items"], counts["faces"]) == (21, 21)


def test_each_candidate_set_holds_two_photos_a_person(demo: tuple[Path, ScanResult, Outcome]) -> None:
    folder, _, _ = demo

    sets = [open_index(folder / "indexes" / name).column("identity").to_pylist() for name in ("set-a", "set-b")]
    assert [len(names) for names in sets] == [48, 48]
    assert [len(set(names)) for names in sets] == [24, 24]
    assert set(sets[0]).isdisjoint(sets[1])


def test_the_generator_that_memorised_is_told_from_the_one_that_did_not(demo: tuple[Path, ScanResult, Outcome]) -> None:
    folder, _, outcome = demo

    leaking, innocent = outcome.generators["leaking"], outcome.generators["innocent"]
    assert leaking.verdict == "named"
    assert leaking.named_rightly >= 12
    assert leaking.named - leaking.named_rightly <= 2
    assert innocent.verdict in ("none", "undecided")
    assert (innocent.named, innocent.named_rightly) == (0, 0)
    assert verify(folder / "run-leaking").holds
    assert verify(folder / "run-innocent").holds


def test_the_generator_that_memorised_recreates_its_training_photos_alone(
    demo: tuple[Path, ScanResult, Outcome],
) -> None:
    _, _, outcome = demo

    leaking, innocent = outcome.rewound["leaking"], outcome.rewound["innocent"]
    assert leaking.photos == innocent.photos == 48
    assert leaking.ks_p < 0.001
    assert innocent.ks_p > 0.01
    assert leaking.training_error < 0.75 * leaking.outsiders_error
    assert leaking.training_matched is not None
    assert leaking.outsiders_matched is not None
    assert leaking.training_matched > 30 > 3 * leaking.outsiders_matched
    assert innocent.training_matched is None


def test_an_error_of_the_inversion_is_that_of_its_latent(demo: tuple[Path, ScanResult, Outcome]) -> None:
    """The slow way round: the stored code through the shipped decoder, against the photo."""
    folder, _, outcome = demo
    decoder = load_module(
        folder / "world" / "generators" / "leaking.safetensors", factory="scanner.world.autodecoder:leaking_decoder"
    )
    columns = ["uri", "latent", "relative_error"]
    table = artefacts.read_table(
        folder / "world" / "rewound" / "inverted-leaking" / "inversions.parquet", "inversions", columns=columns
    )
    photos = {photo.uri: decode_rgb(photo.data) for photo in open_sources(_wanted(folder)).entries()}

    errors = []
    for row in table.to_pylist():
        with torch.inference_mode():
            made = decoder(torch.tensor(row["latent"])[None])[0].permute(1, 2, 0).numpy()
        photo = photos[row["uri"]] / 255
        errors.append(np.linalg.norm(made - photo) / np.linalg.norm(photo))
        assert errors[-1] == pytest.approx(row["relative_error"], rel=1e-3)

    assert np.median(errors[:48]) == pytest.approx(outcome.rewound["leaking"].training_error, rel=1e-3)
    assert np.median(errors[48:]) == pytest.approx(outcome.rewound["leaking"].outsiders_error, rel=1e-3)


def _wanted(folder: Path) -> list[str]:
    return [str(folder / "world" / "rewound" / f"{name}.tar") for name in ("leaking-training", "outsiders")]


def test_the_features_of_the_split_recogniser_show_people_less_the_deeper_it_is_cut(
    demo: tuple[Path, ScanResult, Outcome],
) -> None:
    folder, _, outcome = demo

    first, middle, last = outcome.split
    assert [cut.layers for cut in outcome.split] == [4, 7, 9]
    assert first.psnr_db > middle.psnr_db > last.psnr_db
    assert first.same_photo >= middle.same_photo > last.same_photo
    assert first.other_photo >= 0.9
    assert (folder / "world" / "split" / "audit" / "report.html").is_file()


def test_the_readme_goes_on_with_an_audit_that_fails_the_one_and_passes_the_other(
    demo: tuple[Path, ScanResult, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = demo[0].parent / "readme-audit"

    assert _go_on(demo[0], monkeypatch, "audit", str(out)) == 1  # the gate says no

    found = json.loads((out / "audit.json").read_text())
    leaking, innocent = found["generators"]
    assert (leaking["name"], innocent["name"]) == ("leaking", "innocent")
    assert leaking["gate"]["state"] == "fail"
    assert innocent["gate"]["state"] != "fail"
    assert found["verdict"]["state"] == "fail"
    assert leaking["recovery"]["differ"]
    assert not innocent["recovery"]["differ"]


@pytest.mark.parametrize("command", ["check", "report verify"])
def test_what_the_readme_goes_on_with_runs_on_the_demo(
    demo: tuple[Path, ScanResult, Outcome], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """`check` answers, the run verifies."""
    assert _go_on(demo[0], monkeypatch, command) == 0


def _go_on(folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, out: str | None = None) -> int:
    """Run the README's line on this demo; return the exit code."""
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    (line,) = re.findall(rf"^scanner {command} .*demo-run[^#\n]*", readme, re.MULTILINE)
    words = line.replace("demo-run", folder.name).split()[1:]
    monkeypatch.chdir(folder.parent)
    return main(words if out is None else [*words[:-1], out])


def test_the_truth_is_never_in_the_run(demo: tuple[Path, ScanResult, Outcome]) -> None:
    folder, _, _ = demo

    assert "truth" not in (folder / "run" / "run.json").read_text()
    assert not list((folder / "run").glob("truth*"))


def test_comparing_counts_images_and_pairs_apart(tmp_path: Path) -> None:
    import pyarrow as pa

    from scanner import artefacts

    rows = [("a.png", "p1"), ("a.png", "p2"), ("b.png", "p9"), ("s.png", "p1"), ("s.png", "p2")]
    n = len(rows)
    columns = {
        "query_id": [f"{place}:0" for place in range(n)], "query_uri": [f"generated/{name}" for name, _ in rows],
        "query_face": [0] * n, "index": ["set"] * n, "reference_id": list(range(n)), "reference_uri": ["r"] * n,
        "identity": [identity for _, identity in rows], "score": [0.9] * n, "rank": [1] * n, "verdict": ["match"] * n,
        "flags": pa.array([[]] * n, pa.list_(pa.string())),
    }  # fmt: skip
    schema = artefacts.stamped(artefacts.MATCHES, "matches")
    artefacts.write_tables(tmp_path / "matches.parquet", schema, [artefacts.table_of(schema, columns)])
    named = {"index": ["set"] * 3, "identity": ["p1", "p9", "p2"], "q_value": [0.01, 0.05, 0.06], "photos": [1] * 3}
    names = ("best_score", "p_conformal", "p_value", "q_by", "q_conformal", "p_low", "p_high")
    named |= {name: [0.5] * 3 for name in names}
    named |= {"clusters": [1] * 3, "flags": pa.array([[]] * 3, pa.list_(pa.string()))}
    identities = artefacts.stamped(artefacts.IDENTITIES, "identities")
    artefacts.write_tables(tmp_path / "identities.parquet", identities, [artefacts.table_of(identities, named)])
    run = ScanResult(tmp_path, {"results": {"false_matches_expected": 0.5}, "evidence": {"level": 0.05}})

    outcome = compare(run, {"a.png": "p1", "b.png": "p2", "c.png": "p3", "s.png": None, "t.png": None})

    assert outcome == Outcome(
        planted=3, found=1, missed=2, strangers=2, false_images=3, false_pairs=4, false_pairs_expected=0.5,
        named=2, named_rightly=1, generators={}, rewound={}, split=(),
    )  # fmt: skip
