"""The stop button of JupyterLab, in the middle of Run All: the run ends there, and the cell tells what is left."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.scripts import script

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]

script(Path(__file__).with_name("lab.py"), "lab")  # which the stage imports
stage = script(Path(__file__).with_name("stage.py"), "stage")

TRAINS = """\
import torch, sae_nb as sn
x = torch.randn(2000, 16, generator=torch.Generator().manual_seed(0))
sae = sn.TopK(16, 64, 4, generator=torch.Generator().manual_seed(0))
sn.train(sae, x, steps=10_000_000, batch_size=256)"""
LATER = "reached = True"
RUN = """() => { window.__ran = false; window.jupyterapp.commands.execute('notebook:run-all-cells')
  .catch(() => {}).finally(() => { window.__ran = true; }); }"""
STOP = "() => window.jupyterapp.commands.execute('notebook:interrupt-kernel')"
LEFT = "import sae_nb as sn\nleft = sn.interrupted()"


def test_stop_during_run_all_stops_the_run(lab_module: ModuleType, tmp_path: Path) -> None:
    """The next cell does not run; the SAE keeps what it learned, and the result so far can be reached."""
    path = tmp_path / "stop.ipynb"
    stage.write_cells(path, [TRAINS, LATER])
    with lab_module.Lab(path, out=stage.SCREENSHOTS, timeout_s=150) as lab:
        page = lab.page
        page.evaluate(RUN)
        page.get_by_text("R²=", exact=False).first.wait_for(timeout=120_000)
        page.evaluate(STOP)
        page.wait_for_function("() => window.__ran", timeout=60_000)
        lab.settle()
        said = page.locator(".jp-CodeCell").first.inner_text()
        assert "Interrupted: Training was interrupted after step" in said
        assert "sn.interrupted()" in said
        assert "checkpoint=" in said
        lab.asked(LEFT)
        lab.asked("assert left.sae is sae and 0 < left.steps < 10_000_000 and not sae.training")
        lab.asked("assert 'reached' not in globals()")
        lab.shot("stopped")
