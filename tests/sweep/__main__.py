"""Write what the sweep finds to `found.json`: python -m tests.sweep [kind …]."""

from __future__ import annotations

import sys

from tests.sweep.classes import FOUND, KINDS, record, recorded, rows

if __name__ == "__main__":
    known = {(row.kind, row.name): row for row in (recorded() if FOUND.is_file() else [])}
    for kind in sys.argv[1:] or KINDS:
        known = {key: row for key, row in known.items() if key[0] != kind}
        for row in rows(kind):
            known[kind, row.name] = row
        print(kind, sum(row.right for row in known.values() if row.kind == kind))
    record(sorted(known.values(), key=lambda row: (list(KINDS).index(row.kind), row.name)))
