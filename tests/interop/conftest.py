"""Where the SAEs that other libraries wrote are, for the tests that read them."""

from pathlib import Path

import pytest


@pytest.fixture
def peer_files(assets: Path) -> Path:
    """The folder of SAEs saved by the libraries themselves."""
    folder = assets / "data" / "peer_files"
    if not folder.is_dir():
        pytest.skip(f"no peer files in {folder.name}")
    return folder
