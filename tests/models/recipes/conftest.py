"""What several recipes are tried on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """CIFAR-10's binary version, of noise."""
    folder = tmp_path / "photos"
    folder.mkdir()
    records = np.random.default_rng(0).integers(0, 10, (20, 3073), dtype=np.uint8)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder
