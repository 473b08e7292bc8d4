# ruff: noqa: INP001 - a script that stands alone
"""Cut the people of WebDataset tars into two halves by a hash of their identity: nobody is in both.

python examples/halve.py lfw-dev-*.tar --out data        # data/people-a.tar, data/people-b.tar
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path


def main() -> None:
    """Read every tar once and write both halves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tars", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder for people-a.tar and people-b.tar")
    parser.add_argument("--people", type=int, help="only so many people of each half, for a quick look")
    args = parser.parse_args()
    people: dict[str, set[str]] = {"a": set(), "b": set()}
    photos = {"a": 0, "b": 0}
    with contextlib.ExitStack() as open_files:
        halves = {name: open_files.enter_context(tarfile.open(args.out / f"people-{name}.tar", "w")) for name in people}
        for path in args.tars:
            for key, files in _samples(path):
                identity = json.loads(files[".json"])["identity"]
                half = "ab"[hashlib.sha256(str(identity).encode()).digest()[0] % 2]
                if args.people and identity not in people[half] and len(people[half]) >= args.people:
                    continue
                people[half].add(identity)
                photos[half] += 1
                for suffix, data in files.items():
                    member = tarfile.TarInfo(f"{path.stem}-{key}{suffix}")
                    member.size = len(data)
                    halves[half].addfile(member, io.BytesIO(data))
    counts = ", ".join(f"{name}: {len(people[name])} people, {photos[name]} photos" for name in people)
    sys.stdout.write(f"{counts}\n")


def _samples(path: Path) -> list[tuple[str, dict[str, bytes]]]:
    """Return the labelled samples of a tar: key, and its files by suffix."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is not None:
                key, dot, suffix = member.name.rpartition(".")
                found.setdefault(key.replace("/", "-"), {})[dot + suffix] = file.read()
    return [(key, files) for key, files in found.items() if ".json" in files and len(files) > 1]


if __name__ == "__main__":
    main()
