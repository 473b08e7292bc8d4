"""The drawn people of the jobs' tests, for nights."""

from __future__ import annotations

import sys
from pathlib import Path

# With --import-mode=importlib test modules do not see other folders.
sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))
sys.path.insert(0, str(Path(__file__).parent))
