"""Identity labels that stand beside the images: `dataset.json`, `KEY.json`, `KEY.cls`."""

from __future__ import annotations

import json
from typing import Final

from scanner.errors import SourceError
from scanner.sources.names import suffix_of

LABELS_NAME: Final = "dataset.json"
SIDECAR_SUFFIXES: Final = frozenset({".json", ".cls"})
IDENTITY_CHARS_MAX: Final = 1000


class BadLabelError(Exception):
    """A label file of a single image that cannot be read; the message is a reject's detail."""


def read_dataset_json(data: bytes, uri: str) -> dict[str, str]:
    """Return identity by image name from `{"labels": [[name, label], ...]}`; labels of null give {}.

    A whole number or a text is the identity as it stands, a list is written as JSON.
    """
    try:
        labels = json.loads(data)["labels"]
        return {str(name): _label_text(label) for name, label in labels or []}
    except (ValueError, KeyError, TypeError, RecursionError):
        message = (
            f'The labels of {uri} cannot be read: {LABELS_NAME} should be {{"labels": [[name, label], ...]}}.  '
            "Mend it, or take no identities from it (identity_from 'nothing' or 'folder')."
        )
        raise SourceError(message) from None


def read_sidecar(name: str, data: bytes) -> str | None:
    """Return the identity in the label file of one image: JSON's `identity`, or all of a `.cls`.

    Raises:
        BadLabelError: the file is not what its name says.
    """
    try:
        is_text = suffix_of(name) == ".cls"
        fields = {"identity": data.decode("utf-8").strip() or None} if is_text else json.loads(data)
    except (ValueError, RecursionError):
        raise BadLabelError("a label file that cannot be read; its image has no identity") from None
    if not isinstance(fields, dict):
        raise BadLabelError("a label file that is no JSON object; its image has no identity")
    identity = fields.get("identity")
    if not isinstance(identity, str | int) or isinstance(identity, bool):
        return None
    text = str(identity)
    if len(text) > IDENTITY_CHARS_MAX:
        raise BadLabelError(f"an identity of {len(text)} letters, at most {IDENTITY_CHARS_MAX} are read")
    return text


def _label_text(label: object) -> str:
    return label if isinstance(label, str) else json.dumps(label, separators=(",", ":"))
