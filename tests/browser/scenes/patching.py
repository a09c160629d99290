"""PatchingPanel: it is held to the grammar; clicks on a grid of places are tried in HeadsPanel."""

from __future__ import annotations

CELLS = (
    """\
patched = sw.PatchingPanel(sn.load_model("tiny-induction"))
patched.n_pairs, patched.sites = 8, "heads"
patched""",
)
