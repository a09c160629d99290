"""Two visitors, one after the other, on little memory and without a network: nothing stays behind."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


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


@pytest.mark.timeout(600)
def test_visitors_leave_nothing_and_need_no_network(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cell runs, the slider answers; no process, no file of the image, within Binder's guarantee."""
    monkeypatch.delenv("SAE_NB_CACHE")  # SmolLM2 needs more than the guarantee: binder/README.md
    if not sys.platform.startswith("linux") or importlib.util.find_spec("psutil") is None:
        pytest.skip("watches processes the way Linux shows them, with psutil")
    seen = tmp_path / "visits.json"
    command = [sys.executable, str(ROOT / "tests" / "binder" / "binder_load.py"), "--visitors", "2"]
    command += ["--ways", "kernel", "--folder", str(checkout), "--json", str(seen)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    if _may_leave_the_network():
        assert "network: none but loopback" in done.stdout
    visits = json.loads(seen.read_text())
    assert len(visits) == 2
    for visit in visits:
        assert visit["problems"] == []
        assert set(visit["seconds"]) == {"first panel's place", "all cells", "slider pulled to 0"}
        assert visit["left"] == 0
        assert visit["folder_grown"] == 0
        assert 100 < visit["resident"] < 1024


def test_what_a_visitor_leaves_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that goes on, a file in the image, and a visit that failed: each in the record."""
    pytest.importorskip("psutil")
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "binder"))
    load = importlib.import_module("binder_load")
    monkeypatch.setattr(load, "until", lambda holds, _: holds())  # no patience
    (tmp_path / "binder").mkdir()
    (tmp_path / "binder" / "start").write_text('exec "$@"\n')
    image = load.Image(Path(sys.prefix), tmp_path, 2**30)

    def careless(place: Any, _: Any) -> None:
        place.start("-c", "import time; print('here', flush=True); time.sleep(300)")
        while not (place.home / "log").read_text():
            time.sleep(0.02)
        (tmp_path / "forgotten").write_text("seven b")
        raise RuntimeError("the page fell over")

    seen = load.visit(image, careless)
    assert seen.left == 1
    assert seen.folder_grown == 7
    assert "the page fell over" in seen.problems[0]
