"""plotly's live figures load without what no panel uses, and what was left out comes when asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

FIRST_FIGURE = """
import sys
from sae_nb_widgets.panel._plot import Plot
assert "plotly.io._renderers" in sys.modules
print([name for name in ("nbformat", "jsonschema", "rfc3987_syntax") if name in sys.modules])
"""
NO_FIGURE = """
import sys
import sae_nb as sn, sae_nb_widgets as sw
model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
lens = sw.GenerationLens(model, sae, prompt="The dog")
lens.wait()
lens.close()
print([name for name in ("nbformat", "plotly.basewidget") if name in sys.modules])
"""
LATER = """
import sys
from sae_nb_widgets.panel._plot import Plot
import plotly.io._renderers as renderers
first = renderers.nbformat.__version__
import nbformat.v4
print(first == nbformat.__version__, sys.modules["nbformat"] is nbformat, nbformat.v4.__name__)
"""


@pytest.mark.parametrize(
    ("source", "said"),
    [(FIRST_FIGURE, "[]"), (NO_FIGURE, "[]"), (LATER, "True True nbformat.v4")],
    ids=["first", "none", "later"],
)
def test_nbformat_comes_when_it_is_used(source: str, said: str) -> None:
    """A kernel's first figure does not wait for nbformat; who asks for it gets the whole of it."""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == said
