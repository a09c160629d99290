"""The course as students get it."""

from __future__ import annotations

import re
from pathlib import Path

from sae_nb.files import new_folder
from sae_nb_lessons.exercises._cells import NOTEBOOKS, digest

PAGE, SITE = re.compile(r"\]\(\.\./docs/([\w/-]+)\.md"), "https://sae-nb.github.io/sae_nb/"

README = """\
# The course

Open `00_tour.ipynb`, and run its cells from top to bottom. Replace each `...` of an exercise, and run the cell: a
wrong answer brings a hint, `exercise("01.3").hint()` brings one without a try, and after a try
`exercise("01.3").solution()` shows an answer.

To hand a lesson in, run its last cell, `exercise_report(…)`, save the notebook with its outputs, and return the
`.ipynb` under its own name. The outputs keep each answer, the number of tries, the seconds, and whether an answer of
the course was shown.
"""


def student_copy(folder: str | Path) -> Path:
    """Write the lessons into a new folder: no answers beside them, no outputs, nothing of the checkout.

    An answer of the course is shown by `exercise("01.3").solution()`, after a try, and the notebook's record says
    that it was shown.

    Parameters
    ----------
    folder
        Where to; it must not exist yet.

    Raises
    ------
    FileExistsError: If it exists.
    FileNotFoundError: If the course was installed without its lessons.

    Example
    -------
    >>> student_copy("for-my-class")                                      # doctest: +SKIP
    PosixPath('for-my-class')
    """
    import nbformat  # late: it takes seconds

    lessons = sorted((*NOTEBOOKS.glob("*_*.ipynb"), *NOTEBOOKS.glob("demo.ipynb")))
    if not lessons:
        raise FileNotFoundError(
            f"Copies are made of the lessons of a checkout, and {str(NOTEBOOKS)!r} holds none. "
            "Clone the repository, install it with `pip install -e .`, and try again."
        )
    with new_folder(folder) as copy:
        for path in lessons:
            notebook = nbformat.read(path, as_version=4)
            notebook.metadata.pop("jupytext", None)  # or each save would write a second file
            notebook.metadata["sae_nb"] = {"checker": digest()}
            for cell in notebook.cells:
                if cell.cell_type == "markdown":  # pages of the checkout, read on the site
                    cell.source = PAGE.sub(rf"]({SITE}\1.html", cell.source)
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = [], None
            nbformat.write(notebook, copy / path.name)
        (copy / "README.md").write_text(README, "utf-8")
    return Path(folder)
