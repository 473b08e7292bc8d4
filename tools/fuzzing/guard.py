"""What a parser may not do while it reads: Python's audit events, the memory and the time of one input."""

from __future__ import annotations

import ast
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

CPU_S_MAX: Final = 5.0
"""Seconds of processor time for one input."""
MEMORY_BYTES_MAX: Final = 1 << 30
"""Address space that one input may take beyond what the process has after its warm-up."""

_NEVER: Final = (
    "subprocess.", "socket.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill", "os.putenv", "os.chdir",
    "pickle.", "ctypes.", "urllib.", "ftplib.", "smtplib.", "webbrowser.", "pty.", "syslog.",
)  # fmt: skip
_CHANGES: Final = frozenset(
    ["os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
     "shutil.rmtree", "shutil.move", "shutil.copyfile", "shutil.copytree"]
)  # fmt: skip
_MODULES: Final = (
    "scanner.", "indexes.", "safetensors", "encodings.", "PIL.", "tmp", "torch.", "onnx.", "numpy.", "pydantic", "unicodedata",
    "jinja2.",
)  # fmt: skip
"""We and libraries may load further parts of ourselves: which ones, no file can say."""
_OURS: Final = f"{Path(__file__).resolve().parents[2]}/scanner/"
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Violation(BaseException):
    """A parser did what no parser may; no `except Exception` swallows it."""


class TooLong(BaseException):
    """An input took more than `CPU_S_MAX`."""


class Guard:
    """Watches one process for good; only between `armed` does it object.

    Args:
        folder: the only place where files may be written.
        generates_code: torch.fx compiles the graphs that it is given; what it compiles is then looked through.
    """

    def __init__(self, folder: Path, *, generates_code: bool) -> None:
        self._folder = f"{folder.resolve()}/"
        self._generates_code = generates_code
        self._is_armed = False
        self.found: list[str] = []
        """What was seen, also where somebody swallowed the exception."""
        sys.addaudithook(self._look)
        signal.signal(signal.SIGPROF, _too_long)

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Object within the block; raises `TooLong` in it."""
        self.found.clear()
        self._is_armed = True
        signal.setitimer(signal.ITIMER_PROF, CPU_S_MAX)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._is_armed = False

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_armed:
            return
        problem = self._problem(event, arguments)
        if problem is not None:
            self.found.append(problem)
            raise Violation(problem)

    def _problem(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        if event == "open":
            path, _, flags = arguments
            is_writing = isinstance(flags, int) and flags & _WRITING
            return f"writes {path}" if is_writing and not self._is_ours(path) else None
        if event in _CHANGES:
            return f"{event} {arguments[0]}" if not self._is_ours(arguments[0]) else None
        if event == "import":
            name = str(arguments[0])
            return None if name.startswith(_MODULES) else f"imports {name}"
        if event == "compile":
            return self._code(arguments)
        return event if event.startswith(_NEVER) else None

    def _is_ours(self, path: object) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):
            return True  # a file descriptor, opened before
        return f"{os.path.realpath(os.fsdecode(path))}/".startswith(self._folder)

    def _code(self, arguments: tuple[Any, ...]) -> str | None:
        source, name = arguments
        name = os.fsdecode(name) if isinstance(name, bytes) else str(name)
        if name == "<unknown>" and _is_within("ast.py"):
            return None  # parsed, not run: numpy reads headers so, and the scanner TorchScript
        if name.startswith(_OURS):
            return None  # the page's template
        if not name.startswith("<eval_with_key>") or not self._generates_code:
            return f"compiles {name}"
        self._is_armed = False
        try:
            text = source.decode() if isinstance(source, bytes) else str(source)
            nodes = list(ast.walk(ast.parse(text)))
        except SyntaxError:
            return None
        finally:
            self._is_armed = True
        names = {node.id for node in nodes if isinstance(node, ast.Name)}
        bad = names & {"__import__", "eval", "exec", "open", "compile", "globals", "breakpoint"}
        bad |= {"import"} if any(isinstance(node, ast.Import | ast.ImportFrom) for node in nodes) else set()
        return f"code that a file put into a graph: {', '.join(sorted(bad))}" if bad else None


def _is_within(name: str) -> bool:
    """Return whether a file of this name is among the next callers."""
    frame = sys._getframe(1)  # noqa: SLF001 - the documented way to look at the stack
    for _ in range(8):
        if frame.f_code.co_filename.endswith(f"/{name}"):
            return True
        if frame.f_back is None:
            break
        frame = frame.f_back
    return False


def limit_memory() -> None:
    """Let this process grow by `MEMORY_BYTES_MAX` and no further; nothing dumps core."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES_MAX
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _too_long(*_: object) -> None:
    raise TooLong(f"more than {CPU_S_MAX:g} s of processor time")
