"""Two visitors, one after the other, on little memory and without a network: nothing stays behind."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What of the repository the demo needs, apart from the package."""
    made = tmp_path / "checkout"
    shutil.copytree(ROOT / "binder", made / "binder")
    (made / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "demo.ipynb", made / "notebooks")
    return made


def _may_leave_the_network() -> bool:
    return any(
        subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
        for prefix in (["unshare", "-n"], ["unshare", "-r", "-n"])
        if shutil.which("unshare")
    )


def test_visitors_leave_nothing_and_need_no_network(checkout: Path, tmp_path: Path) -> None:
    """Every cell runs, the slider answers; no process, no file of the image, within Binder's memory."""
    if not sys.platform.startswith("linux") or importlib.util.find_spec("psutil") is None:
        pytest.skip("watches processes the way Linux shows them, with psutil")
    seen = tmp_path / "visits.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "binder_load.py"), "--visitors", "2"]
    command += ["--ways", "kernel", "--folder", str(checkout), "--json", str(seen)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    if _may_leave_the_network():
        assert "network: none but loopback" in done.stdout
    visits = json.loads(seen.read_text())
    assert len(visits) == 2
    for visit in visits:
        assert visit["problems"] == []
        assert set(visit["seconds"]) == {"first panel", "all cells", "slider pulled to 0"}
        assert visit["left"] == 0
        assert visit["folder_grown"] == 0
        assert 100 < visit["resident"] < 1024
