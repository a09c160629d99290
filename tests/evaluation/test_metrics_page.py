"""docs/metrics.json holds what the code computes today; each definition is complete."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from tests import scripts

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[2] / "docs"
NUMBER = re.compile(r"^-?\d+(\.\d+)?(e[+-]?\d+)?$")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return scripts.script(DOCS / "make_metrics.py")


def same(found: str, expected: str) -> bool:
    words, others = found.split(), expected.split()
    return len(words) == len(others) and all(
        a == b
        or (
            NUMBER.match(a)
            and NUMBER.match(b)
            and abs(float(a) - float(b)) <= 0.02 * abs(float(b)) + 2e-3
        )
        for a, b in zip(words, others, strict=True)
    )


def test_every_number_on_the_page_is_computed_again(script):
    """Cell by cell; run `python docs/make_metrics.py` after a change."""
    kept, computed = json.loads(script.KEPT.read_text(encoding="utf-8")), script.tables()
    assert kept.keys() == computed.keys()
    for name, rows in computed.items():
        assert len(kept[name]) == len(rows)
        for row, other in zip(kept[name], rows, strict=True):
            assert all(map(same, row, other)), (name, row, other)
