"""Give every notebook its links to Binder, Colab and its executed page, and the cell that sets Colab up.

    python notebooks/badges.py

Works on the reviewed .py files; `make sync` then refreshes the .ipynb. Running it again changes
nothing. The links are words, not pictures: a notebook opened offline asks nobody for an image.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

FOLDER = Path(__file__).parent
BRANCH = "main"
COLAB_HEADER = '# %% jupyter={"source_hidden": true} tags=["colab"]'
COLAB_CELL = """\
import sys

if "google.colab" in sys.modules:  # elsewhere there is nothing to set up
    from pathlib import Path
    from subprocess import run
    import torch
    from google.colab import output

    Path("torch.txt").write_text(f"torch=={torch.__version__}")  # the one that is there stays
    where = "git+https://github.com/SLUG"
    parts = [f"sae-nb @ {where}", f"sae-nb-studies @ {where}#subdirectory=studies"]
    parts.append(f"sae-nb-course @ {where}#subdirectory=notebooks")
    run([sys.executable, "-m", "pip", "install", "-qc", "torch.txt", *parts], check=True)
    output.enable_custom_widget_manager()"""
OPENING = re.compile(
    r"\A(?P<header>(?:#(?! %%).*\n)+\n)(?P<start># %% \[markdown\]\n)(?P<title># # .*\n)"
)
LINKS = re.compile(r"#\n# \[<kbd>.*</kbd>\]\(.*\)\n")
COLAB = re.compile(re.escape(COLAB_HEADER) + r"\n(?:.*\n)*?\n(?=# %%)")


def _urls() -> dict[str, str]:
    text = (FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8")
    return dict(tomllib.loads(text)["project"]["urls"])


def slug() -> str:
    """Return owner/name of the repository, which pyproject.toml alone says."""
    return _urls()["Repository"].removeprefix("https://github.com/")


def links(path: Path) -> str:
    """Return one line of Markdown that opens a notebook on Binder and on Colab, and its page, executed."""
    file = f"notebooks/{path.relative_to(FOLDER).with_suffix('.ipynb').as_posix()}"
    binder = f"https://mybinder.org/v2/gh/{slug()}/{BRANCH}?urlpath=lab/tree/{file}"
    colab = f"https://colab.research.google.com/github/{slug()}/blob/{BRANCH}/{file}"
    page = f"{_urls()['Documentation']}lessons/{path.stem}.html"
    return (
        f"[<kbd>open on Binder</kbd>]({binder}) [<kbd>open in Colab</kbd>]({colab}) "
        f"[<kbd>read it executed</kbd>]({page})"
    )


def colab_cell() -> str:
    """Return the code of the cell that sets Colab up and does nothing elsewhere."""
    return COLAB_CELL.replace("SLUG", slug())


def badged(source: str, path: Path) -> str:
    """Return a notebook's .py with its links under the title and the Colab cell after that cell.

    Raises
    ------
    ValueError
        If the notebook does not open with a title in a Markdown cell.
    """
    source = COLAB.sub("", LINKS.sub("", source, count=1), count=1)
    opening = OPENING.match(source)
    if opening is None:
        raise ValueError(f"{path.name} must open with a Markdown cell that begins '# # Title'.")
    body = f"{opening[0]}#\n# {links(path)}\n{source[opening.end() :]}"
    # The next cell begins where the first one ends.
    following = body.index("\n# %%", opening.end())
    return f"{body[:following]}\n{COLAB_HEADER}\n{colab_cell()}\n{body[following:]}"


def notebooks() -> list[Path]:
    """Return the lessons' .py files: the numbered ones, the lab, the appendices and the demo."""
    of_the_course = (
        path
        for start in ("[0-9]", "lab_", "appendix_")
        for path in sorted(FOLDER.glob(f"{start}*.py"))
    )
    return [*of_the_course, FOLDER / "demo.py"]


def main() -> int:
    """Badge every notebook; say which changed."""
    for path in notebooks():
        before = path.read_text(encoding="utf-8")
        after = badged(before, path)
        if after != before:
            path.write_text(after, encoding="utf-8")
            print(f"badged {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
