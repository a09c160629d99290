"""Write what the sweep finds to `found.json`, and its page: python -m tests.sweep [kind …]."""

from __future__ import annotations

import sys
from dataclasses import asdict

from sae_nb.files import write_json
from tests.sweep.classes import KINDS, rows
from tests.sweep.page import FOUND, recorded, write_page

if __name__ == "__main__":
    known = {(row.kind, row.name): row for row in (recorded() if FOUND.is_file() else [])}
    for kind in sys.argv[1:] or KINDS:
        known = {key: row for key, row in known.items() if key[0] != kind}
        for row in rows(kind):
            known[kind, row.name] = row
        print(kind, sum(row.right for row in known.values() if row.kind == kind))
    ordered = sorted(known.values(), key=lambda row: (list(KINDS).index(row.kind), row.name))
    write_json(FOUND, {"rows": [asdict(row) for row in ordered]})
    write_page(ordered)
