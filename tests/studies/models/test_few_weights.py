"""Promises of transformers of few weights: the largest stay, in every matrix, and a norm passes the largest on."""

from __future__ import annotations

import pytest
import torch

from sae_nb.models import Frozen, wrap
from sae_nb_studies.models import task_rows, train_sparse_transformer
from sae_nb_studies.models._few_weights import SparseNorm, keep_largest


def test_the_largest_stay_and_every_column_has_some() -> None:
    matrix = torch.tensor([[9.0, -8, 0.1], [7, 0.3, -0.2], [0.5, 0.4, 0.3]])
    plain, guarded = matrix.clone(), matrix.clone()
    keep_largest([(plain, 0)], 3 / 9, fewest=0)
    assert plain.tolist() == [[9, -8, 0], [7, 0, 0], [0, 0, 0]]
    keep_largest([(guarded, 0)], 3 / 9, fewest=1)
    assert (guarded != 0).sum(dim=0).tolist() == [2, 1, 1]
    assert guarded[2, 2] == matrix[2, 2]


def test_a_norm_passes_on_the_largest_values() -> None:
    x = torch.tensor([[1.0, -4, 2, 0.5]])
    y = SparseNorm(4, 0.5)(x)
    assert (y != 0).tolist() == [[False, True, True, False]]
    torch.testing.assert_close(SparseNorm(4, 1.0)(x)[y != 0], y[y != 0])


def test_what_a_norm_passes_on_is_held_with_its_scale() -> None:
    """Places and scale are those of the first state, whatever is the largest of another: x · s of its places."""
    norm = torch.nn.Sequential(SparseNorm(4, 0.5))
    x, other = torch.tensor([[[1.0, -4, 2, 0.5]]]), torch.tensor([[[8.0, 1, -1, 9]]])
    model = wrap(norm)
    with Frozen(model) as first:
        norm(x)
    with Frozen(model, first.constants):
        y = norm(torch.cat([x, other, x / 2]))
    scale = (21.25 / 4 + 1e-5) ** -0.5
    expected = torch.tensor([[[0, -4, 2, 0]], [[0, 1, -1, 0]], [[0, -2, 1.0, 0]]]) * scale
    torch.testing.assert_close(y, expected)


@pytest.mark.slow
def test_a_trained_model_has_the_density_asked_for_and_the_dense_one_no_zero() -> None:
    for density in (0.1, 1.0):
        model = train_sparse_transformer("brackets", density=density, fewest=0, steps=40, rows=16)
        for name, p in model.module.named_parameters():
            if p.ndim == 2:
                assert int((p != 0).sum()) == round(density * p.numel()), name
    rows = task_rows("brackets", 64)
    logits = model.module(input_ids=rows.ids).logits
    there = rows.targets != -100
    assert ((logits.argmax(-1) == rows.targets)[there]).double().mean() > 0.6
    assert model(["( ( )"]).shape == (1, 4, 7)
