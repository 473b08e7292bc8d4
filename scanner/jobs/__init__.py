"""Jobs: the verbs of the scanner, resumable, on one machine."""
