"""ConceptMap: wheel, keys, key and histograms explore it; every mark is seen in light and dark."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
concepts = sw.ConceptMap(vit_sae, examples=vit_examples)
concepts.wait()
concepts.clear_selection()
concepts""",
)
# Where a point lies on the page while the whole map is seen: fitted into the canvas with a margin.
PLACE = """(panel, [xy, point]) => {
  const box = panel.querySelector('.sae-nb-mapstage').getBoundingClientRect();
  const [xs, ys] = [xy.map(p => p[0]), xy.map(p => p[1])];
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const [across, up] = [(box.width - 46) / (x1 - x0), (box.height - 46) / (y1 - y0)];
  const tall = Math.min(Math.max(up / across, 1 / 1.6), 1.6);  // the map is stretched to fill its canvas
  const scale = Math.min(across, up / tall);
  return [box.x + box.width / 2 + (xy[point][0] - (x0 + x1) / 2) * scale,
    box.y + box.height / 2 - (xy[point][1] - (y0 + y1) / 2) * scale * tall];
}"""
# Contrast of every colour that covers a pixel of the canvas wholly, with the paper below it.
FAINT_MARKS = """panel => {
  const canvas = panel.querySelector('.sae-nb-mapstage canvas');
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const light = c => c.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  let ground = [255, 255, 255];
  for (let e = canvas; e; e = e.parentElement) {
    const m = getComputedStyle(e).backgroundColor.match(/[\\d.]+/g).map(Number);
    if (m.length === 3 || m[3] === 1) { ground = m.slice(0, 3); break; }
  }
  const colours = new Map();
  for (let i = 0; i < pixels.length; i += 4)
    if (pixels[i + 3] === 255) colours.set([...pixels.slice(i, i + 3)].join(), true);
  const faint = [...colours.keys()].map(text => {
    const [a, b] = [light(text.split(',').map(Number)), light(ground)].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), text]; }).filter(([contrast]) => contrast < 3);
  return [colours.size, faint.slice(0, 5), ground];
}"""


def _shown(page: Page, panel: Any) -> None:
    """Wait until the map has points and is as wide as its column."""
    page.wait_for_function(
        "panel => { const c = panel.querySelector('.sae-nb-mapstage canvas');"
        " const slot = panel.querySelector('.sae-nb-main');"
        " if (!c || !c.width) return false;"
        " const side = getComputedStyle(slot);"
        " const room = slot.clientWidth - parseFloat(side.paddingLeft) - parseFloat(side.paddingRight);"
        " if (Math.abs(c.clientWidth - room) > 6) return false;"
        " const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " return p.some((v, i) => i % 4 === 3 && v > 0); }",
        arg=panel.element_handle(),
    )


def _begin(page: Page, stage: Any) -> Any:
    stage.run(
        "concepts.reset(); concepts.filter = {}; concepts.drag = 'pan'; concepts.edges = 'none';"
        " concepts.clear_selection(); concepts.color_by = 'cluster'"
    )
    panel = stage.panel("tiny-vit")
    _shown(page, panel)
    stage.settle()
    panel.scroll_into_view_if_needed()
    return panel


def _place(stage: Any, panel: Any, point: int) -> tuple[float, float]:
    x, y = panel.evaluate(PLACE, [stage.ask("concepts.record.xy.tolist()"), point])
    return x, y


def _box(panel: Any) -> tuple[float, float, float, float]:
    box = panel.locator(".sae-nb-mapstage").bounding_box()
    return box["x"], box["y"], box["width"], box["height"]


def _alone(stage: Any) -> int:
    """The point that is farthest from all others."""
    return int(
        stage.ask(
            "int(np.argmax(np.sort(np.linalg.norm(concepts.record.xy[:, None] - "
            "concepts.record.xy[None], axis=2), axis=1)[:, 1]))"
        )
    )


HIT = "place => document.elementFromPoint(...place).className"


def check_the_map_is_painted(page: Page, stage: Any) -> None:
    """Clusters named, a key, no plotly, and every mark is seen in light and dark."""
    panel = _begin(page, stage)
    assert panel.locator(".js-plotly-plot").count() == 0
    assert panel.locator(".sae-nb-keyentry").count() >= 5
    assert (
        panel.locator(".sae-nb-answer").inner_text().startswith(("Nearest to ", "No atom is close"))
    )
    assert "groups, the largest: " in panel.inner_text()
    for dark in stage.both():
        for colour in ("cluster", "frequency"):
            stage.run(f"concepts.color_by = {colour!r}")
            stage.settle()
            n_colours, faint, ground = panel.evaluate(FAINT_MARKS)
            assert n_colours >= 5
            assert (sum(ground) < 200) == dark
            assert faint == []
            stage(f"{colour}-{'dark' if dark else 'light'}", panel)
    assert panel.locator(".sae-nb-mapramp").inner_text().count("%") >= 3


