"""What a panel declares: traits with ends, reactions, and controls made from traits."""

from __future__ import annotations

import ipywidgets as ipw
import numpy as np
import pytest
import torch
import traitlets as t
from sae_nb_widgets.panel import Panel
from sae_nb_widgets.panel._declaring import (
    Atom,
    Entry,
    Number,
    RuledText,
    Whole,
    control,
    reacts,
    several,
)


class Ladder(Panel):
    n_atoms, n_rungs = 6, 4
    drawn = True

    rung = Whole(0, 0, lambda panel: panel.n_rungs, help="Where one stands.")
    chosen = Whole(-1, 0, 2, none=-1, help="One of three, or none.")
    share = Number(0.5, 0, 1, help="A share.")
    atom = Atom(help="An atom.")
    kind = t.Enum(("wood", "iron"), "wood", help="What it is of.")
    speed = t.Float(2.0, help="Any speed.")
    limit = t.Float(None, allow_none=True, help="A limit, or none.")

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.rung = 1
        self.arrange()

    @property
    def ready(self) -> bool:
        return self.drawn

    @reacts("rung", "kind", doing="climbing {panel.kind}")
    def _climb(self) -> None:
        self.heard.append("climb")
        if self.rung == 4:
            raise ValueError("too high")

    @reacts("share", early=True)
    def _share(self) -> None:
        self.heard.append("share")


@pytest.fixture
def panel() -> Ladder:
    ladder = Ladder()
    return ladder


def test_reactions_begin_with_the_arrangement_and_wait_until_there_is_something_to_draw(
    panel: Ladder,
) -> None:
    assert panel.heard == []
    panel.rung = 2
    assert panel.heard == ["climb"]
    panel.drawn = False
    panel.rung, panel.share = 3, 0.6
    assert panel.heard == ["climb", "share"]


def test_an_error_in_a_reaction_is_a_sentence(panel: Ladder) -> None:
    panel.rung = 4
    assert panel.problem
    assert panel.status == "climbing wood: too high"


def test_a_control_takes_its_kind_ends_and_values_from_the_trait(panel: Ladder) -> None:
    rung = control(panel, "rung", "rung", "Where one stands", 120)
    assert isinstance(rung, Entry)
    assert rung.value == "1"
    rung.value = "3"
    assert panel.rung == 3
    panel.rung = 2
    assert rung.value == "2"
    kind = control(panel, "kind", "of", "What it is of", kind=ipw.ToggleButtons)
    assert list(kind.options) == ["wood", "iron"]
    panel.kind = "iron"
    assert kind.value == "iron"


@pytest.mark.parametrize(
    "given", ["abc", "-3", "99999", "", "1.5", "٣٫٥", "nan", "9" * 10_000, "<b>", "日本"]
)
def test_an_entry_says_what_it_does_not_take_and_shows_what_is_in_force(
    panel: Ladder, given: str
) -> None:
    rung = control(panel, "rung", "step on the ladder", "Where one stands")
    rung.value = given
    assert (panel.rung, rung.value) == (1, "1")
    assert panel.problem
    assert panel.status.startswith("step on the ladder: whole numbers from 0 to 4; ")
    assert panel.status.endswith("It stays at 1.")
    assert len(panel.status) < 160
    rung.value = " 3 "
    assert (panel.rung, rung.value) == (3, "3")


def test_whole_numbers_are_taken_as_people_write_them(panel: Ladder) -> None:
    """Of numpy and torch, digits in quotes, a float without a fraction; others are refused by the rule."""
    for value in (np.int64(3), torch.tensor(3), torch.tensor([3]), np.array([3]), "3", " 3 ", 3.0):
        panel.rung = 0
        panel.rung = value
        assert panel.rung == 3
        assert type(panel.rung) is int
    panel.chosen = "-1"
    assert panel.chosen == -1
    for value in (None, "three", "²", 2.5, float("nan"), [3], {3}, torch.tensor([1, 2])):
        with pytest.raises(t.TraitError, match="rung"):
            panel.rung = value
    assert panel.rung == 3


def test_several_whole_numbers_come_from_anything_that_holds_them() -> None:
    """A set in rising order, digits among numbers; one alone is answered by how to write it."""
    assert several("pinned", {11, "2"}) == [2, 11]
    for value in (range(2), np.arange(2), torch.arange(2), (0, "1"), {1, 0}):
        assert several("pinned", value) == [0, 1]
    assert set(several("pinned", {"a", 2})) == {"a", 2}  # refused by what each entry must be
    with pytest.raises(t.TraitError, match="pinned"):
        several("pinned", torch.tensor(5))


class Pair(Panel):
    question, explanation = "Which two?", ("Two words.",)
    words = t.Unicode("a b")
    first = RuledText(
        "", rule=lambda panel, value: shouted(value, panel.words), help="One of the words."
    )

    def __init__(self) -> None:
        super().__init__()
        self.arrange()


def shouted(value: str, words: str) -> str:
    if value and value not in words.split():
        raise ValueError(f"`first` must be one of {words.split()}, got {value!r}.")
    return value


def test_a_ruled_trait_is_judged_by_the_final_values_of_a_hold() -> None:
    panel = Pair()
    with pytest.raises(t.TraitError, match="must be one of"):
        panel.first = "c"
    assert panel.first == ""
    with panel.hold_trait_notifications():
        panel.first = "c"  # not yet one of the words
        panel.words = "c d"
    assert (panel.first, panel.words) == ("c", "c d")
    with pytest.raises(t.TraitError), panel.hold_trait_notifications():
        panel.first = "d"
        panel.words = "e"
    assert (panel.first, panel.words) == ("c", "c d")
    panel.close()
