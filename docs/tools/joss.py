"""The paper as the Journal of Open Source Software takes it: `paper.md`, `paper.bib`, pictures in build/paper.

    python docs/tools/joss.py

docs/paper.md is a page of the documentation; its numbers come from docs/claims when either is made. What only
those who submit it can say is asked for: names and affiliations, AI usage disclosure, acknowledgements.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from macros import expand
from PIL import Image

DOCS = Path(__file__).parents[1]
OUT = DOCS.parent / "build" / "paper"
PAGES = "https://sae-nb.github.io/sae_nb/latest/"
HEAD = """---
title: 'sae_nb: sparse autoencoders in a notebook, on a live model'
tags: [Python, Jupyter, interpretability, sparse autoencoders, PyTorch]
authors: [{name: The sae_nb contributors, affiliation: 1}]
affiliations: [{index: 1, name: sae_nb}]
bibliography: paper.bib
---
"""


def main() -> None:
    """Write the folder, in place of one that is there."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    text = expand((DOCS / "paper.md").read_text(encoding="utf-8"))
    text = text.partition("\n")[2].replace("\n## ", "\n# ")  # the title is in the head
    for picture in re.findall(r"\(pictures/(.+?)\.webp\)", text):
        Image.open(DOCS / "pictures" / f"{picture}.webp").save(OUT / f"{picture}.png")
    text = re.sub(r"\(pictures/(.+?)\.webp\)", r"(\1.png)", text)
    text = re.sub(r"\(([\w-]+)\.md\)", rf"({PAGES}\1.html)", text)
    (OUT / "paper.md").write_text(f"{HEAD}{text}\n# References\n", encoding="utf-8")
    shutil.copy(DOCS / "paper.bib", OUT)
    print(OUT / "paper.md")
    print(
        "To add by those who submit it: authors, affiliations, AI usage disclosure, acknowledgements."
    )


if __name__ == "__main__":
    main()
