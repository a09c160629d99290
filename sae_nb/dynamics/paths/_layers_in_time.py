"""Depth as time: what the layers below predict of a token's state, and what each layer adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sae_nb.dynamics.paths._states import capture_states
from sae_nb.temporal import TemporalSummary, summarise_sequence

if TYPE_CHECKING:
    from sae_nb.architectures import Temporal
    from sae_nb.models import LiveModel


def layers_in_time(
    model: LiveModel, sae: Temporal, image: Any, *, place: int = 0, **options: Any
) -> TemporalSummary:
    """Run a vision model on one image and take the states of one token apart, from layer to layer.

    `place`: Index of the token, 0 for cls. `options`: As for `sn.temporal.summarise_sequence`.

    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-vit"), sn.Temporal(d_in=64, n_atoms=32, k=2)
    >>> layers_in_time(model, sae, torch.rand(3, 32, 32), n_shuffles=1).names[:2]
    ('embed', 'block 1')
    """
    images = image if getattr(image, "ndim", 4) == 4 else image[None]
    states = torch.as_tensor(capture_states(model, images[:1]))
    n_tokens = states.shape[2]
    if not 0 <= place < n_tokens:
        raise ValueError(
            f"`place` must be a token of {model.name}, from 0 to {n_tokens - 1}, got {place}. 0 is cls."
        )
    names = ["embed", *(f"block {i + 1}" for i in range(states.shape[1] - 1))]
    return summarise_sequence(sae, states[0, :, place], names=names, kind="layers", **options)
