"""What a run says of some photos, and whether it follows from its own files."""
