"""Inputs that an InputLens refuses, and what it then still claims: nothing."""

from __future__ import annotations

from typing import Any

import pytest
import sae_nb_widgets as sw

from tests.widgets.input_lens.small import PICTURES, SEVEN, says_nothing


@pytest.mark.slow
def test_emptied_text_takes_what_was_concluded_with_it(reading: sw.InputLens) -> None:
    """The field is empty, and so is everything that stood there about it; another text fills it."""
    reading.text = "  "
    reading.wait()
    assert says_nothing(reading)
    with pytest.raises(RuntimeError, match="no input yet"):
        _ = reading.summary
    reading.text = "Anna lived near"
    assert reading.summary.text == "Anna lived near"
    assert not says_nothing(reading)


def test_clear_takes_the_input_and_its_answer(lens: sw.InputLens) -> None:
    """Whether it was drawn or chosen; so does taking back the only stroke."""
    lens.sources.clear()
    lens.wait()
    assert says_nothing(lens)
    assert lens.status.startswith("Draw something")
    lens.draw(SEVEN)
    assert lens.summary.answers[0][1] == "7"
    lens.sources.pad.clear()
    lens.wait()
    assert lens.picture is None
    assert says_nothing(lens)


def test_what_cannot_be_read_leaves_no_answer_of_another_input(
    lens: sw.InputLens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence on what went wrong, and nothing of the input before."""
    from sae_nb_widgets.input_lens import _runs

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of\n luck")

    monkeypatch.setattr(_runs, "top_atoms", broken)
    lens.picture = PICTURES[1]
    lens.wait()
    assert says_nothing(lens)


def test_a_linked_atom_that_is_silent_says_so_and_the_strongest_is_one_click_away(
    lens: sw.InputLens,
) -> None:
    """How often it fires elsewhere is said too; the button goes to the strongest of this input."""
    detail = lens._detail_view
    assert detail.strongest.layout.display == "none"
    lens.atom = next(a for a in range(96) if lens.summary.place(a) is None)
    assert detail.strongest.layout.display is None
    assert detail.check.layout.display == "none"
    detail.strongest.click()
    assert lens.atom == lens.summary.top(1, "strength")[0]
    assert "Active at" in detail.card.value
