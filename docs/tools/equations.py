r"""Equations of pages, made MathML when the docs are built: no script draws them in the browser.

A ```` ```math ```` block is one equation of several lines (`\begin{split}`), `` $`x`$ `` stands in a
sentence; both are LaTeX as GitHub shows it, too.
"""

from __future__ import annotations

import re

BLOCK = re.compile(r"^```math\n(.*?)^```$", re.S | re.M)
INLINE = re.compile(r"\$`([^`]+)`\$")
# What is left of a command that the library does not know.
UNREAD = re.compile(r"\\\w+|<mi>&(?!#)")


def typeset(markdown: str) -> str:
    """The page with its equations as MathML.

    Raises
    ------
    ValueError
        If an equation has a command that cannot be read.
    """
    blocks = BLOCK.sub(
        lambda found: f'<div class="equation">{_mathml(found[1], "block")}</div>', markdown
    )
    # Markdown takes a line that begins with <math> for a block of its own.
    return INLINE.sub(lambda found: f"<span>{_mathml(found[1], 'inline')}</span>", blocks)


def _mathml(latex: str, display: str) -> str:
    from latex2mathml.converter import convert

    known = latex.replace(
        r"\arg", r"\mathrm{arg}"
    )  # the one name of a function that the library lacks
    made = convert(" ".join(known.split()), display=display)
    unread = UNREAD.search(made)
    if unread:
        raise ValueError(f"No MathML for {unread[0]!r} of {latex.strip()!r}; write it otherwise.")
    return str(made)
