"""Attributions are judged right where they are exact, and wrong where they are made up."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb_studies.evaluation import attribution_fidelity


def wide_linear() -> tuple[sn.LiveModel, sn.TopK, torch.Tensor]:
    head = torch.nn.Linear(12, 3)
    model = sn.wrap(torch.nn.Sequential(torch.nn.Identity(), head), class_names=["a", "b", "c"])
    generator = torch.Generator().manual_seed(0)
    sae = sn.TopK(d_in=12, n_atoms=24, k=8, generator=generator).eval()
    return model, sae, torch.randn(12, 12, generator=generator)


@pytest.mark.slow
def test_in_a_linear_model_first_order_is_exact_and_curves_end_at_one() -> None:
    """Agreement 1; all nodes but a few carry nearly everything; faithfulness + rest = 1."""
    model, sae, x = wide_linear()
    found = attribution_fidelity(model, "0", sae, x, target=0, shares=(0.1, 0.5, 0.99), n_checked=4)
    assert found.first_order == pytest.approx(found.exact, abs=1e-4)
    assert found["agreement"].value == pytest.approx(1)
    # Additive: what is kept and what is lost without it are the same number.
    assert found.faithfulness == pytest.approx(found.completeness, abs=1e-4)
    assert found.faithfulness[-1] == pytest.approx(1, abs=0.2)
    assert 0 <= found.error_share <= 1


@pytest.mark.slow
def test_chance_is_lower_than_the_ranking() -> None:
    """Rows of one input are few; over twelve inputs ranking by size beats an order of chance."""
    model, sae, x = wide_linear()
    found = attribution_fidelity(model, "0", sae, x, shares=(0.2, 0.4), n_checked=6)
    assert found.faithfulness.mean() > found.random.mean() + 0.2
    assert found["agreement"].value > (found["agreement"].control or 0) + 0.3


def test_an_sae_that_loses_everything_leaves_it_to_its_errors() -> None:
    model, sae, x = wide_linear()
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            if "encoder" in name or "weight" in name:
                parameter.mul_(0.01)
    found = attribution_fidelity(model, "0", sae, 10 * x, target=1, n_checked=2)
    assert found.error_share > 0.5
