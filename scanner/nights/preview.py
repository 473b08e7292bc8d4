"""What a night would do, without doing any of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from indexes import open_index
from indexes.errors import IndexesError
from scanner import artefacts
from scanner.errors import ScannerError
from scanner.jobs.measuring.meter import COSTS_NAME
from scanner.jobs.options import open_road
from scanner.nights.config import GallerySection, JobConfig, QueriesSection, mistakes, place_of, sources_of
from scanner.nights.listing import look, read_seen
from scanner.nights.same_way import check_job
from scanner.nights.state import State


def preview(config: JobConfig, beside: Path, *, allow_gone: bool = False) -> dict[str, Any]:
    """Return what is new and gone in every set, how many comparisons follow, and what that may take.

    Numbers of new faces are guesses (one a new picture; an archive that changed counts as unknown), times are at the rates
    of the last night that did the same; None where they cannot be known.

    Args:
        config: the job.
        beside: the folder of its file.
        allow_gone: as of `run_night`.
    """
    state = State(Path(place_of(config.job.folder, beside)))
    gone_max = config.job.share(allow_gone=allow_gone)
    sets = {
        name: _set(state, name.partition("/")[0], section, beside, gone_max) for name, section in config.sets().items()
    }
    counted = [one["new"] for one in sets.values()]
    images = None if None in counted else sum(counted)
    comparisons = _comparisons(sets)
    rates = _rates(state)
    return {
        "sets": sets,
        "images": images,
        "comparisons": comparisons,
        "embed_s": None if images is None or "images" not in rates else round(images / rates["images"], 1),
        "problems": [
            *_of_the_file(config, beside, state),
            *(f"{name}: {why}" for name, one in sets.items() for why in one["problems"]),
        ],
    }


def _of_the_file(config: JobConfig, beside: Path, state: State) -> list[str]:
    """Return what is wrong with what the file names, networks opened, and what of it does not fit what is kept."""
    found = mistakes(config, beside)
    looks = {"folder": state.check_keys}
    if not found:
        looks["embedder"] = lambda: check_job(config, state, open_road(config.faces(beside)))
    for what, look_at in looks.items():
        try:
            look_at()
        except (ScannerError, IndexesError) as error:
            found.append(f"{what}: {error}")
    return found


def _set(
    state: State, kind: str, section: QueriesSection | GallerySection, beside: Path, gone_max: float
) -> dict[str, Any]:
    if isinstance(section, GallerySection) and section.index is not None:
        rows, problems = _rows(Path(place_of(section.index, beside)))
        return {"there": rows, "new": 0, "gone": 0, "problems": problems}
    seen = read_seen(state.seen(kind, section.name))
    specs = [(source, place_of(source, beside)) for source in section.sources]
    news = look(specs, sources_of(section), seen, gone_max=gone_max)
    archives = any(not uri for uri in news.fresh["uri"].to_pylist())
    return {
        "there": seen.num_rows,
        "new": None if archives else news.fresh.num_rows,
        "gone": len(news.gone),
        "problems": [why for _, why in news.lost],
    }


def _rows(path: Path) -> tuple[int, list[str]]:
    try:
        return open_index(path).rows, []
    except (ScannerError, IndexesError) as error:
        return 0, [str(error)]


def _comparisons(sets: dict[str, dict[str, Any]]) -> int | None:
    """Return new queries times all references and old queries times new references, counting a face a picture."""
    if any(one["new"] is None for one in sets.values()):
        return None
    total = 0
    for name, queries in sets.items():
        if name.startswith("queries/"):
            for other, references in sets.items():
                if not other.startswith("queries/"):
                    everything = references["there"] + references["new"]
                    total += queries["new"] * everything + queries["there"] * references["new"]
    return total


def _rates(state: State) -> dict[str, float]:
    """Return units a second of the last nights, by unit."""
    found: dict[str, float] = {}
    for number in reversed(state.finished()):
        path = state.night(number) / COSTS_NAME
        for stage in artefacts.read_json(path)["stages"] if path.exists() else []:
            if stage["items"] and stage["seconds"]:
                found.setdefault(stage["unit"], stage["items"] / stage["seconds"])
    return found
