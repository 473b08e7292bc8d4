"""Erasing a person leaves nothing of the person in any file, and everybody else as they were."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from drawn_people import FACES, crop, name, opened, png, vector
from everything_folder import AT, GONE, ITEMS, RECREATED

from indexes import open_index
from indexes.errors import LockedError
from indexes.lock import write_lock
from scanner import artefacts
from scanner.erasing import Wanted, erase_everywhere, erased_before, search_everywhere
from scanner.erasing.journal import commitment_of
from scanner.errors import UsageError
from scanner.jobs.checking.verify import verify
from scanner.jobs.parts import vectors_of
from scanner.jobs.scanning.evidence import file_sha256
from scanner.records import content_id

RECEIPT = "ab" * 32
PERSON = Wanted(identities=(GONE,))


def erase(state: Path, wanted: Wanted = PERSON, **options: Any):
    return erase_everywhere([state], wanted, clock=lambda: AT, receipt=lambda: RECEIPT, **options)


def words_of(path: Path) -> Iterator[str]:
    """Yield every text in a file, decoded by other means than the scanner's own."""
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        for column in table.columns:
            yield from (str(value) for value in column.to_pylist() if not isinstance(value, bytes))
    else:
        yield path.read_bytes().decode("latin-1")


def files_with(state: Path, *words: str) -> list[str]:
    files = [path for path in sorted(state.rglob("*")) if path.is_file() and "link" not in path.parts]
    return [str(p.relative_to(state)) for p in files if any(word in text for text in words_of(p) for word in words)]


def vectors_in(state: Path) -> Iterator[tuple[str, np.ndarray]]:
    for path in sorted(state.rglob("*.parquet")):
        if "embedding" in pq.read_schema(path).names:
            yield str(path), vectors_of(pq.read_table(path, columns=["embedding"]))
    for path in sorted(state.rglob("manifest.json")):
        references = open_index(path.parent).references()
        yield str(path), references.gather(references.live_rows())


def test_before_the_person_is_in_nearly_every_kind_of_file(everything: Path) -> None:
    found = files_with(everything / "state", GONE, *ITEMS)

    for part in ("people.idx/segments", "people.idx/intake", "faces.parquet", "faces.rejects.parquet", "run/matches",
                 "run/photos", "run/queries", "run/samples", "run/identities", "run/report.html", "twice/pairs",
                 "twice/groups", "twice/report.html", ".half.parquet.work", "inverted/inversions", "inverted/reconstructions",
                 "queries/gen/000001.parquet", "queries/gen.seen", "nights/000002/gen/matches", "nights/000001/night.json",
                 "acknowledged.json"):  # fmt: skip
        assert any(part in path for path in found), part


def test_afterwards_no_file_names_the_person_or_a_picture(state: Path) -> None:
    done = erase(state)

    assert done.left == ()
    assert done.unreadable == {}
    assert done.complete
    recreated = content_id(RECREATED)
    assert files_with(state, GONE, *ITEMS, recreated) == []
    assert files_with(state, name(4)) != []


