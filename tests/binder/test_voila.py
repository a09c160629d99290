"""The demo under Voilà, as the page without code that Binder also serves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sae_nb_widgets as sw

ROOT = Path(__file__).parents[2]
SECONDS = 240
pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(600)]

# Class (they are in order) with the longest bar of the trace whose name begins so.
TOP = """([plot, name]) => {
  const shares = Array.from(plot.data.find(t => (t.name || '').startsWith(name)).x);
  return shares.indexOf(Math.max(...shares));
}"""


@pytest.fixture(scope="module")
def address(lab_module: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Voilà serving the demo, on loopback, with Binder's settings."""
    pytest.importorskip("voila", reason='needs Voilà: pip install -e ".[binder]"')
    made = f"http://127.0.0.1:{(port := lab_module.free_port())}/"
    options = ["--no-browser", f"--port={port}", "--Voila.ip=127.0.0.1"]
    command = [sys.executable, "-m", "voila", str(ROOT / "notebooks" / "demo.ipynb"), *options]
    # Not the page itself: asking for it would run the notebook.
    probe, log = f"{made}voila/static/nothing", tmp_path_factory.mktemp("voila") / "log"
    with lab_module.serving(["bash", str(ROOT / "binder" / "start"), *command], probe, log):
        yield made


def test_the_page_runs_by_itself_and_its_slider_answers(chromium: Any, address: str) -> None:
    """Four panels, no code, nothing from elsewhere; the 9 is read as a 4, and as a 9 at slider 0."""
    page = chromium.new_page(viewport={"width": 1280, "height": 1600})
    page.set_default_timeout(SECONDS * 1000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_function("document.querySelectorAll('.sae-nb-panel').length === 4")
    steering = page.locator(".sae-nb-panel").filter(has_text=sw.SteeringPanel.question).first
    plot = steering.locator(".js-plotly-plot").first.element_handle()
    page.wait_for_function(f"arg => ({TOP})(arg) === 4", arg=[plot, "after"])
    assert page.evaluate(TOP, [plot, "before"]) == 9
    assert page.get_by_text("import sae_nb").count() == 0
    steering.get_by_role("slider").first.press("0")  # the strength of no change
    page.wait_for_function(f"arg => ({TOP})(arg) === 9", arg=[plot, "after"])
    assert errors == []
    own = (address, "data:", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []
    page.close()
