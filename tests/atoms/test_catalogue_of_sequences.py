"""A temporal SAE is catalogued on whole samples, in order: what the past says is no code."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.atoms import AtomCatalogue


@pytest.fixture(scope="module")
def parts():
    generator = torch.Generator().manual_seed(0)
    sae = sn.Temporal(d_in=6, n_atoms=12, k=2, generator=generator).eval()
    lengths = (9, 4, 7)
    sample = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])
    position = torch.cat([torch.arange(n) for n in lengths])
    x = torch.randn(sum(lengths), 6, generator=generator)
    return sae, Activations.from_tensor(x, sample=sample, position=position), lengths


@pytest.mark.slow
def test_codes_are_those_of_each_sample_alone(parts) -> None:
    """Not of rows cut anywhere: batches never tear a sample apart."""
    sae, acts, lengths = parts
    catalogue = AtomCatalogue(sae, acts, batch_size=5)
    dense = catalogue.codes.to_dense()
    start = 0
    for n in lengths:
        alone = sae.encode(acts.x[start : start + n]).to_dense()
        torch.testing.assert_close(dense[start : start + n], alone.reshape(n, -1))
        start += n


def test_r2_counts_what_the_past_suggests(parts) -> None:
    """x̂ is the forward pass, not the decoded codes alone."""
    sae, acts, lengths = parts
    x_hat = torch.cat([sae(x[None])[0].detach() for x in acts.x.split(list(lengths))])
    expected = 1 - (acts.x - x_hat).square().sum() / (acts.x - acts.x.mean(0)).square().sum()
    catalogue = AtomCatalogue(sae, acts, batch_size=5)
    assert catalogue.r2 == pytest.approx(float(expected), abs=1e-5)
    given = AtomCatalogue(sae, acts, codes=catalogue.codes)
    assert given.r2 == pytest.approx(float(expected), abs=1e-5)
