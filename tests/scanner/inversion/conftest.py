"""The helpers of these tests lie beside them: small_generators.py."""

from __future__ import annotations

import sys
from pathlib import Path

# With --import-mode=importlib test modules do not see their folder.
sys.path.insert(0, str(Path(__file__).parent))
