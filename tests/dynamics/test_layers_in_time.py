"""Layers in the place of time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.dynamics import layers_in_time


def test_layers_of_a_picture_are_a_sequence() -> None:
    """Thirteen states of the cls token; another place is another sequence, one too many is refused."""
    model = sn.load_model("tiny-vit")
    sae = sn.Temporal(d_in=64, n_atoms=32, k=2, generator=torch.Generator().manual_seed(0))
    picture = sn.data.scenes(1, seed=0).images[0]
    cls, patch = (layers_in_time(model, sae, picture, place=place) for place in (0, 9))
    assert cls.kind == "layers"
    assert cls.names[0] == "embed"
    assert cls.n_times == 13
    assert not np.allclose(cls.energy, patch.energy)
    with pytest.raises(
        ValueError, match=r"`place` must be a token of tiny-vit, from 0 to 68, got 69"
    ):
        layers_in_time(model, sae, picture, place=69)
