"""Erasing from encrypted files, with their key; without it nothing is begun."""

import base64
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from everything_folder import AT, GONE, write_everything

from indexes import open_index
from indexes.errors import IndexesError
from indexes.keys import TEXT_VARIABLE
from indexes.sealed import is_sealed
from scanner import artefacts
from scanner.erasing import Wanted, erase_everywhere
from scanner.jobs.checking.verify import verify

KEY = base64.b64encode(bytes(range(32))).decode()


def test_the_erased_go_from_sealed_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TEXT_VARIABLE, KEY)
    state = write_everything(tmp_path) / "state"
    kept = verify(state / "run").evidence_sha256
    wanted = Wanted(identities=(GONE,))

    with monkeypatch.context() as without_key:
        without_key.delenv(TEXT_VARIABLE)
        with pytest.raises(IndexesError):
            erase_everywhere([state], wanted, clock=lambda: AT)
    assert not (state / ".erasing").exists()
    done = erase_everywhere([state], wanted, clock=lambda: AT)

    assert done.complete, (done.left, done.unreadable)
    assert open_index(state / "people.idx").rows == 22
    assert is_sealed(state / "faces.parquet")
    assert artefacts.read_table(state / "faces.parquet", "embeddings").num_rows == 22
    assert GONE not in pq.read_table(state / "run" / "matches.parquet")["identity"].to_pylist()
    verified = verify(state / "run")
    assert verified.holds
    assert verified.evidence_sha256_before == kept
