"""With a key everything that holds vectors or crops is sealed, says the same, and can be brought to another key."""

from __future__ import annotations

import base64
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn_people import BY_FOLDER, FACES, crop, files_of, photos_of, write_people
from small_gen import write_generator

from indexes import open_index
from indexes.errors import FormatError, SealError
from indexes.keys import FILE_VARIABLE, TEXT_VARIABLE, Key, read_key_file, write_key_file
from indexes.sealed import is_sealed, key_id_of
from scanner import artefacts
from scanner.cli import main
from scanner.errors import ArtefactError, SourceError, UsageError
from scanner.images import encode_png
from scanner.jobs.checking.verify import verify
from scanner.jobs.embedding.embed import embed
from scanner.jobs.indexing.build import BuildOptions, build
from scanner.jobs.indexing.dedupe import dedupe
from scanner.jobs.inverting.latent import invert_latent
from scanner.jobs.inverting.options import InvertOptions
from scanner.jobs.parts import vectors_of
from scanner.jobs.scanning import scan as scan_job
from scanner.jobs.scanning.options import ScanOptions
from scanner.jobs.scanning.scan import scan
from scanner.jobs.sealing import Rotation, is_private, rotate
from scanner.progress import Silent
from scanner.sources import open_source

ONE, TWO = Key(bytes(range(32))), Key(bytes(range(1, 33)))
PNG = b"\x89PNG\r\n"
CROPS = BuildOptions(with_crops=True)
MATCHED = ScanOptions(threshold=0.6, null=("null.idx",), null_match=True, with_crops=True)


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put keys into the environment."""
    monkeypatch.delenv(TEXT_VARIABLE, raising=False)

    def put(*keys: Key) -> None:
        write_key_file(tmp_path / "scanner.key", keys)
        monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "scanner.key"))
        if not keys:
            monkeypatch.delenv(FILE_VARIABLE)

    return put


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates, people for a null, and small queries."""
    folder = tmp_path_factory.mktemp("pictures")
    write_people(folder / "people", photos_of(range(10), [0, 1]))
    write_people(folder / "null", photos_of(range(30, 130), [0]))
    write_generator(folder / "generator")
    (folder / "small").mkdir()
    for number in range(4):
        small = cv2.resize(crop(number, 3), (40, 40), interpolation=cv2.INTER_AREA)
        (folder / "small" / f"{number}.png").write_bytes(encode_png(np.asarray(small, np.uint8)))
    return folder


def write_all(folder: Path, pictures: Path) -> Path:
    """Write, below the current folder, an artefact of every kind, and a run that was stopped just before its page."""
    with pytest.MonkeyPatch.context() as patch:
        folder.mkdir()
        patch.chdir(folder)
        for name in ("people", "null"):
            build(Path(f"{name}.idx"), str(pictures / name), faces=FACES, sources=BY_FOLDER, options=CROPS)
        embed(str(pictures / "small"), Path("small.parquet"), faces=FACES, keep_crops=True)
        scan(str(pictures / "small"), against=Path("people.idx"), out=Path("run"), faces=FACES, options=MATCHED)
        dedupe(Path("people.idx"), out=Path("doubles"), options=ScanOptions(threshold=0.2, with_crops=True))
        options = InvertOptions(restarts=1, steps_max=5, draws=8, slots=4, shard_images=4)
        invert_latent(
            pictures / "generator" / "sketch.toml", [str(pictures / "small")], Path("inverted"), options=options
        )
        patch.setattr(scan_job, "write_page", stop)
        with pytest.raises(Stopped):
            scan(str(pictures / "small"), against=Path("people.idx"), out=Path("stopped"), faces=FACES, options=MATCHED)
    return folder


class Stopped(Exception):
    """The job ends here."""


def stop(_: Path) -> None:
    raise Stopped


