"""The rows that decided numbers on SmolLM2: a few tokens, thirty times as long as the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.training import TrainingHistory

PLACE = "resid_post.16"


@pytest.fixture(scope="module")
def texts(assets: Path) -> list[str]:
    """Forty paragraphs of WikiText."""
    lines = (assets / "data" / "text" / "wikitext2_valid.txt").read_text().splitlines()
    return [line.strip() for line in lines if len(line) > 300][:40]


@pytest.mark.timeout(600)
def test_first_tokens_that_were_kept_decide_nothing(
    open_real: Callable[[str], Any], texts: list[str]
) -> None:
    """They hold most of the variance of resid_post.16; trained, watched and judged is without them."""
    model = open_real("smollm2")
    kept = sn.capture(
        model, texts, PLACE, context_length=64, drop_first=False, max_rows=2400, progress=False
    )
    norms = kept.x.norm(dim=1)
    found = norms > 10 * norms.median()
    assert 30 < int(found.sum()) < 60
    usual = sn.capture(model, texts, PLACE, context_length=64, max_rows=2400, progress=False)
    assert float(usual.x.norm(dim=1).max()) < 10 * float(usual.x.norm(dim=1).median())

    sae = sn.TopK(576, 1024, 16)
    result = sn.train(sae, kept, steps=120, batch_size=256, log_every=2, progress=False)
    assert result.n_massive > 120
    history = TrainingHistory()
    history.extend(result.history)
    summary = history.summary(state="done")
    assert summary.trend != "worsening"
    assert max(record.r2 for record in result.history[:20]) < 0.9

    report = sn.evaluate(sae, kept, n_bootstrap=200)
    ordinary = sn.evaluate(sae, kept.subset(~found), n_bootstrap=200)
    assert report.r2.value == ordinary.r2.value
    assert report.r2_with_massive.value > report.r2.interval[1] + 0.02
    assert f"without {int(found.sum())} of massive norm" in report.headline
    assert any("ten times the median norm" in said for said in report.cautions)


def test_a_word_typed_alone_gives_no_direction_of_the_sink(open_real: Callable[[str], Any]) -> None:
    """One token is the first, whose state is a hundred times as long: refused, and typed words go on a line."""
    model = open_real("smollm2")
    happy, sad = ["happy", "glad", "joyful"], ["sad", "gloomy", "unhappy"]
    with pytest.raises(ValueError, match="attention sink"):
        sn.direction(model, "resid_post.15", happy, sad)
    sae = sn.TopK(d_in=576, n_atoms=4, k=1)
    panel = sn.SteeringPanel(model, "resid_post.15", sae, ["Yesterday I felt"], strength=1.0)
    panel.direction = (happy, sad)
    panel.wait(300)
    d = sn.direction(model, "resid_post.15", *([f"\n {w}" for w in side] for side in (happy, sad)))
    assert torch.equal(panel.fitted.vector, d.vector)
    assert d.scale < 200
    assert panel.continuation.recipe.atoms == (0,)
    panel.close()
