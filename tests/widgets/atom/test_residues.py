"""Panels on sequences of letters: numbered tens with heat, in the browser, its page, an input lens and a map."""

from __future__ import annotations

import re

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch

import sae_nb as sn
from sae_nb.activations import Activations
from tests.small_esm import INSULIN_B, PROTEINS, small_esm


@pytest.fixture(scope="module")
def acts() -> Activations:
    return sn.capture(small_esm(), PROTEINS, "resid_post.1", progress=False)


@pytest.fixture(scope="module")
def sae() -> sn.TopK:
    made = sn.TopK(d_in=32, n_atoms=12, k=3, generator=torch.Generator().manual_seed(0))
    made.hook_point = "resid_post.1"
    return made


def tens(html: str) -> list[tuple[str, str]]:
    found = re.findall(r'<span class="sae-nb-ten" data-number="(\d*)">(.*?)</span></span>', html)
    return [(number, re.sub(r"<[^>]*>", "", letters)) for number, letters in found]


def test_a_strip_has_tens_with_their_numbers() -> None:
    """In the page, and painted: as wide as its room, each number above the last letter of its ten."""
    strip = sw.TokenStrip(place="residue", bare=True)
    names = ["<cls>", *INSULIN_B[:24], "<eos>"]
    numbers = [0, *range(1, 25), 0]
    strip.show([names], [np.arange(26.0)], special=[[not n for n in numbers]], numbers=[numbers])
    html = strip.static_html()
    assert tens(html) == [("10", INSULIN_B[:10]), ("20", INSULIN_B[10:20]), ("", INSULIN_B[20:24])]
    assert 'title="residue F1: ' in html
    assert 'title="token 0: ' in html
    assert "sae-nb-apart" not in html
    wide, narrow = strip.drawing(900), strip.drawing(200)
    assert narrow.height > 2 * wide.height
    painted = [getattr(stroke, "text", "") for stroke in wide.strokes]
    assert [text for text in painted if text.isdigit()] == ["10", "20"]
    with pytest.raises(ValueError, match="one entry per token"):
        strip.show([names], numbers=[[1, 2]])
    strip.show([["a", " cat"]])
    assert strip.numbers == []
    assert not tens(strip.static_html())


def test_an_input_lens_reads_a_sequence(acts: Activations, sae: sn.TopK) -> None:
    """Examples are whole, without spaces; a masked residue has its number; a click is named by it."""
    lens = sw.InputLens(small_esm(), sae, acts=acts)
    lens.wait(60)
    assert not lens.problem, lens.status
    assert lens.text == PROTEINS[0]
    lens.text = INSULIN_B
    lens.wait(60)
    strip = lens._view.strip
    assert strip.numbers == [[0, *range(1, 31), 0]]
    strip.selected = (0, 7)
    lens.wait(60)
    assert lens.token == 7
    lens.close()
