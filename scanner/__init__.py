"""Shows whether a face generator gives away the people it was trained on.

Everything that the command line does is a plain call:

    from scanner import ScanOptions, build, open_run, scan

    build("people.idx", "photos/", sources=SourceOptions(identity_from="folder"))
    result = scan("generated/", against="people.idx", out="run",
                  options=ScanOptions(fmr=1e-4, calibrate_on="people.idx"))
    result.matches().to_pylist()
    open_run("run").sql("SELECT identity, max(score) AS score FROM matches GROUP BY ALL")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from scanner._version import __version__

if TYPE_CHECKING:
    from scanner.audit.audit import audit
    from scanner.errors import ScannerError
    from scanner.faces.quality import Gates
    from scanner.jobs.checking.check import CheckOptions, check
    from scanner.jobs.checking.verify import verify
    from scanner.jobs.embedding.embed import EmbedResult, embed
    from scanner.jobs.indexing.build import BuildOptions, BuildResult, add, build
    from scanner.jobs.indexing.calibrate import Calibration, calibrate
    from scanner.jobs.indexing.dedupe import DedupeResult, dedupe
    from scanner.jobs.options import FaceOptions, SourceOptions
    from scanner.jobs.scanning.options import ScanOptions
    from scanner.jobs.scanning.scan import ScanResult, scan
    from scanner.jobs.scanning.witness import scan_with_witnesses
    from scanner.report.reports import Reports, open_run, open_runs

__all__ = [
    "BuildOptions",
    "BuildResult",
    "Calibration",
    "CheckOptions",
    "DedupeResult",
    "EmbedResult",
    "FaceOptions",
    "Gates",
    "Reports",
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
    "open_run",
    "open_runs",
    "scan",
    "scan_with_witnesses",
    "verify",
]

_HOMES = {
    "BuildOptions": "jobs.indexing.build",
    "BuildResult": "jobs.indexing.build",
    "Calibration": "jobs.indexing.calibrate",
    "CheckOptions": "jobs.checking.check",
    "DedupeResult": "jobs.indexing.dedupe",
    "EmbedResult": "jobs.embedding.embed",
    "FaceOptions": "jobs.options",
    "Gates": "faces.quality",
    "Reports": "report.reports",
    "ScanOptions": "jobs.scanning.options",
    "ScanResult": "jobs.scanning.scan",
    "ScannerError": "errors",
    "SourceOptions": "jobs.options",
    "add": "jobs.indexing.build",
    "audit": "audit.audit",
    "build": "jobs.indexing.build",
    "calibrate": "jobs.indexing.calibrate",
    "check": "jobs.checking.check",
    "dedupe": "jobs.indexing.dedupe",
    "embed": "jobs.embedding.embed",
    "open_run": "report.reports",
    "open_runs": "report.reports",
    "scan": "jobs.scanning.scan",
    "scan_with_witnesses": "jobs.scanning.witness",
    "verify": "jobs.checking.verify",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: `scanner --help` must not wait for pyarrow and onnxruntime.
    if name not in _HOMES:
        raise AttributeError(f"module 'scanner' has no attribute {name!r}")
    return getattr(import_module(f"scanner.{_HOMES[name]}"), name)
