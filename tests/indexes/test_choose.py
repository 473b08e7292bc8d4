import pytest

from indexes.choose import choose_name, estimate_need
from indexes.errors import IndexesError, MemoryTooSmall

GIB = 1 << 30


@pytest.mark.parametrize(
    ("rows", "code_bytes", "memory_bytes", "name", "reason"),
    [
        (49_999, 160, GIB, "exact", "auto: 49999 rows are few enough to search exactly"),
        (50_000, 160, GIB, "compressed", "auto: 50000 rows; 160 bytes each stand for 256 floats, complete by proof"),
        (50_000, None, GIB, "exact", "auto: the index has no compressed codes"),
    ],
)
def test_auto_follows_the_table(rows, code_bytes, memory_bytes, name, reason):
    assert choose_name(rows, 256, code_bytes, memory_bytes=memory_bytes) == (name, reason)


def test_what_is_asked_for_is_chosen_or_refused():
    assert choose_name(10, 4, 8, memory_bytes=GIB, want="compressed")[0] == "compressed"
    assert choose_name(10, 4, None, memory_bytes=GIB, want="flat")[0] == "flat"
    with pytest.raises(
        IndexesError, match=r"no engine 'graph'. Choose one of auto, cpu, exact, flat, compressed, cuda"
    ):
        choose_name(10, 4, None, memory_bytes=GIB, want="graph")
    with pytest.raises(IndexesError, match="needs codes, and this index has none"):
        choose_name(10, 4, None, memory_bytes=GIB, want="compressed")
    with pytest.raises(
        MemoryTooSmall, match=r"the flat engine needs about 0.41 MiB for 419 rows, allowed are 0.001 MiB"
    ):
        choose_name(419, 256, None, memory_bytes=1050, want="flat")
    with pytest.raises(MemoryTooSmall, match=r"the flat engine needs about 1030 MiB .* allowed are 1024 MiB"):
        choose_name(1_047_000, 256, None, memory_bytes=GIB, want="flat")


def test_a_gpu_is_taken_where_there_is_one_and_codes_and_rows_enough():
    two = "auto: 2 CUDA devices; 50000 rows, complete by proof"

    assert choose_name(50_000, 256, 160, memory_bytes=GIB, gpus=2) == ("cuda", two)
    assert choose_name(49_999, 256, 160, memory_bytes=GIB, gpus=2)[0] == "exact"
    assert choose_name(50_000, 256, None, memory_bytes=GIB, gpus=2)[0] == "exact"
    assert choose_name(50_000, 256, 160, memory_bytes=GIB, gpus=2, want="cpu")[0] == "compressed"
    assert choose_name(10, 256, 160, memory_bytes=GIB, want="cuda")[0] == "cuda"
    with pytest.raises(IndexesError, match="the cuda engine needs codes, and this index has none"):
        choose_name(10, 256, None, memory_bytes=GIB, want="cuda")


def test_codes_stream_so_that_memory_does_not_grow_with_them():
    need = estimate_need(10_000_000, 256, 160)

    assert need.compressed is not None
    assert need.compressed - 10_000_000 * 8 < GIB // 8
    tight = 10_000_000 * 8 + (2 << 20)
    name, reason = choose_name(10_000_000, 256, 160, memory_bytes=tight)
    assert name == "exact"
    assert reason.startswith("auto: codes need")
    assert reason.endswith("more than allowed")


def test_a_machine_that_multiplies_bytes_slowly_searches_floats():
    chosen = choose_name(60_000, 256, 160, memory_bytes=GIB, gain=1.1)

    assert chosen == ("exact", "auto: this machine multiplies bytes no faster than floats")
    assert choose_name(60_000, 256, 160, memory_bytes=GIB, gain=1.1, want="compressed")[0] == "compressed"
