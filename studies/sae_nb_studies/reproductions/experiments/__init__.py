"""One file per experiment; its docstring describes the data, the TOML of its name the expected results.

`NAME.py` defines `SHORT` (changes of size for a short run) and `run(seed, *, …)`, whose keyword defaults
are the full size and whose numbers are plain floats by name. `NAME.toml` has the title and the claims.
"""
