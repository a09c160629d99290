"""contrast: differences between two sets of inputs, grouped by sample, sparse, with a floor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes
from sae_nb.corpora import contrast


class Relu:
    """z = relu(x) over the axes: codes can be read off the activations."""

    def __init__(self, d_in: int) -> None:
        self.d_in = self.n_atoms = d_in
        self.dictionary = torch.eye(d_in)

    def encode(self, x: Tensor, k: int | None = None) -> SparseCodes:
        return SparseCodes.from_dense(x.relu())


SAE = Relu(12)


def rows(n: int, seed: int, per_sample: int = 1) -> Activations:
    """Random activations of n samples, each row of a sample the same: rows are not independent."""
    x = torch.randn(n, 12, generator=torch.Generator().manual_seed(seed))
    sample = torch.arange(n).repeat_interleave(per_sample)
    return Activations.from_tensor(x[sample], sample=sample)


def test_means_and_rates_are_those_of_samples() -> None:
    """A sample of three rows counts as one: means of sample means."""
    x = torch.zeros(4, 12)
    x[:, 0] = torch.tensor([3.0, 0.0, 0.0, 4.0])
    a = Activations.from_tensor(x, sample=torch.tensor([0, 0, 0, 1]))
    b = Activations.from_tensor(torch.zeros(2, 12))
    found = contrast(SAE, a, b)
    assert found.strength.a[0] == pytest.approx((1.0 + 4.0) / 2)
    assert found.rate.a[0] == pytest.approx((1 / 3 + 1.0) / 2)
    assert found.strength.value[0] == pytest.approx(2.5)
    assert found.n_units == (2, 2)
    assert found.n_rows == (4, 2)


def test_copies_of_rows_within_a_sample_are_no_evidence() -> None:
    """Every row fifty times: the same difference, the same p. Permuting rows would believe it."""
    once = contrast(SAE, rows(8, 2), rows(8, 3), n_permutations=300)
    often = contrast(SAE, rows(8, 2, 50), rows(8, 3, 50), n_permutations=300)
    np.testing.assert_allclose(once.strength.value, often.strength.value, rtol=1e-6)
    np.testing.assert_array_equal(once.strength.p_adjusted, often.strength.p_adjusted)
    fooled = contrast(SAE, rows(8, 2, 50), rows(8, 3, 50), n_permutations=300, permute="positions")
    assert fooled.strength.above_floor.sum() > often.strength.above_floor.sum() == 0


def test_planted_atom_comes_first() -> None:
    """One atom is stronger in a: it leads both orders and nothing else passes the floor."""
    a = rows(30, 0)
    x = a.x.clone()
    x[:, 5] += 3
    found = contrast(SAE, Activations.from_tensor(x), rows(30, 1), n_permutations=400)
    assert found.order()[0] == found.order("rate")[0] == 5
    assert found.strength.above_floor.nonzero()[0].tolist() == [5]
    table = found.table(3)
    assert table.index[0] == 5
    assert table.loc[5, "strength_difference"] > table.loc[5, "strength_floor"]


def test_one_input_on_each_side_permutes_positions_and_says_so() -> None:
    a = Activations.from_tensor(rows(20, 0).x, sample=torch.zeros(20, dtype=torch.int64))
    found = contrast(SAE, a, a)
    assert found.permuted == "positions"
    assert "lower bound" in found.caveat
    assert not found.strength.above_floor.any()


def test_too_few_samples_say_that_nothing_can_be_told() -> None:
    found = contrast(SAE, rows(2, 0), rows(2, 1))
    assert found.n_permutations == 6
    assert not found.strength.above_floor.any()


def test_sixteen_thousand_atoms_stay_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: SparseCodes) -> Tensor:
        raise AssertionError("a dense code was made")

    monkeypatch.setattr(SparseCodes, "to_dense", refuse)
    sae = sn.TopK(d_in=12, n_atoms=16_384, k=8, generator=torch.Generator().manual_seed(0))
    found = contrast(sae, rows(20, 0, 5), rows(20, 1, 5), n_permutations=50)
    assert len(found.strength.a) == 16_384
    assert np.isfinite(found.strength.floor).all()


def test_codes_and_plain_matrices_are_taken_too() -> None:
    a, b = rows(9, 0), rows(9, 1)
    want = contrast(SAE, a, b)
    for given in ((a.x, b.x), (SAE.encode(a.x), SAE.encode(b.x))):
        found = contrast(SAE, *given)
        np.testing.assert_array_equal(found.strength.p, want.strength.p)


@pytest.mark.slow
def test_an_sae_that_reads_sequences_reads_every_sample_on_its_own() -> None:
    """Rows of many samples are not one long sequence; a matrix has no order at all."""
    sae = sn.Temporal(d_in=12, n_atoms=16, k=2, generator=torch.Generator().manual_seed(0)).eval()
    sample, position = torch.arange(6).repeat_interleave(4), torch.arange(4).repeat(6)
    a, b = (
        Activations.from_tensor(
            rows(6, seed, 4).x + position[:, None], sample=sample, position=position
        )
        for seed in (0, 1)
    )
    found = contrast(sae, a, b, n_permutations=20)
    alone = [sae.encode(a.x[sample == i]).to_dense().abs().mean(dim=0) for i in range(6)]
    np.testing.assert_allclose(found.strength.a, torch.stack(alone).mean(dim=0).detach(), atol=1e-5)
    with pytest.raises(ValueError, match="position"):
        contrast(sae, a.x, b.x)


def test_parts_of_one_capture_must_not_share_samples() -> None:
    """Half of the rows of every sample against the other half is no comparison of samples."""
    whole = rows(6, 0, 4)
    odd = torch.arange(24) % 2 == 1
    with pytest.raises(ValueError, match="6 are in both"):
        contrast(SAE, whole.subset(odd), whole.subset(~odd))
    first = whole.sample < 3
    assert contrast(SAE, whole.subset(first), whole.subset(~first)).n_units == (3, 3)


def test_order_puts_what_passes_the_floor_first_and_then_goes_by_size() -> None:
    """Whatever is large by chance comes after what is not chance."""
    x, y = rows(30, 0).x.clone(), rows(30, 1).x.clone()
    x[:, 5] = 0.5 + 0.01 * x[:, 5]
    y[:, 5] = 0.0
    x[:, 2] *= 50
    found = contrast(SAE, x, y, n_permutations=400)
    passed = found.strength.above_floor[found.order()]
    assert passed[0]
    assert not (np.diff(passed.astype(int)) > 0).any()
    rest = np.abs(found.strength.value[found.order()])[passed.sum() :]
    assert (np.diff(rest) <= 1e-12).all()
