"""ConceptMap: a lasso fills the table, a click opens the atom, two dictionaries stand side by side."""

from __future__ import annotations

from typing import Any

from grammar import FAINT_TEXT
from playwright.sync_api import Page

CELLS = (
    """\
concepts = sw.ConceptMap(vit_sae, examples=vit_examples)
concepts.wait()
concepts""",
    """\
import sae_nb_widgets.concept_map._runs as concept_map_module
concept_noise = torch.linspace(0, 0.25, len(gpt_sae.dictionary))[:, None]
concept_noise = concept_noise * torch.randn(gpt_sae.dictionary.shape, generator=torch.Generator().manual_seed(0))
concept_pair = sw.ConceptMap(
    gpt_sae, examples=gpt_examples, other=gpt_sae.dictionary + concept_noise,
    xy=np.concatenate((gpt_examples.xy, gpt_examples.xy + np.float32(0.08))), webgl=True)
concept_pair.wait()
concept_pair""",
)
# Where a point lies on the page: the plot's own axes say.
PLACE = """(panel, [trace, point]) => {
  const plot = panel.querySelector('.js-plotly-plot');
  const {xaxis, yaxis} = plot._fullLayout;
  const box = plot.querySelector('.nsewdrag').getBoundingClientRect();
  const data = plot.data[trace];
  return [box.x + xaxis.d2p(data.x[point]), box.y + yaxis.d2p(data.y[point])];
}"""
BOX = "panel => { const b = panel.querySelector('.nsewdrag').getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; }"
PAINTED = """panel => {
  const canvas = panel.querySelector('.gl-canvas-focus, .gl-canvas-context');
  const gl = canvas && (canvas.getContext('webgl2') || canvas.getContext('webgl'));
  return Boolean(gl) && !gl.isContextLost();
}"""
NUMBERS, GROUPS = 2, 3


def _shown(page: Page, panel: Any) -> None:
    """Wait until the map is drawn, as wide as its column, with names on it."""
    page.wait_for_function(
        "panel => { const p = panel.querySelector('.js-plotly-plot');"
        " const drawn = p && p.querySelector('.main-svg');"
        " const slot = panel.querySelector('.sae-nb-main');"
        " return drawn && p.data && p.data.length === 8 && p.data[3].x.length > 0 &&"
        " p.querySelector('.textpoint text') && "
        " Math.abs(drawn.getBoundingClientRect().width - slot.clientWidth) < 5; }",
        arg=panel.element_handle(),
    )


def check_the_map_is_painted(page: Page, stage: Any) -> None:
    """Clusters named, one plot, a mark for every atom: few points need no WebGL."""
    stage.run("concepts.clear_selection(); concepts.color_by = 'cluster'")
    panel = stage.panel("tiny-vit")
    _shown(page, panel)
    # Of all places with that name the first may be hidden: a list of what an earlier search found.
    panel.get_by_text("digit 1").locator("visible=true").first.wait_for()
    assert panel.locator(".js-plotly-plot").count() == 1
    assert panel.locator(".scatterlayer .point").count() >= stage.ask("concepts.atlas.n_atoms")
    assert panel.locator("canvas.gl-canvas").count() == 0
    stage("map", panel)


def check_a_click_shows_the_atom(page: Page, stage: Any) -> None:
    """The point under the mouse becomes the atom, outlined; its facts and inputs follow."""
    stage.run("concepts.drag = 'lasso'; concepts.clear_selection(); concepts.color_by = 'cluster'")
    panel = stage.panel("tiny-vit")
    _shown(page, panel)
    stage.settle()
    alone = stage.ask(
        "int(np.argmax(np.sort(np.linalg.norm(concepts.record.xy[:, None] - concepts.record.xy[None],"
        " axis=2), axis=1)[:, 1]))"
    )
    x, y = panel.evaluate(PLACE, [GROUPS, alone])
    page.mouse.move(x, y)
    page.wait_for_timeout(300)
    page.mouse.click(x, y)
    panel.get_by_text(f"atom {alone}", exact=True).first.wait_for()
    assert stage.ask("concepts.atom") == alone
    stage("clicked", panel)


