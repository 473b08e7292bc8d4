"""Workers of a Ray cluster; the only module that imports Ray.

Each thing is a Ray task: Ray chooses the machine, and does a task again whose worker or machine is lost.  A worker
process keeps what it opened for the task before.  Nothing of Ray is seen by the user: no dashboard, no statistics sent,
its logs stay in its own folder.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from scanner._version import __version__
from scanner.errors import UsageError, WorkerError
from scanner.jobs.workers import Work, Workers
from scanner.progress import Progress

T = TypeVar("T")
R = TypeVar("R")

LOCAL: Final = "local"
AUTO: Final = "auto"
ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",  # else it prints on stdout, where our answer goes, that a worker died
    "RAY_worker_niceness": "0",  # else workers that it starts here yield to everything else on the machine
}
"""What Ray reads of the environment when it is imported or started."""
ANSWER_S: Final = 5.0
"""Seconds in which the head of a cluster must take a connection."""
RETRIES: Final = 3
"""How often a thing whose worker was lost is done again."""
AHEAD: Final = 2
"""Things under way for every one that can be worked on: the next one is there before a worker is free."""


@contextmanager
def ray_workers(address: str | None, progress: Progress) -> Iterator[Workers | None]:
    """Lend the workers of the cluster at `address`: "local" starts one on this machine; None is no cluster at all.

    Raises:
        UsageError: Ray is not installed.
        WorkerError: no cluster answers, or the scanner on it is another one.
    """
    if address is None:
        yield None
        return
    ray = _connect(address)
    try:
        if not _cores(ray):
            progress.note(f"Ray ({address}): no machine that does work yet; waiting for the first one")
        _check_scanner(ray, address)
        cores = _cores(ray)
        progress.note(
            f"Ray ({address}): {sum(cores)} cores on {len(cores)} {'machine' if len(cores) == 1 else 'machines'}"
        )
        yield _RayWorkers(ray)
    finally:
        ray.shutdown()


class _RayWorkers:
    """See `Workers`."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray

    def map(self, work: Work[T, R], things: Iterable[T]) -> Iterator[R]:
        """See `Workers.map`."""
        ray = self._ray
        cores = work.threads or min(_cores(ray), default=1)
        _check_room(ray, cores, needs_gpu=work.needs_gpu)
        task = ray.remote(_do).options(
            num_cpus=cores, num_gpus=int(work.needs_gpu), max_retries=RETRIES, scheduling_strategy="SPREAD"
        )
        sent = ray.put(work)
        waiting: deque[tuple[T, Any]] = deque()
        left = iter(things)
        try:
            while True:
                while len(waiting) < AHEAD * _places(ray, cores, needs_gpu=work.needs_gpu):
                    thing = next(left, _NO_MORE)
                    if thing is _NO_MORE:
                        break
                    waiting.append((thing, task.remote(sent, sent.hex(), str(Path.cwd()), thing)))  # type: ignore[arg-type]
                if not waiting:
                    return
                thing, answer = waiting.popleft()
                yield _result(ray, answer, work.name(thing))
        finally:
            for _, answer in waiting:
                ray.cancel(answer)


_NO_MORE: Final = object()
_opened: dict[str, Callable[[Any], Any]] = {}
"""In a worker process: what it opened for the work of its last task."""


def _do(work: Work[T, R], key: str, folder: str, thing: T) -> R:
    """Do one thing, in a worker process."""
    if key not in _opened:
        _opened.clear()
        if Path(folder).is_dir():
            os.chdir(folder)  # sources and networks may be named relative to where the user stands
        _opened[key] = work.open()
    result: R = _opened[key](thing)
    return result


def _result(ray: Any, answer: Any, name: str) -> Any:
    try:
        return ray.get(answer)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise WorkerError(
            f"{name} lost its worker {RETRIES + 1} times ({type(error).__name__}), and was done again each time but the last. "
            "Machines that go away, too little memory for a worker, or an input that crashes a library do this. What was "
            "finished is kept: mend the cause, or leave that input out, and pass --resume."
        ) from error


def _places(ray: Any, cores: int, *, needs_gpu: bool) -> int:
    """Return how many things the cluster can work on at once as it is now, at least one: it may still grow."""
    there = ray.cluster_resources()
    places = there.get("CPU", 0) // cores
    return max(1, int(min(places, there.get("GPU", 0)) if needs_gpu else places))


def _cores(ray: Any) -> list[int]:
    """Return the cores of each machine that does work: a head often does none."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return [n for n in cores if n]


def _check_room(ray: Any, cores: int, *, needs_gpu: bool) -> None:
    """Refuse what no machine can do: Ray would wait for one without a word.  Where none is there yet, they may come."""
    largest = max(_cores(ray), default=cores)
    if cores > largest:
        raise WorkerError(
            f"A worker of {cores} threads was asked for, and the largest machine of the Ray cluster has {largest} cores. "
            f"Pass --workers {largest} or fewer."
        )
    if needs_gpu and _cores(ray) and not ray.cluster_resources().get("GPU"):
        raise WorkerError(
            "This machine works on a GPU, and the Ray cluster has none. Add machines with GPUs, or pass --device cpu."
        )


def _connect(address: str) -> Any:
    os.environ.update(ENVIRONMENT)
    try:
        import ray
    except ImportError:
        raise UsageError(
            "--ray needs Ray, which is not installed. Install it with: pip install 'identity-leak-scanner[ray]'"
        ) from None
    if address not in (LOCAL, AUTO):
        _knock(address)
    try:
        ray.init(address=address, include_dashboard=False if address == LOCAL else None, log_to_driver=False,
                 logging_level=logging.ERROR)  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise WorkerError(_nobody(address, str(error).partition("\n")[0])) from error
    return ray


def _knock(address: str) -> None:
    """Look whether anybody answers at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise UsageError(
            f"--ray {address!r} is no address of a cluster. Pass HOST:PORT of its head (ray start --head says it; the port is "
            "6379 if nothing else was chosen), auto on one of its machines, or local for this machine alone."
        )
    try:
        with socket.create_connection((host, int(port)), timeout=ANSWER_S):
            pass
    except (OSError, OverflowError) as error:
        raise WorkerError(_nobody(address, f"{error}.")) from error


def _nobody(address: str, why: str) -> str:
    return (
        f"No Ray cluster could be used at {address}: {why} Start one (ray start --head), and run the scanner on one of its "
        "machines; or pass --ray local for this machine alone."
    )


def _check_scanner(ray: Any, address: str) -> None:
    """Compare this scanner with the one on a worker."""

    def version() -> str | None:  # nested, so that it travels by value: the worker may have no scanner
        try:
            from scanner._version import __version__ as there
        except ImportError:
            return None
        return there

    there = ray.get(ray.remote(version).options(num_cpus=1).remote())
    if there != __version__:
        found = "no scanner" if there is None else f"scanner {there}"
        raise WorkerError(
            f"The workers of the Ray cluster at {address} have {found}, this is scanner {__version__}. Install the same one on "
            "every machine, in the Python that Ray was started with."
        )
