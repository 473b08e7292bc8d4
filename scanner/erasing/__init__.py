"""Care for biometric data: erasing people from everything that was written, and keeping it no longer than needed.

erase_everywhere(["state"], Wanted(identities=("p-17",)), clock=lambda: datetime.now(UTC))
retain("state", Retention(nights=90), now=datetime.now(UTC))
"""

from scanner.erasing.erase import Erasure, erase_everywhere, search_everywhere
from scanner.erasing.journal import is_begun
from scanner.erasing.known import Wanted
from scanner.erasing.never_again import erased_before
from scanner.erasing.retention import Retained, Retention, apply_retention, retain

__all__ = [
    "Erasure",
    "Retained",
    "Retention",
    "Wanted",
    "apply_retention",
    "erase_everywhere",
    "erased_before",
    "is_begun",
    "retain",
    "search_everywhere",
]
