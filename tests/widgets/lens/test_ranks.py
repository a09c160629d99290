"""The strip of a LensPanel: what is said of ranks against ranks that are drawn."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given, settings, strategies as st
from sae_nb_widgets.lens._ranks import claim, ranks_html

from sae_nb.lenses import AnswerRanks


def ranks(
    rank: Any, others: Any, answer: str = " cold", top: tuple[str, ...] | None = None
) -> AnswerRanks:
    return AnswerRanks(
        answer=answer, probability=0.69, n_outputs=5000, rank=np.asarray(rank), others=np.asarray(others),
        top=top or tuple(" a" for _ in rank),
    )  # fmt: skip


place = st.sampled_from([1, 1, 2, 3, 40, 500])


@settings(max_examples=120)
@given(data=st.data(), n=st.integers(1, 6), texts=st.integers(1, 3))
def test_what_is_said_of_a_word_is_so_at_every_block(data: Any, n: int, texts: int) -> None:
    """Climbs from a block on: ahead of every other text at all blocks from there; leads: on top at all."""
    rank = [*data.draw(st.lists(place, min_size=n - 1, max_size=n - 1)), 1]
    others = data.draw(
        st.lists(st.lists(place, min_size=n, max_size=n), min_size=texts, max_size=texts)
    )
    title, answer = claim(ranks(rank, others))
    assert "“cold”" in title
    assert len(title.split()) <= 12
    best = [min(text[b] for text in others) for b in range(n)]

    def first(holds: list[bool]) -> int:
        """The earliest block with nothing else after it."""
        found = n
        while found and holds[found - 1]:
            found -= 1
        return found

    leads, ahead = (
        first([one == 1 for one in rank]),
        first([a < b for a, b in zip(rank, best, strict=True)]),
    )
    numbers = [int(one) for one in re.findall(r"\d+", title)]
    if "too" in title:
        assert ahead == n
        assert f"in {sum(text[-1] == 1 for text in others)} of {texts} other" in answer
        return
    assert ahead < n
    if "climb" in title:
        assert numbers == [ahead, leads]
        assert ahead < leads < n - 1
    elif "only after the last block" in title:
        assert leads == n - 1
    elif "on" in title.split()[-1:]:
        assert numbers == [leads] == [ahead]
    else:
        assert numbers == [leads, ahead]
        assert leads < ahead
    if ahead:
        assert f"block {ahead - 1} it is in place {rank[ahead - 1]} of" in answer
        assert f"texts {best[ahead - 1]} at best" in answer
        assert f"in place {rank[ahead]}, there {best[ahead]}." in answer


def test_a_word_at_its_control_is_not_ahead() -> None:
    assert claim(ranks([9, 1], [[9, 1]]))[0] == "Other texts go on with “cold”, too"
    assert ranks([9, 1], [[9, 2]]).ahead.tolist() == [False, True]


def test_what_it_would_say_names_whole_words_alone() -> None:
    """Signs and pieces of words are none; a name of eighty letters and a model of one block are drawn."""
    own = SimpleNamespace(kind="logit")
    few = ranks([9, 9, 1, 1], [[50, 50, 50, 50]], top=(" the", "ing", " cold", " cold"))
    assert "“the” and signs or pieces" in ranks_html(few, own, 0)
    none = ranks([9, 1], [[50, 50]], top=(",", " cold"))
    assert "no word yet" in ranks_html(none, own, 0)
    assert "x" * 80 in ranks_html(ranks([1], [[3]], answer=" " + "x" * 80), own, 0)
