"""What is fuzzed: for each target its sound files, and what reads them.

A target's `read` is given a folder with the files of one case.  It may return, or raise one of our errors; all else is a defect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from fuzzing import seeds
from fuzzing.mutate import Case

ENTRIES_MAX = 5000
"""Entries of a source that are looked at."""


@dataclass(frozen=True, slots=True)
class Target:
    """One parser.

    Attributes:
        seeds: makes its sound files.
        read: reads them.
        generates_code: torch.fx compiles a graph.
        guided: False where following lines costs too much.
        growth_bytes: what one input may add to the process' resident memory.
    """

    seeds: Callable[[], list[Case]]
    read: Callable[[Path], object]
    generates_code: bool = False
    guided: bool = True
    growth_bytes: int = 512 << 20


def _only(folder: Path) -> Path:
    return next(path for path in sorted(folder.iterdir()) if path.is_file())


def _picture(folder: Path) -> None:
    from scanner.images import ImageRefused, decode_item, decode_reduced
    from scanner.records import Item

    data = _only(folder).read_bytes()
    decode_item(Item("x", data), pixels_max=1 << 22)
    try:
        decode_reduced(data, side_wanted=4, pixels_max=1 << 22)
    except ImageRefused:
        return


def _source(folder: Path) -> None:
    from scanner.sources import open_source

    path = next(
        (
            folder / name
            for name in ("set.tar", "set.tar.gz", "set.zip", "set.parquet", "train.rec")
            if (folder / name).exists()
        ),
        folder,
    )
    source = open_source(str(path), bytes_max=1 << 20)
    source.describe()
    entries = list(islice(source.entries(), ENTRIES_MAX))
    if len(entries) < ENTRIES_MAX:
        assert list(source.entries(skip=2)) == entries[2:], "a skip gives other entries"
        assert source.count() in {None, len(entries)}, "the count is not that of the entries"
    for entry in entries:
        assert entry.uri.isprintable(), "a name that cannot be printed"


def _vectors(folder: Path) -> None:
    from scanner.sources.embeddings import open_embeddings

    source = open_embeddings(
        str(next((folder / name for name in ("v.npy", "v.parquet") if (folder / name).exists()), folder / "v.npy"))
    )
    source.describe()
    rows = 0
    for block in islice(source.batches(rows_max=64), 100):
        rows += len(block.rows) + len(block.rejects)
    assert rows == source.count() or rows >= 64 * 100, "the count is not that of the rows"


def _index(folder: Path) -> None:
    from indexes import open_index

    index = open_index(folder)
    index.verify()
    references = index.references()
    index.column(index.schema.names[0])
    if references.rows:
        index.lookup(references.ids[references.live_rows()][:3])
        from indexes import VectorBatch

        query = VectorBatch(seeds.unit(2, references.dim)) if references.dim < 4096 else None
        if query is not None:
            index.engine(1 << 28)[0].search(query, threshold=0.9)


def _page(folder: Path) -> None:
    from scanner.report.damage import damage_explained
    from scanner.report.page import write_page

    with damage_explained(folder):
        write_page(folder)


def _verified(folder: Path) -> None:
    from scanner.jobs.checking.verify import verify

    verify(folder)


def _document(folder: Path) -> None:
    from scanner.audit.check import read_shares
    from scanner.audit.config import read_config
    from scanner.embedders.sidecar import read_sidecar
    from scanner.generators.description import read_generator
    from scanner.inversion.features.store import read_manifest
    from scanner.jobs.measuring.profile import read_profile
    from scanner.networks.description import read_network

    path = _only(folder)
    readers: dict[str, Callable[[Path], object]] = {
        "audit": read_config, "network": read_network, "generator": read_generator, "profile": read_profile,
        "sidecar": lambda path: read_sidecar(path.with_suffix(".onnx")), "shares": read_shares,
        "inverse": lambda path: read_manifest(path.parent),
    }  # fmt: skip
    readers[path.stem](path)


def _onnx_session(folder: Path) -> None:
    from scanner.embedders.onnx_network import OnnxEmbedder
    from scanner.embedders.sidecar import Sidecar
    from scanner.sessions import Device, read_model

    device = Device("cpu", "CPUExecutionProvider", "fuzzing")
    OnnxEmbedder("x", read_model(_only(folder)), Sidecar(), device, batch=1)


def _network(folder: Path) -> None:
    from scanner.networks.modules import kind_of, load_module
    from scanner.networks.network import make_network

    path = _only(folder)
    factory = "scanner.networks.tiny:tiny_vgg" if kind_of(path) == "safetensors" else None
    make_network("net", load_module(path, factory=factory), input_shape=(3, 8, 8))


def _torchscript(folder: Path) -> None:
    import torch

    from scanner.networks.modules import kind_of
    from scanner.networks.torchscript import load_torchscript

    path = _only(folder)
    if kind_of(path) == "torchscript":
        module = load_torchscript(path)
        try:
            module(torch.zeros(2, 3, 8, 8))
        except RuntimeError:
            return  # what a generator answers is checked by whoever opens it


TARGETS: dict[str, Target] = {
    "pictures": Target(seeds.pictures, _picture),
    "tar": Target(seeds.tars, _source),
    "zip": Target(seeds.zips, _source),
    "recordio": Target(seeds.records, _source),
    "parquet": Target(seeds.parquets, _source),
    "folder": Target(seeds.folders, _source),
    "embeddings": Target(seeds.vectors, _vectors),
    "index": Target(seeds.indexes, _index),
    "page": Target(seeds.runs, _page, guided=False),
    "verify": Target(seeds.runs, _verified, guided=False),
    "documents": Target(seeds.documents, _document),
    "onnx-session": Target(lambda: seeds.graphs()[:1], _onnx_session, growth_bytes=1 << 30),
    "onnx": Target(seeds.graphs, _network, generates_code=True, growth_bytes=1 << 30),
    "pt2": Target(lambda: seeds.networks("pt2"), _network, generates_code=True, growth_bytes=1 << 30),
    "torchscript": Target(lambda: seeds.networks("ts"), _torchscript, generates_code=True, growth_bytes=1 << 30),
    "safetensors": Target(lambda: seeds.networks("safetensors"), _network, generates_code=True, growth_bytes=1 << 30),
}
