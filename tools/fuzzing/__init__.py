"""Fuzzing of every parser of untrusted input; `tools/fuzz.py` is what a person runs, docs/fuzzing.md says what it watches.

`seeds` makes small sound files, `mutate` breaks them, `targets` says what reads them, `guard` watches what the reading does,
`worker` is the loop of one process.
"""
