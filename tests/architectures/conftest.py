"""Every registered architecture, built small: the contract tests run over this list."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.architectures import ARCHITECTURES, SparseAutoencoder, UniversalSAE

D_IN, N_ATOMS, K = 12, 40, 4
D_OUT = 9
OWN: dict[str, dict[str, Any]] = {
    "Crosscoder": {"widths": [5, 7]},
    "GroupSparse": {"d_image": 5, "d_text": 7},
    "CrossLayerTranscoder": {"widths": [5, 7]},
    "JumpReLU": {"l0": K},
    "Lorsa": {"d_out": D_OUT, "n_heads": 2, "d_head": 4},
    "Transcoder": {"d_out": D_OUT},
    "SkipTranscoder": {"d_out": D_OUT},
    "UniversalSAE": {"widths": [D_IN, D_IN]},
}
"""Arguments of an architecture besides sizes and k, where its defaults do not suit the contract."""


def settings_of(name: str) -> dict[str, Any]:
    sizes = {"d_in": D_IN, "n_atoms": N_ATOMS, "k": K}
    taken = inspect.signature(ARCHITECTURES[name].__init__).parameters
    return {key: size for key, size in sizes.items() if key in taken} | OWN.get(name, {})


def build(name: str, seed: int = 0, **changes: Any) -> SparseAutoencoder:
    generator = torch.Generator().manual_seed(seed)
    return ARCHITECTURES[name](**{"generator": generator} | settings_of(name) | changes)


def rows_of(sae: SparseAutoencoder, x: torch.Tensor) -> torch.Tensor:
    """Training rows that begin with `x`: itself, and beside it what there is of other sites."""
    missing = sum(sae.sites) - x.shape[1]
    if not missing or sae.reads_gradient:
        return x
    generator = torch.Generator().manual_seed(7)
    first = torch.randn(x.shape[1], 20, generator=generator).to(x)
    second = torch.randn(20, missing, generator=generator).to(x)
    return torch.cat([x, ((x - x.mean()) @ first).relu() @ second], dim=1)


def data_of(sae: SparseAutoencoder, x: torch.Tensor) -> Any:
    if sae.reads_gradient:
        return Activations.from_tensor(x, gradient=x.roll(1, dims=0) / 10)
    rows = rows_of(sae, x)
    return rows if sae.writes is None else sae.split(rows)


def read_by_its_loss(sae: SparseAutoencoder, x: torch.Tensor) -> torch.Tensor:
    """Its reconstruction, of the model whose turn the next step is where there are several."""
    if isinstance(sae, UniversalSAE):
        return sae(rows_of(sae, x), reads=sae.turn)
    return sae(x)


def whole(x_hat: Any) -> torch.Tensor:
    return torch.cat(x_hat, dim=-1) if isinstance(x_hat, list) else x_hat


@pytest.fixture(params=list(ARCHITECTURES))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def sae(name: str) -> SparseAutoencoder:
    return build(name)


@pytest.fixture
def make() -> Any:
    return build


@pytest.fixture
def x() -> torch.Tensor:
    return 30 + 7 * torch.randn(60, D_IN, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def rows() -> torch.Tensor:
    return 5 + 2 * torch.randn(200, 16, generator=torch.Generator().manual_seed(1))


def in_one_go_and_in_two(make: Callable[[], Any], data: Any, folder: Path) -> tuple[Any, Any]:
    """Two SAEs after twelve steps: one that was never stopped, and one that was, after six, and resumed.

    The global generator has moved between.
    """
    how: dict[str, Any] = {"steps": 12, "batch_size": 64, "progress": False}
    kept = {"checkpoint": folder / "c", "checkpoint_every": 6, "log_every": 1}
    whole, cut, again = (make() for _ in range(3))
    sn.train(whole, data, **how)

    def stop(record: Any) -> None:
        if record.step >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        sn.train(cut, data, callbacks=stop, **how, **kept)
    torch.manual_seed(77)
    sn.train(again, data, **how, **kept)
    return whole, again
