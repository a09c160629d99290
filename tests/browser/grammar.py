"""What holds of every panel on a page, whatever it shows: names, room, dark, lecture scale, keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

TRIES = 240  # a minute: a machine that never ran it compiles loops first
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

# What can be reached with Tab, in the order of the page.
STOPS = """panel => [...panel.querySelectorAll('a[href], button, input, select, textarea, [tabindex]')]
  .filter(n => n.tabIndex >= 0 && !n.disabled && n.offsetParent !== null && n.type !== 'file'
    && getComputedStyle(n).visibility !== 'hidden' && !n.closest('.js-plotly-plot'))"""
# Stops that look the same with and without focus, and rows of controls that are not read as they stand.
UNSEEN_OR_ASTRAY = f"""panel => {{
  const stops = ({STOPS})(panel);
  const look = n => {{ const s = getComputedStyle(n);
    return [s.borderColor, s.boxShadow, s.backgroundColor].join() + (s.outlineStyle === 'none' ? ''
      : s.outlineStyle + s.outlineWidth + s.outlineColor); }};
  const had = document.activeElement;
  const unseen = stops.filter(n => {{ document.activeElement.blur(); const before = look(n);
    n.focus({{preventScroll: true, focusVisible: true}});
    const inside = [...n.querySelectorAll('*')].some(c => getComputedStyle(c).outlineStyle !== 'none');
    return look(n) === before && !inside && n.tagName !== 'CANVAS'; }})
    .map(n => `no sign of focus: ${{n.outerHTML.slice(0, 120)}}`);
  if (had) had.focus({{preventScroll: true}});
  const astray = [...panel.querySelectorAll('.sae-nb-controls, .sae-nb-line, .sae-nb-foottools')]
    .flatMap(row => {{
      const boxes = stops.filter(n => n.parentElement.closest('.sae-nb-controls, .sae-nb-line, .sae-nb-foottools')
        === row).map(n => [n.getBoundingClientRect(), n]);
      return boxes.slice(1).filter(([r], i) => r.bottom <= boxes[i][0].top + 2
        || (r.right <= boxes[i][0].left + 2 && r.top < boxes[i][0].bottom - 2))
        .map(([, n]) => `Tab comes back to: ${{n.outerHTML.slice(0, 120)}}`); }});
  return [...unseen, ...astray];
}}"""
FIRST_STOP = f"panel => {{ const stops = ({STOPS})(panel); if (stops.length) stops[0].focus(); return stops.length; }}"
INSIDE = "panel => panel.contains(document.activeElement)"

# What still moves where the reader asked for stillness.
MOVING = """panel => [panel, ...panel.querySelectorAll('*')].filter(n => n.getClientRects().length).flatMap(n => {
  const s = getComputedStyle(n), longest = t => Math.max(...t.split(',').map(parseFloat));
  return [s.animationName !== 'none' && 'animation ' + s.animationName,
    longest(s.transitionDuration) > 0.01 && 'transition ' + s.transitionProperty,
    s.scrollBehavior === 'smooth' && 'smooth scrolling'].filter(Boolean)
    .map(what => `${what}: ${n.tagName}.${n.getAttribute('class')}`); })"""

# Sizes, contrast, room: see its first line.
JUDGE = Path(__file__).with_name("grammar.js").read_text(encoding="utf-8")
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
        title = panel.locator(".sae-nb-question").first
        assert title.inner_text().strip()
        assert str(title.get_attribute("title")).endswith("?")


def the_keyboard_goes_through_and_nothing_moves_unasked(page: Page, stage: Any) -> None:
    """Tab leaves the panel after its last control, each shows that it has the focus; no animation."""
    page.emulate_media(reduced_motion="reduce")
    try:
        for panel in _shown(stage):
            _soon_nothing(panel, UNSEEN_OR_ASTRAY)
            _soon_nothing(panel, MOVING)
            stops = panel.evaluate(FIRST_STOP)
            # Boxes that scroll are stops of the browser's own.
            for _ in range(2 * stops + 1):
                page.keyboard.press("Tab")
                if not panel.evaluate(INSIDE):
                    break
            else:
                raise AssertionError(f"Tab does not leave the panel after {stops} stops")
    finally:
        page.emulate_media(reduced_motion="no-preference")


def nothing_is_cut_off(page: Page, stage: Any) -> None:
    """On a phone and beside code all parts are inside, texts and marks whole, apart and seen; nothing scrolls."""
    for pixels in (420, 1400):
        _at_width(page, stage, pixels, 12)


def dark_and_lecture_scale_redraw(page: Page, stage: Any) -> None:
    """Both are switched while the panel is shown: it stays readable, grows by a quarter, comes back."""
    before = [panel.evaluate("p => getComputedStyle(p).color") for panel in _shown(stage)]
    stage.dark()
    stage.lecture()
    now = [panel.evaluate("p => getComputedStyle(p).color") for panel in _shown(stage)]
    assert not set(now) & set(before)
    _at_width(page, stage, 800, 15)


def _at_width(page: Page, stage: Any, pixels: int, least: int) -> None:
    """Hold every panel against the rules of sizes, contrast and room; keep a picture of one that breaks them."""
    stage.width(stage.panel(), pixels)
    for number, panel in enumerate(_shown(stage)):
        panel.scroll_into_view_if_needed()
        try:
            _soon_nothing(panel, JUDGE, {"least": least})
        except AssertionError:
            stage(f"{pixels}px-{least}-{number}", panel)
            raise
    assert not page.evaluate(SIDEWAYS)


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


def grammar(page: Page, stage: Any) -> None:
    """All of it, in one opening."""
    every_control_has_a_name_and_an_explanation(page, stage)
    the_keyboard_goes_through_and_nothing_moves_unasked(page, stage)
    nothing_is_cut_off(page, stage)
    dark_and_lecture_scale_redraw(page, stage)