@pytest.fixture(scope="module")
def worlds(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same, written without and with a key; only read."""
    folder = tmp_path_factory.mktemp("worlds")
    write_key_file(folder / "key", [ONE])
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(FILE_VARIABLE, raising=False)
        plain = write_all(folder / "plain", pictures)
        patch.setenv(FILE_VARIABLE, str(folder / "key"))
        return plain, write_all(folder / "sealed", pictures)


def open_secrets(root: Path, vectors: np.ndarray) -> list[str]:
    """Return the files below `root` whose raw bytes hold a vector, a picture or a column of either."""
    starts = [vector[:4].tobytes() for vector in vectors]
    found = []
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        raw = path.read_bytes()
        columns = set(pq.read_schema(path).names) if raw[:4] == b"PAR1" else set[str]()
        shown = PNG in raw or b"data:image/jpeg" in raw or any(start in raw for start in starts)
        if shown or columns & {"embedding", "crop_png", "latent"} or (columns and path.name == "rows.parquet"):
            found.append(str(path.relative_to(root)))
    return found


def test_the_raw_bytes_of_no_file_hold_a_vector_or_a_picture(
    worlds: tuple[Path, Path], use: Callable[..., None]
) -> None:
    plain, sealed = worlds
    use()
    vectors = np.concatenate(
        [
            vectors_of(artefacts.read_table(plain / "small.parquet", "embeddings")),
            vectors_of(artefacts.read_table(plain / "run" / "samples.parquet", "samples")),
            *(open_index(path).references().gather(np.arange(10)) for path in plain.rglob("*.idx")),
        ]
    )

    names = set(open_secrets(plain, vectors))

    # The same search finds them where there is no key.
    assert {
        "small.parquet",
        "run/samples.parquet",
        "run/crops.parquet",
        "run/report.html",
        "doubles/crops.parquet",
        "inverted/inversions.parquet",
        "inverted/reconstructions-000000.tar",
    } < names
    assert {f"people.idx/segments/000000/{name}" for name in ("vectors.safetensors", "rows.parquet")} < names
    assert [name for name in names if name.startswith("stopped/unfinished/") and name.endswith(".parquet")] != []
    assert [name for name in names if name.startswith("stopped/unfinished/") and name.endswith(".safetensors")] != []
    assert open_secrets(sealed, vectors) == []
    secrets = (ONE.secret, base64.b64encode(ONE.secret))
    assert [path for path in sealed.rglob("*") if path.is_file() and any(s in path.read_bytes() for s in secrets)] == []


def test_what_is_inside_is_byte_for_byte_what_is_written_without_a_key(
    worlds: tuple[Path, Path], use: Callable[..., None]
) -> None:
    use(ONE)
    plain, sealed = (files_of(world, but=("lock", "report.html")) for world in worlds)

    assert sorted(sealed) == sorted(plain)
    assert [name for name in plain if sealed[name] != plain[name]] == []
    assert len([name for name in sealed if is_sealed(worlds[1] / name)]) == 17
    matches = artefacts.read_table(worlds[1] / "run" / "matches.parquet", "matches")
    assert matches.num_rows >= 4
    assert matches.equals(artefacts.read_table(worlds[0] / "run" / "matches.parquet", "matches"))


def test_sealed_pictures_are_a_source(worlds: tuple[Path, Path], use: Callable[..., None]) -> None:
    found = []
    for world, keys in zip(worlds, ((), (ONE,)), strict=True):
        use(*keys)
        source = open_source(f"{world}/inverted/reconstructions-*.tar")
        described = source.describe()
        found.append(([entry.item_id for entry in source.entries()], described["content"], described.get("bytes")))

    assert len(found[0][0]) == 4
    assert found[0] == found[1]


def test_a_sealed_run_verifies_and_its_page_shows_no_face(worlds: tuple[Path, Path], use: Callable[..., None]) -> None:
    use(ONE)

    found = verify(worlds[1] / "run")

    assert found.differences == ()
    for run in ("run", "doubles"):
        assert b"data:image" in (worlds[0] / run / "report.html").read_bytes()
        assert b"data:image" not in (worlds[1] / run / "report.html").read_bytes()


def test_a_stopped_run_goes_on(
    worlds: tuple[Path, Path], pictures: Path, use: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(ONE)
    shutil.copytree(worlds[1], tmp_path / "world")
    monkeypatch.chdir(tmp_path / "world")

    scan(
        str(pictures / "small"), against=Path("people.idx"), out=Path("stopped"), faces=FACES, options=MATCHED, resume=True
    )  # fmt: skip

    assert files_of(Path("stopped")) == files_of(Path("run"))


def test_sealed_embeddings_are_a_source(worlds: tuple[Path, Path], use: Callable[..., None], tmp_path: Path) -> None:
    found = []
    for world, keys in zip(worlds, ((), (ONE,)), strict=True):
        use(*keys)
        out = tmp_path / world.name
        scan(str(world / "small.parquet"), against=world / "people.idx", out=out, options=ScanOptions(threshold=0.6))
        table = artefacts.read_table(out / "matches.parquet", "matches")
        found.append(table.select(["query_id", "reference_id", "score"]).to_pylist())

    assert len(found[0]) >= 4
    assert found[0] == found[1]
    use(TWO)
    with pytest.raises(
        SourceError, match=f"is encrypted with the key {ONE.id.hex()}; the keys at hand are {TWO.id.hex()}"
    ):
        scan(
            str(worlds[1] / "small.parquet"),
            against=worlds[0] / "people.idx",
            out=tmp_path / "none",
            options=ScanOptions(threshold=0.6),
        )
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("keys", [(), (TWO,)])
def test_without_the_key_every_command_says_which_one_is_needed(
    worlds: tuple[Path, Path],
    pictures: Path,
    use: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    keys: tuple[Key, ...],
) -> None:
    use(*keys)
    sealed, out = worlds[1], tmp_path / "out"

    for words in (
        ["index", "show", sealed / "people.idx"],
        ["index", "verify", sealed / "people.idx"],
        ["index", "build", out, sealed / "small.parquet"],
        ["scan", pictures / "small", "--against", sealed / "people.idx", "--out", out, "--faces", "aligned", "--embedder", "drawn", "--threshold", "0.6"],
        ["scan", sealed / "small.parquet", "--against", worlds[0] / "people.idx", "--out", out, "--threshold", "0.6"],
        ["report", "verify", sealed / "run"],
        ["key", "open", sealed / "small.parquet", out],
    ):  # fmt: skip
        code = main([str(word) for word in words])
        told = capsys.readouterr()

        assert code == 2, words
        held = f"the keys at hand are {TWO.id.hex()}" if keys else "no key is set"
        assert f"is encrypted with the key {ONE.id.hex()}; {held}." in told.err, words
        assert "Traceback" not in told.err
        assert not out.exists(), words


def test_keys_that_cannot_be_used_are_told_before_the_work(
    worlds: tuple[Path, Path],
    pictures: Path,
    tmp_path: Path,
    use: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    use(ONE)
    (tmp_path / "scanner.key").chmod(0o644)

    for words in (
        ["embed", pictures / "small", tmp_path / "out.parquet", "--embedder", "drawn", "--faces", "aligned"],
        ["index", "build", tmp_path / "out.idx", pictures / "small", "--embedder", "drawn", "--faces", "aligned"],
        [
            "scan",
            pictures / "small",
            "--against",
            worlds[0] / "people.idx",
            "--out",
            tmp_path / "out",
            "--threshold",
            "0.6",
        ],
    ):
        code = main([str(word) for word in words])

        assert (code, capsys.readouterr().err.startswith("error: The key file ")) == (2, True), words
        assert [path.name for path in tmp_path.iterdir()] == ["scanner.key"]


@pytest.mark.parametrize("place", [60, -3])
def test_a_changed_table_is_refused(
    worlds: tuple[Path, Path], use: Callable[..., None], tmp_path: Path, place: int
) -> None:
    use(ONE)
    raw = bytearray((worlds[1] / "small.parquet").read_bytes())
    raw[place] ^= 1
    (tmp_path / "small.parquet").write_bytes(bytes(raw))

    with pytest.raises(ArtefactError, match="is damaged or was changed") as caught:
        artefacts.read_table(tmp_path / "small.parquet", "embeddings")

    assert isinstance(caught.value.__cause__, FormatError)
    with pytest.raises((SourceError, FormatError), match="is damaged or was changed"):
        scan(
            str(tmp_path / "small.parquet"), against=worlds[1] / "people.idx", out=tmp_path / "run",
            options=ScanOptions(threshold=0.6),
        )  # fmt: skip


def keys_below(root: Path) -> set[str | None]:
    return {key_id_of(path) for path in root.rglob("*") if path.is_file() and (is_sealed(path) or is_private(path))}


def turn(*roots: Path) -> Rotation:
    return rotate(roots, progress=Silent())


def test_after_a_rotation_the_old_key_is_not_needed(
    worlds: tuple[Path, Path], use: Callable[..., None], tmp_path: Path
) -> None:
    shutil.copytree(worlds[1], tmp_path / "world")
    use(ONE)
    before = files_of(tmp_path / "world")
    use(TWO, ONE)

    done = turn(tmp_path / "world")

    use(TWO)
    assert (done.key, set(done.found), done.sealed) == (TWO.id.hex(), {ONE.id.hex()}, done.found[ONE.id.hex()])
    assert keys_below(tmp_path / "world") == {TWO.id.hex()}
    assert files_of(tmp_path / "world") == before
    assert open_index(tmp_path / "world" / "people.idx").verify() == []
    assert verify(tmp_path / "world" / "run").differences == ()
    assert turn(tmp_path / "world").sealed == 0


def test_what_was_written_before_there_was_a_key_is_sealed_too(
    worlds: tuple[Path, Path], use: Callable[..., None], tmp_path: Path
) -> None:
    shutil.copytree(worlds[0], tmp_path / "world")
    before = files_of(tmp_path / "world", but=("lock", "report.html"))
    shutil.copy(worlds[0] / "small.parquet", tmp_path / "world" / "foreign.parquet")
    foreign = pa.table({"embedding": [[1.0, 0.0]]})
    pq.write_table(foreign, tmp_path / "world" / "foreign.parquet")
    use(ONE)

    done = turn(tmp_path / "world")

    assert set(done.found) == {"none"}
    assert pq.read_table(tmp_path / "world" / "foreign.parquet").equals(foreign)
    (tmp_path / "world" / "foreign.parquet").unlink()
    sealed = [path.relative_to(worlds[1]) for path in worlds[1].rglob("*") if path.is_file() and is_sealed(path)]
    assert [name for name in sealed if not is_sealed(tmp_path / "world" / name)] == []
    assert files_of(tmp_path / "world", but=("lock", "report.html")) == before
    for run in ("run", "doubles"):
        page = (tmp_path / "world" / run / "report.html").read_bytes()
        assert page == (worlds[1] / run / "report.html").read_bytes()


def test_a_rotation_that_is_killed_is_finished_later(
    worlds: tuple[Path, Path], use: Callable[..., None], tmp_path: Path
) -> None:
    shutil.copytree(worlds[1], tmp_path / "world")
    use(ONE)
    before = files_of(tmp_path / "world")
    use(TWO, ONE)
    kill = (
        "import os, pathlib, sys\nfrom scanner.cli import main\nold, left = pathlib.Path.replace, [9]\n"
        "def replace(self, to):\n    left[0] -= 1\n    left[0] or os._exit(9)\n    return old(self, to)\n"
        "pathlib.Path.replace = replace\nmain(sys.argv[1:])"
    )
    killed = subprocess.run([sys.executable, "-c", kill, "key", "rotate", str(tmp_path / "world")], check=False)
    assert killed.returncode == 9
    (temporary,) = (path for path in (tmp_path / "world").rglob(".*.tmp"))
    assert keys_below(tmp_path / "world") == {ONE.id.hex(), TWO.id.hex()}
    assert key_id_of(temporary) == TWO.id.hex()
    temporary.rename(tmp_path / "temporary")
    assert files_of(tmp_path / "world") == before
    (tmp_path / "temporary").rename(temporary)

    done = turn(tmp_path / "world")

    assert done.found[TWO.id.hex()] == 8
    assert done.sealed == done.found[ONE.id.hex()]
    assert done.temporary == (str(temporary),)
    temporary.unlink()
    use(TWO)
    assert files_of(tmp_path / "world") == before


def test_a_rotation_without_all_keys_changes_nothing(
    worlds: tuple[Path, Path], use: Callable[..., None], tmp_path: Path
) -> None:
    shutil.copytree(worlds[1], tmp_path / "world")
    use(TWO)

    with pytest.raises(SealError, match=rf"keys that are not at hand: \d+ with {ONE.id.hex()}. Nothing was changed."):
        turn(tmp_path / "world")
    with pytest.raises(UsageError, match="not there is not there"):
        turn(tmp_path / "not there")
    use()
    with pytest.raises(UsageError, match="No key is set"):
        turn(tmp_path / "world")

    assert keys_below(tmp_path / "world") == {ONE.id.hex()}


def test_the_commands_make_change_and_forget_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], use: Callable[..., None]
) -> None:
    path = tmp_path / "new.key"
    use()

    def run(*words: object) -> tuple[int, str]:
        code = main([str(word) for word in words])
        told = capsys.readouterr()
        secrets = [line for line in path.read_text().splitlines() if line in told.out + told.err]
        assert secrets == []
        return code, told.err

    assert run("key", "new", path)[0] == 0
    (first,) = read_key_file(path)
    assert run("key", "new", path) == (
        2, f"error: {path} is there already. To put a new key before the old ones: scanner key add {path}\n",
    )  # fmt: skip
    assert run("key", "add", path)[0] == 0
    second, old = read_key_file(path)
    assert (old, second != first) == (first, True)
    assert run("key", "forget", path)[0] == 0
    assert read_key_file(path) == (second,)


def test_a_key_file_behind_a_link_is_changed_itself(tmp_path: Path, use: Callable[..., None]) -> None:
    use()
    kept, link = tmp_path / "kept.key", tmp_path / "link.key"
    assert main(["key", "new", str(kept)]) == 0
    (old,) = read_key_file(kept)
    link.symlink_to(kept)

    assert main(["key", "add", str(link)]) == 0

    assert (link.is_symlink(), read_key_file(kept)[1:], stat.S_IMODE(kept.stat().st_mode)) == (True, (old,), 0o600)
    assert main(["key", "forget", str(link)]) == 0
    assert (link.is_symlink(), old in read_key_file(kept), len(read_key_file(kept))) == (True, False, 1)


def test_a_key_that_is_added_leaves_the_comments(tmp_path: Path, use: Callable[..., None]) -> None:
    use()
    path = tmp_path / "key"
    write_key_file(path, [ONE])
    path.write_text(f"# of May, copy in the safe\n{path.read_text().strip()}  # old")

    assert main(["key", "add", str(path)]) == 0

    assert path.read_text().splitlines()[1] == "# of May, copy in the safe"
    assert read_key_file(path)[1:] == (ONE,)


def test_a_key_file_in_no_folder_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], use: Callable[..., None]
) -> None:
    use()

    assert main(["key", "new", str(tmp_path / "none" / "key")]) == 2

    assert capsys.readouterr().err == f"error: There is no folder {tmp_path / 'none'}. Make it, or name another file.\n"
