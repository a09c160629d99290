"""A small dense SAE that keeps the training contract, and data with known atoms."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sae_nb.architectures import TrainingDefaults
from sae_nb.codes import SparseCodes


class PlainSae(nn.Module):
    """Dense k-sparse autoencoder in a few lines: the contract of `training`, nothing more."""

    live_numbers = ("k", "penalty")

    def __init__(self, d_in: int = 8, n_atoms: int = 16, k: int = 2, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.d_in, self.n_atoms, self.k, self.penalty = d_in, n_atoms, k, 0.0
        self.hook_point: str | None = None
        self.model_name: str | None = None
        atoms = F.normalize(torch.randn(n_atoms, d_in, generator=generator), dim=1)
        self.encoder, self.decoder = nn.Parameter(atoms.clone()), nn.Parameter(atoms)
        self.bias = nn.Parameter(torch.zeros(d_in))
        self.register_buffer("initialised", torch.tensor(False))
        self.initial_rows: Tensor | None = None

    def settings(self) -> dict[str, Any]:
        return {"d_in": self.d_in, "n_atoms": self.n_atoms, "k": self.k, "axes": (0, 1)}

    def recipe(self) -> TrainingDefaults:
        return TrainingDefaults(learning_rate=0.01, warmup_fraction=0.1, longest_warmup_steps=10)

    @torch.no_grad()
    def initialise(self, x: Tensor, generator: torch.Generator) -> None:
        self.initial_rows = x
        self.bias.copy_(x.mean(dim=0))
        noise = torch.randn(self.bias.shape, generator=generator)
        self.bias.add_(1e-3 * noise)
        self.initialised.fill_(True)

    def codes(self, x: Tensor) -> Tensor:
        pre_codes = (x - self.bias) @ self.encoder.T
        top = pre_codes.topk(self.k, dim=1)
        return torch.zeros_like(pre_codes).scatter(1, top.indices, top.values.relu())

    def training_loss(
        self, x: Tensor, silent_tokens: Tensor, dead_after: int, step_fraction: float
    ) -> SimpleNamespace:
        z = self.codes(x)
        x_hat = z @ self.decoder + self.bias
        reconstruction = (x - x_hat).square().sum(dim=1).mean()
        penalty = self.penalty * z.sum(dim=1).mean()
        return SimpleNamespace(
            total=reconstruction + penalty,
            parts={"reconstruction": reconstruction, "penalty": penalty},
            codes=SparseCodes.from_dense(z.detach()),
            x_hat=x_hat.detach(),
        )

    def learning_rate_shares(self) -> dict[nn.Parameter, float]:
        return {}

    @torch.no_grad()
    def before_optimiser_step(self) -> None:
        unit, gradient = self.decoder, self.decoder.grad
        gradient -= (gradient * unit).sum(dim=1, keepdim=True) * unit

    @torch.no_grad()
    def after_optimiser_step(self) -> None:
        self.decoder.copy_(F.normalize(self.decoder, dim=1))


@pytest.fixture
def plain_sae() -> type[PlainSae]:
    return PlainSae


@pytest.fixture
def rows() -> Tensor:
    generator = torch.Generator().manual_seed(7)
    atoms = F.normalize(torch.randn(16, 8, generator=generator), dim=1)
    picked = torch.rand(512, 16, generator=generator).topk(2, dim=1).indices
    codes = torch.zeros(512, 16).scatter(1, picked, 1 + torch.rand(512, 2, generator=generator))
    return codes @ atoms + 0.01 * torch.randn(512, 8, generator=generator)


# --- several processes ------------------------------------------------------------------------------

_WARM_TORCHRUN = Path(__file__).with_name("warm_torchrun.py")


@pytest.fixture(scope="session")
def run_modes() -> Callable[..., None]:
    return _run_modes


def _run_modes(script: Path, folder: Path, *modes: tuple[str, int]) -> None:
    """Run `script FOLDER MODE` for each mode with its number of workers; "killed" may restart once."""
    command = [sys.executable, str(_WARM_TORCHRUN), str(script), str(folder)]
    command += [f"{mode}={workers}" for mode, workers in modes]
    quiet = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=quiet, stdout=pipe, stderr=pipe, text=True) as run:
        try:
            said = run.communicate(timeout=240 * len(modes))[1]
        finally:
            # Not killed: torchrun must take its workers with it.
            run.terminate()
    assert run.returncode == 0, said[-3000:]


@pytest.fixture(scope="session")
def killed() -> Callable[..., None]:
    """Train until an error strikes right after a step: nothing is saved on the way out."""
    from sae_nb.training import train

    def until(sae: Any, data: Any, config: Any, step: int) -> None:
        original, done = sae.after_optimiser_step, []

        def strike() -> None:
            original()
            done.append(1)
            if len(done) == step:
                raise MemoryError("struck")

        sae.after_optimiser_step = strike
        with pytest.raises(MemoryError, match="struck"):
            train(sae, data, config, progress=False)

    return until
