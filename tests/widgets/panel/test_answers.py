"""The answer under the question, what is said while loading, and the cards of atoms."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sae_nb_widgets.components._base import atom_mark, mark_atoms
from sae_nb_widgets.panel._atoms import HasAtoms

from sae_nb.atoms import AtomNames, Labels
from sae_nb.pretrained import load_sae
from sae_nb.sessions import names_of
from tests.widgets.made import Held, Page


class Plain(HasAtoms):
    question = "Is it?"

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Any] = []
        self._frame.keys.send = lambda content, buffers=None: self.sent.append(content)  # type: ignore[method-assign]
        self.arrange()

    def hear(self, **content: Any) -> None:
        self._key_message(None, content, None)


@pytest.fixture
def panel() -> Plain:
    made = Plain()
    return made


def test_the_answer_stands_under_the_question_and_the_numbers_behind_it_wait(panel: Plain) -> None:
    assert panel._frame.answer_line.layout.display == "none"
    panel.conclude("“digit 4” (atom 7) turns 90 % of them.", numbers="KL 2.95 nats")
    assert 'data-atom="7"' in panel._frame.answer.value
    assert panel._frame.numbers.layout.display == "none"
    assert panel._frame.numbers_button.layout.display is None  # there are some to show
    panel.show_numbers = True
    assert panel._frame.numbers.value == "KL 2.95 nats"
    assert panel._frame.numbers.layout.display is None
    panel.conclude("")
    assert panel._frame.answer_line.layout.display == "none"


def test_an_insider_word_is_explained_under_the_answer_and_a_word_of_the_data_is_not(
    panel: Plain, tmp_path: Path
) -> None:
    """The first three, in the order in which they are read; one in a line, the others and numbers folded."""
    panel.where = ("tiny-vit", "512 atoms")
    panel.conclude("A push moves “SAE” and cls by 2 logits.", numbers="2.31 logits")
    said = panel.first_words()
    assert [one.partition(":")[0] for one in said.split(" · ")] == ["atom", "push", "cls"]
    page = panel.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    for written in (panel._frame.words.value, page):
        line, folded = written.split("<summary>atom: ")[1].split("</summary>", 1)
        assert "push:" not in line
        assert folded.startswith("<div>push: ")
    assert (
        "2.31 logits" in page.partition("<summary>numbers</summary>")[2].partition("</details>")[0]
    )
    panel.where, panel.answer = ("tiny-vit",), "It is so."
    assert panel._frame.words.value == ""


def test_while_loading_nothing_is_claimed(panel: Plain) -> None:
    panel.conclude("It is.")
    panel.loading("Reading the drawing", 6)
    assert panel.answer == ""
    assert "It is." not in panel._frame.answer.value
    panel.conclude("It is.")
    assert "Reading" not in panel._frame.answer.value


def test_loading_ends_with_the_work_even_if_that_fails(panel: Plain) -> None:
    panel.loading("Reading")
    panel.run_async(lambda: 1 / 0, lambda _: None, doing="reading")
    panel.wait()
    assert panel.problem
    assert panel._frame.answer.value == ""


def test_words_of_data_are_escaped_in_answer_status_and_marks(panel: Plain) -> None:
    hostile = "<img src=x onerror=alert(1)> atom 3"
    panel.conclude(hostile, numbers=hostile)
    panel.say(hostile)
    for text in (
        panel._frame.answer.value,
        panel._frame.numbers.value,
        panel._frame.status_line.value,
    ):
        assert "<img" not in text
    assert "<b>" not in atom_mark(1, "<b>")
    assert mark_atoms("Atom 12 & atom 3").count("data-atom") == 2


def test_pointing_at_an_atom_sends_its_card(panel: Plain) -> None:
    sae = load_sae("tiny-gpt/resid_post.3")
    panel.names = names_of(sae)
    panel.hear(kind="card", atom=984)
    card = panel.sent[-1]["card"]
    assert card["name"] == "984 · bad story"
    assert len(card["examples"]) == 3
    assert all(example["tokens"] for example in card["examples"])
    assert sum(peak for *_, peak in card["examples"][0]["tokens"]) == 1


def test_the_card_s_buttons_open_and_star(panel: Plain) -> None:
    panel.names = AtomNames(labels=Labels())
    opened: list[int] = []
    panel.observe(lambda change: opened.append(change["new"]), "opened")
    panel.hear(kind="open", atom=5)
    panel.hear(kind="open", atom=5)
    assert opened == [5, -1, 5]
    panel.hear(kind="star", atom=5, starred=True)
    assert panel.names.labels.starred == (5,)
    assert panel.sent == [{"kind": "forget cards"}]
    for nonsense in ({"atom": "x"}, {"kind": "card"}, {"kind": "card", "atom": "<b>"}):
        panel.hear(**nonsense)


def test_a_refusal_outlives_work_that_was_asked_for_before(panel: Plain) -> None:
    work = Held("42")
    panel.run_async(work, panel.say, doing="counting")
    panel.refuse("atom", "a number from 0 to 7", "99", "3")
    work.go.set()
    panel.wait()
    assert panel.problem
    assert "“99” is not one" in panel.status
    panel.run_async(lambda: "43", panel.say, doing="counting")
    panel.wait()
    assert (panel.problem, panel.status) == (False, "43")


def test_an_export_waits_for_the_answer(panel: Plain, tmp_path: Path) -> None:
    """In a script nothing else waits: a page without an answer is of no use to anyone."""
    work = Held("42")
    panel.run_async(work, panel.conclude, doing="counting")
    threading.Timer(0.3, work.go.set).start()
    page = panel.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "42" in Page(page).text
    work = Held("43")
    panel.run_async(work, panel.conclude, doing="counting")
    threading.Timer(0.3, work.go.set).start()
    assert "43" in panel.to_svg()
