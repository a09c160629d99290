"""One file per experiment; its docstring says on what data, its `CLAIMS` what must come out.

A file defines `TITLE`, `CLAIMS`, `SHORT` (changes of size for a short run) and `run(seed, *, …)`, whose
keyword defaults are the full size and whose numbers are plain floats by name.
"""
