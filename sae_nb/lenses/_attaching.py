"""The places where a lens is attached: the block of an SAE, the weights and the head of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sae_nb.checks import shown
from sae_nb.checks._hook_point_names import STANDARD
from sae_nb.files._fingerprints import weights_digest
from sae_nb.lenses._head import Head, head_of

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel


def layer_of(sae: object, stream: str | None = None) -> int:
    """Return the block whose output an SAE's atoms are added to; of a hook point, by its name.

    `stream` "encoder": one of the encoder; None: one that is answered from.

    Raises
    ------
    ValueError: If it is of a place that is not added to the stream as it is.
    """
    own = getattr(sae, "target_hook_point", None) or getattr(sae, "hook_point", None)
    place = sae if isinstance(sae, str) else own
    name = STANDARD.fullmatch(str(place))
    number = -1
    if name is not None and name["kind"] in ("resid_post", "resid_pre", "mlp_out"):
        number = int(name["layer"]) - (name["kind"] == "resid_pre")
    if str(place).startswith("encoder.") != (stream == "encoder"):
        wanted, other = ("encoder", "") if stream else ("decoder", ', stream="encoder"')
        raise ValueError(
            f"`sae.hook_point` must be in the {wanted}, whose blocks the lens reads, got {place}. Fit one of "
            f"that stream: sn.fit_lens(model, pairs{other})."
        )
    if number < 0:
        raise ValueError(
            f"`sae.hook_point` must be on the residual stream after a block (resid_post.i, mlp_out.i), got "
            f"{shown(place)}. Pass layer= if its atoms are added there."
        )
    return number


def weights_of(model: LiveModel) -> tuple[str, str]:
    """Return a digest of a model's weights, and their type."""
    return weights_digest(model.module), str(model.dtype).removeprefix("torch.")


def last_part(name: str | None) -> str:
    """Return a model's name without its owner, in small letters."""
    return (name or "").rstrip("/").rpartition("/")[2].lower()


def probed_head(model: LiveModel, name: str | None) -> Head:
    """Return the head of a model, held against its answer to an input made up for that."""
    n = max(model.vocabulary_size or 2, 2)
    ids = [1 + i * 7 % (n - 1) for i in range(8)]
    inputs: Inputs = [ids]
    if model.modality.is_text:
        inputs = [(torch.tensor(ids), torch.tensor(ids))] if model.streams else inputs
    elif not model.modality.is_image:
        examples = model.modality.examples
        if examples is None:
            raise ValueError(
                "`model` must read texts, images or a kind of input with examples to attach a loaded lens, "
                f"got {model.name}, which reads {model.modality.reads}. Fit a lens instead."
            )
        made = examples(1, 0)
        inputs = [(made[0], torch.tensor(ids))] if model.streams else made
    else:
        asked = (getattr(model.preprocess, one, None) for one in ("required", "output_size"))
        side = getattr(getattr(model.module, "config", None), "image_size", None)
        pair = tuple(side) if isinstance(side, list | tuple) else (side, side)
        shape = next((tuple(size) for size in asked if size), pair)
        if None in shape:
            raise ValueError(
                f"`model` must have an image size in its configuration, and {model.name} has none. Fit a lens "
                "on images instead."
            )
        noise = np.random.default_rng(0).random((1, 3, *shape), dtype=np.float32)
        inputs = torch.from_numpy(noise)
    return head_of(model, next(iter(model.batches(inputs, batch_size=1))), name)
