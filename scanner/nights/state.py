"""The folder of a nightly job: what lies where, and one writer at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexes.atomic import write_json
from indexes.errors import LockedError
from indexes.lock import LOCK_NAME, write_lock
from indexes.sealed import open_file
from scanner import artefacts
from scanner.errors import ArtefactError, UsageError
from scanner.jobs.folders import remove_folder, sweep

FORMAT, VERSION = "identity-leak-job", 1


@dataclass(frozen=True, slots=True)
class State:
    """Where things lie."""

    folder: Path

    def index(self, kind: str, name: str) -> Path:
        """Return the index that is kept of a set; `kind` is candidates or nulls."""
        return self.folder / kind / f"{name}.idx"

    def seen(self, kind: str, name: str) -> Path:
        """Return the list of what was seen of a set's sources."""
        return self.folder / kind / f"{name}.seen.parquet"

    def quarantine(self, kind: str, name: str) -> Path:
        """Return the list of pictures of a set on which the process died."""
        return self.folder / kind / f"{name}.quarantine.json"

    def queries(self, name: str) -> Path:
        """Return the embedded faces of a set of queries, a file a night."""
        return self.folder / "queries" / name

    def compared(self, name: str) -> Path:
        """Return what a set of queries was compared with."""
        return self.folder / "compared" / name

    @property
    def tonight(self) -> Path:
        """The work of a night that has not ended."""
        return self.folder / "tonight"

    @property
    def nights(self) -> Path:
        """Finished nights."""
        return self.folder / "nights"

    def night(self, number: int) -> Path:
        """Return the folder of a finished night."""
        return self.nights / f"{number:06d}"

    def finished(self) -> list[int]:
        """Return the numbers of finished nights, ascending."""
        found = [path.parent.name for path in self.nights.glob("[0-9]*/night.json")]
        return sorted(int(name) for name in found if name.isdigit())

    def next_number(self) -> int:
        """Return the number of a new night: one that also no night used whose work was erased before it ended."""
        used = [*self.nights.glob("[0-9]*"), *self.folder.glob("queries/*/[0-9]*.json")]
        return 1 + max((int(path.stem) for path in used if path.stem.isdigit()), default=0)

    def last(self) -> dict[str, Any] | None:
        """Return the account of the last finished night."""
        numbers = self.finished()
        return artefacts.read_json(self.night(numbers[-1]) / "night.json") if numbers else None

    def last_run(self, name: str) -> dict[str, Any]:
        """Return what the last account that knows a run of the set says of it; {} if none does."""
        for number in reversed(self.finished()):
            found: dict[str, Any] | None = artefacts.read_json(self.night(number) / "night.json")["runs"].get(name)
            if found is not None:
                return found
        return {}

    def clear(self) -> None:
        """Remove what an ended night, or one that was killed while it wrote, left behind."""
        mark = self.tonight / "night.json"
        if not mark.exists() or artefacts.read_json(mark)["night"] in self.finished()[-1:]:
            remove_folder(self.tonight)  # and what a start that was killed here did not come to
        for pattern in (
            "candidates",
            "nulls",
            "queries",
            "candidates/*/intake",
            "nulls/*/intake",
            "queries/*",
            "nights/*",
            "compared/*/*",
        ):
            for folder in self.folder.glob(pattern):
                sweep(folder)

    def make(self) -> None:
        """Make the folder, or check that it is a job's.

        Raises:
            UsageError: something else lies there.
        """
        mark = self.folder / "job.json"
        if self.folder.is_dir() and any(self.folder.iterdir()) and not mark.exists():
            raise UsageError(
                f"{self.folder} is not the folder of a job of ours, and not empty. Choose another [job] folder."
            )
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{self.folder} is a file. Choose another [job] folder.")
        for folder in (
            self.folder,
            *(self.folder / name for name in ("candidates", "nulls", "queries", "compared", "nights")),
        ):
            artefacts.make_private_folder(folder)
        if not mark.exists():
            write_json(mark, {"format": FORMAT, "format_version": VERSION})

    def is_by(self, way: Mapping[str, Any]) -> bool:
        """Whether the last start looked at this `[embedder]`, and it fits the faces that are kept."""
        return artefacts.read_json(self.folder / "job.json").get("embedder") == way

    def remember(self, way: Mapping[str, Any]) -> None:
        """Remember an `[embedder]` that fits; see `is_by`."""
        write_json(self.folder / "job.json", {"format": FORMAT, "format_version": VERSION, "embedder": way})

    def check(self) -> None:
        """Raise ArtefactError when this is no job's folder, or one of a newer scanner."""
        mark = self.folder / "job.json"
        if not mark.exists():
            raise ArtefactError(
                f"{self.folder} is no folder of a nightly job: it has no job.json. Run the job once, or mend [job] folder."
            )
        found = artefacts.read_json(mark)
        if found.get("format") != FORMAT or found.get("format_version") != VERSION:
            raise ArtefactError(
                f"{mark} says format {found.get('format')!r}, version {found.get('format_version')!r}; this scanner reads "
                f"{FORMAT!r}, version {VERSION}. Use the scanner that wrote it."
            )

    def check_keys(self) -> None:
        """Raise SealError when faces that are kept are sealed and their key is not there: new ones would be kept unsealed."""
        for path in (*self.folder.glob("queries/*/*.parquet"), *self.folder.glob("*/*.idx/segments/*/rows.parquet")):
            open_file(path).close()


@contextmanager
def one_at_a_time(state: State) -> Iterator[None]:
    """Hold the job's lock; the system gives it back when the process ends, however it ends.

    Raises:
        UsageError: another process holds it; says which.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(write_lock(state.folder))
        except LockedError:
            raise UsageError(
                f"The job in {state.folder} is being run by process {holder(state) or 'unknown'}. Wait for it, or see "
                "how far it is with: scanner status"
            ) from None
        yield


def holder(state: State) -> int | None:
    """Return the process that runs the job at the moment, if one does."""
    path = state.folder / LOCK_NAME
    if not path.exists():
        return None
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = file.read(100).decode(errors="replace").strip()
            return int(text) if text.isdigit() else None
    return None
