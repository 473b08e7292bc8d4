"""Shows whether a face generator gives away the people it was trained on.

Everything that the command line does is a plain call:

    from scanner import ScanOptions, build, scan

    build("people.idx", "photos/", sources=SourceOptions(identity_from="folder"))
    result = scan("generated/", against="people.idx", out="run",
                  options=ScanOptions(fmr=1e-4, calibrate_on="people.idx"))
    result.matches().to_pylist()
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scanner._version import __version__

if TYPE_CHECKING:
    from scanner.errors import ScannerError
    from scanner.faces.quality import Gates
    from scanner.jobs.build import BuildOptions, BuildResult, add, build
    from scanner.jobs.calibrate import Calibration, calibrate
    from scanner.jobs.embed import EmbedResult, embed
    from scanner.jobs.options import FaceOptions, SourceOptions
    from scanner.jobs.scan import ScanResult, scan
    from scanner.jobs.scan_options import ScanOptions

__all__ = [
    "BuildOptions",
    "BuildResult",
    "Calibration",
    "EmbedResult",
    "FaceOptions",
    "Gates",
    "ScanOptions",
    "ScanResult",
    "ScannerError",
    "SourceOptions",
    "__version__",
    "add",
    "build",
    "calibrate",
    "embed",
    "scan",
]

_HOMES = {
    "BuildOptions": "jobs.build",
    "BuildResult": "jobs.build",
    "Calibration": "jobs.calibrate",
    "EmbedResult": "jobs.embed",
    "FaceOptions": "jobs.options",
    "Gates": "faces.quality",
    "ScanOptions": "jobs.scan_options",
    "ScanResult": "jobs.scan",
    "ScannerError": "errors",
    "SourceOptions": "jobs.options",
    "add": "jobs.build",
    "build": "jobs.build",
    "calibrate": "jobs.calibrate",
    "embed": "jobs.embed",
    "scan": "jobs.scan",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: `scanner --help` must not wait for pyarrow and onnxruntime.
    if name not in _HOMES:
        raise AttributeError(f"module 'scanner' has no attribute {name!r}")
    return getattr(import_module(f"scanner.{_HOMES[name]}"), name)
