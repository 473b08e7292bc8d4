"""Finished shards of a latent inversion, and what becomes of them at its end."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from indexes.atomic import atomic_path, write_json
from indexes.sealed import create
from scanner import artefacts
from scanner.errors import NothingScanned
from scanner.images import encode_png
from scanner.jobs.folders import remove_folder
from scanner.jobs.inverting.inverted import InvertedShard, ShardCounts
from scanner.jobs.numbered import Numbered
from scanner.jobs.parts import begin_work
from scanner.records import Reject

if TYPE_CHECKING:
    from scanner.inversion.latent import Recovered
    from scanner.jobs.inverting.options import InvertOptions
    from scanner.jobs.inverting.pictures import Wanted
    from scanner.jobs.inverting.tools import Tools

_MSE_MIN: Final = 1e-10
"""A mean squared error below this is shown as 100 dB: it is rounding."""


class InversionParts:
    """The shards of one inversion: tables and markers in OUT/unfinished, reconstructions at their final place."""

    def __init__(self, out: Path, *, generator_fingerprint: str) -> None:
        """Look at the folder; nothing is written before `begin`."""
        self.out, self.folder = out, out / "unfinished"
        self._parts = Numbered(self.folder)
        self.schema = artefacts.stamped(artefacts.INVERSIONS, "inversions", fingerprint=generator_fingerprint)
        self.rejects_schema = artefacts.stamped(artefacts.REJECTS, "rejects")

    def begin(self, plan: dict[str, Any], *, resume: bool) -> int:
        """Start or take up the job `plan`; return the number of shards already done."""
        artefacts.make_private_folder(self.out)
        begin_work(self.folder, plan, resume=resume)
        return len(self._parts.numbers())

    def slots(self, tools: Tools, options: InvertOptions) -> int:
        """Return how many images are worked on at once: found once, and then kept, so that a resumed job is the same."""
        path = self.folder / "slots.json"
        if not path.exists():
            write_json(path, {"slots": options.slots or tools.find_slots(options)})
        return int(artefacts.read_json(path)["slots"])

    def write(self, shard: InvertedShard) -> None:
        """Write one shard; when this returns it will never be done again."""
        good = [(w, f) for w, f in zip(shard.wanted, shard.found, strict=True) if f.status != "failed"]
        if good:
            write_reconstructions(self.out / f"reconstructions-{shard.number:06d}.tar", good)
        rows = _rows(self.schema, shard.wanted, shard.found)
        artefacts.write_tables(self._parts.table(shard.number, "inversions"), self.schema, [rows])
        rejects = _rejects(self.rejects_schema, shard.rejects)
        artefacts.write_tables(self._parts.table(shard.number, "rejects"), self.rejects_schema, [rejects])
        self._parts.finish(shard.number, asdict(shard.counts()))

    def counts(self) -> ShardCounts:
        """Add up the counts of all finished shards."""
        total = ShardCounts()
        for document in self._parts.documents():
            total = total + ShardCounts(**document)
        return total

    def check_any(self, uri: str, *, done: str) -> None:
        """Where not one image of the source `uri` came out, remove the folder and raise NothingScanned."""
        counts = self.counts()
        if counts.inverted:
            return
        remove_folder(self.out)
        words = {**({"failed": counts.failed} if counts.failed else {}), **dict(sorted(counts.reasons.items()))}
        became = ", ".join(f"{n} {name}" for name, n in words.items()) or "no entry at all"
        failed = "The network gave NaN or infinities for those that failed: look at its weights."
        raise NothingScanned(
            f"Nothing was {done}: {counts.entries} entries in {uri}, not one image came out ({became}). "
            f"{failed if counts.failed else 'Look at the pictures.'}"
        )

    def is_read_out(self, shard_images: int) -> bool:
        """True when the last shard was cut short by the end of the source."""
        return self.counts().entries < len(self._parts.numbers()) * shard_images

    def seen(self) -> set[str]:
        """Return the ids of every item met so far."""
        tables = [*self._tables("inversions", ["item_id"]), *self._tables("rejects", ["item_id"])]
        return {item_id for table in tables for item_id in table["item_id"].to_pylist() if item_id}

    def merge(self) -> dict[str, Any]:
        """Write the final tables; return quantiles of the errors."""
        artefacts.write_tables(self.out / "rejects.parquet", self.rejects_schema, self._tables("rejects"))
        artefacts.write_tables(self.out / "inversions.parquet", self.schema, self._tables("inversions"))
        columns = ("relative_error", "psnr_db", "identity_score", "steps", "restarts")
        table = artefacts.read_table(self.out / "inversions.parquet", "inversions", columns=list(columns))
        found: dict[str, Any] = {}
        for name in columns:
            values = table[name].drop_null().to_numpy().astype(np.float64)
            if len(values):
                shares = np.quantile(values, (0.05, 0.5, 0.95))
                found[name] = dict(zip(("p05", "median", "p95"), (round(float(v), 6) for v in shares), strict=True))
        return found

    def _tables(self, kind: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        for number in self._parts.numbers():
            yield artefacts.read_table(self._parts.table(number, kind), kind, columns=columns)


def write_reconstructions(path: Path, found: list[tuple[Wanted, Recovered]]) -> None:
    """Write reconstructions as WebDataset: ITEM_ID.png, and ITEM_ID.json with the identity where there is one."""
    from scanner.generators.sample import to_u8

    with atomic_path(path) as temporary:
        temporary.touch(mode=0o600)
        with create(temporary) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for wanted, one in found:
                _add(tar, f"{wanted.item_id}.png", encode_png(to_u8(one.image01.numpy()[None])[0]))
                if wanted.identity is not None:
                    _add(tar, f"{wanted.item_id}.json", json.dumps({"identity": wanted.identity}).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o600
    tar.addfile(member, io.BytesIO(data))


def _rows(schema: pa.Schema, wanted: list[Wanted], found: list[Recovered]) -> pa.Table:
    is_good = [one.status != "failed" for one in found]

    def figures(name: str) -> list[float | None]:
        return [_finite(getattr(one, name)) for one in found]

    columns = {
        "item_id": [w.item_id for w in wanted],
        "uri": [w.uri for w in wanted],
        "identity": [w.identity for w in wanted],
        "status": [one.status for one in found],
        "restarts": [one.restarts for one in found],
        "steps": [one.steps for one in found],
        "loss": figures("loss"),
        "pixel_mse": figures("pixel_mse"),
        "psnr_db": [
            float(-10 * np.log10(max(one.pixel_mse, _MSE_MIN))) if good else None
            for one, good in zip(found, is_good, strict=True)
        ],
        "relative_error": figures("relative_error"),
        "feature": figures("feature"),
        "identity_score": figures("identity"),
        "label": [one.label for one in found],
        "latent": [one.latent.numpy() if good else None for one, good in zip(found, is_good, strict=True)],
    }
    return artefacts.table_of(schema, columns)


def _rejects(schema: pa.Schema, rejects: list[Reject]) -> pa.Table:
    columns = {
        "uri": [r.uri for r in rejects],
        "item_id": [r.item_id for r in rejects],
        "identity": [r.identity for r in rejects],
        "level": ["item"] * len(rejects),
        "reason": [r.reason.value for r in rejects],
        "detail": [r.detail for r in rejects],
    }
    return artefacts.table_of(schema, columns)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
