"""CircuitPanel of neurons: it opens on what the strongest take away; one is changed, and the answer follows."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
neuron_graph = sn.circuits.attribution_graph(
    gpt, "neurons", "Once upon a time there was a", contrast="Once upon a time there were two", max_nodes=60)
neurons = sw.CircuitPanel(neuron_graph)
neurons.wait(60)
neurons""",
)

HEADLINE = "Once upon a time there was a →"


def _unfold(panel: Any) -> None:
    """Show the drawing under the story."""
    drawing = panel.locator(".sae-nb-circuit")
    if not drawing.is_visible():
        panel.get_by_role("button", name="the whole circuit as a graph").click()
    drawing.wait_for()


def check_a_neuron_is_changed_in_the_live_model(page: Page, stage: Any) -> None:
    """It opens on the story as it is; the switch tells it without, and in the drawing a key changes a neuron."""
    panel = stage.panel(HEADLINE)
    cut = panel.locator(".sae-nb-cutrow")
    panel.get_by_text("random changes as large").wait_for()
    stage("opened", panel)
    panel.get_by_role("button", name="exchanged", exact=True).click()
    panel.locator(".sae-nb-storycut").wait_for()
    panel.get_by_role("button", name="as it is", exact=True).click()
    _unfold(panel)
    first = stage.ask("neurons.node")
    panel.get_by_role("button", name="›", exact=True).click()
    stage.until(f"neurons.node != {first}")
    stage.settle()
    before = cut.inner_text()
    panel.get_by_role("slider", name="strength ×").press("ArrowRight")
    panel.get_by_text("in the model", exact=True).wait_for()
    stage.settle()
    assert stage.ask("neurons.strength") > 1
    assert cut.inner_text() != before
    stage("changed", panel)
    panel.get_by_role("button", name="Cut chosen").click()
    stage.until("neurons.strength == 0")
