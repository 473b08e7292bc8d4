"""The sources of an audit, read once each into work folders that survive a kill; images, ready embeddings or an index."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexes import open_index
from scanner.audit.config import AuditConfig, place_of
from scanner.errors import EmbedderMismatch
from scanner.jobs.embedding.intake import take_in
from scanner.jobs.embedding.ready import is_embeddings
from scanner.jobs.options import OpenedRoad, open_road
from scanner.jobs.parts import vectors_of
from scanner.progress import Progress
from scanner.records import Counts


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """The faces of one source, in its order.

    Attributes:
        vectors: (n, d) float32, unit rows.
        identities: n labels, None where there is none.
        marks: for each face what its picture can be recognised by: the hash of its bytes where it is known, and that of
            its vector (equal pixels under another file name).
        fingerprint: of the embedder.
        counts: what became of every entry of the source.
    """

    vectors: NDArray[np.float32]
    identities: tuple[str | None, ...]
    marks: tuple[tuple[str, ...], ...]
    fingerprint: str
    counts: dict[str, Any]


class Reader:
    """Reads sources of an audit, each once, into numbered work folders that survive a kill."""

    def __init__(self, config: AuditConfig, folder: Path, work: Path, *, resume: bool, progress: Progress) -> None:
        """Remember how; `folder` is where AUDIT.toml lies, `work` where finished parts go."""
        self._config, self._folder, self._work, self._progress = config, folder, work, progress
        self._resume = resume
        self._sources = config.sources()
        self._opened: OpenedRoad | None = None
        self._seen: dict[str, Faces] = {}
        self.roads: dict[str, dict[str, Any]] = {}

    def read(self, written: str) -> Faces:
        """Return the faces of a source named in the file.

        Raises:
            EmbedderMismatch: embedded by another embedder than the first source was.
            NothingScanned: not one face came out.
        """
        if written not in self._seen:
            found = self._read(place_of(written, self._folder), written)
            for name, other in self._seen.items():
                if other.fingerprint != found.fingerprint:
                    raise EmbedderMismatch(
                        f"{written} was embedded with fingerprint {found.fingerprint}, {name} with {other.fingerprint}. Scores "
                        "between them mean nothing: embed all sources of an audit alike, or name pictures."
                    )
            self._seen[written] = found
        return self._seen[written]

    def counts(self) -> dict[str, dict[str, Any]]:
        """Return what became of the entries of each source, by its name in the file."""
        return {name: faces.counts for name, faces in self._seen.items()}

    def _read(self, place: str, written: str) -> Faces:
        if (Path(place) / "manifest.json").is_file():
            return self._from_index(Path(place), written)
        if not is_embeddings(place, self._sources) and self._opened is None:
            self._opened = open_road(self._config.faces(self._folder))
            for note in self._opened.notes:
                self._progress.note(note)
        intake = take_in(
            [place], work=self._work / f"{len(self._seen):03d}", sources=self._sources,
            faces=self._config.faces(self._folder), progress=self._progress, plan={}, resume=self._resume,
            embedded_by=self._config.embedder.embedded_by, opened=self._opened,
        )  # fmt: skip
        tables = list(intake.faces())
        self.roads[written] = intake.description
        return _faces(
            np.concatenate([vectors_of(table) for table in tables]),
            pa.concat_tables([table.select(["item_id", "face", "identity"]) for table in tables]),
            intake.fingerprint,
            asdict(intake.counts()),
        )

    def _from_index(self, path: Path, written: str) -> Faces:
        index = open_index(path)
        references = index.references()
        names = ("item_id", "face", "identity")
        table = pa.table({name: index.column(name) for name in names})
        self.roads[written] = {"embedder": dict(index.manifest.embedder), "faces": None}
        vectors = references.gather(references.live_rows())
        counts = asdict(Counts(entries=index.rows, items=index.rows, faces=index.rows))
        return _faces(vectors, table, index.fingerprint, counts)


def _faces(vectors: NDArray[np.float32], table: pa.Table, fingerprint: str, counts: dict[str, Any]) -> Faces:
    marks = tuple(
        (*((f"item {item} {face}",) if item else ()), f"vector {hashlib.sha256(vector.tobytes()).hexdigest()}")
        for item, face, vector in zip(table["item_id"].to_pylist(), table["face"].to_pylist(), vectors, strict=True)
    )
    return Faces(vectors, tuple(table["identity"].to_pylist()), marks, fingerprint, counts)