def check_a_click_shows_the_atom(page: Page, stage: Any) -> None:
    """Pointing shows the card of the atom, clicking makes it the current one."""
    panel = _begin(page, stage)
    alone = _alone(stage)
    x, y = _place(stage, panel, alone)
    page.mouse.move(x + 1, y)
    page.mouse.move(x, y)
    page.locator(f".sae-nb-atomcard[data-shows='{alone}']").wait_for()
    stage("card")
    # What lies under the card can be pointed at: no click goes to it.
    card = page.locator(".sae-nb-atomcard:visible").bounding_box()
    hit = page.evaluate(HIT, [card["x"] + card["width"] / 2, card["y"] + card["height"] / 2])
    assert "sae-nb-card" not in hit
    page.mouse.click(x, y)
    panel.locator(".sae-nb-detail").get_by_text(f"atom {alone}", exact=True).first.wait_for()
    assert stage.ask("concepts.atom") == alone
    page.mouse.move(5, 5)
    stage("clicked", panel)


def check_wheel_and_dragging_explore(page: Page, stage: Any) -> None:
    """The wheel zooms where the mouse is, dragging moves, up close atoms are pictures; ⟲ shows all."""
    panel = _begin(page, stage)
    left, top, width, height = _box(panel)
    page.mouse.move(left + width / 2, top + height / 2)
    for _ in range(7):
        page.mouse.wheel(0, -150)
        page.wait_for_timeout(40)
    stage.until("len(concepts.view) == 4 and len(concepts.map.chart.nearby) > 0")
    before = stage.ask("list(concepts.view)")
    stage.settle()
    stage("close", panel)
    assert stage.ask("len(concepts.map.chart.sprite)") > 100
    page.mouse.down()
    page.mouse.move(left + width / 2 + 80, top + height / 2 + 10, steps=4)
    page.mouse.up()
    stage.until(f"concepts.view[0] < {before[0]}")
    panel.get_by_role("button", name="Show the whole map").click()
    stage.until("concepts.view == ()")
    stage.run("concepts.zoom_to([concepts.atom])")
    stage.settle()
    page.mouse.dblclick(left + 20, top + height - 20)
    stage.until("concepts.view == ()")


def check_keys_explore(page: Page, stage: Any) -> None:
    """Arrows move, + zooms, Enter chooses the point in the middle, 0 shows all."""
    panel = _begin(page, stage)
    stage.run("concepts.atom = 0")
    chart = panel.locator(".sae-nb-mapstage")
    chart.focus()
    for key in ("+", "+", "+", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
    stage.until("len(concepts.view) == 4")
    page.keyboard.press("Enter")
    stage.until("concepts.atom != 0")
    middle = "np.array([concepts.view[:2], concepts.view[2:]]).mean(0)"
    nearest = f"int(np.linalg.norm(concepts.record.xy - {middle}, axis=1).argmin())"
    # The kernel is told of the part that is seen once it rests.
    stage.until(f"concepts.atom == {nearest}")
    page.keyboard.press("0")
    stage.until("concepts.view == ()")


def check_key_and_histogram_filter(page: Page, stage: Any) -> None:
    """An entry of the key lights its category alone, dragging over a histogram keeps a range."""
    panel = _begin(page, stage)
    panel.locator(".sae-nb-keyentry").first.click()
    stage.until("list(concepts.filter) == ['cluster']")
    stage.settle()
    pressed = [e.get_attribute("aria-pressed") for e in panel.locator(".sae-nb-keyentry").all()]
    assert pressed == ["true", *["false"] * (len(pressed) - 1)]
    stage.until("concepts.selected == tuple(concepts.record.clusters[0].points.tolist())")
    panel.locator(".sae-nb-keyentry").first.click()
    stage.until("concepts.filter == {}")
    stage.settle()
    bars = panel.locator(".sae-nb-brush svg").first
    stage.drag(bars, 0.6, 0.9)
    stage.until("list(concepts.filter) == ['frequency']")
    stage.says(panel, "atoms are shown, by frequency")
    stage.settle()
    stage("brushed", panel)
    bars.click()
    stage.until("concepts.filter == {}")
