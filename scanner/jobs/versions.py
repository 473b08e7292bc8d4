"""Which versions a run was made with."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

from scanner._version import __version__

_LIBRARIES = ("numpy", "pyarrow", "faiss-cpu", "onnxruntime", "insightface", "opencv-python", "pillow", "dlib-bin", "scipy",
    "scikit-learn", "torch",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of everything that can change a score; what is not installed is left out."""
    found = {"identity-leak-scanner": __version__, "python": platform.python_version()}
    return found | {name: installed for name in _LIBRARIES if (installed := _installed(name)) is not None}


@cache
def _installed(name: str) -> str | None:
    """Return a library's version; None where it is not there.  The whole of its description is parsed for that."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def code_sha256() -> str:
    """Return a hash of every source file of the scanner and of the index library: which code said what it said."""
    total = hashlib.sha256()
    for package in ("indexes", "scanner"):
        root = Path(str(files(package)))
        for path in sorted(root.rglob("*.py")):
            total.update(path.relative_to(root.parent).as_posix().encode() + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
