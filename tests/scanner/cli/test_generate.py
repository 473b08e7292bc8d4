"""`scanner generate`, and a generator where other commands take images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_gen import write_generator

from scanner import artefacts
from scanner.images import encode_png

LEAKING = Path(__file__).parents[3] / "scanner" / "world" / "generators" / "leaking.toml"
ALIGNED = ("--embedder", "drawn", "--faces", "aligned", "--workers", "2")


@pytest.fixture(scope="module")
def gen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("gen"))


def test_generate_answers_and_scan_reads_it(run: Callable[..., Any], index: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    made = run("generate", LEAKING, out, "-n", "12", "--seed", "1")
    from_disk = run("embed", f"{out}/images-*.tar", tmp_path / "a.parquet", *ALIGNED)
    direct = run("embed", f"generated:{LEAKING}?n=12&seed=1", tmp_path / "b.parquet", *ALIGNED)
    scanned = run(
        "scan", f"generated:{LEAKING}?n=12&seed=1", "--against", index, "--out", tmp_path / "run", "--threshold", "0.9",
        "--workers", "2",
    )  # fmt: skip

    assert [ran.code for ran in (made, from_disk, direct, scanned)] == [0, 0, 0, 0], scanned.err + direct.err
    answer = json.loads(made.out)
    assert (answer["images"], answer["rejected"], answer["shards"]) == (12, 0, ["images-000000.tar"])
    assert f"{out}: 12 images in 1 files" in made.err
    tables = [artefacts.read_table(tmp_path / f"{name}.parquet", "embeddings") for name in "ab"]
    assert tables[0]["item_id"].to_pylist() == tables[1]["item_id"].to_pylist()
    assert tables[0]["embedding"].to_pylist() == tables[1]["embedding"].to_pylist()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["counts"]["entries"] == 12


def test_an_index_of_a_generator_can_be_resumed(run: Callable[..., Any], tmp_path: Path) -> None:
    spec = f"generated:{LEAKING}?n=6&seed=2"

    first = run("index", "build", tmp_path / "idx", spec, *ALIGNED)
    again = run("index", "build", tmp_path / "idx", spec, *ALIGNED, "--resume")
    other = run("index", "build", tmp_path / "idx", spec.replace("seed=2", "seed=3"), *ALIGNED, "--resume")

    assert (first.code, again.code, other.code) == (0, 0, 2), other.err
    assert json.loads(first.out)["rows"] == 6


def test_images_that_are_none_make_it_incomplete(run: Callable[..., Any], tmp_path: Path) -> None:
    poisoned = write_generator(tmp_path / "gen", limit=1.2)

    ran = run("generate", poisoned, tmp_path / "out", "-n", "100", "--as", "parquet")

    assert ran.code == 4
    assert "left out: NaN or infinities" in ran.err


def test_a_dry_run_writes_nothing(gen: Path, run: Callable[..., Any], tmp_path: Path) -> None:
    ran = run("generate", gen, tmp_path / "out", "-n", "5000", "--dry-run")

    assert ran.code == 0
    assert json.loads(ran.out)["dry_run"]
    assert "5000 images at" in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-n", "0"), "-n"),
        (("-n", "3", "--device", "cuda"), "--device cuda was asked for"),
        (("-n", "3", "--as", "zip"), "--as"),
        ((), "-n"),
    ],
)
def test_bad_wishes_end_with_code_2(words, said, gen: Path, run: Callable[..., Any], tmp_path: Path) -> None:
    import torch

    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    ran = run("generate", gen, tmp_path / "out", *words)

    assert ran.code == 2
    assert said in ran.err
    assert not (tmp_path / "out").exists()


def test_a_bad_spec_ends_with_code_2(run: Callable[..., Any], index: Path, gen: Path, tmp_path: Path) -> None:
    for spec in (f"generated:{gen}", "generated:absent.toml?n=3", f"generated:{gen}?n=3&sed=1"):
        ran = run("scan", spec, "--against", index, "--out", tmp_path / "run", "--threshold", "0.9")
        assert (ran.code, ran.err.count("error: ")) == (2, 1), ran.err


@pytest.mark.real
def test_faces_that_fill_the_frame_are_scanned_without_a_file(
    run: Callable[..., Any], real: Path, lfw_photos: list[Any], tmp_path: Path
) -> None:
    """Sixteen faces of a real generator, aligned by where its faces always lie, against five photos."""
    for number, pixels in enumerate(lfw_photos):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{number}.png").write_bytes(encode_png(pixels))
    weights = real / "models" / "vae-celeba-decoder.pt2"
    (tmp_path / "vae.toml").write_text(f'[generator]\nweights = "{weights}"\n[latent]\nsize = 10\n')
    net, detector = real / "models" / "face-reid-0095.onnx", real / "models" / "scrfd_500m_kps.onnx"
    built = run(
        "index", "build", tmp_path / "idx", tmp_path / "photos", "--embedder", f"onnx:{net}", "--detector", detector
    )
    scanned = run(
        "scan", f"generated:{tmp_path}/vae.toml?n=16&seed=1", "--against", tmp_path / "idx", "--out", tmp_path / "run",
        "--threshold", "0.6", "--faces", "aligned", "--landmarks", "0.39,0.51,0.605,0.51,0.494,0.62,0.41,0.71,0.59,0.71",
    )  # fmt: skip

    assert (built.code, scanned.code) == (0, 0), built.err + scanned.err
    answer = json.loads(scanned.out)
    assert answer["counts"]["faces"] == 16
    assert answer["matches"] == 0
    best = artefacts.read_table(tmp_path / "run" / "queries.parquet", "queries")["best_score"].to_pylist()
    assert max(best) > 0.05  # faces, and not noise: strangers of a domain are a little alike
    assert len(set(best)) == 16
