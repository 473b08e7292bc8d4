"""Queries against indexes → a run folder, with its evidence."""
