"""One file per experiment; its docstring says on what data, the TOML of its name what must come out.

`NAME.py` defines `SHORT` (changes of size for a short run) and `run(seed, *, …)`, whose keyword defaults
are the full size and whose numbers are plain floats by name. `NAME.toml` has the title and the claims.
"""
