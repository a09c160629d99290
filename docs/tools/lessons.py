"""Where the notebooks are, and the pages beside them as pages of the documentation."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
# The repository is named in pyproject.toml alone.
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SLUG = str(PROJECT["urls"]["Repository"]).removeprefix("https://github.com/")
BINDER = f"https://mybinder.org/v2/gh/{SLUG}/main?urlpath=lab/tree/notebooks/"
COLAB = f"https://colab.research.google.com/github/{SLUG}/blob/main/notebooks/"
SOURCE = f"https://github.com/{SLUG}/blob/main/notebooks/"


def course(page: str) -> str:
    """A page beside the notebooks, "README" or "electives", with links that work from the documentation."""
    text = (NOTEBOOKS / f"{page}.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\(\.\./docs/([^)]+)\)", r"](\1)", text.replace("../README.md", "index.md"))
    text = text.replace("](electives.md", "](course-electives.md").replace(
        "](README.md", "](course.md"
    )
    text = re.sub(r"\]\((\w+)\.ipynb\)", r"](lessons/\1.md)", text)
    return re.sub(r"\]\(([\w/]+\.py)\)", rf"]({SOURCE}\1)", text)
