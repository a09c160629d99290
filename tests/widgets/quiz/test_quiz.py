"""AtomQuiz: answers count once, keys and buttons answer, strengths are hidden until then."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sae_nb_widgets as sw
import torch

import sae_nb as sn


@pytest.fixture(scope="module", params=["tiny-vit/resid_post.6", "tiny-gpt/resid_post.3"])
def quiz(request: pytest.FixtureRequest) -> Iterator[sw.AtomQuiz]:
    """A quiz about pictures, and one about texts."""
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
    assert quiz.answer == "1 of 2 right. Guessing gives 20 %; too few answers to tell."
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
    assert quiz.status.startswith(f"No, it was option {quiz.asked.answer + 1} (highlighted).")
    assert quiz.names.in_text(quiz.asked.atom) in quiz.status


def test_images_without_an_outline_say_where_the_atom_fires() -> None:
    """The atom of digit 0 fires at the class token of three of the four images: they have no outline."""
    examples = sn.load_examples("tiny-vit/resid_post.6")
    made = sw.AtomQuiz(catalogue=examples.catalogue(sn.load_sae("tiny-vit/resid_post.6")))
    try:
        outlined = [bool(one.heat.any()) for one in made.asked.examples]
        assert outlined == [True, False, False, False]
        hint = made.examples.component.hint
        where = "at the class token or a register, which belongs to no patch"
        assert hint == f"outlined: where it fires; no outline: {where}"
        assert hint in made.examples.component.static_html()
    finally:
        made.close()


def test_buttons_stand_under_their_pictures_in_every_scale() -> None:
    """They share one grid with the pictures, also after an answer and after a change of scale."""
    examples = sn.load_examples("tiny-vit/resid_post.6")
    made = sw.AtomQuiz(catalogue=examples.catalogue(sn.load_sae("tiny-vit/resid_post.6")))
    try:
        for scale in ("lecture", "normal", "lecture"):
            sw.theme(scale)
            if made.taken < 0:
                made.take(0)
            # As wide as the pictures: the words of an answered button do not move its neighbours.
            columns = made.cards._row.layout.grid_template_columns
            assert columns == f"repeat(auto-fill, {made.cards.view.thumbnail}px)"
            assert made.cards.view.thumbnail == made.examples.component.thumbnail
    finally:
        sw.theme("normal")
        made.close()


def test_strengths_are_hidden_until_an_answer_is_given(quiz: sw.AtomQuiz) -> None:
    """Neither shade nor bold token before; both after, and the buttons say which fires."""
    quiz.go_on()
    view = quiz.cards.view
    before = view.static_html()
    if hasattr(view, "heat"):
        assert view.heat_shape == (0, 0)
        assert view.bare
    else:
        assert view.peaks == [-1] * 5
        assert not any(any(view._row_values(row)) for row in range(5))
    quiz.take(0)
    assert view.static_html() != before
    assert quiz.cards.buttons[quiz.asked.answer].description.endswith("fires")
    assert all(button.disabled for button in quiz.cards.buttons)


def test_keys_answer_and_go_on(quiz: sw.AtomQuiz) -> None:
    """1 … 5 and the right arrow; a click on a picture or text answers as well."""
    atom = quiz.atom
    quiz.press("ArrowRight")
    assert quiz.atom != atom
    assert quiz.taken == -1
    quiz.press("3")
    assert quiz.taken == 2
    quiz.press("ArrowRight")
    quiz.cards.view.selected = (4, 0)
    assert quiz.taken == 4
    assert not quiz.problem, quiz.status


def test_atoms_that_cannot_be_asked_about_say_why(quiz: sw.AtomQuiz) -> None:
    """Linked from elsewhere: no question, no failure."""
    possible = set(quiz._order.tolist())
    rare = next(a for a in range(quiz._catalogue.n_atoms) if a not in possible)
    quiz.atom = rare
    assert quiz.asked is None
    assert f"atom {rare}" in quiz.status
    n = quiz.score.n_answered
    quiz.take(0)
    assert quiz.score.n_answered == n
    quiz.go_on()
    assert quiz.asked is not None


def test_the_score_bar_names_its_marks_and_waits_for_an_answer(quiz: sw.AtomQuiz) -> None:
    """No bar before there is a score; then from 0 to 100 %, you, guessing and the interval by name."""
    quiz.go_on()
    quiz.answers = []
    assert quiz.score_card.value == ""
    quiz.take(quiz.asked.answer)
    for words in ("0 %", "100 %", "you: 1 of 1", f"guessing: 1 of {quiz._n_options}", "95 %"):
        assert words in quiz.score_card.value
    quiz.go_on()
    assert quiz.export_name() == f"quiz_atom_{quiz.atom}"


def test_score_survives_a_session(quiz: sw.AtomQuiz) -> None:
    """What is kept is the atom and every answer."""
    quiz.answers = [[3, 1], [4, 0]]
    state = quiz.state()
    quiz.answers = []
    quiz.restore(state)
    assert quiz.score.n_right == 1
    assert quiz.record["answered"] == 2


def test_nothing_to_ask_is_refused() -> None:
    """No SAE at all, and atoms that are all too rare."""
    with pytest.raises(ValueError, match="neither"):
        sw.AtomQuiz()
    examples = sn.load_examples("tiny-vit/resid_post.6")
    catalogue = examples.catalogue(sn.load_sae("tiny-vit/resid_post.6"))
    with pytest.raises(ValueError, match="got none of 1"):
        sw.AtomQuiz(catalogue=catalogue, atoms=[3])
