"""ConceptMap of 120 000 atoms: a sample while it moves, all at rest, and every atom answers."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
crowd_draws = np.random.default_rng(0)
crowd_group = crowd_draws.integers(0, 100, 120_000)
crowd_xy = crowd_draws.normal(0, 9, (100, 2))[crowd_group] + crowd_draws.normal(0, 0.4, (120_000, 2))
crowd_xy[77_777] = crowd_xy.max(axis=0) + 3
crowd_mix = torch.randn(100, 16, generator=torch.Generator().manual_seed(0))[torch.from_numpy(crowd_group)]
crowd_mix += 0.4 * torch.randn(120_000, 16, generator=torch.Generator().manual_seed(1))
crowd = sw.ConceptMap(crowd_mix, xy=crowd_xy.astype(np.float32), labels={119_999: "cat"})
crowd.wait(300)
crowd""",
)
PLACE = """(panel, [low, high, point]) => {
  const box = panel.querySelector('.sae-nb-mapstage').getBoundingClientRect();
  const [across, up] = [(box.width - 46) / (high[0] - low[0]), (box.height - 46) / (high[1] - low[1])];
  const tall = Math.min(Math.max(up / across, 1 / 1.6), 1.6);  // the map is stretched to fill its canvas
  const scale = Math.min(across, up / tall);
  return [box.x + box.width / 2 + (point[0] - (low[0] + high[0]) / 2) * scale,
    box.y + box.height / 2 - (point[1] - (low[1] + high[1]) / 2) * scale * tall];
}"""
IS_WHOLE = "panel => panel.querySelector('.sae-nb-mapstage canvas')?.dataset.whole === 'true'"
# Notes how many points are painted each time, from now on: a look between two paintings may come too late.
NOTE_PAINTED = """panel => { const canvas = panel.querySelector('.sae-nb-mapstage canvas');
  window.timesPainted = [];
  new MutationObserver(() => window.timesPainted.push(Number(canvas.dataset.painted)))
    .observe(canvas, {attributes: true, attributeFilter: ['data-painted']}); }"""


def _panel(page: Page, stage: Any) -> Any:
    stage.run("crowd.reset(); crowd.clear_selection(); crowd.color_by = 'cluster'")
    panel = stage.panel("120\u2009000")
    panel.locator(".sae-nb-mapstage").scroll_into_view_if_needed()
    page.wait_for_function(IS_WHOLE, arg=panel.element_handle(), timeout=60_000)
    stage.settle()
    return panel


def check_a_click_finds_an_atom_among_all(page: Page, stage: Any) -> None:
    """The loneliest atom answers to the mouse, painted in the sample or not, and its card is there."""
    panel = _panel(page, stage)
    stage("whole", panel)
    ends = "[crowd.record.xy.min(axis=0).tolist(), crowd.record.xy.max(axis=0).tolist(), {}]"
    x, y = panel.evaluate(PLACE, stage.ask(ends.format("crowd.record.xy[77777].tolist()")))
    page.mouse.move(x, y)
    page.wait_for_timeout(300)
    page.mouse.down()
    page.mouse.up()
    stage.until("crowd.atom == 77777")
    panel.locator(".sae-nb-answer").get_by_text("77777").wait_for()


def check_it_moves_by_a_sample_and_rests_with_all(page: Page, stage: Any) -> None:
    """The wheel paints at most forty thousand; when it rests nothing is left out."""
    panel = _panel(page, stage)
    box = panel.locator(".sae-nb-mapstage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    panel.evaluate(NOTE_PAINTED)
    page.mouse.wheel(0, -60)
    page.wait_for_function("() => window.timesPainted.length > 0")
    page.wait_for_function(IS_WHOLE, arg=panel.element_handle(), timeout=60_000)
    painted = page.evaluate("window.timesPainted")
    assert 0 < painted[0] <= 40_000, painted
    stage.until("crowd.view != ()")
    stage("closer", panel)


def check_search_zooms_to_an_atom_and_colours_are_of_all(page: Page, stage: Any) -> None:
    """A label that one of 120 000 atoms has is found; up close it is named."""
    panel = _panel(page, stage)
    stage.run("crowd.search = 'cat'; crowd.zoom_to([119_999])")
    stage.until("crowd.atom == 119999 and crowd.selected == (119999,)")
    stage.run("crowd.reset(); crowd.color_by = 'atom'")
    panel.locator(".sae-nb-mapramp").get_by_text("cosine with atom 119999").wait_for()
    page.wait_for_function(IS_WHOLE, arg=panel.element_handle(), timeout=60_000)
    stage("cosine", panel)
