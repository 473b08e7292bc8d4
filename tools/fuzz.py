"""Fuzz every parser of untrusted input; see docs/fuzzing.md.

    python tools/fuzz.py --seconds 60                   every target for a minute
    python tools/fuzz.py --seconds 600 --target pt2     one of them
    python tools/fuzz.py --replay fuzzing/pt2/found-1-17 --target pt2

Exit code 1 where something was found; the cases lie in the folder of `--out`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).resolve().parent
WALL_S_MAX = 60
"""An input that keeps a worker silent for so long has hung it."""
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "PYTHONWARNINGS": "ignore",
}


def main() -> int:
    """Run the targets one after the other and say what was found."""
    sys.path[:0] = [str(TOOLS), str(TOOLS.parent)]
    from fuzzing.targets import TARGETS

    options = _options(sorted(TARGETS))
    if options.worker:
        from fuzzing.worker import work

        known = json.loads(os.environ.get("FUZZ_KNOWN", "[]"))
        work(
            options.target[0], seed=options.seed, seconds=options.seconds, runs=options.runs, folder=options.out, known=known,
            guided=not options.unguided,
        )  # fmt: skip
        return 0
    if options.replay:
        TARGETS[options.target[0]].read(options.replay)
        return 0
    found = 0
    for name in options.target or TARGETS:
        result = _fuzz(name, options)
        found += len(result["found"])
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
    return 1 if found else 0


def _options(names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--target", action="append", choices=names, help="what is fuzzed; more than once; all, if not named"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--runs", type=int, default=1 << 60, help="inputs for each target, at most")
    parser.add_argument("--seed", type=int, default=1, help="the same seed and runs, the same inputs")
    parser.add_argument(
        "--out", type=Path, default=None, help="where cases that found something are kept  [a temporary folder]"
    )
    parser.add_argument(
        "--unguided", action="store_true", help="do not keep inputs that reach new lines: faster, and blind"
    )
    parser.add_argument("--replay", type=Path, help="read one case again, with nobody watching")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out = (options.out or Path(tempfile.mkdtemp(prefix="fuzzing-"))).resolve()
    return options


def _fuzz(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Fuzz one target, with a new process after each death; return what is to be said of it."""
    folder = options.out / name
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, str] = {}
    runs, used, lines, seed = 0, 0.0, 0, options.seed
    while used < options.seconds and runs < options.runs:
        start = time.monotonic()
        ended, told = _one_worker(name, folder, options, seed, options.seconds - used, options.runs - runs, found)
        runs += told.get("runs", 0)
        lines = max(lines, told.get("lines", 0))
        used += told.get("seconds", 0.0) if ended is None else time.monotonic() - start
        if ended is None:
            break
        if not (folder / "count").exists():
            found[f"no start: {ended}"] = str(folder)
            break
        kept = folder / f"died-{seed}"
        shutil.copytree(folder / "current", kept, dirs_exist_ok=True)
        found.setdefault(ended, str(kept))
        seed += 1000
    return {"target": name, "inputs": runs, "seconds": round(used, 1), "lines": lines, "found": found}


def _one_worker(
    name: str, folder: Path, options: argparse.Namespace, seed: int, seconds: float, runs: int, found: dict[str, str]
) -> tuple[str | None, dict[str, Any]]:
    """Return how a worker ended before its time, if it did, and its last account; adds to `found`."""
    command = [sys.executable, str(TOOLS / "fuzz.py"), "--worker", "--target", name, "--seed", str(seed), "--seconds", str(seconds),
               "--runs", str(runs), "--out", str(folder), *(["--unguided"] if options.unguided else [])]  # fmt: skip
    environment = {**os.environ, **ENVIRONMENT, "FUZZ_KNOWN": json.dumps(sorted(found))}
    (folder / "count").unlink(missing_ok=True)
    log = folder / "stderr.txt"
    told: dict[str, Any] = {}
    with (
        log.open("ab") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment) as process,
    ):
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        waiting, heard, before = b"", time.monotonic(), ""
        while True:
            part = process.stdout.read()
            waiting += part or b""
            *done, waiting = waiting.split(b"\n")
            for line in (one for one in done if one.startswith(b'{"')):  # libraries print as well
                document = json.loads(line)
                if "found" in document:
                    found.setdefault(document["found"], document["case"])
                else:
                    told = document
            count = (folder / "count").read_text() if (folder / "count").exists() else ""
            if count != before:
                heard, before = time.monotonic(), count
            if process.poll() is not None and not part:
                break
            if time.monotonic() - heard > WALL_S_MAX * (4 if not count else 1):
                process.kill()
                process.wait()
                return f"hung for {WALL_S_MAX} s", {**told, "runs": int(count or 0) + 1}
            time.sleep(0.05)
    if told.get("end"):
        return None, told
    return f"died with {process.returncode}", {**told, "runs": int(before or 0) + 1}


if __name__ == "__main__":
    sys.exit(main())
