"""The cost of an evaluation: more rows cost more, a model's part appears when one is given."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb.evaluation import evaluation_cost

pytestmark = pytest.mark.slow


def test_cost_grows_with_the_rows_and_names_the_model_s_part():
    """A hundred thousand rows are said to take longer than two thousand; nothing long is run."""
    x = torch.randn(100_000, 8, generator=torch.Generator().manual_seed(0))
    sae = sn.TopK(8, 32, 2).eval()
    few, many = evaluation_cost(sae, x[:2048]), evaluation_cost(sae, x)
    assert many.rows > 3 * few.rows
    assert many.model is None
    assert "for rows" in str(many)
    net = sn.wrap(torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Linear(8, 3)))
    with_model = evaluation_cost(sae, x[:200], net, torch.randn(50, 6))
    assert with_model.model > 0
    assert with_model.seconds == with_model.rows + with_model.model
