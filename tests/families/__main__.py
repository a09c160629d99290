"""Write what is found of transformers' classes and families: python -m tests.families [kind … | promises]."""

from __future__ import annotations

import sys

from tests.families import promises
from tests.families.classes import FOUND, KINDS, record, recorded, rows

if __name__ == "__main__":
    asked = sys.argv[1:] or [*KINDS, "promises"]
    known = {(row.kind, row.name): row for row in (recorded() if FOUND.is_file() else [])}
    for kind in [one for one in asked if one != "promises"]:
        known = {key: row for key, row in known.items() if key[0] != kind}
        for row in rows(kind):
            known[kind, row.name] = row
        print(kind, sum(row.right for row in known.values() if row.kind == kind))
        record(sorted(known.values(), key=lambda row: (list(KINDS).index(row.kind), row.name)))
    if "promises" in asked:
        promises.record({name: promises.cells(name) for name in promises.classes()})
