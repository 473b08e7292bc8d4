"""The sentence for a place that is not there: what is near it."""

from __future__ import annotations

import difflib
from typing import Any


def missing_message(uri: str, path: str, file_system: Any) -> str:
    """Name the nearest folder that exists and the entry in it that was probably meant.

    Args:
        uri: the place as the user named it, without credentials.
        path: the same place for the file system.
        file_system: fsspec's.
    """
    what = f"There is no {uri}."
    while (above := path.rstrip("/").rpartition("/")[0]) and above != path:
        wanted = path.rstrip("/").rpartition("/")[2]
        uri = _folder_uri(uri, above)
        names = _names(above, file_system, is_local="://" not in uri)
        if names is not None:
            near = difflib.get_close_matches(wanted, names, n=1)
            prefix = "" if uri == "." else f"{uri.rstrip('/')}/"
            hint = f"  Did you mean {prefix}{near[0]}?" if near else ""
            folder = "the current one" if uri == "." else uri
            return f"{what}  The nearest folder that exists is {folder}.{hint}"
        path = above
    return what


def _folder_uri(uri: str, folder: str) -> str:
    """Return the folder above as the user would write it; `folder` is its path."""
    if "://" in uri or "/" in uri.rstrip("/").lstrip("/"):
        return uri.rstrip("/").rpartition("/")[0]
    return folder if uri.startswith("/") or uri in {".", ".."} else "."


def _names(path: str, file_system: Any, *, is_local: bool) -> list[str] | None:
    """Return the names in a folder, or None where it is no folder or cannot be listed."""
    try:
        listed = file_system.ls(path, detail=False)
    except Exception:  # noqa: BLE001 - the user is told that the place is missing anyway
        return None
    names = [str(entry).rstrip("/").rpartition("/")[2] for entry in listed]
    # A store has no empty folders, and lists a file as itself.
    return names if is_local or (names and names != [path.rpartition("/")[2]]) else None
