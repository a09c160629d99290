"""LensPanel: it is held to the grammar; clicks on a grid of places are tried in HeadsPanel."""

from __future__ import annotations

CELLS = (
    """\
layers = sw.LensPanel(gpt, sn.load_lens("tiny-gpt"), "Once upon a time there was a small dog")
layers""",
    """\
patches = sw.LensPanel(vit, sn.load_lens("tiny-vit"), sn.data.scenes(2, seed=5).images)
patches""",
)
