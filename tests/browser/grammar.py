"""What holds of every panel on a page, whatever it shows: names, room, dark, lecture scale, keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

TRIES = 60
ROLES = "button|textbox|combobox|slider|spinbutton|checkbox|radio|switch|listbox|searchbox|tab"
UNNAMED = re.compile(rf"""^\s*- '?({ROLES})\b(?! ")""")

# Controls that say nothing when they are pointed at; a handle is explained by what it belongs to.
UNEXPLAINED = """panel => [...panel.querySelectorAll('button, select, input, textarea, [role=slider]')]
  .filter(n => n.offsetParent !== null && !n.closest('.js-plotly-plot'))
  .filter(n => { for (let e = n; e && e !== panel; e = e.parentElement) {
    if (e.title || e.getAttribute('aria-description')
        || [...e.children].some(c => c.tagName === 'LABEL' && c.title)) return false; }
    return true; })
  .map(n => n.outerHTML.slice(0, 160))"""
OUT_OF_ORDER = (
    "panel => [...panel.querySelectorAll('[tabindex]')].filter(n => n.tabIndex > 0).length"
)

# Parts that stick out of the panel, figures that do not fit their column, labels cut off in them.
STICKING_OUT = """panel => {
  const edge = panel.getBoundingClientRect().right + 1;
  const shown = n => n.offsetParent !== null && getComputedStyle(n).visibility !== 'hidden';
  // what lies in a box that scrolls by itself may be wider than it
  const scrolls = n => { for (let e = n.parentElement; e && e !== panel; e = e.parentElement)
    if (['auto', 'scroll'].includes(getComputedStyle(e).overflowX)) return true; return false; };
  const wide = [...panel.querySelectorAll('*')].filter(n => n instanceof HTMLElement && shown(n)
    && n.getBoundingClientRect().right > edge && n.getBoundingClientRect().width > 0 && !scrolls(n))
    .map(n => `sticks out: ${n.tagName} ${n.className}`);
  const figures = [...panel.querySelectorAll('.js-plotly-plot')].filter(shown).map(n => {
    const room = (n.closest('.sae-nb-main, .sae-nb-detail') || n.parentElement).clientWidth;
    return Math.abs(n.querySelector('.main-svg').getBoundingClientRect().width - room); })
    .filter(gap => gap > 4).map(gap => `a figure misses its column by ${gap} px`);
  return [...wide.slice(0, 5), ...figures];
}"""
CUT_LABELS = """panel => [...panel.querySelectorAll('.js-plotly-plot')].flatMap(plot => {
  const frame = plot.querySelector('.main-svg').getBoundingClientRect();
  const labels = [...plot.querySelectorAll('.main-svg text')].filter(n => n.textContent.trim()
    && n.getBoundingClientRect().width > 0 && getComputedStyle(n).opacity !== '0');
  const cut = labels.filter(n => { const r = n.getBoundingClientRect();
    return r.left < frame.left - 2 || r.right > frame.right + 2 || r.top < frame.top - 2
      || r.bottom > frame.bottom + 2; }).map(n => `cut off: ${n.textContent}`);
  const ticks = [...plot.querySelectorAll('.xaxislayer-above, .xaxislayer-below')].flatMap(layer => {
    const boxes = [...layer.querySelectorAll('.xtick text, .x2tick text, .x3tick text')]
      .filter(n => n.textContent.trim() && !/rotate\\((?!0)/.test(n.getAttribute('transform') || ''))
      .map(n => [n.getBoundingClientRect(), n.textContent]).sort((a, b) => a[0].left - b[0].left);
    return boxes.slice(1).filter(([r], i) => r.left < boxes[i][0].right - 1
      && Math.abs(r.top - boxes[i][0].top) < r.height / 2)
      .map(([, text]) => `overlaps: tick ${text}`); });
  return [...cut, ...ticks];
})"""

