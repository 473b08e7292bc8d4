"""What is written can be read by its owner alone, and nothing of a face is in what a person reads of an error."""

import os
import re
import shutil
import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn_people import FACES, name, png, vector, write_people
from everything_folder import AT

from scanner import ScanOptions, SourceOptions, build, scan
from scanner.cli import main
from scanner.erasing import Wanted, erase_everywhere
from scanner.errors import ScannerError


def open_to_others(root: Path) -> list[str]:
    paths = [root, *root.rglob("*")]
    return [str(path) for path in paths if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077]


@pytest.fixture
def world_readable_umask():
    """The umask of most machines, whatever that of this test run is."""
    old = os.umask(0o022)
    yield
    os.umask(old)


def test_every_file_that_a_job_writes_is_its_owners_alone(everything: Path) -> None:
    """Indexes, embeddings, runs with their pages, duplicates, generated pictures, unfinished work."""
    by_hand = {"notes.txt", ".queries.parquet.999999.tmp", "reconstructions-000000.tar"}

    found = [path for path in open_to_others(everything / "state") if Path(path).name not in by_hand]

    assert found == []


def test_what_an_erasure_writes_is_too(state: Path, world_readable_umask: None) -> None:
    erase_everywhere([state], Wanted(identities=(name(3),)), clock=lambda: AT)

    assert [path for path in open_to_others(state) if Path(path).name != "notes.txt"] == []


def test_pages_and_answers_outside_of_our_folders_are_too(tmp_path: Path, world_readable_umask: None) -> None:
    people = write_people(tmp_path / "people", [(n, p) for n in range(40) for p in range(2)])
    index = tmp_path / "people.idx"
    build(index, str(people), faces=FACES, sources=SourceOptions(identity_from="folder"))
    page = tmp_path / "page.html"

    assert main(["calibrate", str(index), "--fmr", "0.1", "--fpir", "0.1", "--html", str(page)]) == 0
    assert open_to_others(page) == []
    assert open_to_others(index) == []


def test_a_generator_and_an_inversion_write_for_their_owner_alone(tmp_path: Path, world_readable_umask: None) -> None:
    from small_gen import write_generator

    from scanner.jobs.generating.generate import generate
    from scanner.jobs.inverting.latent import invert_latent
    from scanner.jobs.inverting.options import InvertOptions

    write_generator(tmp_path / "generator")
    photos = write_people(tmp_path / "photos", [(1, 0), (2, 0)])
    toml = tmp_path / "generator" / "sketch.toml"

    generate(toml, tmp_path / "samples", count=3, seed=1)
    options = InvertOptions(restarts=1, steps_max=4, slots=2)
    invert_latent(toml, [str(photos)], tmp_path / "inverted", options=options)

    assert open_to_others(tmp_path / "samples") == []
    assert open_to_others(tmp_path / "inverted") == []
    assert (tmp_path / "inverted" / "reconstructions-000000.tar").exists()


DIGITS = re.compile(r"-?\d\.\d{5,}")
"""A component of a vector, as it would be printed."""


def bad_vectors(folder: Path, values: np.ndarray) -> Path:
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), pa.float32()), values.shape[1])
    pq.write_table(pa.table({"embedding": column}), folder / "bad.parquet")
    return folder / "bad.parquet"


@pytest.mark.parametrize("spoilt", ["nan", "zero", "text", "cut", "dim", "flipped"])
def test_no_digit_of_a_vector_is_in_what_is_said_of_bad_input(
    spoilt: str, tmp_path: Path, everything: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = np.stack([vector(n, 0) for n in range(4)])
    path = bad_vectors(tmp_path, vectors)
    arguments = ["index", "build", str(tmp_path / "x.idx"), str(path), "--embedded-by", "net"]
    if spoilt in ("nan", "zero"):
        bad_vectors(tmp_path, np.where(np.arange(4)[:, None] >= 0, np.nan if spoilt == "nan" else 0.0, vectors))
    elif spoilt == "text":
        path.write_text(" ".join(map(str, vectors[0])))
    elif spoilt == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif spoilt == "dim":
        bad_vectors(tmp_path, vectors[:, :64])
        arguments = ["scan", str(path), "--against", str(everything / "state" / "people.idx"), "--out", str(tmp_path / "r"),
                     "--threshold", "0.5", "--embedded-by", "net"]  # fmt: skip
    else:
        index = shutil.copytree(everything / "state" / "people.idx", tmp_path / "i.idx")
        (tensors,) = index.rglob("vectors.safetensors")
        tensors.write_bytes(tensors.read_bytes()[:-8])
        arguments = ["index", "verify", str(index)]

    code = main(arguments)

    said = "".join(capsys.readouterr())
    assert code != 0
    assert said
    assert DIGITS.findall(said) == []


def test_nor_in_the_exceptions_of_the_library(tmp_path: Path, everything: Path) -> None:
    index = everything / "state" / "people.idx"
    short = bad_vectors(tmp_path, np.stack([vector(n, 0) for n in range(4)])[:, :32])

    with pytest.raises(ScannerError) as caught:
        scan(str(short), against=index, out=tmp_path / "r", options=ScanOptions(threshold=0.5, embedded_by="net"))

    assert DIGITS.findall(str(caught.value)) == []


def test_nor_a_label_or_a_uri_in_what_an_erasure_says(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (state / "run" / "crops.parquet").write_bytes(b"nothing")

    code = main(["erase", str(state), "--identity", name(3), "--everywhere"])

    out, said = capsys.readouterr()
    assert code == 4
    assert name(3) not in out + said
    assert "not looked at" in said
    assert png(3, 0) not in out.encode()
