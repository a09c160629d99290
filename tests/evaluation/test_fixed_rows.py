"""Rows that are read at every look of a training: what atoms are shown on, and what R² is of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.activations import Activations, Context, Ragged
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import FixedRows


def test_sinks_of_attention_do_not_count_in_the_fit_of_the_probe() -> None:
    """One row a hundred times as long would make any fit look perfect."""
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    index = torch.arange(len(x))
    spoiled = x.clone()
    spoiled[0] *= 1000
    sae = sn.TopK(d_in=8, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0)).eval()

    def fit(rows: torch.Tensor, sample: torch.Tensor) -> float:
        acts = sn.Activations(rows, sample=sample, position=torch.zeros_like(sample))
        return FixedRows(acts).explained(sae)

    plain, sunk = fit(x[1:], index[:-1]), fit(spoiled, index)
    by_hand = sn.evaluation.explained_variance(x[1:], sae(x[1:]).detach())
    assert sunk == pytest.approx(plain, abs=1e-5)
    assert plain == pytest.approx(by_hand, abs=1e-4)


def test_gallery_of_activations_shows_where_atoms_fire() -> None:
    """On pictures the heat is the code; the SAE is left in the mode it was in."""
    pictures = torch.randint(0, 255, (3, 3, 8, 8), dtype=torch.uint8)
    context = Context(kind="vision", n_samples=3, pictures=pictures, patch_grid=(2, 2))
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    sample, position = torch.arange(3).repeat_interleave(4), torch.arange(4).repeat(3)
    acts = Activations(x, sample=sample, position=position, context=context)
    sae = sn.TopK(d_in=6, n_atoms=10, k=3, generator=torch.Generator().manual_seed(0)).train()
    gallery = FixedRows(acts).gallery(sae, (2, 5))
    codes = sae.encode(x).to_dense().abs()
    best = codes[:, 2].argmax()
    picture = int(sample[best])
    np.testing.assert_array_equal(gallery.pictures[0], pictures[picture].numpy())
    np.testing.assert_allclose(
        gallery.heat[0].ravel(), codes[sample == picture, 2].detach(), atol=1e-6
    )
    assert sae.training


@pytest.mark.slow
def test_gallery_of_an_sae_that_reads_sequences_reads_every_sample_on_its_own() -> None:
    x = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))
    sample, position = torch.arange(3).repeat_interleave(4), torch.arange(4).repeat(3)
    acts = Activations.from_tensor(x, sample=sample, position=position)
    sae = sn.Temporal(d_in=6, n_atoms=12, k=3, generator=torch.Generator().manual_seed(0)).eval()
    alone = torch.cat([sae.encode(part).to_dense() for part in x.split(4)]).abs().amax(dim=0)
    gallery = FixedRows(acts).gallery(sae, range(12))
    np.testing.assert_allclose(gallery.strengths, alone.detach(), atol=1e-5)


class Axes:
    d_in = n_atoms = 2
    dictionary = torch.eye(2)
    training = False

    def encode(self, x: torch.Tensor, k: int | None = None) -> SparseCodes:
        return SparseCodes.from_dense(x.relu())


def test_a_token_is_shown_with_five_on_each_side_of_its_own_text() -> None:
    """Texts of 13 and 3 tokens: atom 0 is strongest on the seventh, atom 1 on the first of the second text."""
    words = [f" {i}" for i in range(16)]
    context = Context(
        kind="language",
        n_samples=2,
        token_ids=Ragged(torch.arange(16), torch.tensor([0, 13, 16])),
        vocabulary=dict(enumerate(words)),
    )
    x = torch.zeros(16, 2)
    x[6, 0], x[13, 1], x[14, 1] = 3.0, 2.0, 1.0
    sample = torch.tensor([0] * 13 + [1] * 3)
    position = torch.tensor([*range(13), *range(3)])
    acts = Activations(x, sample=sample, position=position, context=context)
    found = FixedRows(acts).gallery(Axes(), (0, 1))
    assert found.strengths.tolist() == [3, 2]
    assert found.tokens == (tuple(words[1:12]), tuple(words[13:]))
    assert found.token_strengths == ((0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0), (2, 1, 0))
    assert len(FixedRows(acts, most_rows=14).sample) == 13  # whole samples
