"""Fixtures of the index tests; their vectors come from facelike_vectors.py beside this file."""

import sys
from pathlib import Path

# With --import-mode=importlib test modules do not see their folder.
sys.path.insert(0, str(Path(__file__).parent))

from facelike_vectors import queries_f32, references_f32

__all__ = ["queries_f32", "references_f32"]
