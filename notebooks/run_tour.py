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
from pathlib import Path

import nbformat
import plotly.io
from execute import PAGE, PLOTLY, outputs, run
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter
from plotly.offline import get_plotlyjs
from traitlets.config import Config

NOTEBOOK = Path(__file__).with_name("00_tour.ipynb")
# The page template's own scripts (mathematics, diagrams, widgets) would be fetched when it is opened.
SCRIPT_FROM_ELSEWHERE = re.compile(r"<script[^>]*>(?:(?!</script>).)*</script>", re.DOTALL)
MAIN = re.compile(r"<main.*</main>", re.DOTALL)
LANGUAGE_CELL = """\
import pydoc_data.topics
model = sn.load_model({folder!r})
inputs = [" ".join(text.split())[:240] for text in pydoc_data.topics.topics.values()]
labels, hook_point = None, {hook_point!r}
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


def to_html(notebook: nbformat.NotebookNode) -> str:
    """One page without a kernel and without a network, each panel as it looked at the end."""
    page = copy.deepcopy(notebook)
    config = Config()
    kinds = ["text/html", "image/svg+xml", "image/png", "text/markdown", "text/plain"]
    config.NbConvertBase.display_data_priority = kinds
    parts, styles = {}, set()
    for data in outputs(page):
        place = f'<div id="part-{len(parts)}"></div>'
        if PAGE in data:
            parts[place] = MAIN.search(data[PAGE])[0]
            styles.add(re.search(r"<style>(.*?)</style>", data[PAGE], re.DOTALL)[1])
        elif PLOTLY in data:
            parts[place] = plotly.io.to_html(
                data[PLOTLY], include_plotlyjs=False, full_html=False, validate=False
            )
        else:
            continue
        data.clear()
        data["text/html"] = place
    exporter = HTMLExporter(config=config, template_name="lab")
    body = SCRIPT_FROM_ELSEWHERE.sub("", exporter.from_notebook_node(page)[0])
    # The pages' rule for a body of their own would narrow this one.
    style = re.sub(r"\nbody {[^}]*}", "", "".join(sorted(styles)))
    head = f"<style>{style}</style><script>{get_plotlyjs()}</script></head>"
    for place, part in parts.items():
        body = body.replace(place, part)
    return body.replace("</head>", head, 1)


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
        run(notebook)
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    arguments.out.write_text(to_html(notebook), encoding="utf-8")
    print(f"wrote {arguments.out} ({arguments.out.stat().st_size / 2**20:.1f} MiB)")
    print(closing_table(notebook))
    return 0


if __name__ == "__main__":
    sys.exit(main())
