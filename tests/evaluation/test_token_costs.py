"""What an SAE costs token by token agrees with the report, and with an identity costs nothing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import token_costs
from sae_nb.evaluation.report._downstream import _of_text

TEXTS = [
    "Anna walked to the river. She found a lamp.",
    "The old dog slept in the garden all day.",
    "Tom and Lucy lived near the castle.",
]


@pytest.fixture(scope="module")
def acts(gpt):
    return sn.capture(gpt, TEXTS, "resid_post.3", progress=False)


@pytest.mark.slow
def test_the_mean_of_the_tokens_is_the_report_s_number(gpt, acts):
    """ΔCE and KL: pooled over tokens, as `evaluate` has them; batches do not matter."""
    sae = sn.load_sae("tiny-gpt/resid_post.3")
    report = sn.evaluate(sae, acts, model=gpt, inputs=TEXTS, n_bootstrap=0)
    for size in (1, 3):
        costs = token_costs(gpt, sae, acts, TEXTS, batch_size=size)
        assert len(costs.delta) == report["ce"].n
        assert costs.delta.mean() == pytest.approx(report["delta_ce"].value, abs=1e-5)
        assert costs.kl.mean() == pytest.approx(report["kl"].value, abs=1e-5)
        assert costs.ce_clean.mean() == pytest.approx(report["ce_clean"].value, abs=1e-5)
    assert (np.diff(costs.delta[costs.worst(5)]) <= 0).all()
    assert set(costs.sample) == {0, 1, 2}


def test_costs_of_a_text_by_hand():
    """Tokens 2 0 1 and padding: after 2 comes 0, of ¼ and then ½; after 0 comes 1, of ½ and then ¼."""
    batch = SimpleNamespace(
        has_next=lambda: torch.tensor([[False] * 4, [True, True, False, False]]),
        token_ids=torch.tensor([[0, 0, 0, 0], [2, 0, 1, 0]]),
        sample=torch.tensor([[0] * 4, [7] * 4]),
        position=torch.arange(4).expand(2, 4),
    )
    clean = torch.tensor([[0.25, 0.5, 0.25], [0.25, 0.5, 0.25], [1.0, 1, 1], [1.0, 1, 1]]).log()
    spliced = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [1.0, 1, 1], [1.0, 1, 1]]).log()
    found = _of_text(batch, 1, clean, spliced)
    two = np.log(2)
    np.testing.assert_allclose(found["ce_clean"], [2 * two, two], rtol=1e-6)
    np.testing.assert_allclose(found["ce_spliced"], [two, 2 * two], rtol=1e-6)
    np.testing.assert_allclose(found["kl"], [0.25 * two, 0.25 * two], rtol=1e-6)
    kept = {name: found[name].tolist() for name in ("sample", "position", "token_id")}
    assert kept == {"sample": [7, 7], "position": [0, 1], "token_id": [2, 0]}


def test_an_sae_that_gives_everything_back_costs_nothing(gpt, acts):
    class Identity(sn.TopK):
        def forward(self, x):
            return x

        def decode(self, codes: SparseCodes):
            raise AssertionError("forward is all a splice needs")

    sae = Identity(acts.d_in, 2 * acts.d_in, 4).eval()
    costs = token_costs(gpt, sae, acts, TEXTS)
    assert np.abs(costs.delta).max() < 1e-6
    assert costs.kl.max() < 1e-6
