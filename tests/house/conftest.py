"""The house of this checkout, read from its source."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "tools"))

from rooms import House  # noqa: E402


@pytest.fixture(scope="session")
def house() -> House:
    """Every module of the three packages."""
    return House(ROOT)