def check_a_lasso_fills_the_table(page: Page, stage: Any) -> None:
    """Points inside are selected, listed with label and frequency, and share inputs below."""
    stage.run("concepts.drag = 'lasso'; concepts.clear_selection(); concepts.color_by = 'cluster'")
    panel = stage.panel("tiny-vit")
    _shown(page, panel)
    stage.settle()
    left, top, width, height = panel.evaluate(BOX)
    corners = [(0.25, 0.55), (0.75, 0.55), (0.75, 0.8), (0.25, 0.8), (0.25, 0.55)]
    path = [(left + a * width, top + b * height) for a, b in corners]
    page.mouse.move(*path[0])
    page.mouse.down()
    for x, y in path[1:]:
        page.mouse.move(x, y, steps=8)
    page.mouse.up()
    stage.says(panel, "atoms selected")
    stage.settle()
    n = stage.ask("len(concepts.selected)")
    assert n > 5, n
    page.wait_for_function(
        "([p, n]) => p.querySelectorAll('.sae-nb-table tbody tr').length === n",
        arg=[panel.element_handle(), min(n, 200)],
        timeout=20_000,
    )
    row = panel.locator(".sae-nb-table tbody tr").nth(1)
    atom = int(row.locator("td").first.inner_text())
    row.click()
    panel.get_by_text(f"atom {atom}", exact=True).first.wait_for()
    stage.run("concepts.edges = 'nearest'")
    stage.settle()
    stage("lasso", panel)
    panel.locator(".sae-nb-table").focus()
    page.keyboard.press("Escape")
    page.wait_for_function(
        "panel => !panel.querySelector('.sae-nb-table')", arg=panel.element_handle()
    )
    assert stage.ask("list(concepts.selected)") == []
    page.wait_for_function(
        "p => p.querySelectorAll('.selectionlayer path').length === 0", arg=panel.element_handle()
    )
    stage.run("concepts.edges = 'none'")


def check_slash_searches(page: Page, stage: Any) -> None:
    """`/` jumps to the field; what answers is selected; a link moves a browser along."""
    stage.run("concepts.clear_selection()")
    panel = stage.panel("tiny-vit")
    panel.locator(".js-plotly-plot").first.wait_for()
    panel.focus()
    page.keyboard.press("/")
    page.keyboard.type("digit 7")
    page.keyboard.press("Enter")
    stage.says(panel, "3 answer to")
    assert stage.ask("len(concepts.selected)") == 3
    stage("search", panel)


def check_numbers_have_a_scale(page: Page, stage: Any) -> None:
    """Coloured by frequency: a colour bar with its name; the other trace is hidden."""
    panel = stage.panel("tiny-vit")
    panel.get_by_label("colour").select_option("frequency")
    panel.locator(".cbtitle text").get_by_text("frequency").wait_for()
    stage.settle()
    stage("frequency", panel)
    panel.get_by_label("colour").select_option("cluster")
    stage.settle()
    assert panel.locator(".colorbar").count() == 0


def check_two_dictionaries_side_by_side(page: Page, stage: Any) -> None:
    """The button shows the second one; the sentence says how many atoms are in both, and by chance."""
    panel = stage.panel("tiny-gpt")
    _shown(page, panel)
    assert panel.evaluate(PAINTED)  # as a large map is drawn
    panel.get_by_role("button", name="compare").first.click()
    stage.says(panel, "atoms are in both")
    stage.settle()
    stage("compare", panel)
    visible = panel.evaluate(
        "p => p.querySelector('.js-plotly-plot').data.slice(0, 2).map(t => t.visible)"
    )
    assert visible == [True, True]
    stage.run("concept_pair.compare = False")
    stage.settle()


def check_outlines_are_white_on_dark(page: Page, stage: Any) -> None:
    """The selection stays visible when JupyterLab turns dark."""
    panel = stage.panel("tiny-vit")
    stage.run("concepts.search = 'digit 0'")
    stage.dark()
    page.wait_for_function(
        "p => p.querySelector('.js-plotly-plot').layout.shapes[0].line.color === 'white'",
        arg=panel.element_handle(),
    )
    stage("dark", panel)
    stage.run("concepts.clear_selection()")


def check_a_umap_that_fails_leaves_the_map(page: Page, stage: Any) -> None:
    """One sentence says what is wrong, legibly in light and dark; PCA is there and answers."""
    stage.run(
        "concept_start = concept_map_module.start_umap\n"
        "def concept_refuse(*_):\n"
        "    raise RuntimeError('umap-learn is not installed here.')\n"
        "concept_map_module.start_umap = concept_refuse\n"
        "concepts.seed = 5"
    )
    panel = stage.panel("tiny-vit")
    try:
        panel.locator(".sae-nb-problem").get_by_text("umap-learn is not installed").wait_for()
        assert stage.ask("concepts.record.layout") == "pca"
        for dark in (False, True):
            stage.dark(dark)
            sentence = panel.locator(".sae-nb-problem")
            assert sentence.evaluate(FAINT_TEXT) == []
            assert sentence.evaluate("n => getComputedStyle(n).color").startswith("color(srgb")
            stage(f"error-{'dark' if dark else 'light'}", panel)
    finally:
        stage.run("concept_map_module.start_umap = concept_start; concepts.layout_by = 'pca'")
        stage.settle()
