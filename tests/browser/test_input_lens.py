"""InputLens in a real JupyterLab: draw a seven, see its atoms, open one elsewhere; type a text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]
SHOTS = Path(__file__).parents[2] / "build" / "shots" / "input_lens"
CELLS = (
    """\
import torch, traitlets
import sae_nb as sn, sae_nb_widgets as sw
torch.set_num_threads(1)
model = sn.load_model("tiny-vit")
sae, examples = sn.load_sae("tiny-vit/resid_post.6"), sn.load_examples("tiny-vit/resid_post.6")
lens = sw.InputLens(model, sae)
browser = sw.AtomBrowser(sae, examples.acts, catalogue=examples.catalogue(sae))
traitlets.link((lens, "atom"), (browser, "atom"))
lens""",
    "browser",
    """\
gpt = sn.load_model("tiny-gpt")
small = sn.TopK(d_in=128, n_atoms=256, k=8, generator=torch.Generator().manual_seed(0))
reading = sw.InputLens(gpt, small, "resid_post.2")
reading""",
)


@pytest.fixture(scope="module")
def lab(lab_module: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One notebook with two lenses and an atom browser."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    path = tmp_path_factory.mktemp("lens") / "lens.ipynb"
    nbformat.write(notebook, path)
    with lab_module.Lab(path, out=SHOTS, timeout_s=90) as opened:
        opened.run_all()
        yield opened


def _panel(lab: Any, number: int) -> Any:
    panel = lab.page.locator(".sae-nb-panel").nth(number)
    panel.scroll_into_view_if_needed()
    return panel


def _draw(lab: Any, panel: Any, points: list[tuple[float, float]]) -> None:
    box = panel.locator(".sae-nb-pad canvas").bounding_box()
    step, mouse = box["width"] / 32, lab.page.mouse
    at = [(box["x"] + x * step, box["y"] + y * step) for x, y in points]
    mouse.move(*at[0])
    mouse.down()
    for point in at[1:]:
        mouse.move(*point, steps=8)
    mouse.up()


def test_drawn_seven_is_read_as_seven(lab: Any) -> None:
    """The answer on screen becomes 7 and the picture is what was drawn."""
    panel = _panel(lab, 0)
    _draw(lab, panel, [(9, 7), (22, 7), (14, 25)])
    panel.locator(".sae-nb-picture .sae-nb-caption", has_text="drawing").wait_for()
    answer = panel.locator(".sae-nb-detail .sae-nb-barrow .sae-nb-label").first
    assert answer.text_content() == "7"
    assert panel.locator(".sae-nb-pairrow[role=option]").count() == 12
    lab.shot("drawn", panel)
    assert lab.problems() == []


def test_clicked_atom_goes_to_the_linked_browser(lab: Any) -> None:
    """A click on a bar moves the number in the AtomBrowser; splicing adds the exact tick."""
    panel, other = _panel(lab, 0), _panel(lab, 1)
    row = panel.locator(".sae-nb-pairrow[role=option]").nth(3)
    number = row.locator(".sae-nb-label").text_content().split()[0]
    row.click()
    field = other.locator("input[type=number]").first
    lab.page.wait_for_function(
        "([field, number]) => field.value === number", arg=[field.element_handle(), number]
    )
    panel.get_by_role("button", name="splice check").click()
    panel.locator(".sae-nb-pairrow .sae-nb-before").first.wait_for()
    lab.settle()
    lab.shot("spliced", panel)
    assert lab.problems() == []


def test_second_picture_turns_bars_into_differences(lab: Any) -> None:
    """Two pictures, dashed floors, and the drawing pad fills the second."""
    panel = _panel(lab, 0)
    panel.get_by_role("button", name="compare").click()
    panel.locator(".sae-nb-picture").nth(1).wait_for()
    _draw(lab, panel, [(16, 6), (16, 26)])
    panel.locator(".sae-nb-caption", has_text="B drawing").wait_for()
    assert "A − B" in panel.locator(".sae-nb-pairhead").text_content()
    assert panel.locator(".sae-nb-pairrow .sae-nb-control").count() >= 12
    lab.settle()
    lab.shot("compared", panel)
    assert lab.problems() == []


def test_typed_text_is_read_and_is_only_text(lab: Any) -> None:
    """Markup in it stays a word; an empty one is one sentence."""
    panel = _panel(lab, 2)
    field = panel.locator("input[type=text]").first
    field.fill("The fox <b>lost</b> the coin")
    field.press("Enter")
    panel.locator(".sae-nb-text", has_text="the coin").first.wait_for()
    assert "<b>lost</b>" in panel.locator(".sae-nb-text").first.text_content()
    assert panel.locator(".sae-nb-text b").count() == 0
    lab.shot("text", panel)
    field.fill("  ")
    field.press("Enter")
    panel.locator(".sae-nb-problem", has_text="at least one word").wait_for()
    lab.shot("empty_text", panel)
    assert lab.problems() == []


def test_nothing_is_wider_than_a_narrow_panel(lab: Any) -> None:
    """At 700 pixels the cards go under the bars and nothing is cut off."""
    size = lab.page.viewport_size
    lab.page.set_viewport_size({"width": 1060, "height": size["height"]})
    panel = _panel(lab, 0)
    lab.settle()
    wide = panel.evaluate("node => node.scrollWidth - node.clientWidth")
    lab.shot("narrow", panel)
    lab.page.set_viewport_size(size)
    assert wide <= 1
