"""Inputs that an InputLens refuses, and what it then still claims: nothing."""

from __future__ import annotations

from typing import Any

import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from torch import nn

import sae_nb as sn
from tests.widgets.input_lens.small import (
    GPT_SAE,
    HOSTILE,
    PICTURES,
    SEVEN,
    VIT_SAE,
    now,
    says_nothing,
)
from tests.widgets.made import Held

# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_emptied_text_takes_what_was_concluded_with_it(reading: sw.InputLens, text: str) -> None:
    """The field is empty, and so is everything that stood there about it; another text fills it."""
    assert "the model goes on with" in reading.answer
    reading.text = text
    reading.wait()
    assert says_nothing(reading)
    assert reading.status == "Type at least one word above."
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


def test_an_answer_that_comes_after_its_input_is_gone_is_dropped(
    lens: sw.InputLens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clearing while the model reads leaves nothing behind."""
    from sae_nb_widgets.input_lens import _runs

    read = Held(_runs.top_atoms)
    monkeypatch.setattr(_runs, "top_atoms", read)
    lens.picture = PICTURES[1]
    lens.picture = None
    read.go.set()
    lens.wait()
    assert says_nothing(lens)


def test_long_text_and_special_tokens_are_said(reading: sw.InputLens) -> None:
    """In the status line."""
    reading.text = "a<|endoftext|> b" + " and" * 600
    reading.wait()
    assert "cut at 512 tokens" in reading.status
    assert "special token" in reading.status


@pytest.mark.parametrize(
    ("trait", "value", "words"),
    [
        ("picture", torch.full((3, 8, 8), torch.nan), "finite"),
        ("picture", "nowhere.png", "exists"),
        ("compare_picture", torch.zeros(2, 3, 4, 4), "one at a time"),
    ],
)
def test_traits_refuse_what_cannot_be(
    lens: sw.InputLens, trait: str, value: Any, words: str
) -> None:
    """And keep what they had."""
    before = getattr(lens, trait)
    with pytest.raises(t.TraitError, match=words):
        setattr(lens, trait, value)
    assert getattr(lens, trait) is before or getattr(lens, trait) == before


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
    assert lens.status == "reading: out of luck"
    assert says_nothing(lens)


def test_unknown_answer_is_refused(lens: sw.InputLens) -> None:
    """By the trait with the classes there are; the one explained stays."""
    with pytest.raises(t.TraitError, match="one of the classes"):
        lens.target = HOSTILE
    with pytest.raises(t.TraitError, match="one of the classes"):
        lens.target = "#10"
    assert lens.target == ""


def test_a_text_of_another_script_or_length_is_read_or_refused_in_words(
    reading: sw.InputLens,
) -> None:
    """Ten thousand characters, emoji and Arabic: the answer is of what stands in the field."""
    for text in ("مرحبا بالعالم", "👩‍👩‍👧‍👦 🦊", "x" * 10_000, "a \x00 b"):
        reading.controls.text.value = text
        assert reading.summary.text == text
        assert not reading.problem
        assert "the model goes on with" in reading.answer


@pytest.mark.parametrize(
    "content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n broken", b"\xff\xd8\xff" * 99]
)
def test_broken_picture_files_are_named(lens: sw.InputLens, content: bytes) -> None:
    """The file's own name, what to do, and the picture that stays."""
    before, answer = lens.picture, lens.answer
    file = {"type": "image/png", "size": 1, "last_modified": now()}
    name = "ö" * 10_000 + ".png"
    lens.controls.upload.value = (file | {"name": name, "content": memoryview(content)},)
    lens.wait()
    assert lens.problem
    assert "is not a picture I can read" in lens.status
    assert len(lens.status) < 200
    assert (lens.picture is before, lens.answer) == (True, answer)


def test_splice_check_of_a_silent_atom_says_so(lens: sw.InputLens) -> None:
    """There is nothing to remove."""
    silent = next(a for a in range(96) if lens.summary.place(a) is None)
    lens.atom = silent
    lens.splice_check()
    assert lens.status.startswith("measure by removing it: ")
    assert "is silent on this input" in lens.status


def test_a_linked_atom_that_is_silent_says_so_and_the_strongest_is_one_click_away(
    lens: sw.InputLens,
) -> None:
    """How often it fires elsewhere is said too; the button goes to the strongest of this input."""
    detail = lens._detail_view
    assert detail.strongest.layout.display == "none"
    lens.atom = next(a for a in range(96) if lens.summary.place(a) is None)
    assert "Silent on this input. In the example set it fires on 5.00" in detail.card.value
    assert detail.strongest.layout.display is None
    assert detail.check.layout.display == "none"
    detail.strongest.click()
    assert lens.atom == lens.summary.top(1, "strength")[0]
    assert "Active at" in detail.card.value


def test_parts_that_do_not_fit_are_refused(vit: Any) -> None:
    """Before anything is built."""
    with pytest.raises(ValueError, match="width 64 and the SAE 128"):
        sw.InputLens(vit, GPT_SAE, "resid_post.6")
    with pytest.raises(ValueError, match="hook_point"):
        sw.InputLens(vit, VIT_SAE)
    plain = sn.wrap(nn.Sequential(nn.Identity()))
    with pytest.raises(TypeError, match="reads tensors"):
        sw.InputLens(plain, VIT_SAE, "0")
    with pytest.raises(ValueError, match="each of the 96 atoms"):
        sw.InputLens(vit, VIT_SAE, "resid_post.6", frequency=[0.1])


def test_vision_only_things_are_refused_for_text(reading: sw.InputLens) -> None:
    """Drawing needs a canvas."""
    with pytest.raises(TypeError, match="reads text"):
        reading.draw(SEVEN)
