"""Which engine: a pure rule of rows, dimension, codes, memory and what the machine is good at, and the reason in words."""

from dataclasses import dataclass

from indexes.byte_products import bytes_gain
from indexes.codec import Codec
from indexes.compressed import CompressedEngine, need_bytes
from indexes.engine import Engine
from indexes.errors import IndexesError, MemoryTooSmall
from indexes.exact import ExactEngine
from indexes.flat import FlatEngine
from indexes.references import References
from indexes.tiled import cores

COMPRESSED_ROWS_MIN = 50_000
"""Below it an exact search takes under half a millisecond a query on two busy cores (256-d): nothing to gain."""

GAIN_MIN = 1.2
"""Products of bytes must be this much faster than products of floats, for reading codes besides to pay."""

WANTS = ("auto", "exact", "flat", "compressed")
_EXACT_BYTES = 1 << 20
_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class Need:
    """Memory that each engine needs in bytes; `compressed` is None where there are no codes."""

    exact: int
    flat: int
    compressed: int | None


def estimate_need(rows: int, dim: int, code_bytes: int | None) -> Need:
    """Return the memory that each engine needs for `rows` references of `dim` components."""
    ids = rows * _ID_BYTES
    compressed = None if code_bytes is None else ids + need_bytes(cores(), code_bytes)
    return Need(exact=ids + _EXACT_BYTES, flat=ids + rows * dim * 4, compressed=compressed)


def choose_name(
    rows: int, dim: int, code_bytes: int | None, *, memory_bytes: int, want: str = "auto", gain: float = 4.0
) -> tuple[str, str]:
    """Return (engine name, reason).

    | want | rows      | codes | compressed fits | gain      | engine     |
    | auto | < 50 000  | any   | any             | any       | exact      |
    | auto | more      | no    | any             | any       | exact      |
    | auto | more      | yes   | no              | any       | exact      |
    | auto | more      | yes   | yes             | < 1.2     | exact      |
    | auto | more      | yes   | yes             | more      | compressed |
    | name | any       | as needed               | any       | that one   |

    Args:
        rows: references.
        dim: components of a vector.
        code_bytes: bytes of a compressed row; None where there are no codes.
        memory_bytes: allowance for the engine.
        want: auto, exact, flat or compressed.
        gain: how many times as fast as floats this machine multiplies bytes.

    Raises:
        IndexesError: `want` is unknown, or needs codes that are not there.
        MemoryTooSmall: the engine does not fit; the exact engine streams and needs the least.
    """
    if want not in WANTS:
        raise IndexesError(f"there is no engine {want!r}. Choose one of {', '.join(WANTS)}.")
    need = estimate_need(rows, dim, code_bytes)
    sizes = {"exact": need.exact, "flat": need.flat, "compressed": need.compressed}
    if want != "auto":
        name, reason = want, f"asked for; needs about {_mebibytes(sizes[want] or 0)}"
    elif rows < COMPRESSED_ROWS_MIN:
        name, reason = "exact", f"auto: {rows} rows are few enough to search exactly"
    elif code_bytes is None or need.compressed is None:
        name, reason = "exact", "auto: the index has no compressed codes"
    elif need.compressed > memory_bytes:
        name, reason = "exact", f"auto: codes need {_mebibytes(need.compressed)}, more than allowed"
    elif gain < GAIN_MIN:
        name, reason = "exact", "auto: this machine multiplies bytes no faster than floats"
    else:
        name = "compressed"
        reason = f"auto: {rows} rows; {code_bytes} bytes each stand for {dim} floats, complete by proof"
    size = sizes[name]
    if size is None:
        raise IndexesError(
            "the compressed engine needs codes, and this index has none. "
            "Build it with codec='always', or choose the exact engine."
        )
    if size > memory_bytes:
        raise MemoryTooSmall(
            f"the {name} engine needs about {_mebibytes(size)} for {rows} rows, allowed are "
            f"{_mebibytes(memory_bytes)}. Allow more, or choose the exact engine, which needs "
            f"{_mebibytes(need.exact)}."
        )
    return name, reason


def choose_engine(
    references: References, codec: Codec | None, *, memory_bytes: int, want: str = "auto"
) -> tuple[Engine, str]:
    """Return (engine, reason); see `choose_name` for the rule and what is raised.

    Args:
        references: what to search.
        codec: that made the references' codes; None where there are none.
        memory_bytes: allowance for the engine.
        want: auto, exact, flat or compressed.
    """
    usable = codec if codec is not None and references.has_codes else None
    code_bytes = usable.code_bytes if usable else None
    # What the machine is good at is tried only where it matters: it means loading torch.
    matters = want == "auto" and usable is not None and references.rows_stored >= COMPRESSED_ROWS_MIN
    name, reason = choose_name(
        references.rows_stored,
        references.dim,
        code_bytes,
        memory_bytes=memory_bytes,
        want=want,
        gain=bytes_gain() if matters else GAIN_MIN,
    )
    if name == "compressed" and usable is not None:
        return CompressedEngine(references, usable), reason
    if name == "flat":
        return FlatEngine(references), reason
    left = max(memory_bytes - references.rows_stored * _ID_BYTES, _EXACT_BYTES)
    return ExactEngine(references, memory_bytes=min(left, 1 << 30)), reason


def _mebibytes(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.0f} MiB"
