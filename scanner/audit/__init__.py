"""Identity membership attacks on generators, and the release gate: what `scanner audit` does."""