SMALL_TEXT = """(panel, least) => {
  const walker = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT);
  const found = new Set();
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || parent.closest('style, script, select, i.fa')) continue;
    const box = parent.getBoundingClientRect();
    if (!box.width || !box.height || getComputedStyle(parent).visibility === 'hidden') continue;
    const size = parseFloat(getComputedStyle(parent).fontSize);
    if (size < least - 0.05) found.add(`${size}px: ${walker.currentNode.textContent.trim().slice(0, 40)}`);
  }
  return [...found];
}"""
FAINT_TEXT = """panel => {
  // what CSS has mixed comes as color(srgb 0.7 0.3 0), in shares of one
  const parse = c => { const whole = c.startsWith('color(srgb') ? 255 : 1;
    const m = (c.match(/[\\d.]+/g) || []).map((v, i) => Number(v) * (i < 3 ? whole : 1));
    return m.length >= 3 ? [m[0], m[1], m[2], m.length > 3 ? m[3] : 1] : [0, 0, 0, 0]; };
  const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const light = c => c.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = n => { const layers = [];
    for (let e = n; e; e = e.parentElement) {
      const style = getComputedStyle(e);
      if (style.backgroundImage !== 'none') return null;
      layers.push(parse(style.backgroundColor));
      if (layers[layers.length - 1][3] === 1) break; }
    return layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255, 1]); };
  const walker = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT);
  const found = new Set();
  while (walker.nextNode()) {
    const n = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || n.closest('style, script, .sae-nb-token, [disabled]')) continue;
    const box = n.getBoundingClientRect(), style = getComputedStyle(n);
    if (!box.width || !box.height || style.visibility === 'hidden' || style.opacity < 1) continue;
    const below = ground(n);
    if (!below) continue;
    const ink = over(parse(n instanceof SVGElement ? style.fill : style.color), below);
    const [a, b] = [light(ink), light(below)].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.45) found.add(`${contrast.toFixed(2)}: ${walker.currentNode.textContent.trim().slice(0, 40)}`
      + ` (${style.color} on ${below.slice(0, 3).map(Math.round)})`);
  }
  return [...found];
}"""
SIDEWAYS = "document.documentElement.scrollWidth > document.documentElement.clientWidth + 1"


def every_control_has_a_name_and_an_explanation(page: Page, stage: Any) -> None:
    """Screen readers and pointers alike learn what a control does; Tab follows the reading order."""
    for panel in _shown(stage):
        for _ in range(TRIES):
            lines = panel.aria_snapshot().splitlines()
            unnamed = [line.strip() for line in lines if UNNAMED.match(line)]
            if not unnamed:
                break
            page.wait_for_timeout(250)
        _nothing(unnamed, "without a name: ")
        _soon_nothing(panel, UNEXPLAINED)
        assert panel.evaluate(OUT_OF_ORDER) == 0
        assert panel.locator("[role=status]").count() >= 1
        assert panel.locator(".sae-nb-question").first.inner_text().strip().endswith("?")


def nothing_is_cut_off(page: Page, stage: Any) -> None:
    """At 960 and at 700 pixels all parts are inside, labels are whole, nothing scrolls sideways."""
    for pixels in (960, 700):
        stage.width(stage.panel(), pixels)
        stage.settle(500)
        for number, panel in enumerate(_shown(stage)):
            panel.scroll_into_view_if_needed()
            page.wait_for_timeout(150)
            stage(f"{pixels}px-{number}", panel)
            _soon_nothing(panel, STICKING_OUT)
            _soon_nothing(panel, CUT_LABELS)
            _soon_nothing(panel, SMALL_TEXT, 13)
            _soon_nothing(panel, FAINT_TEXT)
        assert not page.evaluate(SIDEWAYS)


def dark_and_lecture_scale_redraw(page: Page, stage: Any) -> None:
    """Both are switched while the panel is shown: it stays readable, grows to 16 px, comes back."""
    before = [panel.evaluate("p => getComputedStyle(p).color") for panel in _shown(stage)]
    stage.dark()
    stage.run("sw.theme('lecture')")
    try:
        stage.settle(900)
        for number, panel in enumerate(_shown(stage)):
            panel.scroll_into_view_if_needed()
            page.wait_for_timeout(150)
            stage(f"dark-{number}", panel)
            assert panel.evaluate("p => getComputedStyle(p).color") != before[number]
            _soon_nothing(panel, FAINT_TEXT)
            _soon_nothing(panel, SMALL_TEXT, 16)
            _soon_nothing(panel, STICKING_OUT)
            _soon_nothing(panel, CUT_LABELS)
    finally:
        stage.run("sw.theme('normal')")


def _soon_nothing(panel: Any, script: str, *given: Any) -> None:
    """Fail with what the script finds, if it still finds it after a few seconds of redrawing."""
    for _ in range(TRIES):
        found = panel.evaluate(script, *given)
        if not found:
            return
        panel.page.wait_for_timeout(250)
    _nothing(found)


def _nothing(found: list[str], what: str = "") -> None:
    """Fail with the list: these modules are not rewritten by pytest, so `assert` would be silent."""
    if found:
        raise AssertionError(what + "\n".join(found[:20]))


def _shown(stage: Any) -> list[Any]:
    """The panels in reading order; those inside another one (a dashboard's) count with it."""
    nested = ".sae-nb-panel .sae-nb-panel"
    return [panel for panel in stage.panels().all()
            if panel.is_visible() and not panel.evaluate(f"p => p.matches('{nested}')")]  # fmt: skip


CHECKS: dict[str, Callable[[Page, Any], None]] = {
    check.__name__: check
    for check in (
        every_control_has_a_name_and_an_explanation,
        nothing_is_cut_off,
        dark_and_lecture_scale_redraw,
    )
}
