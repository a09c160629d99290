"""CurvePanel: the dial moves by keys, and a row of the table is a step of it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
adder = sn.load_model("tiny-modular")
sums = [total for total in range(53) for _ in range(2)]
texts = [f"{a} + {(total - a) % 53} =" for total, a in zip(sums, 53 * [5, 20])]
at_equals = sn.capture(adder, texts, "resid_post.0", positions="last", drop_first=False, progress=False)
turned = sw.CurvePanel(
    adder, "resid_post.0", sn.geometry.curve(at_equals, sums, closed=True, period=53), "3 + 4 =", by=20
)
turned""",
)


def check_keys_turn_the_dial_and_a_row_is_a_step(page: Page, stage: Any) -> None:
    panel = page.locator(".sae-nb-panel").nth(0)
    panel.get_by_text("on the chord:").first.wait_for()
    stage.settle()
    stage("opened", panel)
    before = stage.ask("turned.step")
    panel.get_by_role("slider").first.focus()
    page.keyboard.press("ArrowLeft")
    stage.settle()
    assert stage.ask("turned.step") == before - 1
    panel.locator("tr", has_text="“9”").first.click()
    panel.get_by_text("At 9 along the curve: “9”").first.wait_for()
    stage.settle()
    assert stage.ask("turned.step") == 2
    stage("chosen", panel)
