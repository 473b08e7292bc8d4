"""Unattended jobs: what is new is embedded, what was never compared is compared, and every night ends as a run folder."""
