"""What real collections hold: a scan runs through, and each entry is counted with its reason."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_people import crop, name, photos_of, png, vector, write_members, write_people
from PIL import Image

from scanner import artefacts
from scanner.jobs.parts import vectors_of
from scanner.pipeline import embed_source

ALIGNED = ("--embedder", "drawn", "--faces", "aligned", "--workers", "2")


def encoded(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    image = Image.fromarray(pixels)
    out = io.BytesIO()
    (image.convert(mode) if mode else image).save(out, kind, **options)
    return out.getvalue()


def bomb() -> bytes:
    """Return a PNG that says it is 60 000 pixels wide and high, in a few hundred bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")
    )


def animated(frames: list[np.ndarray]) -> bytes:
    images = [Image.fromarray(frame) for frame in frames]
    out = io.BytesIO()
    images[0].save(out, "GIF", save_all=True, append_images=images[1:])
    return out.getvalue()


def turned(pixels: np.ndarray) -> bytes:
    """Return a JPEG whose EXIF says that it must be turned by a quarter to be upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(np.rot90(pixels), "JPEG", quality=98, exif=exif)


GOOD = {
    "01-plain.png": lambda: png(1, 0),
    "02-turned.jpg": lambda: turned(crop(1, 0)),
    "03-cmyk.jpg": lambda: encoded(crop(1, 0), "JPEG", "CMYK", quality=98),
    "04-palette.png": lambda: encoded(crop(1, 0), "PNG", "P"),
    "05-alpha.png": lambda: encoded(crop(1, 0), "PNG", "RGBA"),
    "06-animated.gif": lambda: animated([crop(1, 0), crop(2, 0)]),
    "07-webp.webp": lambda: encoded(crop(1, 0), "WEBP", quality=95),
    "08-jpeg-called-png.png": lambda: encoded(crop(1, 0), "JPEG", quality=95),
}
GREY = {
    "11-grey.png": lambda: encoded(crop(1, 0), "PNG", "L"),
    "12-16-bit.png": lambda: encoded(np.asarray(Image.fromarray(crop(1, 0)).convert("L"), np.uint16) * 257),
}
BAD = {
    "21-truncated.png": (lambda: png(3, 0)[:4000], "truncated"),
    "22-truncated.jpg": (lambda: encoded(crop(3, 0), "JPEG")[:900], "truncated"),
    "23-empty.png": (lambda: b"", "empty_file"),
    "24-bomb.png": (bomb, "too_many_pixels"),
    "25-text.jpg": (lambda: b"dear diary", "not_an_image"),
    "26-tiny.png": (lambda: encoded(crop(1, 0)[:4, :4].copy()), "too_small"),
    "27-wide.png": (lambda: encoded(np.tile(crop(1, 0), (1, 2, 1))), "not_aligned"),
    "28-again.png": (lambda: png(1, 0), "duplicate"),
}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of every kind, and two that are no images by name."""
    folder = tmp_path_factory.mktemp("bad") / "collection"
    folder.mkdir()
    for file, make in {**GOOD, **GREY, **{bad: make for bad, (make, _) in BAD.items()}}.items():
        (folder / file).write_bytes(make())
    (folder / "notes.txt").write_text("not looked at")
    (folder / "no-suffix").write_bytes(png(4, 0))
    return folder


