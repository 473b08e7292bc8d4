"""Work that other processes can do, for jobs that do not know where those are.

A job hands over what is to be done (`Work`) and the things to do it to, and gets the results in the order of the things.
It stays the only one that writes: numbered parts and their markers are made here, in order, as on one machine, so that
workers need to see the sources (and indexes, and networks) and nothing else.
"""

from __future__ import annotations

import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from scanner.errors import WorkerError

T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")
R = TypeVar("R")


class Work(Protocol[T_contra, R_co]):
    """A kind of work: small, sent to every worker, opened there once."""

    @property
    def threads(self) -> int:
        """How many cores one thing keeps busy; 0 for all of a machine."""
        ...

    @property
    def needs_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        ...

    def name(self, thing: T_contra) -> str:
        """Return what a thing is called in a message."""
        ...

    def open(self) -> Callable[[T_contra], R_co]:
        """Open networks, sources and indexes; return what does the work.

        Raises:
            ScannerError: as on one machine; WorkerError where this machine does not see what the one that asks sees.
        """
        ...


class Workers(Protocol):
    """Processes somewhere that do work."""

    def map(self, work: Work[T, R], things: Iterable[T]) -> Iterator[R]:
        """Yield what becomes of each thing, in the order of the things.

        A bounded number of them is under way; `things` is read no further ahead than that, and whoever stops reading
        calls off the rest.  A thing whose worker is lost is done again elsewhere.

        Raises:
            WorkerError: a thing lost its worker again and again; names it.
            Exception: whatever the work raises, as if it were done here.
        """
        ...


def check_same(what: str, here: dict[str, Any], there: dict[str, Any]) -> None:
    """Raise WorkerError, on a worker, where it does not see what the machine that asks sees."""
    differ = sorted(key for key in {*here, *there} if here.get(key) != there.get(key))
    if differ:
        raise WorkerError(
            f"The worker on {platform.node()} does not find what this machine finds as {what}: {', '.join(differ)} differ. "
            "Sources, networks and indexes must be the same files on every machine, in a shared folder or a store, and all "
            "workers must have the kind of device that this machine has (--device)."
        )


def with_things(workers: Workers, work: Work[T, R], things: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Yield each thing beside what became of it, so that workers need not send it back."""
    sent: deque[T] = deque()

    def remembered() -> Iterator[T]:
        for thing in things:
            sent.append(thing)
            yield thing

    for result in workers.map(work, remembered()):
        yield sent.popleft(), result
