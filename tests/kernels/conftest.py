"""Inputs and a list of primitives that every kernel test runs over."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sae_nb.kernels._backends import PreCodes
from sae_nb.kernels._cpu import Cpu
from sae_nb.kernels._cuda import Sparse
from sae_nb.kernels._dense import Dense

# The GPU's gathers run on CPU tensors too, so their arithmetic is tested without a GPU.
PRIMITIVES = {"cpu": Cpu, "cpu in pieces": Cpu, "cuda sparse": Sparse, "dense": Dense}


@dataclass
class Problem:
    x: Tensor
    weight: Tensor
    dictionary: Tensor
    bias: Tensor
    centre: Tensor
    k: int

    @property
    def pre_codes(self) -> PreCodes:
        return PreCodes(self.x, self.weight, self.bias, self.centre)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.x, self.weight, self.dictionary, self.bias, self.centre)


def make_problem(
    rows: int, d_in: int, n_atoms: int, k: int, *, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Problem:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    return Problem(
        x=draw(rows, d_in),
        weight=draw(n_atoms, d_in),
        dictionary=draw(n_atoms, d_in),
        bias=draw(n_atoms),
        centre=draw(d_in),
        k=k,
    )


# rows, d_in, n_atoms, k: sparse, denser than a tenth, k = n_atoms, odd sizes, one row, many tiles
SIZES = [(300, 64, 700, 16), (130, 16, 333, 150), (50, 32, 100, 100), (7, 5, 11, 3), (1, 3, 40, 2)]


@pytest.fixture(params=SIZES, ids=str)
def problem(request: pytest.FixtureRequest) -> Problem:
    return make_problem(*request.param)


@pytest.fixture(params=list(PRIMITIVES))
def primitives(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> object:
    if request.param == "cpu in pieces":  # as if there were many entries
        monkeypatch.setattr("sae_nb.kernels._cpu.GRAIN", 0)
    return PRIMITIVES[request.param]()


@pytest.fixture
def draw() -> object:
    return make_problem
