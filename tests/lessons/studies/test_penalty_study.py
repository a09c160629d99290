"""The study of notebook 22: a price lowers what it is on, and nothing is changed outside of the versions."""

from __future__ import annotations

import pytest
from sae_nb_lessons.studies import _penalty_study, study_penalty
from sae_nb_lessons.studies._penalty_study import BEFORE, CHOSEN, PLAIN, RANDOM, _share

import sae_nb as sn


@pytest.mark.slow
def test_a_price_lowers_the_excess_of_its_atoms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below that of the same steps without a price, and of a price on others; `before` is the bundled model."""
    for size in ("PER_STEP", "N_LIKE", "N_HELD_OUT", "N_TOKENS"):
        monkeypatch.setattr(_penalty_study, size, 4)
    sae = sn.load_sae("tiny-gpt/resid_post.3")
    study = study_penalty(sae, [0, 458], "lost|sad", steps=2, weight=2.0, n_written=2)
    assert study.table["atoms"].tolist() == [BEFORE, PLAIN, CHOSEN, RANDOM]
    assert study.of(CHOSEN, "excess") < min(study.of(PLAIN, "excess"), study.of(RANDOM, "excess"))
    assert study.of(PLAIN, "glad_loss") != study.of(BEFORE, "glad_loss")
    assert {name: len(texts) for name, texts in study.texts.items()} == dict.fromkeys(
        (BEFORE, PLAIN, CHOSEN, RANDOM), 2
    )


def test_sentences_are_counted_whole() -> None:
    assert _share(["Lost it. All was well. It was lo"], "lost") == pytest.approx(0.5)
