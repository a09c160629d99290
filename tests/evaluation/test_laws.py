"""What `evaluate` says does not hang on the axes that activations are written in, nor on their order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings, strategies as st
from torch import Tensor

import sae_nb as sn
from sae_nb.codes import SparseCodes

few = settings(max_examples=2, phases=[Phase.generate])
D, N_ATOMS = 6, 14
NO_LAW = {
    "r2_per_dimension",
    "floor of r2_per_dimension",
    "floor of distances_kept",
    "floor of ood",
}
"""A mean over the axes themselves; floors that are drawn."""


class Tied:
    """z = x Dᵀ where that is above .5, x̂ = z D."""

    hook_point = model_name = None

    def __init__(self, dictionary: Tensor) -> None:
        self.dictionary = dictionary
        self.n_atoms, self.d_in = dictionary.shape

    def encode(self, x: Tensor) -> SparseCodes:
        z = x @ self.dictionary.T
        return SparseCodes.from_dense(z * (z > 0.5))

    def decode(self, codes: SparseCodes) -> Tensor:
        return codes.to_dense() @ self.dictionary


def drawn(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def numbers(sae: Tied, acts: Any) -> dict[str, float]:
    """Values and floors; a control draws atoms of its own, along the axes there are."""
    report = sn.evaluate(sae, acts, n_bootstrap=0)
    floors = {f"floor of {name}": row.floor for name, row in report.items()}
    all_of_them = floors | {name: row.value for name, row in report.items()}
    return {k: v for k, v in all_of_them.items() if v is not None and k not in NO_LAW}


@few
@given(seed=st.integers(0, 10**6), n=st.integers(30, 60))
def test_a_rotation_of_rows_and_dictionary_changes_no_measure(seed: int, n: int) -> None:
    x = drawn(n, D, seed=seed) + 1
    dictionary = torch.nn.functional.normalize(drawn(N_ATOMS, D, seed=seed + 1), dim=1)
    turn = torch.linalg.qr(drawn(D, D, seed=seed + 2)).Q
    plain, turned = numbers(Tied(dictionary), x), numbers(Tied(dictionary @ turn), x @ turn)
    assert {"r2", "fvu", "mse", "cosine", "norm_ratio", "l0", "dead_fraction"} <= plain.keys()
    assert turned == pytest.approx(plain, rel=1e-4, abs=1e-5)


@few
@given(seed=st.integers(0, 10**6), n=st.integers(30, 60))
def test_the_order_of_rows_changes_no_measure(seed: int, n: int) -> None:
    x = drawn(n, D, seed=seed) + 1
    sae = Tied(torch.nn.functional.normalize(drawn(N_ATOMS, D, seed=seed + 1), dim=1))
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed + 2))
    sample = torch.arange(n) // 3
    acts, mixed = (
        sn.Activations.from_tensor(x[rows], sample=sample[rows]) for rows in (range(n), order)
    )
    assert numbers(sae, mixed) == pytest.approx(numbers(sae, acts), rel=1e-5, abs=1e-6)
