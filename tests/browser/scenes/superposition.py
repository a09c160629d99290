"""SuperpositionToy and exercise cards: the slider moves the arrows, exercises speak, blanks wait. CircuitPanel: a
click chooses an atom, the slider changes it, the answer follows."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

CELLS = (
    """\
toy = sw.SuperpositionToy()
toy.wait(120)
toy.sparsity = 0.97
toy.details = True
toy""",
    'from sae_nb_lessons import exercise, exercise_report\nexercise("01.3")',
    'exercise("01.3").check(...)',
    'exercise("01.4").reveal()',
    'exercise_report("01")',
    """\
circuit_graph = sn.circuits.attribution_graph(
    gpt, [sn.load_sae(f"tiny-gpt/mlp.{layer}") for layer in (2, 3)], "One day she went", target=" to", max_nodes=200)
circuit = sw.CircuitPanel(circuit_graph, threshold=0.6)
circuit.as_graph = True
circuit""",
)
ARROWS = """plot => JSON.stringify(plot.data.filter(trace => /^arrow/.test(trace.name))
  .map(trace => Array.from(trace.x, Number).concat(Array.from(trace.y, Number))))"""


def check_the_slider_moves_the_arrows(page: Page, stage: Any) -> None:
    """Eight steps of the slider show another toy, and its numbers."""
    panel = stage.panel("How do many features")
    plot = panel.locator(".js-plotly-plot").first.element_handle()
    before, numbers = plot.evaluate(ARROWS), panel.inner_text()
    handle = panel.get_by_role("slider").first
    for _ in range(8):
        handle.press("ArrowLeft")
    stage.changed(plot, ARROWS, before)
    stage.settle()
    stage("slider", panel)
    assert "2 of 5 features are stored" in panel.inner_text()
    assert panel.inner_text() != numbers


def check_a_clicked_atom_is_changed_in_the_live_model(page: Page, stage: Any) -> None:
    """Its examples and neighbours come, a key of the slider runs the model, three bars stand side by side."""
    stage.run("circuit.node = -1")
    panel = stage.panel("Which atoms caused this answer")
    nodes = panel.locator(".sae-nb-node-for")
    nodes.first.wait_for()
    stage("whole", panel)
    wanted = int(nodes.first.get_attribute("data-atom"))
    nodes.first.click()
    stage.settle()
    assert stage.ask("circuit.node") == wanted
    panel.locator(".sae-nb-kwicrow").first.wait_for()
    # It begins as strong as it is: the first step is the first change.
    strength = panel.get_by_role("slider", name="strength ×")
    strength.press("ArrowLeft")
    panel.get_by_text("in the model", exact=True).wait_for()
    stage.settle()
    before = panel.locator(".sae-nb-cutrow").inner_text()
    strength.press("ArrowLeft")
    stage.settle()
    assert 0 < stage.ask("circuit.strength") < 0.95
    assert panel.locator(".sae-nb-cutrow").inner_text() != before
    stage("changed", panel)
