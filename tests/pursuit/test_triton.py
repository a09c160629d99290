"""The Triton kernels without a GPU: run by Triton's interpreter, and compiled for a card that is not here."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sae_nb.kernels import paths_taken
from sae_nb.pursuit import (
    _card as card,
    gradient_pursuit,
    matching_pursuit,
    orthogonal_matching_pursuit,
)
from sae_nb.pursuit._planning import Plan
from sae_nb.pursuit._problem import Problem

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None,
        reason="Triton is not installed: it comes with PyTorch for CUDA on Linux",
    ),
]


def _run(program: str, *arguments: str, **environment: str) -> str:
    """What a program of this folder prints; Triton reads its environment once."""
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    path = (str(HERE.parent), *filter(None, sys.path))
    result = subprocess.run(
        [sys.executable, str(HERE / program), *arguments],
        capture_output=True,
        text=True,
        env=inherited | environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path)},
    )
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]
    return result.stdout


@pytest.mark.parametrize(
    "part",
    ["every_rule", "overlapping_atoms", "near_ties", "dependent_atoms", "a_step_asks_nothing", "gradients"],
)  # fmt: skip
def test_kernels_equal_the_cpu_in_the_interpreter(part: str) -> None:
    """Every rule and both strategies, ties, dependent atoms, gradients; no step reads from the card."""
    assert _run("interpreted.py", part, TRITON_INTERPRET="1").split()[0] == part


def test_kernels_compile_for_a_card_that_is_not_here(tmp_path: Path) -> None:
    """For an H100: two programs of matching pursuit fit a multiprocessor, and products use tensor cores."""
    found = _run("compiled.py", TRITON_CACHE_DIR=str(tmp_path)).split()
    registers = dict(zip(found[::2], map(int, found[1::2]), strict=True))
    assert registers["matching_steps"] <= 128
    assert registers["product_best"] <= 255
    assert len(registers) == 16


def planted(rows: int, n_atoms: int, d_in: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs of k atoms each and a tenth of noise, and their dictionary."""
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.randn(n_atoms, d_in, generator=generator)
    dictionary = torch.nn.functional.normalize(dictionary, dim=1)
    atoms = torch.randint(n_atoms, (rows, k), generator=generator)
    x = (dictionary[atoms] * (0.5 + torch.rand(rows, k, 1, generator=generator))).sum(dim=1)
    return x + 0.1 * torch.randn(rows, d_in, generator=generator), dictionary


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("n_atoms", [600, 16384, 40_000])
@pytest.mark.parametrize(
    "pursuit", [matching_pursuit, orthogonal_matching_pursuit, gradient_pursuit]
)
def test_a_card_takes_the_steps_of_fp64(pursuit: Any, n_atoms: int) -> None:
    """Supports as in fp64 in all but one of a thousand rows, values to fp32, both strategies."""
    x, dictionary = planted(200, n_atoms, 100, 8)
    exact = pursuit(x.double(), dictionary.double(), 8, backend="cpu").to_dense()
    chosen = pursuit(x.cuda(), dictionary.cuda(), 8)
    assert paths_taken()[pursuit.__name__].chosen == "Triton"
    problem = Problem(x=x.cuda(), dictionary=dictionary.cuda(), k=8, algorithm=pursuit.__name__)
    plan = Plan("direct", tile_rows=128, gram_rows=0, bytes={}, seconds=0.0)
    direct = card.fixed_codes(problem, plan)
    dense = torch.zeros_like(exact).float().cuda()
    dense.scatter_add_(1, direct.atoms.long(), direct.values)
    for codes in (chosen.to_dense().cpu(), dense.cpu()):
        same = ((codes != 0) == (exact != 0)).all(dim=1)
        assert float(same.float().mean()) >= 0.999
        assert float((codes - exact)[same].abs().max()) < 2e-6 * float(exact.max())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_step_can_be_captured_in_a_graph() -> None:
    """Codes and gradients of a replay, with other inputs, are those of the same step without a graph."""
    inputs, atoms = (part.cuda() for part in planted(256, 1000, 64, 8))
    other = inputs.flip(1)
    x = inputs.clone().requires_grad_()
    dictionary = atoms.clone().requires_grad_()
    plan = Plan("gram", tile_rows=256, gram_rows=1000, bytes={}, seconds=0.0)

    def step() -> tuple[torch.Tensor, ...]:
        problem = Problem(
            x=x.detach(), dictionary=dictionary.detach(), k=8, algorithm="matching_pursuit"
        )
        codes = card.fixed_codes(problem, plan, (x, dictionary))
        grads = torch.autograd.grad(codes.values.square().sum(), (x, dictionary))
        return codes.values.detach(), codes.atoms, *grads

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    with torch.no_grad():
        x.copy_(other)
    graph.replay()
    for replayed, eager in zip(captured, step(), strict=True):
        assert torch.allclose(replayed, eager, rtol=1e-4, atol=1e-5)
