"""Whatever becomes of an archive on its way, it gives entries, rejects or one `SourceError`."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scanner.errors import SourceError
from scanner.records import Item, Reject
from scanner.sources import open_source

MEMORY_MAX = 24 << 20
MAGIC = {
    "tar": b"ustar",
    "tar_gz": b"\x1f\x8b",
    "zip": b"PK",
    "rec": b"\x0a\x23\xd7\xce",
    "rec_alone": b"\x0a\x23\xd7\xce",
}

# Headers and directories are small beside the images, so half of the changes go near one:
# (near a header?, which place or header, how far from it, new byte).
CHANGES = st.lists(
    st.tuples(st.booleans(), st.integers(0, 1 << 20), st.integers(-260, 60), st.integers(0, 255)), max_size=8
)


@pytest.mark.parametrize("kind", list(MAGIC))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, cut=st.one_of(st.none(), st.integers(0, 1 << 20)))
def test_broken_archives_give_entries_rejects_or_an_error(
    kind: str,
    tmp_path: Path,
    pictures: list[Any],
    tools: dict[str, Any],
    changes: list[tuple[bool, int, int, int]],
    cut: int | None,
) -> None:
    path = tmp_path / tools["writers"][kind](tmp_path, pictures[:5])
    broken = bytearray(path.read_bytes())
    heads = [at for at in range(len(broken)) if broken.startswith(MAGIC[kind], at)]
    for is_near, where, offset, value in changes:
        at = heads[where % len(heads)] + offset if is_near else where
        broken[at % len(broken)] = value
    path.write_bytes(broken if cut is None else broken[: cut % len(broken)])
    tracemalloc.start()

    try:
        source = open_source(str(path), bytes_max=1 << 20)
        entries = list(source.entries())
        skipped = list(source.entries(skip=2))
    except SourceError:
        return
    finally:
        assert tracemalloc.get_traced_memory()[1] < MEMORY_MAX
        tracemalloc.stop()

    assert all(isinstance(entry, Item | Reject) and entry.uri.startswith(str(path)) for entry in entries)
    assert skipped == entries[2:]
    assert source.count() in {None, len(entries)}
