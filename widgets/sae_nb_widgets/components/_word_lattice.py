"""WordLattice: a text as large words, under each the atom it lights most, with a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import traitlets as t

from sae_nb.figures.theme import escape
from sae_nb_widgets.components._base import Component, one_of_rows, style_sheet
from sae_nb_widgets.components._scripts import read_static, script

LONG = 60
"""Words from which a text is set smaller."""


@dataclass(frozen=True, kw_only=True)
class LatticeWord:
    """One word, and the atom under it."""

    text: str
    before: str = ""
    after: str = ""
    """Signs that stand before and after it."""

    atom: int = -1
    name: str = ""
    """What the atom is called, or fires on; empty: nothing is written under this word."""

    named: bool = False
    share: float = 0.0
    """Its strength as a share of the strongest seen, 0 to 1."""

    tip: str = ""


class WordLattice(Component):
    """Words in the order of the text; a click, or `selected`, chooses one.

    Examples
    --------
    >>> lattice = WordLattice(description="the text")
    >>> word = LatticeWord(text="job", after=",", atom=2764, name="jobs, wages", named=True, share=0.79)
    >>> lattice.show([LatticeWord(text="his"), word])
    >>> lattice.selected = 1
    >>> "jobs, wages" in lattice.static_html()
    True
    """

    _esm = script("word_lattice")
    _css = style_sheet("components.css", "word_lattice.css")

    words = t.List(t.Dict(), help="Words as `LatticeWord`.").tag(sync=True)
    hint = t.Unicode("", help="Legend under the words.").tag(sync=True)
    selected = t.Int(-1, help="Index of the word chosen; -1 for none.").tag(sync=True)

    def show(self, words: Sequence[LatticeWord], selected: int = -1) -> None:
        """Replace the text, in one message to the browser."""
        with self.hold_sync(), self.hold_trait_notifications():
            self.words = [asdict(word) for word in words]
            self.atoms = [word.atom for word in words]
            self.selected = selected if selected < len(words) else -1

    @t.validate("selected")
    def _selected_exists(self, proposal: t.Bunch) -> int:
        return one_of_rows(proposal, len(self.words), "words")

    def static_html(self) -> str:
        """Return the words as escaped HTML, the names under them."""
        if not self.words:
            return self._empty_html()
        long = " sae-nb-longtext" * (len(self.words) > LONG)
        words = "".join(self._word_html(i) for i in range(len(self.words)))
        return (
            f"<style>{read_static('word_lattice.css')}</style><div class='sae-nb-component'>"
            f'<div class="sae-nb-lattice{long}">{words}</div>'
            f'<div class="sae-nb-foot">{escape(self.hint)}</div></div>'
        )

    def _word_html(self, index: int) -> str:
        word = self.words[index]
        kind = " sae-nb-selected" * (index == self.selected)
        kind += " sae-nb-plainword" * (not word["name"])
        share = word["share"] if word["name"] else 0.0
        chip = (
            f'<span class="sae-nb-wordchip{" sae-nb-unnamed" * (not word["named"])}"><span>'
            f'{escape(word["name"])}</span><span class="sae-nb-bar"><span class="sae-nb-fill" '
            f'style="width:{100 * share:.1f}%"></span></span></span>'
        )
        # What a click does is no word of a page.
        tag = f' title="{escape(word["tip"])}" data-atom="{word["atom"]}"' if word["name"] else ""
        return (
            f'<span class="sae-nb-latticeword{kind}"{tag}>'
            f'<span class="sae-nb-wordline">{escape(word["before"])}<span class="sae-nb-wordtext" '
            f'style="--s:{share:.3f}">{escape(word["text"])}</span>{escape(word["after"])}</span>'
            f"{chip if word['name'] else ''}</span>"
        )
