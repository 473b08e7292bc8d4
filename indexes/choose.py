"""Which engine: a pure rule of rows, dimension, codes, memory and what the machine is good at, and the reason in words."""

from dataclasses import dataclass, replace

from indexes.byte_products import bytes_gain
from indexes.codec import Codec
from indexes.compressed import CompressedEngine, need_bytes
from indexes.device import DeviceEngine, cuda_count, host_need
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

WANTS = ("auto", "cpu", "exact", "flat", "compressed", "cuda")
"""`cpu` is auto without the GPU."""

_EXACT_BYTES = 1 << 20
_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class Need:
    """Memory of the host that each engine needs in bytes; None for those by codes where there are none."""

    exact: int
    flat: int
    compressed: int | None
    cuda: int | None


def estimate_need(rows: int, dim: int, code_bytes: int | None) -> Need:
    """Return the memory that each engine needs for `rows` references of `dim` components."""
    ids = rows * _ID_BYTES
    need = Need(exact=ids + _EXACT_BYTES, flat=ids + rows * dim * 4, compressed=None, cuda=None)
    if code_bytes is None:
        return need
    return replace(need, compressed=ids + need_bytes(cores(), code_bytes), cuda=ids + host_need(dim))


def choose_name(
    rows: int,
    dim: int,
    code_bytes: int | None,
    *,
    memory_bytes: int,
    want: str = "auto",
    gain: float = 4.0,
    gpus: int = 0,
) -> tuple[str, str]:
    """Return (engine name, reason).

    | want | rows      | codes | GPUs | compressed fits | gain      | engine     |
    | auto | < 50 000  | any   | any  | any             | any       | exact      |
    | auto | more      | no    | any  | any             | any       | exact      |
    | auto | more      | yes   | some | any             | any       | cuda       |
    | auto | more      | yes   | none | no              | any       | exact      |
    | auto | more      | yes   | none | yes             | < 1.2     | exact      |
    | auto | more      | yes   | none | yes             | more      | compressed |
    | cpu  | as auto with no GPUs                                  |            |
    | name | any       | as needed                      | any       | that one   |

    Args:
        rows: references.
        dim: components of a vector.
        code_bytes: bytes of a compressed row; None where there are no codes.
        memory_bytes: allowance for the engine.
        want: auto, cpu (auto without GPUs), exact, flat, compressed or cuda.
        gain: how many times as fast as floats this machine multiplies bytes.
        gpus: CUDA devices.

    Raises:
        IndexesError: `want` is unknown, or needs codes that are not there.
        MemoryTooSmall: the engine does not fit; the exact engine streams and needs the least.
    """
    if want not in WANTS:
        raise IndexesError(f"there is no engine {want!r}. Choose one of {', '.join(WANTS)}.")
    need = estimate_need(rows, dim, code_bytes)
    sizes = {"exact": need.exact, "flat": need.flat, "compressed": need.compressed, "cuda": need.cuda}
    if want not in ("auto", "cpu"):
        name, reason = want, f"asked for; needs about {_mebibytes(sizes[want] or 0)}"
    elif rows < COMPRESSED_ROWS_MIN:
        name, reason = "exact", f"auto: {rows} rows are few enough to search exactly"
    elif code_bytes is None or need.compressed is None or need.cuda is None:
        name, reason = "exact", "auto: the index has no compressed codes"
    elif gpus and want == "auto" and need.cuda <= memory_bytes:
        name, reason = "cuda", f"auto: {gpus} CUDA device{'s' * (gpus > 1)}; {rows} rows, complete by proof"
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
            f"the {name} engine needs codes, and this index has none. "
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
        want: auto, cpu (auto without GPUs), exact, flat, compressed or cuda.
    """
    usable = codec if codec is not None and references.has_codes else None
    code_bytes = usable.code_bytes if usable else None
    # What the machine is good at is tried only where it matters: it means loading torch.
    matters = want in ("auto", "cpu") and usable is not None and references.rows_stored >= COMPRESSED_ROWS_MIN
    gpus = cuda_count() if matters and want == "auto" else 0
    name, reason = choose_name(
        references.rows_stored,
        references.dim,
        code_bytes,
        memory_bytes=memory_bytes,
        want=want,
        gain=bytes_gain() if matters and not gpus else GAIN_MIN,
        gpus=gpus,
    )
    if name == "compressed" and usable is not None:
        return CompressedEngine(references, usable), reason
    if name == "flat":
        return FlatEngine(references), reason
    left = min(max(memory_bytes - references.rows_stored * _ID_BYTES, _EXACT_BYTES), 1 << 30)
    if name == "cuda" and usable is not None:
        try:
            return DeviceEngine(references, usable, host_bytes=left), reason
        except IndexesError as error:
            if want == "cuda":
                raise
            engine, reason = choose_engine(references, codec, memory_bytes=memory_bytes, want="cpu")
            return engine, f"{reason} (no GPU: {error})"
    return ExactEngine(references, memory_bytes=left), reason


def _mebibytes(size_bytes: int) -> str:
    mebibytes = size_bytes / (1 << 20)
    return f"{mebibytes:.0f} MiB" if mebibytes >= 10 else f"{mebibytes:.2g} MiB"  # noqa: PLR2004
