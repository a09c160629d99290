"""Run the tour without a screen and write it as one self-contained HTML page.

    python notebooks/run_tour.py [--folder CHECKPOINT] [--hook-point resid_post.3] [--out tour.html]

With --folder the same cells run on a local Hugging Face language model: only the cell that names
model, inputs, labels and hook point is replaced.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert import HTMLExporter

NOTEBOOK = Path(__file__).with_name("00_tour.ipynb")
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


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Execute all cells in a fresh kernel whose working folder is `folder`."""
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()


def to_html(notebook: nbformat.NotebookNode) -> str:
    """One page without a kernel and without a network: panels show their own static version."""
    exporter = HTMLExporter(
        template_name="lab",
        # no script is loaded from anywhere: panels and tables bring what they need
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        mermaid_js_url="",
        jupyter_widgets_base_url="",
        html_manager_semver_range="",
    )
    kinds = ["text/html", "image/svg+xml", "image/png", "text/markdown", "text/plain"]
    exporter.preprocessors = []
    exporter.config.NbConvertBase.display_data_priority = kinds
    body, _ = HTMLExporter(config=exporter.config, template_name="lab").from_notebook_node(notebook)
    return body


def closing_table(notebook: nbformat.NotebookNode) -> str:
    """What the last code cell printed."""
    last = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    return "".join(out.text for out in last.outputs if out.output_type == "stream")


def main() -> int:
    """Parse, run, write, print the closing table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", help="local checkpoint of a language model")
    parser.add_argument("--hook-point", default="resid_post.3")
    parser.add_argument("--out", default="tour.html", type=Path)
    arguments = parser.parse_args()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    if arguments.folder:
        folder = str(Path(arguments.folder).resolve())
        with_material(
            notebook, LANGUAGE_CELL.format(folder=folder, hook_point=arguments.hook_point)
        )
    try:
        run(notebook, NOTEBOOK.parent)
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    arguments.out.write_text(to_html(notebook), encoding="utf-8")
    print(f"wrote {arguments.out} ({arguments.out.stat().st_size / 2**20:.1f} MiB)")
    print(closing_table(notebook))
    return 0


if __name__ == "__main__":
    sys.exit(main())
