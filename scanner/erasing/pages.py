"""Pages of folders that lost something: made again from what is left."""

from __future__ import annotations

from pathlib import Path

from jinja2 import TemplateError

from indexes.errors import IndexesError
from scanner.errors import ScannerError
from scanner.report.audit_page import write_audit_page
from scanner.report.dedupe_page import write_dedupe_page
from scanner.report.page import write_page


def make_again(page: Path) -> None:
    """Make a page again from what is left; where that cannot be done, remove it."""
    folder = page.parent
    kinds = {"dedupe.json": write_dedupe_page, "audit.json": write_audit_page, "run.json": write_page}
    write = next((write for name, write in kinds.items() if (folder / name).is_file()), None)
    try:
        if write is not None:
            write(folder)
            return
    except (ScannerError, IndexesError, TemplateError, LookupError, ValueError, TypeError, OSError):
        pass
    page.unlink(missing_ok=True)
