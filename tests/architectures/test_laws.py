"""Laws of every architecture, on drawn rows and codes in float64, where rounding decides nothing."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings, strategies as st
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.architectures import ARCHITECTURES, SparseAutoencoder
from sae_nb.codes import SparseCodes
from tests.architectures.conftest import D_IN, build, rows_of, whole

every_architecture = pytest.mark.parametrize("name", list(ARCHITECTURES))
few = settings(max_examples=3, phases=[Phase.generate])
seeds = st.integers(0, 10**6)


def drawn(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 + 7 * torch.randn(*shape, generator=generator, dtype=torch.float64)


@cache
def started(name: str) -> SparseAutoencoder:
    """An SAE that has seen rows, in eval mode."""
    sae = build(name).double()
    sae.initialise(rows_of(sae, drawn(60, D_IN, seed=0)), torch.Generator().manual_seed(0))
    return sae.eval()


def rows(sae: SparseAutoencoder, n: int, seed: int) -> Tensor:
    """Rows, or sequences of three where a row depends on those before it."""
    return drawn(n, *((3,) if sae.reads_sequences else ()), D_IN, seed=seed)


def dense(sae: SparseAutoencoder, x: Any) -> Tensor:
    with torch.no_grad():
        return sae.encode(x).to_dense()


@every_architecture
@few
@given(data=st.data(), n=st.integers(1, 7), seed=seeds)
def test_codes_do_not_depend_on_order_or_batches(name: str, data: Any, n: int, seed: int) -> None:
    sae = started(name)
    x = rows(sae, n, seed)
    codes = dense(sae, x)
    order = data.draw(st.permutations(range(n)))
    torch.testing.assert_close(dense(sae, x[order]), codes[order])
    sizes = data.draw(st.integers(1, n))
    torch.testing.assert_close(torch.cat([dense(sae, part) for part in x.split(sizes)]), codes)


@every_architecture
@few
@given(n=st.integers(1, 7), seed=seeds)
def test_codes_do_not_depend_on_how_rows_are_stored(name: str, n: int, seed: int) -> None:
    """Gaps between numbers, columns first, a part of something longer; an array, activations; fewer bits."""
    sae = started(name)
    x = rows(sae, n, seed)
    codes = dense(sae, x)
    gaps = torch.full((*x.shape, 2), torch.nan, dtype=x.dtype)
    gaps[..., 0] = x
    stored: list[Any] = [
        gaps[..., 0],
        x.mT.contiguous().mT,
        torch.cat([x + 1, x, x - 1])[n : 2 * n],
    ]
    stored += [x.numpy(), np.asfortranarray(x.numpy())]
    if not sae.reads_sequences:
        stored.append(Activations.from_tensor(x))
    for same in stored:
        torch.testing.assert_close(dense(sae, same), codes)
    half = x.to(torch.bfloat16)
    torch.testing.assert_close(dense(sae, half), dense(sae, half.double()))


@every_architecture
@few
@given(a=st.floats(-3, 3), b=st.floats(-3, 3), seed=seeds)
def test_decoding_is_linear_up_to_the_bias(name: str, a: float, b: float, seed: int) -> None:
    sae = started(name)
    first, second = drawn(2, 4, sae.n_atoms, seed=seed)
    second = second * (second > 5)

    def written(z: Tensor) -> Tensor:
        with torch.no_grad():
            return whole(sae.decode(SparseCodes.from_dense(z))) - sae.bias

    added = a * written(first) + b * written(second)
    together = written(a * first + b * second)
    assert torch.allclose(together, added, atol=1e-9) == (sae.additive or a * b == 0)
