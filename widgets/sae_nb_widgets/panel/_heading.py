"""The top of a panel, on screen and in exports: where it looks, its name, and what is known about that."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sae_nb.figures.theme import escape
from sae_nb_widgets.components._chips import sure_dots
from sae_nb_widgets.panel._glossary import words_in

_PLACES = {
    "resid_pre": "before block {}",
    "resid_mid": "inside block {}",
    "resid_post": "after block {}",
    "attn_out": "attention of block {}",
    "mlp_out": "MLP of block {}",
    "head_out": "heads of block {}",
    "mlp_post": "neurons of block {}",
}
SIGNS = (
    "Dots after a name say how well it foretells where the atom fires, on texts or images that it was not made "
    "from: none filled is no better than another atom's name, four is nearly always. Green words came more "
    "often on other examples too when the atom was turned up; those with an outline did not. Grey is chance: "
    "random directions of the same length."
)
"""What marks on panels of atoms mean."""
_STANDARD = re.compile(rf"({'|'.join(_PLACES)})\.(\d+)")


def place_words(hook_point: str) -> str:
    """Return a hook point in plain words; names that a model gives itself stay as they are.

    >>> place_words("resid_post.16"), place_words("mlp.in → mlp_out.2"), place_words("embed")
    ('after block 16', 'mlp.in → MLP of block 2', 'embed')
    """
    parts = []
    for part in hook_point.split(" → "):
        found = _STANDARD.fullmatch(part)
        parts.append(_PLACES[found[1]].format(found[2]) if found else part)
    return " → ".join(parts)


def usual_where(chips: Mapping[str, str]) -> tuple[str, ...]:
    """Return model and place as the facts of a panel name them."""
    named = (chips.get("model", ""), place_words(str(chips.get("hook point", ""))))
    return tuple(filter(None, named))


@dataclass(frozen=True, kw_only=True)
class Heading:
    """The top of a panel, above its answer."""

    question: str
    """The question that the panel answers; its title if there is no name."""

    facts: Mapping[str, str]
    """Facts behind "about", by name."""

    where: Sequence[str] = ()
    """Model, place and atom, from the largest to the smallest."""

    headline: str = ""
    """Name of what is shown, an atom's say; empty: the question."""

    sure: int | None = None
    """Certainty of that name, from 0 to 4 dots; None: it is not a name."""

    sure_words: str = ""
    """The meaning of those dots, in a sentence."""

    atom_line: str = ""
    """Description of an atom, if the panel shows one."""

    @property
    def title(self) -> str:
        """The largest words of the panel."""
        return self.headline or self.question


def title_html(heading: Heading) -> str:
    """Return the line of places and the title under it, as escaped HTML."""
    places = '<b aria-hidden="true">›</b>'.join(
        f"<span>{escape(place)}</span>" for place in heading.where
    )
    where = f'<p class="sae-nb-where">{places}</p>' if places else ""
    return (
        f'<div class="sae-nb-heading">{where}<div class="sae-nb-question" role="heading" aria-level="3" '
        f'title="{escape(heading.question)}">{escape(heading.title)}'
        f"{sure_dots(heading.sure, heading.sure_words, spelt_out=True)}</div></div>"
    )


def about_html(heading: Heading) -> str:
    """Return what is known about the panel's subject, folded behind one word, as escaped HTML."""
    asked = f"<p><b>{escape(heading.question)}</b></p>" if heading.headline else ""
    rows = "".join(
        f'<dt>{escape(name)}</dt><dd class="sae-nb-chip" title="{escape(_in_full(name, text))}">'
        f"{escape(text)}</dd>"
        for name, text in heading.facts.items()
    )
    line = (
        f'<p class="sae-nb-atomline">{escape(heading.atom_line)}</p>' if heading.atom_line else ""
    )
    signs = f"<p>{escape(SIGNS)}</p>" if heading.atom_line else ""
    facts = f"<dl>{rows}</dl>" if rows else ""
    if not (asked or facts or line):
        return ""
    return (
        '<details class="sae-nb-about"><summary title="Where this comes from: model, SAE, data">about'
        f'</summary><div class="sae-nb-facts">{asked}{facts}{line}{signs}</div></details>'
    )


def header_html(heading: Heading) -> str:
    """Return the top of a page: where, title, and the facts behind "about", as escaped HTML."""
    return f'<div class="sae-nb-header">{title_html(heading)}{about_html(heading)}</div>'


def _in_full(name: str, text: str) -> str:
    """A fact in full, with what its name means where that is a word of the field."""
    meanings = "; ".join(words_in([name]).values())
    return f"{name}: {text}" + (f" ({meanings})" if meanings else "")