def test_every_kind_of_file_ends_as_a_face_or_with_its_reason(
    collection: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    ran = run("embed", collection, tmp_path / "e.parquet", *ALIGNED)

    counts = json.loads(ran.out)["counts"]
    rejects = artefacts.read_table(tmp_path / "e.rejects.parquet", "rejects").to_pylist()
    found = {r["uri"].rpartition("/")[2]: r["reason"] for r in rejects}
    assert found == {file: reason for file, (_, reason) in BAD.items()}
    assert (counts["entries"], counts["items"], counts["duplicates"], counts["rejected"]) == (18, 10, 1, 7)
    assert counts["entries"] == counts["items"] + counts["duplicates"] + counts["rejected"]
    assert counts["reasons"] == {
        "duplicate": 1, "empty_file": 1, "not_aligned": 1, "not_an_image": 1, "too_many_pixels": 1, "too_small": 1,
        "truncated": 2,
    }  # fmt: skip
    assert ran.code == 0
    details = {r["uri"].rpartition("/")[2]: r["detail"] for r in rejects}
    assert details["28-again.png"] == "the same bytes came before under another name"
    assert all(details.values())


def test_one_face_is_one_person_in_whatever_way_it_is_stored(
    collection: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    run("embed", collection, tmp_path / "e.parquet", *ALIGNED)

    table = artefacts.read_table(tmp_path / "e.parquet", "embeddings")
    files = [uri.rpartition("/")[2] for uri in table["uri"].to_pylist()]
    scores = dict(zip(files, vectors_of(table) @ vector(1, 0), strict=True))
    assert files == [*GOOD, *GREY]
    assert all(scores[file] > 0.9 for file in GOOD), scores
    assert scores["01-plain.png"] == pytest.approx(1.0, abs=1e-6)
    assert scores["05-alpha.png"] == pytest.approx(1.0, abs=1e-6)
    # Both are the same grey picture, 8 and 16 bits deep.
    assert scores["11-grey.png"] == pytest.approx(scores["12-16-bit.png"], abs=0.01)


def test_a_scan_of_it_says_the_same_and_its_report_lists_the_reasons(
    collection: Path, index: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    ran = run("scan", collection, "--against", index, "--out", tmp_path / "run", "--threshold", 0.8, *ALIGNED)

    found = json.loads(ran.out)
    assert ran.code == 0
    assert found["queries"] == found["counts"]["faces"] == 10
    assert found["counts"]["rejected"] == 7
    matched = artefacts.read_table(tmp_path / "run" / "matches.parquet", "matches")
    assert {uri.rpartition("/")[2] for uri in matched["query_uri"].to_pylist()} >= set(GOOD)
    assert set(matched["identity"].to_pylist()) == {name(1)}
    assert "the picture is cut short" in (tmp_path / "run" / "report.html").read_text()


def test_names_that_leave_an_archive_are_rejected_and_nothing_is_unpacked(
    index: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    members = [("../escaped.png", png(2, 2)), ("/abs.png", png(3, 2)), ("ok/good.png", png(20, 2))]
    archive = write_members(inside / "q.tar", members)

    ran = run("scan", archive, "--against", index, "--out", inside / "run", "--threshold", 0.8, *ALIGNED)

    counts = json.loads(ran.out)["counts"]
    assert ran.code == 0
    assert counts["reasons"] == {"unsafe_name": 2}
    assert (counts["entries"], counts["items"]) == (3, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["inside"]
    assert not Path("/abs.png").exists()


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_a_tar_cut_anywhere_gives_what_lies_before_the_cut(
    keep: float, run: Callable[..., Any], tmp_path: Path
) -> None:
    photos = photos_of([2, 3, 4, 5, 20, 21], [2])
    whole = write_members(tmp_path / "w.tar", [(f"{n}.png", png(*p)) for n, p in enumerate(photos)]).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: int(len(whole) * keep)])

    ran = run("embed", tmp_path / "cut.tar", tmp_path / "e.parquet", *ALIGNED)

    counts = json.loads(ran.out)["counts"]
    assert ran.code == 4
    assert counts["reasons"] == {"archive_cut": 1}
    table = artefacts.read_table(tmp_path / "e.parquet", "embeddings")
    kept = len(table)
    assert 1 <= kept < 6
    assert np.allclose(vectors_of(table), [vector(*photo) for photo in photos[:kept]], atol=1e-6)


def test_a_file_that_cannot_be_read_any_more_makes_the_scan_incomplete(
    index: Path, run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_people(tmp_path / "q", [(2, 2), (3, 2)])

    def embed_after_the_file_went(*given: Any, **named: Any) -> Any:
        (folder / name(3) / "2.png").unlink()
        return embed_source(*given, **named)

    monkeypatch.setattr("scanner.jobs.embedding.intake.embed_source", embed_after_the_file_went)

    ran = run("scan", folder, "--against", index, "--out", tmp_path / "run", "--threshold", 0.8, *ALIGNED)

    counts = json.loads(ran.out)["counts"]
    assert ran.code == 4
    assert counts["reasons"] == {"unreadable": 1}
    assert (counts["items"], counts["rejected"]) == (1, 1)
