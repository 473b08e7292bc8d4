import pytest

from indexes.choose import choose_name, estimate_need
from indexes.errors import IndexesError, MemoryTooSmall

GIB = 1 << 30


@pytest.mark.parametrize(
    ("rows", "code_bytes", "memory_bytes", "name", "reason"),
    [
        (49_999, 40, GIB, "exact", "auto: 49999 rows are few enough to search exactly"),
        (50_000, 40, GIB, "compressed", "auto: 50000 rows; codes need about 26 MiB"),
        (50_000, None, GIB, "exact", "auto: the index has no compressed codes"),
        (20_000_000, 40, GIB // 2, "exact", "auto: codes need 939 MiB, more than allowed"),
    ],
)
def test_auto_follows_the_table(rows, code_bytes, memory_bytes, name, reason):
    assert choose_name(rows, 256, code_bytes, memory_bytes=memory_bytes) == (name, reason)


def test_what_is_asked_for_is_chosen_or_refused():
    assert choose_name(10, 4, 8, memory_bytes=GIB, want="compressed")[0] == "compressed"
    assert choose_name(10, 4, None, memory_bytes=GIB, want="flat")[0] == "flat"
    with pytest.raises(IndexesError, match=r"no engine 'graph'. Choose one of auto, exact, flat, compressed"):
        choose_name(10, 4, None, memory_bytes=GIB, want="graph")
    with pytest.raises(IndexesError, match="needs codes, and this index has none"):
        choose_name(10, 4, None, memory_bytes=GIB, want="compressed")
    with pytest.raises(MemoryTooSmall, match=r"the flat engine needs about 1030 MiB .* allowed are 1024 MiB"):
        choose_name(1_047_000, 256, None, memory_bytes=GIB, want="flat")


def test_codes_need_less_than_a_fourteenth_of_the_vectors():
    rows = 10_000_000
    need = estimate_need(rows, 256, 40)

    assert need.compressed is not None
    assert (need.compressed - 2048 * 1000 * 12) / rows == 48
