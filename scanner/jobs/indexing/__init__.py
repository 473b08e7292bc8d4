"""Embedded faces → indexes and what is asked of them alone: build, erase, dedupe, calibrate."""
