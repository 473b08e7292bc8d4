"""The road on real photos with real networks, against a plain loop; skipped where they are not beside the checkout."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from indexes import open_index
from scanner import artefacts
from scanner.images import decode_rgb
from scanner.jobs.embedding.embed import embed
from scanner.jobs.indexing.build import build
from scanner.jobs.options import FaceOptions
from scanner.jobs.parts import vectors_of
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.scan import ScanResult, scan
from scanner.records import content_id

REAL = Path(__file__).parent.parent.parent / "shared" / "real"
RECOGNISER, DETECTOR = REAL / "models" / "face-reid-0095.onnx", REAL / "models" / "scrfd_500m_kps.onnx"
THRESHOLD = 0.43

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not REAL.is_dir(), reason=f"the real models and faces are not beside the checkout ({REAL})"),
]

FACES = FaceOptions(embedder=f"onnx:{RECOGNISER}", detector=str(DETECTOR))


def photos_in(tar_name: str, number: int) -> list[tuple[str, bytes, str]]:
    """Return name, JPEG and identity of the first photos of a WebDataset tar."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(REAL / "faces" / tar_name) as tar:
        for member in tar:
            stem, _, suffix = member.name.rpartition(".")
            file = tar.extractfile(member)
            assert file is not None
            found.setdefault(stem, {})[suffix] = file.read()
            if len(found) > number:
                break
    whole = ((stem, parts) for stem, parts in found.items() if "json" in parts)
    return [(stem, parts["jpg"], json.loads(parts["json"])["identity"]) for stem, parts in islice(whole, number)]


