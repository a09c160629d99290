"""Execute lessons with their answers, panels as pages, and keep the result until a source of it changes.

    python notebooks/execute.py [NOTEBOOK ...]

executes what `build/executed` does not hold yet; `make docs` publishes what lies there. `make notebooks` runs
the same notebooks as tests and keeps them in the same place.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import solve

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
EXECUTED = ROOT / "build" / "executed"
SOURCES = ("sae_nb", "widgets/sae_nb_widgets", "notebooks/sae_nb_lessons", "docs/claims")
"""Folders whose files decide what a lesson shows, besides its own cells."""

VIEW = "application/vnd.jupyter.widget-view+json"
PLOTLY = "application/vnd.plotly.v1+json"
PAGE = "application/vnd.sae-nb.page+html"
"""Kind of output that holds a panel as a page of its own, as it was at the end of its notebook."""

NOTED = "sae_nb"
"""Where a kept notebook states its key and its seconds, in its metadata."""

# After the last cell: CPU seconds so far, then each panel and live figure that was shown.
EXPORT = """\
import time
seconds = time.process_time()
from pathlib import Path
from ipywidgets.widgets.widget import _instances
Path({folder!r}, "seconds").write_text(str(seconds))
for shown in {shown!r}:
    panel = getattr(_instances.get(shown), "_panel", _instances.get(shown))
    if hasattr(panel, "to_plotly_json"):
        Path({folder!r}, shown + ".json").write_text(panel.to_json())
    elif hasattr(panel, "to_html"):
        getattr(panel, "wait", lambda: None)()
        panel.to_html(Path({folder!r}, shown + ".html"), share_script=True)
"""
COMPUTING = re.compile(
    r"(?:(?:half |a quarter of )?a minute|(?:\d+ )?\bseconds) of(\n# | )computing", re.M
)
"""What a lesson's first cell states of its computing."""
STALE = 1.6
"""Factor between the stated seconds and those of a run from which a line says so; one machine's load is less."""


def lessons() -> list[Path]:
    """Return every notebook of the course, the demo last."""
    return [*sorted(FOLDER.glob("*_*.ipynb")), FOLDER / "demo.ipynb"]


def prepared(path: Path) -> Any:
    """Return a notebook as it is executed: each exercise left blank, then answered; cells tell which."""
    import nbformat  # late: it takes seconds

    if path not in _with_exercises():
        return nbformat.read(path, as_version=4)
    return left_then_answered(path)


@cache
def _with_exercises() -> tuple[Path, ...]:
    return tuple(solve.with_exercises())


def left_then_answered(path: Path) -> Any:
    """Return the solved copy with each exercise's blank cells before its first answer, tagged by which they are.

    Raises
    ------
    ValueError
        If an exercise has no answer.
    """
    import nbformat  # late: it takes seconds

    student = nbformat.read(path, as_version=4)
    both, missing = solve.solved(student, solve.answers(solve.ANSWERS.read_text(encoding="utf-8")))
    if missing:
        raise ValueError(f"No answer yet: {', '.join(missing)}. Write it in notebooks/answers.py.")
    blanks: dict[str, list[Any]] = {}
    for (number, _), cell, _ in solve.exercise_cells(student):
        cell.metadata["asked"], cell["id"] = "left", f"{cell.get('id', number)}-left"
        blanks.setdefault(number, []).append(cell)
    for (number, _), cell, _ in list(solve.exercise_cells(both)):
        cell.metadata["asked"] = "answered"
        at = next(at for at, other in enumerate(both.cells) if other is cell)
        both.cells[at:at] = blanks.pop(number, [])
    return both


def run(notebook: Any, kernel: Any = None) -> float:
    """Execute all cells in a fresh kernel, add each shown panel's page; return the kernel's CPU seconds.

    `kernel` is the manager of one that was not started yet; by default Jupyter's own.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell raises.
    """
    import nbformat  # late, as below: they take seconds
    from nbclient import NotebookClient

    place = {"metadata": {"path": str(FOLDER)}}
    client = NotebookClient(
        notebook, km=kernel, timeout=600, resources=place, store_widget_state=False
    )
    with tempfile.TemporaryDirectory() as folder, client.setup_kernel(cleanup_kc=True):
        for at, cell in enumerate(notebook.cells):
            client.execute_cell(cell, at)
        shown = {view["model_id"]: data for data in outputs(notebook) if (view := data.get(VIEW))}
        export = nbformat.v4.new_code_cell(EXPORT.format(folder=folder, shown=list(shown)))
        notebook.cells.append(export)
        client.execute_cell(export, len(notebook.cells) - 1, store_history=False)
        notebook.cells.pop()
        for page in Path(folder).glob("*.html"):
            shown[page.stem][PAGE] = page.read_text(encoding="utf-8")
        for figure in Path(folder).glob("*.json"):
            shown[figure.stem][PLOTLY] = json.loads(figure.read_text(encoding="utf-8"))
        return float(Path(folder, "seconds").read_text())


