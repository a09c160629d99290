"""A quiz on a page without Python and without script: radio buttons, of which style sheets show the answer."""

from __future__ import annotations

from collections.abc import Sequence

from sae_nb.activations import Context
from sae_nb.atoms import QuizQuestion
from sae_nb.figures.theme import escape
from sae_nb_widgets.components._scripts import read_static
from sae_nb_widgets.panel._examples import examples_view
from sae_nb_widgets.quiz._options import OptionCards


def playable(context: Context, asked: Sequence[tuple[QuizQuestion, str]]) -> str:
    """Return questions, each with the name of its atom, as HTML that can be answered and counts."""
    parts = [_question(context, number, *one) for number, one in enumerate(asked)]
    options = len(asked[0][0].options)
    return (
        f'<style>{read_static("quiz_page.css")}</style><form class="sae-nb-quizpage">{"".join(parts)}'
        f'<p class="sae-nb-quizscore">Guessing reads 1 of {options}.</p></form>'
    )


def _question(context: Context, number: int, asked: QuizQuestion, name: str) -> str:
    examples, cards = examples_view(context), OptionCards(context, lambda _: None)
    examples.component.description = "examples"
    examples.show(asked.examples, asked.maximum)
    cards.ask(asked.options)
    hidden = cards.widget.static_html()
    cards.tell(asked.options, asked.answer, asked.answer, asked.maximum)
    told = cards.widget.static_html()
    shown = examples.component.static_html()
    for one in (examples.widget, cards.widget):
        one.close()
    word = context.sample_word
    kinds = ["right" if i == asked.answer else "wrong" for i in range(len(asked.options))]
    buttons = "".join(
        f'<input type="radio" class="sae-nb-{kind}one" name="atom{number}" id="atom{number}-{i}">'
        f'<label for="atom{number}-{i}">{i + 1}</label>'
        for i, kind in enumerate(kinds)
    )
    verdict = (
        f'<p role="status"><b class="sae-nb-yes">Right: </b><b class="sae-nb-no">No: </b>it fires in option '
        f"{asked.answer + 1}. You saw {escape(name)}.</p>"
    )
    return (
        f'<fieldset><legend class="sae-nb-cardtitle">Atom {number + 1} fires in these {word}s</legend>{shown}'
        f'<div class="sae-nb-cardtitle">It also fires in one of these {word}s. In which?</div>'
        f'<div class="sae-nb-asked">{hidden}</div><div class="sae-nb-told">{told}{verdict}</div>'
        f"{buttons}</fieldset>"
    )
