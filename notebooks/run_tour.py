"""Run the tour without a screen and write it as one self-contained HTML page.

    python notebooks/run_tour.py [--folder CHECKPOINT] [--hook-point resid_post.3] [--out tour.html]

With --folder the same cells run on a local Hugging Face language model: the cell that names model,
inputs, labels and hook point is replaced, and the second half, on the bundled one, is left out.
"""

from __future__ import annotations

import argparse
import copy
import re
import sys
import tempfile
from pathlib import Path

import nbformat
import plotly.io
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from plotly.offline import get_plotlyjs
from traitlets.config import Config

NOTEBOOK = Path(__file__).with_name("00_tour.ipynb")
PANELS = ("monitor", "card", "browser", "panel", "reader", "story_panel")
# The page template's own scripts (mathematics, diagrams, widgets) would be fetched when it is opened.
SCRIPT_FROM_ELSEWHERE = re.compile(r"<script[^>]*>(?:(?!</script>).)*</script>", re.DOTALL)
MAIN = re.compile(r"<main.*</main>", re.DOTALL)
PLOTLY = "application/vnd.plotly.v1+json"
LANGUAGE_CELL = """\
import pydoc_data.topics
model = sn.load_model({folder!r})
inputs = [" ".join(text.split())[:240] for text in pydoc_data.topics.topics.values()]
labels, hook_point = None, {hook_point!r}
"""
EXPORT_CELL = """\
for name in set({panels!r}) & set(globals()):
    globals()[name].wait()
    globals()[name].to_html(f"{folder}/{{name}}.html", share_script=True)
"""


def with_material(notebook: nbformat.NotebookNode, source: str) -> nbformat.NotebookNode:
    """Replace the cell tagged `material`, which alone says what the tour runs on."""
    (cell,) = (c for c in notebook.cells if "material" in c.metadata.get("tags", []))
    cell.source = source
    return notebook


def without_words(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave out the half that runs on the bundled language model."""
    notebook.cells = [c for c in notebook.cells if "words" not in c.metadata.get("tags", [])]
    return notebook


def run(notebook: nbformat.NotebookNode) -> dict[str, str]:
    """Execute all cells in a fresh kernel; return each panel's page as it looks at the end."""
    with tempfile.TemporaryDirectory() as folder:
        source = EXPORT_CELL.format(panels=PANELS, folder=folder)
        notebook.cells.append(nbformat.v4.new_code_cell(source))
        place = {"metadata": {"path": str(NOTEBOOK.parent)}}
        try:
            NotebookClient(notebook, timeout=600, resources=place).execute()
        finally:
            notebook.cells.pop()
        written = ((name, Path(folder) / f"{name}.html") for name in PANELS)
        return {name: page.read_text("utf-8") for name, page in written if page.is_file()}


def to_html(notebook: nbformat.NotebookNode, pages: dict[str, str]) -> str:
    """One page without a kernel and without a network, each panel as it looked at the end."""
    page = copy.deepcopy(notebook)
    page.metadata.pop("widgets", None)  # widget state needs a script from elsewhere
    config = Config()
    kinds = ["text/html", "image/svg+xml", "image/png", "text/markdown", "text/plain"]
    config.NbConvertBase.display_data_priority = kinds
    parts = {name: MAIN.search(html)[0] for name, html in pages.items()}
    for cell in page.cells:
        for output in cell.get("outputs", []):
            if PLOTLY in output.get("data", {}):
                place = f"figure-{len(parts)}"
                parts[place] = plotly.io.to_html(
                    output.data[PLOTLY], include_plotlyjs=False, full_html=False, validate=False
                )
                output.data = {"text/html": _place(place)}
        name = cell.source.rstrip().rpartition("\n")[2]
        if cell.cell_type == "code" and name in pages:
            cell.outputs[-1].data = {"text/html": _place(name)}
    exporter = HTMLExporter(config=config, template_name="lab")
    body = SCRIPT_FROM_ELSEWHERE.sub("", exporter.from_notebook_node(page)[0])
    styles = {re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1] for html in pages.values()}
    # The pages' rule for a body of their own would narrow this one.
    style = re.sub(r"\nbody {[^}]*}", "", "".join(styles))
    head = f"<style>{style}</style><script>{get_plotlyjs()}</script></head>"
    for name, part in parts.items():
        body = body.replace(_place(name), part)
    return body.replace("</head>", head, 1)


def _place(name: str) -> str:
    return f'<div id="panel-{name}"></div>'


def closing_table(notebook: nbformat.NotebookNode) -> str:
    """What the cells that end a half printed."""
    closing = [cell for cell in notebook.cells if "closing" in cell.metadata.get("tags", [])]
    outputs = [out for cell in closing for out in cell.outputs if out.output_type == "stream"]
    return "".join(out.text for out in outputs if out.name == "stdout")


def main() -> int:
    """Parse, run, write, print the closing tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", help="local checkpoint of a language model")
    parser.add_argument("--hook-point", default="resid_post.3")
    parser.add_argument("--out", default="tour.html", type=Path)
    arguments = parser.parse_args()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    if arguments.folder:
        folder = str(Path(arguments.folder).resolve())
        source = LANGUAGE_CELL.format(folder=folder, hook_point=arguments.hook_point)
        without_words(with_material(notebook, source))
    try:
        pages = run(notebook)
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    arguments.out.write_text(to_html(notebook, pages), encoding="utf-8")
    print(f"wrote {arguments.out} ({arguments.out.stat().st_size / 2**20:.1f} MiB)")
    print(closing_table(notebook))
    return 0


if __name__ == "__main__":
    sys.exit(main())
