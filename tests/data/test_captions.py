"""Captions say what the labels say, in wording that says nothing more."""

from __future__ import annotations

from sae_nb.data import captions, scenes
from sae_nb.data._captions import _COLOURS, _DIGITS, _DISTRACTORS, _POSITIONS, _TEXTURES


def test_every_caption_names_all_five_factors_and_no_other():
    """Of each factor exactly the labelled value, in one of its wordings; 'the top' also in 'the top left'."""
    drawn = scenes(300, seed=0)
    for i, said in enumerate(captions(drawn, seed=3)):
        words = said.split()
        ink = [c for c, names in enumerate(_COLOURS) if set(names) & set(words)]
        assert ink == [int(drawn.colour[i])]
        digits = {str(d) for d in range(10)} | set(_DIGITS)
        assert set(words) & digits <= {str(int(drawn.digit[i])), _DIGITS[drawn.digit[i]]}
        assert set(words) & digits
        for pairs, labels in (
            (_TEXTURES, drawn.texture), (_POSITIONS, drawn.position), (_DISTRACTORS, drawn.distractor),
        ):  # fmt: skip
            assert any(wording in said for wording in pairs[int(labels[i])])


def test_wording_is_drawn_and_repeats():
    """The same again; another seed says the same otherwise; fewer images change none of them."""
    drawn = scenes(40, seed=1)
    first, other = captions(drawn, seed=0), captions(drawn, seed=1)
    assert first == captions(drawn, seed=0)
    assert captions(drawn[:10], seed=0) == first[:10]
    assert sum(a != b for a, b in zip(first, other, strict=True)) > 30
    assert len({said.split()[0] for said in first}) > 3
