"""Pictures that kill the process that looks at them: found one by one in a child process, listed, and never looked at again.

The list of a set lies beside what was seen of its sources, `NAME.quarantine.json`.  An entry counts by its bytes, whatever it
is called; whoever takes it out of the list and touches the file has it looked at again.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from indexes.atomic import write_json
from scanner import artefacts
from scanner.errors import ModelError
from scanner.jobs.options import FaceOptions, open_road
from scanner.pipeline import look_at
from scanner.records import Item, Reason, Reject

ENTRY_S = 120.0
"""A picture that takes longer than this alone is taken for one that never ends."""
START_S = 600.0
MEMORY_BYTES = 4 << 30
"""What looking at one picture may take, beyond the networks."""
_FORMAT: Final = "identity-leak-quarantine"


class Quarantine:
    """The list of one set."""

    def __init__(self, path: Path) -> None:
        """Read the list, if there is one.

        Raises:
            ArtefactError: it is broken.
        """
        self._path = path
        self._entries: list[dict[str, Any]] = artefacts.read_json(path)["entries"] if path.exists() else []
        self._why = {entry["item_id"]: entry["why"] for entry in self._entries}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._why

    def add(self, item: Item, why: str, *, night: int) -> None:
        """Put a picture on the list, on disk as well."""
        self._entries.append({"item_id": item.item_id, "uri": item.uri, "why": why, "night": night})
        self._why[item.item_id] = why
        write_json(self._path, {"format": _FORMAT, "format_version": 1, "entries": self._entries})

    def keep_out(self, entries: Iterable[Item | Reject]) -> Iterator[Item | Reject]:
        """Pass entries on, those of the list as rejects."""
        for entry in entries:
            item_id = entry.item_id if self._why and isinstance(entry, Item) else ""
            if isinstance(entry, Item) and item_id in self._why:
                yield Reject(entry.uri, Reason.QUARANTINED, self._why[item_id], item_id, entry.identity)
            else:
                yield entry

    def look(self, entries: Iterable[Item | Reject], faces: FaceOptions, *, night: int) -> int:
        """Look at pictures one by one in a child process; list those that it dies of, and return how many they are.

        Raises:
            ModelError: the child process does not even start.
        """
        found = 0
        with _Child(faces) as child:
            for entry in self.keep_out(entries):
                why = child.dies_of(entry) if isinstance(entry, Item) else None
                if why is not None and isinstance(entry, Item):
                    self.add(entry, why, night=night)
                    found += 1
        return found


class _Child:
    """A process that decodes, finds faces and embeds, one picture at a time; a new one follows one that died."""

    def __init__(self, faces: FaceOptions) -> None:
        self._faces = faces
        self._process: Any = None
        self._pipe: Connection[Any, Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def dies_of(self, item: Item) -> str | None:
        """Return in a sentence how the child ended when it looked at a picture; None when it lives."""
        pipe = self._started()
        try:
            pipe.send((item.uri, item.data))
            if not pipe.poll(ENTRY_S):
                self._end()
                return f"looking at it did not end within {ENTRY_S:.0f} s"
            answer: str = pipe.recv()
        except (EOFError, OSError):
            how = self._end()
            return f"looking at it ended the process ({how})"
        return answer or None

    def _started(self) -> Connection[Any, Any]:
        if self._pipe is not None:
            return self._pipe
        context = multiprocessing.get_context("spawn")  # a fork would take locks of threads along
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._faces), daemon=True)
        self._process.start()
        theirs.close()
        try:
            ready = self._pipe.poll(START_S) and self._pipe.recv()
        except (EOFError, OSError):
            ready = None
        if ready != "ready":
            how = self._end()
            raise ModelError(
                f"A child process that was to look at pictures one by one did not start ({how}). "
                "Try the networks with: scanner doctor"
            )
        return self._pipe

    def _end(self) -> str:
        """End the child; return how it ended."""
        if self._process is None or self._pipe is None:
            return "not started"
        self._pipe.close()
        self._process.join(1.0)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None
        return "killed" if code is None else signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _serve(pipe: Connection[Any, Any], faces: FaceOptions) -> None:
    """Be the child; Ctrl-C is for the parent, which then ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    road = open_road(faces).road
    _limit_memory()
    pipe.send("ready")
    while True:
        try:
            uri, data = pipe.recv()
        except EOFError:
            return
        try:
            look_at(Item(uri, data), road)
        except Exception as error:  # noqa: BLE001 - whatever it is, it would have ended the night
            pipe.send(f"looking at it raised {type(error).__name__}")
        else:
            pipe.send("")


def _limit_memory() -> None:
    """Allow some memory beyond what the networks took, where the system tells how much that is."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        pages = int(statm.read_text("ascii").split()[0])
        most = pages * resource.getpagesize() + MEMORY_BYTES
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
