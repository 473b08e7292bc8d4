"""Faces that were found in two ways are not mixed: scores between them would be of two kinds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from indexes import open_index
from scanner.errors import EmbedderMismatch
from scanner.jobs.options import OpenedRoad
from scanner.nights.collection import Collection
from scanner.nights.config import JobConfig, QueriesSection
from scanner.nights.listing import SEEN
from scanner.nights.state import State


def check_job(config: JobConfig, state: State, opened: OpenedRoad) -> None:
    """Raise EmbedderMismatch when what is kept of a set of the job was found in another way than its `[embedder]` says.

    Args:
        config: the job.
        state: its folder.
        opened: the road that its `[embedder]` describes.
    """
    for where, fingerprint, description in _kept(config, state):
        check_same_network(fingerprint, opened.fingerprint, where=where)
        check_same_way(description, opened.description, where=where)


def check_same_network(before: str, now: str, *, where: Path) -> None:
    """Raise EmbedderMismatch when the faces in `where` were embedded by another network than new ones; by fingerprints."""
    if before != now:
        raise EmbedderMismatch(
            f"The faces in {where} were embedded by {before}, the job's embedder is now {now}. Scores between them mean "
            "nothing: put [embedder] back as it was, or choose another [job] folder."
        )


def check_same_way(before: Mapping[str, Any], now: Mapping[str, Any], *, where: Path) -> None:
    """Raise EmbedderMismatch when the faces that are kept were found in another way than new ones.

    Args:
        before: what is written beside those that are kept; `faces` says how they were found.
        now: the same of new ones.
        where: what keeps them.
    """
    old, new = (json.loads(json.dumps(one.get("faces") or {})) for one in (before, now))
    other = [
        f"{key} {old.get(key)}, now {new.get(key)}" for key in sorted({*old, *new}) if old.get(key) != new.get(key)
    ]
    if old and other:
        raise EmbedderMismatch(
            f"The faces in {where} were found in another way than the job's [embedder] says now: {'; '.join(other)}. They "
            "cannot be mixed: put [embedder] back as it was, or choose another [job] folder."
        )


def _kept(config: JobConfig, state: State) -> Iterator[tuple[Path, str, Mapping[str, Any]]]:
    """Yield where faces of the job's sets are kept, by which network they are, and how they were found."""
    for name, section in config.sets().items():
        path = state.index(name.partition("/")[0], section.name)
        if isinstance(section, QueriesSection):
            faces = Collection(state.queries(section.name), SEEN.empty_table())
            if not faces.is_empty:
                yield faces.folder, faces.fingerprint, faces.description
        elif section.index is None and path.exists():
            index = open_index(path)
            yield path, index.fingerprint, index.manifest.embedder
