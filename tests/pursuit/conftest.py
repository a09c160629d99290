"""Problems with known answers, and the list of pursuits and backends that every contract runs over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sae_nb.pursuit import gradient_pursuit, matching_pursuit, orthogonal_matching_pursuit

PURSUITS = {"mp": matching_pursuit, "omp": orthogonal_matching_pursuit, "gp": gradient_pursuit}
# The CUDA kernels run over the same list under Numba's simulator: see test_cuda.py.
BACKENDS = ["reference", "cpu"]


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True)


def draw_dictionary(
    n_atoms: int, d_in: int, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return unit(torch.randn(n_atoms, d_in, generator=generator, dtype=dtype))


def draw_inputs(
    rows: int, d_in: int, *, seed: int = 1, dtype: torch.dtype = torch.float64
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, d_in, generator=generator, dtype=dtype)


@pytest.fixture(params=list(PURSUITS))
def pursuit(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return PURSUITS[request.param]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[True, False], ids=["non-negative", "signed"])
def nonnegative(request: pytest.FixtureRequest) -> bool:
    return request.param
