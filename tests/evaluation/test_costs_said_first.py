"""The cost of an evaluation: more rows cost more, a model's part appears when one is given."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb.evaluation import evaluation_cost
from sae_nb.evaluation.report import _report


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


def test_missing_inputs_are_said_before_anything_is_measured(monkeypatch):
    """Rule and do."""
    monkeypatch.setattr(_report, "evaluate", lambda *_, **__: pytest.fail("measured"))
    net = sn.wrap(torch.nn.Linear(8, 8))
    with pytest.raises(ValueError, match="`inputs` are needed"):
        evaluation_cost(sn.TopK(8, 32, 2), torch.randn(200, 8), net)
