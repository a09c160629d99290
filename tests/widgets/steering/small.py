"""A small SAE, pictures and what a steering panel of them shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import sae_nb_widgets as sw
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.codes import SparseCodes


class PlainSae:
    def __init__(self, d_in: int, n_atoms: int) -> None:
        rows = torch.randn(n_atoms, d_in, generator=torch.Generator().manual_seed(0))
        self.dictionary = torch.nn.functional.normalize(rows, dim=1)
        self.d_in, self.n_atoms = d_in, n_atoms

    def encode(self, x: Tensor, k: int | None = None) -> SparseCodes:
        return SparseCodes.from_dense(x @ self.dictionary.T)


PICTURES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
SAE = PlainSae(32, 64)


def bars(made: sw.SteeringPanel, trace: int) -> np.ndarray:
    return np.asarray(made.current_figure().data[trace].x)


def steered(vit: Any, made: sw.SteeringPanel) -> np.ndarray:
    with sn.steer(
        vit,
        made.hook_point,
        SAE,
        made.atom,
        made.strength,
        mode=made.mode,
        positions=made.positions,
    ):
        return vit(PICTURES[made.sample : made.sample + 1])[0].softmax(-1).numpy()
