"""How far a job is: what its folder says, without its lock and without a word to the process that runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from scanner import artefacts
from scanner.jobs.measuring.meter import COSTS_NAME
from scanner.nights.state import State, holder
from scanner.nights.take import TAKEN


def status(state: State, now: datetime) -> dict[str, Any]:
    """Return what a job is doing and what it did last.

    Args:
        state: its folder.
        now: the time, with a time zone; for the predicted end.

    Returns:
        `doing` is running, interrupted (the next start goes on) or waiting; `process` who runs it; `night` the number of
        the night that is under way; `steps` what of it is done, being done and waiting; `predicted_end` ISO 8601, from the
        rate of the present step, or None; `last` the account of the last finished night, in short.

    Raises:
        ArtefactError: no job's folder.
    """
    state.check()
    process = holder(state)
    under_way = (state.tonight / "night.json").exists()
    steps = list(_steps(state)) if under_way else []
    doing = "running" if process is not None else "interrupted" if under_way else "waiting"
    return {
        "doing": doing,
        "process": process,
        "night": artefacts.read_json(state.tonight / "night.json")["night"] if under_way else None,
        "steps": steps,
        "predicted_end": _end(state, steps, now) if doing == "running" else None,
        "last": _last(state),
    }


def _steps(state: State) -> Iterator[dict[str, Any]]:
    """Yield the steps of tonight that were begun, in order."""
    for kind in ("candidates", "nulls", "queries"):
        for work in sorted(path for path in (state.tonight / kind).glob("*") if path.is_dir()):
            if (work / TAKEN).exists():
                account = artefacts.read_json(work / TAKEN)
                entries = account["new"]["entries"]
                yield {"step": f"{kind}/{work.name}", "done": entries, "of": entries, "unit": "images", "is_done": True}
            elif (work / "fresh.parquet").exists():
                fresh = artefacts.read_table(work / "fresh.parquet", "fresh")
                whole = all(uri for uri in fresh["uri"].to_pylist())  # of an archive nobody knows how many it holds
                yield {
                    "step": f"{kind}/{work.name}", "done": _entries(work / "faces"), "of": fresh.num_rows if whole else None,
                    "unit": "images", "is_done": False,
                }  # fmt: skip
    for work in sorted(state.folder.glob("compared/*/*/work")):
        blocks = sum(1 for _ in work.glob("*.parquet"))
        step = f"compare/{work.parent.parent.name} with {work.parent.name}"
        yield {"step": step, "done": blocks, "of": None, "unit": "blocks of queries", "is_done": False}
    for done in sorted(state.tonight.glob("runs/*.json")):
        yield {"step": f"run/{done.stem}", "done": 1, "of": 1, "unit": "runs", "is_done": True}


def _entries(faces: Path) -> int:
    return sum(
        int(artefacts.read_json(marker)["entries"]) for marker in faces.glob("[0-9]*.json") if marker.stem.isdigit()
    )


def _end(state: State, steps: Sequence[Mapping[str, Any]], now: datetime) -> str | None:
    """Return when the present step should end, at the rate it had so far."""
    for step in steps:
        if not step["is_done"] and step["of"] and step["done"]:
            began = (state.tonight / step["step"] / "news.json").stat().st_mtime
            took = now.timestamp() - began
            left = took * (step["of"] - step["done"]) / step["done"]
            return datetime.fromtimestamp(now.timestamp() + left, now.tzinfo).isoformat(timespec="seconds")
    return None


def _last(state: State) -> dict[str, Any] | None:
    account = state.last()
    if account is None:
        return None
    costs = state.night(account["night"]) / COSTS_NAME
    return {
        "night": account["night"],
        "exit_code": account["exit_code"],
        "ended_at": artefacts.read_json(costs)["ended_at"] if costs.exists() else None,
        "errors": account["errors"],
        "runs": {
            name: {
                "run": run["run"],
                "unchanged": run["unchanged"],
                **run["results"],
                "verdict": run["verdict"] and run["verdict"]["state"],
                "new": run["diff"]["findings"]["new"],
            }
            for name, run in account["runs"].items()
        },
    }
