"""Lets the tests of this folder import `run_folder`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # with --import-mode=importlib test modules do not see their folder
