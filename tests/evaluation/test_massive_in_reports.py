"""A report is about the many rows, not about the few with a massive norm."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(600, 12, generator=GENERATOR) + 0.5
SAE = sn.TopK(12, 48, 4).eval()


def with_massive(scale: float) -> torch.Tensor:
    x = X.clone()
    x[[7, 300]] *= scale
    return x


def test_every_number_but_one_is_without_them() -> None:
    """The report equals that of the other rows; the R² of all rows is given next to it."""
    others = torch.ones(600, dtype=torch.bool)
    others[[7, 300]] = False
    acts = sn.Activations.from_tensor(with_massive(100.0))
    report = sn.evaluate(SAE, acts, n_bootstrap=50)
    expected = sn.evaluate(SAE, acts.subset(others), n_bootstrap=50)
    assert list(report)[:2] == ["r2", "r2_with_massive"]
    assert {name: m for name, m in report.items() if name != "r2_with_massive"} == pytest.approx(
        dict(expected), nan_ok=True, abs=0
    )
    x_hat = SAE(acts.x).detach()
    by_hand = sn.evaluation.explained_variance(acts.x, x_hat)
    assert report.r2_with_massive.value == pytest.approx(by_hand, abs=1e-5)
    assert report.r2_with_massive.n == 600


def test_the_length_of_a_massive_row_decides_nothing() -> None:
    """A hundred or ten thousand times the others: the same report, but for the R² that counts them."""
    one, other = (sn.evaluate(SAE, with_massive(s), n_bootstrap=50) for s in (100.0, 10_000.0))
    assert (one.r2, one.l0, one.mse) == (other.r2, other.l0, other.mse)
    assert one.r2.interval == other.r2.interval


def test_a_massive_row_passes_through_a_splice() -> None:
    """What the SAE is not judged on it does not replace: the model's answer there is its own."""
    model = sn.load_model("tiny-gpt")
    token = model.tokenizer(" castle")["input_ids"][-1]
    with torch.no_grad():
        model.module.get_input_embeddings().weight[token] *= 1000
    texts = ["Tom walked to the castle and said hello to the king.", "The dog ran home."] * 3
    acts = sn.capture(model, texts, "resid_post.0", drop_massive=False, progress=False)
    zeros = sn.TopK(acts.d_in, 16, 2).eval()
    spared = sn.evaluate(zeros, acts, model=model, n_bootstrap=0)
    assert "massive norms" in spared.provenance["passed_through"]
    dropped = sn.evaluate(
        zeros, sn.capture(model, texts, "resid_post.0", progress=False), model=model, n_bootstrap=0
    )
    assert dropped.kl.value == pytest.approx(spared.kl.value, rel=1e-4)
