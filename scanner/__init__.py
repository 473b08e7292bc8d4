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
    from scanner.audit.audit import audit
    from scanner.errors import ScannerError
    from scanner.faces.quality import Gates
    from scanner.jobs.build import BuildOptions, BuildResult, add, build
    from scanner.jobs.calibrate import Calibration, calibrate
    from scanner.jobs.check import CheckOptions, check
    from scanner.jobs.dedupe import DedupeResult, dedupe
    from scanner.jobs.embed import EmbedResult, embed
    from scanner.jobs.options import FaceOptions, SourceOptions
    from scanner.jobs.scan import ScanResult, scan
    from scanner.jobs.scan_options import ScanOptions
    from scanner.jobs.verify import verify
    from scanner.jobs.witness import scan_with_witnesses

__all__ = [
    "BuildOptions",
    "BuildResult",
    "Calibration",
    "CheckOptions",
    "DedupeResult",
    "EmbedResult",
    "FaceOptions",
    "Gates",
    "ScanOptions",
    "ScanResult",
    "ScannerError",
    "SourceOptions",
    "__version__",
    "add",
    "audit",
    "build",
    "calibrate",
    "check",
    "dedupe",
    "embed",
    "scan",
    "scan_with_witnesses",
    "verify",
]

_HOMES = {
    "BuildOptions": "jobs.build",
    "BuildResult": "jobs.build",
    "Calibration": "jobs.calibrate",
    "CheckOptions": "jobs.check",
    "DedupeResult": "jobs.dedupe",
    "EmbedResult": "jobs.embed",
    "FaceOptions": "jobs.options",
    "Gates": "faces.quality",
    "ScanOptions": "jobs.scan_options",
    "ScanResult": "jobs.scan",
    "ScannerError": "errors",
    "SourceOptions": "jobs.options",
    "add": "jobs.build",
    "audit": "audit.audit",
    "build": "jobs.build",
    "calibrate": "jobs.calibrate",
    "check": "jobs.check",
    "dedupe": "jobs.dedupe",
    "embed": "jobs.embed",
    "scan": "jobs.scan",
    "scan_with_witnesses": "jobs.witness",
    "verify": "jobs.verify",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: `scanner --help` must not wait for pyarrow and onnxruntime.
    if name not in _HOMES:
        raise AttributeError(f"module 'scanner' has no attribute {name!r}")
    return getattr(import_module(f"scanner.{_HOMES[name]}"), name)
