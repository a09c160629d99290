"""A small SAE, pictures and what a steering panel of them shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import sae_nb_widgets as sw
import torch

import sae_nb as sn
from tests.models.small_models import PlainSae

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
