"""AtomQuiz: answers count once, keys and buttons answer, strengths are hidden until then."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import sae_nb_widgets as sw
import torch
from sae_nb_widgets.quiz._score import QuizScore

import sae_nb as sn


@pytest.fixture(scope="module", params=["tiny-vit/resid_post.6", "tiny-gpt/resid_post.3"])
def quiz(request: pytest.FixtureRequest) -> Iterator[sw.AtomQuiz]:
    torch.set_num_threads(1)
    examples, sae = sn.load_examples(request.param), sn.load_sae(request.param)
    made = sw.AtomQuiz(catalogue=examples.catalogue(sae), seed=1)
    yield made
    made.close()


def test_a_right_and_a_wrong_answer_are_counted_once(quiz: sw.AtomQuiz) -> None:
    """A second answer to a question changes nothing; the score shows its interval and chance."""
    quiz.go_on()
    quiz.answers = []
    quiz.take(quiz.asked.answer)
    quiz.take((quiz.asked.answer + 1) % 5)
    assert quiz.status.startswith("Right")
    assert (quiz.score.n_right, quiz.score.n_answered) == (1, 1)
    quiz.go_on()
    quiz.take((quiz.asked.answer + 1) % 5)
    assert quiz.status.startswith("No")
    assert (quiz.score.n_right, quiz.score.n_answered) == (1, 2)
    assert "95 % interval" in quiz.numbers


def test_what_it_was_is_said_after_the_answer_and_not_before(quiz: sw.AtomQuiz) -> None:
    """The name of an atom ("digit 7", "after “.”") would answer the question."""
    quiz.go_on()
    words = quiz.names.words(quiz.atom)
    said = quiz.status + quiz._prompt.value + quiz.answer
    assert words
    assert words not in said
    assert f"tom {quiz.atom}" not in said
    quiz.take((quiz.asked.answer + 1) % 5)
    assert quiz.names.in_text(quiz.asked.atom) in quiz.status


def test_strengths_are_hidden_until_an_answer_is_given(quiz: sw.AtomQuiz) -> None:
    """Neither shade nor bold token before; both after, and the buttons say which fires."""
    quiz.go_on()
    view = quiz.cards.widget
    before = view.static_html()
    if hasattr(view, "heat"):
        assert view.heat_shape == (0, 0)
        assert view.bare
    else:
        assert view.peaks == [-1] * 5
        assert not any(any(view._row_values(row)) for row in range(5))
    quiz.take(0)
    assert view.static_html() != before
    _, kind, name = view.buttons[quiz.asked.answer]
    assert (kind, name) == ("good", f"option {quiz.asked.answer + 1} ✓ fires")
    assert [one[1] for one in view.buttons].count("good") == 1
    quiz.go_on()
    assert [one[2] for one in view.buttons] == [f"option {n}" for n in range(1, 6)]
    assert not any(kind for _, kind, _ in view.buttons)


def test_keys_answer_and_go_on(quiz: sw.AtomQuiz) -> None:
    """1 … 5 and the right arrow; a click on a picture or text answers as well."""
    atom = quiz.atom
    quiz.press("ArrowRight")
    assert quiz.atom != atom
    assert quiz.taken == -1
    quiz.press("3")
    assert quiz.taken == 2
    quiz.press("ArrowRight")
    quiz.cards.widget.selected = (4, 0)
    assert quiz.taken == 4
    assert not quiz.problem, quiz.status


def test_before_it_is_begun_a_page_of_it_can_be_played(quiz: sw.AtomQuiz) -> None:
    """Each question has one right button, and says only in what a style sheet hides what it was."""
    quiz.answers = []
    quiz.go_on()
    page = quiz.static_main()
    asked = page.count("<fieldset>")
    assert 1 <= asked <= 5
    assert page.count('sae-nb-rightone" name') == asked
    assert page.count('type="radio"') == 5 * asked
    told = page.split("sae-nb-told")
    assert quiz.names.in_text(quiz.atom) not in re.sub(
        "<style>.*?</style>", "", told[0], flags=re.S
    )
    answer = f'class="sae-nb-rightone" name="atom0" id="atom0-{quiz.asked.answer}"'
    assert answer in page
    quiz.take(0)
    assert "<fieldset>" not in quiz.static_main()


def test_it_opens_on_an_atom_whose_examples_show_where_it_fires() -> None:
    """Some fire at the class token alone, and have no outline on any patch; some at nearly every patch."""
    examples, sae = sn.load_examples("tiny-vit/resid_post.6"), sn.load_sae("tiny-vit/resid_post.6")
    made = sw.AtomQuiz(catalogue=examples.catalogue(sae))
    shares = [float((one.heat > 0.15 * one.heat.max()).mean()) for one in made.asked.examples]
    assert 0 < min(shares) <= max(shares) <= 0.4
    shows = {atom: made._shows(atom)[0] for atom in (made.atom, 425, 92)}
    assert shows == {made.atom: True, 425: False, 92: False}
    made.close()


def test_a_score_is_better_than_chance_where_its_interval_is() -> None:
    """Of ten, nine are far from a fifth and two are not; nothing answered says nothing."""
    better = [
        QuizScore(n_right=right, n_answered=n, chance=0.2).better_than_chance
        for right, n in ((9, 10), (2, 10), (0, 0))
    ]
    assert better == [True, False, False]
