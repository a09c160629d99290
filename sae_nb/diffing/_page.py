"""A comparison's texts as a page: each token shaded by how far its next answer moved, and what explains it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from sae_nb.figures import fade, theme, visible_token
from sae_nb.figures.theme import html_page

if TYPE_CHECKING:
    from pandas import DataFrame

HALF = 0.5
"""Share of a place's KL that goes with the best direction, from which the place is underlined. Ours."""


def changed_page(title: str, texts: DataFrame, best: str) -> str:
    """Return a page of HTML that needs no kernel and no script.

    Parameters
    ----------
    texts
        A row per place, as `ModelDiff.texts`.
    best
        The direction, in words.
    """
    strongest = max(float(texts["kl"].max()), 1e-12)
    body = [
        f"<p>Shaded: how far the model's answer after a token moved, up to {strongest:.2g} nats. Underlined: "
        f"at least half of it goes when {escape(best)} is set back. A table below each text lists its "
        "largest changes.</p>"
    ]
    for number, (_, rows) in enumerate(texts.groupby("sample", sort=True)):
        marked = "".join(_token(row, strongest) for row in rows.to_dict("records"))
        body.append(f"<h2>{number + 1}</h2><p>{marked}</p>{_largest(rows)}")
    return html_page(title, "".join(body))


def _token(row: dict[str, object], strongest: float) -> str:
    kl, left = float(str(row["kl"])), float(str(row["left"]))
    share = min(kl / strongest, 1.0)
    explained = share > 0.02 and left <= HALF * kl
    style = f"background:{fade(theme.NOVEL, round(0.6 * share, 3))}"
    style += ";text-decoration:underline 2px" if explained else ""
    words = f"{kl:.2g} nats, {left:.2g} left; more {row['raised']!r}, less {row['lowered']!r}"
    text = visible_token(str(row["token"]))
    return f'<span style="{style}" title="{escape(words)}">{escape(text)}</span>'


def _largest(rows: DataFrame) -> str:
    """Return a table of the three places of a text that moved most: what the colours show, in words."""
    head = "".join(f"<th>{name}</th>" for name in ("after", "KL, nats", "left", "more", "less"))
    body = "".join(
        f"<tr><td>{escape(visible_token(str(r['token'])))}</td><td>{r['kl']:.3g}</td><td>{r['left']:.3g}</td>"
        f"<td>{escape(visible_token(str(r['raised'])))}</td><td>{escape(visible_token(str(r['lowered'])))}</td></tr>"
        for r in rows.nlargest(3, "kl").to_dict("records")
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
