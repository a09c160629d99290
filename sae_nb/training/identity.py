"""Which SAEs and which data a training is about: whether they fit, and whether they are the same."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sae_nb.training.sources import captured_at, fingerprint, hook_point

if TYPE_CHECKING:
    from sae_nb.activations import ActivationSource
    from sae_nb.architectures.base import SparseAutoencoder


def check_fit(saes: Sequence[SparseAutoencoder], source: ActivationSource) -> None:
    """Refuse what cannot be trained together.

    Raises
    ------
    TypeError
        If an entry is not an SAE.
    ValueError
        If there is none, one cannot be trained, or a width differs from that of the data.
    """
    if not saes:
        raise ValueError("`sae` must be an SAE or a list of them, got an empty list.")
    for sae in saes:
        if not callable(getattr(sae, "training_loss", None)):
            raise TypeError(
                f"`sae` must be a sparse autoencoder such as sn.TopK(...), got {type(sae).__name__}."
            )
        if not any(parameter.requires_grad for parameter in sae.parameters()):
            raise ValueError(
                f"`sae` must have weights that can be trained, but those of this {type(sae).__name__} "
                "are frozen. Use sae.requires_grad_()."
            )
        if any(parameter.is_inference() for parameter in sae.parameters()):
            raise ValueError(
                f"`sae` must have weights that can be trained, but this {type(sae).__name__} was built "
                "inside torch.inference_mode(). Build it outside."
            )
        if sae.d_in != source.d_in:
            raise ValueError(
                f"`sae` must have the width of the data, d_in={source.d_in}, got d_in={sae.d_in}. "
                f"{captured_at(source)} Build the SAE with d_in={source.d_in}, or capture the hook "
                "point it is meant for.".replace("  ", " ")
            )


def remember_origin(sae: SparseAutoencoder, source: ActivationSource) -> None:
    """Note on the SAE where its training data come from, with a warning when that changes."""
    for name, value in (
        ("hook_point", hook_point(source)),
        ("model_name", getattr(source, "model_name", None)),
    ):
        before = getattr(sae, name, None)
        if value is None or value == before:
            continue
        setattr(sae, name, value)
        if before is not None:
            warnings.warn(
                f"This SAE had {name}={before!r} and now trains on data with {name}={value!r}, which "
                "it remembers from here on. If that is a mistake, train on data of its own.",
                stacklevel=5,
            )


def identity(saes: Sequence[SparseAutoencoder], source: ActivationSource) -> dict[str, Any]:
    """Flat facts that a checkpoint must agree with, named as a message would name them."""
    facts: dict[str, Any] = {"the number of SAEs": len(saes)}
    facts |= {f"the data's {name}": value for name, value in fingerprint(source).items()}
    for i, sae in enumerate(saes):
        whose = "the SAE's" if len(saes) == 1 else f"SAE {i}'s"
        facts[f"{whose} class"] = type(sae).__name__
        facts |= {f"{whose} {name}": value for name, value in sae.settings().items()}
        facts[f"{whose} tensors"] = {
            name: list(tensor.shape) for name, tensor in sae.state_dict().items()
        }
    # As it will be read back: tuples are lists there.
    return dict(json.loads(json.dumps(facts)))