def write_tar(path: Path, photos: list[tuple[str, bytes, str]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for stem, jpg, identity in photos:
            for suffix, data in (("jpg", jpg), ("json", json.dumps({"identity": identity}).encode())):
                member = tarfile.TarInfo(f"{stem}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def plain_vectors(photos: list[bytes]) -> Iterator[np.ndarray | None]:
    """Detect with insightface's own detector, align with OpenCV's own estimate, embed one by one."""
    import onnxruntime
    from insightface.model_zoo import get_model
    from insightface.utils.face_align import arcface_dst

    with contextlib.redirect_stdout(io.StringIO()):
        detector = get_model(str(DETECTOR), providers=["CPUExecutionProvider"])
        detector.prepare(-1, input_size=(640, 640))
    session = onnxruntime.InferenceSession(RECOGNISER, providers=["CPUExecutionProvider"])
    for data in photos:
        pixels = decode_rgb(data)
        boxes, landmarks = detector.detect(np.ascontiguousarray(pixels[:, :, ::-1]))
        if not len(boxes):
            yield None
            continue
        centres = (boxes[:, :2] + boxes[:, 2:4]) / 2 - np.array(pixels.shape[1::-1]) / 2
        areas = np.prod(boxes[:, 2:4] - boxes[:, :2], axis=1)
        chosen = int(np.argmax(areas - 2.0 * (centres**2).sum(1)))
        warp = _similarity(landmarks[chosen], arcface_dst)
        crop = cv2.warpAffine(pixels, warp, (112, 112))
        blob = ((crop.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]
        vector = session.run(None, {session.get_inputs()[0].name: blob})[0].reshape(-1)
        yield vector / np.linalg.norm(vector)


def _similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the least-squares similarity as a (2, 3) matrix, by the normal equations of its four numbers."""
    x, y = source[:, 0].astype(np.float64), source[:, 1].astype(np.float64)
    ones, zeros = np.ones_like(x), np.zeros_like(x)
    equations = np.concatenate([np.stack([x, -y, ones, zeros], 1), np.stack([y, x, zeros, ones], 1)])
    a, b, dx, dy = np.linalg.lstsq(equations, np.concatenate([target[:, 0], target[:, 1]]), rcond=None)[0]
    return np.array([[a, -b, dx], [b, a, dy]])


@pytest.fixture(scope="module")
def references() -> list[tuple[str, bytes, str]]:
    """The first 150 photos of the first tar."""
    return photos_in("lfw-dev-00.tar", 150)


@pytest.fixture(scope="module")
def queries() -> list[tuple[str, bytes, str]]:
    """Photos of some of the same people, of other people, and of nobody."""
    photos = photos_in("lfw-dev-02.tar", 100)
    portraits = sorted((REAL / "generated" / "samples").iterdir())[:20]
    return photos + [(f"portrait-{n:02d}", path.read_bytes(), "nobody") for n, path in enumerate(portraits)]


@pytest.fixture(scope="module")
def run(
    references: list[tuple[str, bytes, str]],
    queries: list[tuple[str, bytes, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> ScanResult:
    """An index of the references, and a scan of the queries against it."""
    folder = tmp_path_factory.mktemp("real")
    build(folder / "idx", str(write_tar(folder / "references.tar", references)), faces=FACES)
    specs = str(write_tar(folder / "queries.tar", queries))
    return scan(specs, against=folder / "idx", out=folder / "run", options=ScanOptions(threshold=THRESHOLD))


def test_nearly_every_photo_has_a_face(run: ScanResult, references: list[tuple[str, bytes, str]]) -> None:
    counts = json.loads((run.folder.parent / "idx" / "intake" / "0001.json").read_text())["counts"]
    seen = counts["entries"] + run.summary["counts"]["entries"]
    without = [c["reasons"].get("no_face", 0) for c in (counts, run.summary["counts"])]

    assert counts["entries"] == len(references)
    assert sum(without) < 0.005 * seen


def test_matches_are_those_of_all_pairs_of_the_stored_vectors(
    run: ScanResult, queries: list[tuple[str, bytes, str]]
) -> None:
    folder = run.folder.parent
    index = open_index(folder / "idx")
    embed(str(folder / "queries.tar"), folder / "queries.parquet", faces=FACES)
    table = artefacts.read_table(folder / "queries.parquet", "embeddings")
    stored = index.references().gather(np.arange(index.rows))
    scores = vectors_of(table).astype(np.float64) @ stored.astype(np.float64).T
    assert np.abs(scores - THRESHOLD).min() > 1e-6

    found = run.matches()
    ids = table["id"].to_pylist()
    expected = {(ids[q], int(r)) for q, r in np.argwhere(scores >= THRESHOLD)}
    assert set(zip(found["query_id"].to_pylist(), found["reference_id"].to_pylist(), strict=True)) == expected
    best = artefacts.read_table(run.folder / "queries.parquet", "queries")["best_score"].to_numpy()
    assert np.allclose(best, scores.max(1), atol=1e-5)
    assert len(queries) == len(set(ids)) + run.summary["counts"]["duplicates"] + run.summary["counts"]["rejected"]


def test_vectors_are_those_of_a_plain_loop_up_to_the_detectors_input_size(
    run: ScanResult, references: list[tuple[str, bytes, str]]
) -> None:
    index = open_index(run.folder.parent / "idx")
    stored = index.references().gather(np.arange(index.rows))
    rows = {item_id: row for row, item_id in enumerate(index.column("item_id").to_pylist())}
    chosen = references[:40]

    agreement = [
        float(vector @ stored[rows[content_id(data)]])
        for (_, data, _), vector in zip(chosen, plain_vectors([data for _, data, _ in chosen]), strict=True)
        if vector is not None and content_id(data) in rows
    ]

    # The detector of the loop sees the photo blown up to 640 px: landmarks differ by a fraction of a pixel.
    assert len(agreement) >= 39
    assert np.median(agreement) > 0.97
    assert min(agreement) > 0.8


def test_the_same_person_is_found_and_nobody_is_not(run: ScanResult, queries: list[tuple[str, bytes, str]]) -> None:
    index = open_index(run.folder.parent / "idx")
    known = set(index.column("identity").to_pylist())
    truth = {content_id(data): identity for _, data, identity in queries}
    found = run.matches().to_pylist()
    right = {m["query_id"].partition(":")[0] for m in found if truth[m["query_id"].partition(":")[0]] == m["identity"]}
    there = {item for item, identity in truth.items() if identity in known}

    assert len(there) >= 5
    assert len(right) >= 0.9 * len(there)
    wrong = [m for m in found if truth[m["query_id"].partition(":")[0]] != m["identity"]]
    assert len(wrong) <= 0.002 * len(queries) * index.rows


def test_a_pack_in_a_folder_gives_the_bits_of_its_two_files(
    references: list[tuple[str, bytes, str]], tmp_path: Path
) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    for path in (RECOGNISER, DETECTOR):
        shutil.copy(path, pack / path.name)
    photos = str(write_tar(tmp_path / "some.tar", references[:20]))

    embed(photos, tmp_path / "files.parquet", faces=FACES)
    embed(photos, tmp_path / "pack.parquet", faces=FaceOptions(embedder=f"insightface:{pack}"))

    files, packed = (artefacts.read_table(tmp_path / f"{n}.parquet", "embeddings") for n in ("files", "pack"))
    assert len(files) >= 19
    assert files.equals(packed)


@pytest.mark.skipif(
    find_spec("_dlib_pybind11") is None or find_spec("face_recognition_models") is None,
    reason="the 'dlib' extra is not installed",
)
def test_dlib_tells_people_apart(references: list[tuple[str, bytes, str]], tmp_path: Path) -> None:
    by_person: dict[str, list[tuple[str, bytes, str]]] = {}
    for photo in references + photos_in("lfw-dev-02.tar", 100):
        by_person.setdefault(photo[2], []).append(photo)
    pairs = [photos[:2] for photos in by_person.values() if len(photos) > 1][:5]
    photos = [photo for pair in pairs for photo in pair]

    embed(str(write_tar(tmp_path / "d.tar", photos)), tmp_path / "d.parquet", faces=FaceOptions(embedder="dlib"))

    table = artefacts.read_table(tmp_path / "d.parquet", "embeddings")
    vectors, people = vectors_of(table), np.array(table["identity"].to_pylist())
    scores, same = vectors @ vectors.T, people[:, None] == people[None, :]
    np.fill_diagonal(same, val=False)
    others = people[:, None] != people[None, :]
    assert len(table) == 10
    assert vectors.shape[1] == 128
    assert scores[same].mean() > scores[others].mean() + 0.05
