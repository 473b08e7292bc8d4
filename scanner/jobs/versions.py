"""Which versions a run was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from scanner._version import __version__

_LIBRARIES = ("numpy", "pyarrow", "faiss-cpu", "onnxruntime", "insightface", "opencv-python", "pillow", "dlib-bin")


def versions() -> dict[str, str]:
    """Return the versions of everything that can change a score; what is not installed is left out."""
    found = {"identity-leak-scanner": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