def outputs(notebook: Any) -> Iterator[Any]:
    """Yield what the cells of a notebook show, kind by kind."""
    for cell in notebook.cells:
        yield from (out.data for out in cell.get("outputs", []) if "data" in out)


def key(notebook: Any) -> str:
    """Return the hash of a notebook's cells and of every file of the package; of what is installed, nothing."""
    cells = "\0".join(f"{cell.cell_type} {cell.source}" for cell in notebook.cells)
    return hashlib.sha256(f"{package()}{cells}".encode()).hexdigest()[:16]


@cache
def package() -> str:
    """Return one hash of all files that a lesson may read."""
    found = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(f"{path.relative_to(ROOT)}\0".encode())
                found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def keep(notebook: Any, path: Path, seconds: float) -> None:
    """Write an executed notebook to where the documentation finds it, with its key."""
    import nbformat  # late: it takes seconds

    notebook.metadata[NOTED] = {"key": key(notebook), "seconds": round(seconds, 1)}
    EXECUTED.mkdir(parents=True, exist_ok=True)
    unfinished = EXECUTED / f".{path.stem}.{os.getpid()}"
    nbformat.write(notebook, unfinished)
    unfinished.replace(EXECUTED / path.name)


def kept(path: Path) -> tuple[Any, bool] | None:
    """Return the executed notebook and whether its sources are still the same; None if there is none."""
    import nbformat  # late: it takes seconds

    file = EXECUTED / path.name
    if not file.is_file():
        return None
    notebook = nbformat.read(file, as_version=4)
    return notebook, notebook.metadata[NOTED]["key"] == key(prepared(path))


@contextmanager
def as_on_a_new_machine() -> Iterator[None]:
    """Set the caches so that lessons read the bundled models and no prediction of their reader is touched."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "SAE_NB_CACHE": f"{folder}/cache",
            "SAE_NB_COURSE": f"{folder}/course",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "NUMBA_NUM_THREADS": "1",
        }
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def execute(path: Path) -> str:
    """Execute and keep one notebook; return a line on what came of it."""
    notebook = prepared(path)
    try:
        with as_on_a_new_machine():
            seconds = run(notebook)
    except Exception as error:  # noqa: BLE001 - named, counted, and the other notebooks go on
        return f"FAILED {path.stem}: {str(error)[-1500:]}"
    keep(notebook, path, seconds)
    said = stated(path.with_suffix(".py").read_text(encoding="utf-8"))
    old = said is not None and not 1 / STALE < seconds / said < STALE
    note = f", and its first cell states {said}: run with --note-seconds" if old else ""
    return f"{path.stem}: {seconds:.0f} CPU s{note}"


def stated(text: str) -> int | None:
    """Return the seconds of computing that a lesson's first cell states; None if it states none."""
    found = re.search(r"(\d+)(?:\n# | )seconds of(?:\n# | )computing", text)
    return int(found[1]) if found else None


def in_words(seconds: float) -> int:
    """Round measured CPU seconds to what a first cell states: whole below ten, then fives."""
    return max(1, round(seconds)) if seconds < 10 else 5 * round(seconds / 5)


def with_own_seconds(text: str, seconds: float) -> str:
    """Return a lesson whose first cell states its measured CPU seconds."""
    return COMPUTING.sub(rf"{in_words(seconds)} seconds of\1computing", text, count=1)


def _note_seconds(path: Path) -> None:
    import nbformat

    noted = nbformat.read(EXECUTED / path.name, as_version=4).metadata[NOTED]
    lesson = path.with_suffix(".py")
    text = lesson.read_text(encoding="utf-8")
    lesson.write_text(with_own_seconds(text, noted["seconds"]), encoding="utf-8")


def main() -> int:
    """Execute the notebooks named, or all whose kept copy is missing or older than its sources."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="notebooks side by side")
    parser.add_argument(
        "--note-seconds",
        action="store_true",
        help="execute in any case, and write the seconds into first cells; `make sync` copies them",
    )
    asked = parser.parse_args()
    every = [path.resolve().with_suffix(".ipynb") for path in asked.notebooks] or lessons()
    missing = [path for path in every if (found := kept(path)) is None or not found[1]]
    if asked.note_seconds:
        missing = every  # tests keep notebooks too, and import what those need beforehand
    print(
        f"{len(every) - len(missing)} of {len(every)} notebooks are executed already.", flush=True
    )
    failed = False
    with ProcessPoolExecutor(asked.jobs) as side_by_side:
        for line in side_by_side.map(execute, missing):
            print(line, flush=True)
            failed |= line.startswith("FAILED")
    if asked.note_seconds and not failed:
        for path in every:
            _note_seconds(path)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