def test_afterwards_no_vector_is_one_of_the_person(state: Path) -> None:
    mirrored = opened().road.embedder.embed(np.ascontiguousarray(crop(3, 0)[:, ::-1] // 2 + 60)[None])[0]
    gone = np.stack([vector(3, 0), vector(3, 1), mirrored])

    erase(state)

    rest = dict(vectors_in(state))
    assert len(rest) >= 6
    assert max(float((vectors @ gone.T).max()) for vectors in rest.values()) < 0.9999
    index = open_index(state / "people.idx")
    assert index.rows == 22
    assert index.verify() == []
    assert index.manifest.tombstones == []
    assert len(list((state / "people.idx" / "segments").iterdir())) == 1


def test_no_crop_and_no_picture_of_the_person_is_left(state: Path) -> None:
    before = [bytes(png) for png in pq.read_table(state / "run" / "crops.parquet")["crop_png"].to_pylist()]

    erase(state)

    after = pq.read_table(state / "run" / "crops.parquet").to_pylist()
    assert len(before) > len(after) > 0
    shown = {row["query_id"] for row in after if row["side"] == "query"}
    assert shown <= set(pq.read_table(state / "run" / "queries.parquet")["query_id"].to_pylist())
    matched = pq.read_table(state / "run" / "matches.parquet").to_pylist()
    assert {row["reference_id"] for row in after if row["side"] == "reference"} == {r["reference_id"] for r in matched}
    for path in state.rglob("*"):
        if path.is_file() and "link" not in path.parts:
            assert png(3, 0) not in path.read_bytes(), path
            assert RECREATED not in path.read_bytes(), path


def test_everybody_else_is_as_before(state: Path, everything: Path) -> None:
    erase(state)

    for file, key in (
        ("faces.parquet", "uri"),
        ("run/queries.parquet", "query_id"),
        ("inverted/inversions.parquet", "uri"),
    ):
        before = {row[key]: row for row in pq.read_table(everything / "state" / file).to_pylist()}
        after = pq.read_table(state / file).to_pylist()
        assert 0 < len(after) < len(before)
        pointers = {"best_reference_id", "best_index"}
        assert all(row[c] == before[row[key]][c] for row in after for c in row if c not in pointers)
    assert (state / "null.idx" / "manifest.json").read_bytes() == (
        everything / "state" / "null.idx" / "manifest.json"
    ).read_bytes()
    assert (state / "notes.txt").read_text() == "whatever somebody keeps here\n"
    assert sorted(p.name for p in (everything / "people" / GONE).iterdir()) == ["0.png", "1.png", "broken.png"]
    identities = pq.read_table(state / "run" / "identities.parquet")["identity"].to_pylist()
    assert sorted(identities) == [name(n) for n in range(12) if n != 3]


def test_pictures_in_archives_go_and_the_archives_say_so(state: Path) -> None:
    import tarfile

    erase(state)

    account = json.loads((state / "samples" / "generated.json").read_text())
    assert [shard["images"] for shard in account["shards"]] == [3, 3]
    for shard in account["shards"]:
        path = state / "samples" / shard["name"]
        assert (shard["bytes"], shard["sha256"]) == (path.stat().st_size, file_sha256(path))
    assert pq.read_table(state / "samples" / "images-000001.parquet")["number"].to_pylist() == [0, 2, 3]
    with tarfile.open(state / "samples" / "images-000000.tar") as tar:
        assert tar.getnames() == ["000000.png", "000002.png", "000003.png"]
    with tarfile.open(state / "inverted" / "reconstructions-000000.tar") as tar:
        assert tar.getnames() == [f"{content_id(png(4, 0))}.{suffix}" for suffix in ("png", "json")]
    marks = json.loads((state / "inverted" / "inversions.json").read_text())["erasures"]
    assert marks[0]["rows"] == {"inversions.parquet": 1, "reconstructions-000000.tar": 1}


def test_unfinished_work_with_the_person_goes_and_other_work_stays(state: Path) -> None:
    erase(state)

    assert not (state / ".half.parquet.work").exists()
    assert (state / ".other.parquet.work" / "plan.json").exists()
    assert not (state / "run" / ".queries.parquet.999999.tmp").exists()


def test_a_nightly_job_counts_its_faces_again_and_compares_anew(state: Path) -> None:
    erase(state)

    account = json.loads((state / "queries" / "gen" / "000001.json").read_text())
    assert account["faces"] == pq.read_metadata(state / "queries" / "gen" / "000001.parquet").num_rows == 22
    assert not (state / "compared" / "gen").exists()
    for night in ("000001", "000002"):
        told = json.loads((state / "nights" / night / "night.json").read_text())
        assert told["new"] == [{"index": "people.idx", "identity": name(5)}]
        assert verify(state / "nights" / night / "gen").holds
    (left,) = json.loads((state / "acknowledged.json").read_text())["findings"]
    assert left["identity"] == name(5)


def test_the_record_names_nobody_and_can_be_checked_with_the_receipt(state: Path) -> None:
    done = erase(state, request="2026-044")

    (path,) = done.records
    assert path == state / "erasures" / "0001.json"
    record = json.loads(path.read_text())
    assert record["erased_at"] == "2026-03-04T05:06:07+00:00"
    assert record["request"] == "2026-044"
    assert record["asked_for"] == {"identities": 1, "item_ids": 0, "sources": 0, "uris": 0}
    assert record["erased"] == done.counts
    assert record["erased"]["references"] == 2
    assert record["erased"]["embeddings"] == 4
    assert record["found_afterwards"] == 0
    assert done.receipt == RECEIPT
    assert record["commitment"] == commitment_of(RECEIPT, PERSON)
    assert record["commitment"] != commitment_of(RECEIPT, Wanted(identities=(name(4),)))
    assert RECEIPT not in path.read_text()
    assert not (state / ".erasing").exists()


def test_a_nightly_job_can_leave_out_what_was_erased(state: Path) -> None:
    erase(state)

    is_erased = erased_before(state)
    assert all(map(is_erased, ITEMS))
    assert not is_erased(content_id(png(4, 0)))
    assert not erased_before(state / "run")(ITEMS[0])
    text = (state / "erasures" / "never-again.json").read_text()
    assert not any(item in text for item in ITEMS)


def test_the_run_still_verifies_and_says_that_rows_were_erased(state: Path) -> None:
    kept = verify(state / "run").evidence_sha256

    erase(state)

    verified = verify(state / "run")
    assert verified.differences == ()
    assert verified.erased["matches.parquet"] > 0
    assert verified.erased["photos.parquet"] == 2
    assert verified.evidence_sha256_before == kept
    assert verified.evidence_sha256 != kept
    assert "people or pictures were erased after the run was finished" in verified.notes[-1]
    assert "p-values" not in " ".join(verified.checked)
    assert "hashes of the tables" in verified.checked


def test_the_page_says_so_too(state: Path, everything: Path) -> None:
    erase(state)

    assert (
        "were erased from this run after it was finished, last on 2026-03-04"
        in (state / "run" / "report.html").read_text()
    )
    assert "were erased" not in (everything / "state" / "run" / "report.html").read_text()


def test_a_forgery_after_an_erasure_is_still_found(state: Path) -> None:
    erase(state)
    path = state / "run" / "matches.parquet"
    table = artefacts.read_table(path, "matches")

    pq.write_table(table.slice(1), path)
    differences = verify(state / "run").differences

    assert any("matches.parquet: sha256" in line for line in differences)
    assert any("matches.parquet: rows" in line for line in differences)


def test_a_statement_changed_after_an_erasure_has_another_hash_before(state: Path) -> None:
    kept = verify(state / "run").evidence_sha256
    erase(state)
    document = json.loads((state / "run" / "evidence.json").read_text())
    document["verdict"]["state"] = "none"
    from indexes.atomic import write_json

    write_json(state / "run" / "evidence.json", document)

    assert verify(state / "run").evidence_sha256_before != kept


def test_two_erasures_have_two_records_and_one_history(state: Path) -> None:
    kept = verify(state / "run").evidence_sha256
    erase(state)
    done = erase_everywhere([state], Wanted(identities=(name(6),)), clock=lambda: AT, receipt=lambda: "cd" * 32)

    assert [path.name for path in done.records] == ["0002.json"]
    verified = verify(state / "run")
    assert verified.holds
    assert verified.evidence_sha256_before == kept
    assert files_with(state, GONE, name(6)) == []


def test_a_dry_run_counts_the_same_and_changes_nothing(state: Path, everything: Path) -> None:
    before = {p: p.read_bytes() for p in state.rglob("*") if p.is_file()}

    planned = erase(state, dry_run=True)

    assert {p: p.read_bytes() for p in state.rglob("*") if p.is_file()} == before
    assert planned.counts == erase(state).counts
    assert planned.receipt is None


def test_searching_finds_the_person_before_and_not_after(state: Path) -> None:
    before = search_everywhere([state], PERSON)
    erase(state)
    after = search_everywhere([state], PERSON)

    assert any("run/matches.parquet: a cell of identity" in line for line in before.left)
    assert any("report.html: a word" in line for line in before.left)
    assert after.left == ()


def test_a_file_that_is_not_ours_is_told_and_not_touched(state: Path) -> None:
    (state / "export.csv").write_text(f"identity,score\n{GONE},0.9\n")

    done = erase(state)

    assert [line.rpartition("/")[2] for line in done.left] == ["export.csv: a word"]
    assert not done.complete
    assert (state / "export.csv").exists()
    assert done.unknown[str(state)] == 3


def test_a_file_that_cannot_be_read_is_told_and_the_rest_is_erased(state: Path) -> None:
    (state / "run" / "crops.parquet").write_bytes(b"PAR1 and nothing more")

    done = erase(state)

    assert [Path(path).name for path in done.unreadable] == ["crops.parquet"]
    assert not done.complete
    assert open_index(state / "people.idx").rows == 22


def test_a_table_that_is_damaged_inside_keeps_nothing_else_from_being_erased(state: Path) -> None:
    path = state / "run" / "photos.parquet"
    data = bytearray(path.read_bytes())
    data[60:200] = bytes(140)
    path.write_bytes(bytes(data))

    done = erase(state)

    assert list(done.unreadable) == [str(path)]
    assert not done.complete
    assert files_with(state / "twice", GONE, *ITEMS) == []
    assert GONE not in pq.read_table(state / "run" / "matches.parquet")["identity"].to_pylist()


def test_by_uri_the_picture_goes_and_the_person_stays(state: Path, everything: Path) -> None:
    uri = str(everything / "people" / GONE / "0.png")

    done = erase(state, Wanted(uris=(uri,)))

    assert done.complete
    assert files_with(state, uri, ITEMS[0]) == []
    assert open_index(state / "people.idx").rows == 23
    assert GONE in pq.read_table(state / "run" / "identities.parquet")["identity"].to_pylist()


def test_by_the_hash_of_a_picture_it_goes_under_all_its_names(state: Path) -> None:
    twice = content_id(png(4, 1))

    done = erase(state, Wanted(item_ids=(twice,)))

    assert done.complete
    assert files_with(state, twice, "again.png") == []
    assert open_index(state / "people.idx").rows == 23


def test_by_source_all_its_pictures_go_and_people_of_whom_nothing_is_left(state: Path, everything: Path) -> None:
    done = erase(state, Wanted(sources=(f"{everything}/people/",)))

    assert done.complete, done.left
    assert files_with(state, f"{everything}/people") == []
    assert open_index(state / "people.idx").rows == 0
    assert pq.read_metadata(state / "run" / "matches.parquet").num_rows == 0
    assert pq.read_metadata(state / "run" / "identities.parquet").num_rows == 0
    assert pq.read_metadata(state / "run" / "queries.parquet").num_rows == 6  # two showed a person of the source
    assert verify(state / "run").holds


def test_a_source_is_a_folder_and_no_beginning_of_a_name(state: Path, everything: Path) -> None:
    index = open_index(state / "people.idx")
    uris = index.column("uri").to_pylist()
    folder = uris[0].rpartition("/")[0]
    inside = [uri for uri in uris if uri.rpartition("/")[0] == folder]
    assert 0 < len(inside) < len(uris)

    nobody = erase(state, Wanted(sources=(folder[:-1],)))  # person-0000 is no folder
    assert nobody.complete
    assert open_index(state / "people.idx").column("uri").to_pylist() == uris

    done = erase(state, Wanted(sources=(folder,)))
    assert done.complete, done.left
    assert files_with(state, folder) == []
    assert not set(inside) & set(open_index(state / "people.idx").column("uri").to_pylist())


def test_a_source_that_is_one_file_is_that_picture(state: Path) -> None:
    index = open_index(state / "people.idx")
    rows, uri = index.rows, index.column("uri").to_pylist()[0]

    done = erase(state, Wanted(sources=(uri,)))

    assert done.complete, done.left
    assert open_index(state / "people.idx").rows == rows - 1


def test_a_picture_saved_again_under_another_label_goes_too(state: Path, tmp_path: Path) -> None:
    """Other bytes, no label, the same pixels: only its vector tells."""
    import cv2

    from scanner.jobs.embedding.embed import embed

    folder = tmp_path / "again"
    folder.mkdir()
    encoded = cv2.imencode(".bmp", cv2.cvtColor(np.asarray(crop(3, 1)), cv2.COLOR_RGB2BGR))[1]
    (folder / "other.bmp").write_bytes(encoded.tobytes())
    (folder / "else.png").write_bytes(png(50, 0))
    embed(str(folder), state / "again.parquet", faces=FACES)

    erase(state)

    left = pq.read_table(state / "again.parquet")["uri"].to_pylist()
    assert [Path(uri).name for uri in left] == ["else.png"]


def test_ids_of_other_runs_are_not_mixed_up(state: Path) -> None:
    """Reference ids and ids of ready embeddings mean something in their own folder alone."""
    other = shutil.copytree(state / "run", state / "elsewhere")
    for name_, change in (("matches", "people.idx"), ("photos", "people.idx"), ("identities", "people.idx")):
        table = artefacts.read_table(other / f"{name_}.parquet", name_)
        rows = [{**row, "index": "x.idx", "identity": "x" + row["identity"]} for row in table.to_pylist()]
        for row in rows:
            row["reference_uri"], row["item_id"] = f"x/{row.get('reference_id')}", ""
            assert change
        kept = [{key: row[key] for key in table.schema.names} for row in rows]
        artefacts.write_tables(
            other / f"{name_}.parquet", table.schema, [type(table).from_pylist(kept, schema=table.schema)]
        )
    before = (
        pq.read_metadata(other / "identities.parquet").num_rows,
        pq.read_metadata(other / "photos.parquet").num_rows,
    )

    erase(state)

    assert (
        pq.read_metadata(other / "identities.parquet").num_rows,
        pq.read_metadata(other / "photos.parquet").num_rows,
    ) == before


def test_nothing_is_begun_while_somebody_writes(state: Path) -> None:
    with write_lock(state / "people.idx"), pytest.raises(LockedError):
        erase(state)
    with write_lock(state), pytest.raises(LockedError):
        erase(state)

    assert not (state / ".erasing").exists()
    assert open_index(state / "people.idx").rows == 24


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Wanted(), "Say what to erase"),
        (Wanted(identities=("",)), "An empty word"),
        (Wanted(item_ids=("12",)), "32 hex digits"),
    ],
)
def test_what_is_not_said_well_is_refused(state: Path, wanted: Wanted, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        erase(state, wanted)


def test_one_result_alone_has_its_record_beside_it(state: Path) -> None:
    done = erase_everywhere([state / "run"], PERSON, clock=lambda: AT, receipt=lambda: RECEIPT)

    assert done.complete
    assert done.records == (state / "erasures" / "0001.json",)
    assert files_with(state / "run", GONE, *ITEMS) == []
    assert files_with(state / "twice", GONE) != []
