"""Measured effects: how the running model's answer changes when a direction is added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import Count, at_least, checked
from sae_nb.lenses._jacobian import repeated
from sae_nb.lenses._rows import kept_places, valid_places
from sae_nb.models._running import Run, run

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch

PLACES_AT_ONCE = 512
"""Places of all copies in one pass. Ours: their logits over 50 000 tokens take 100 MB."""

SKIPPED = 4
"""First tokens of a text that are left alone: the first is a sink of attention, whose state is huge."""


@checked(leave=("inputs",))
def measured_effects(
    model: LiveModel,
    inputs: Inputs,
    hook_point: str,
    directions: Float[Tensor, "n d"],
    strengths: Sequence[float] | float = 1.0,
    *,
    skip_first: Annotated[int, at_least(0)] = SKIPPED,
    context_length: Count | None = 128,
) -> Float[Tensor, "n n_outputs"]:
    """Measure the mean change of the answer when directions are added, one at a time, to the running model.

    Each direction is one forward pass over the inputs. It is added at every place of an image, and at
    every token of a text from `skip_first` on; the change is the mean over those places and inputs of the
    next token's logits, or over images of the class logits. In an encoder it is added at every place that
    the encoder reads, and the change is that of the decoder's logits.

    Parameters
    ----------
    strengths
        Multiples of the directions that are added, one for all or one each, in units of activations.
    context_length
        Tokens after which a text is cut; None: the model's own limit.

    Raises
    ------
    ValueError: If the widths differ, a text is not longer than `skip_first`, or there is not one strength
        per direction.

    Example
    -------
    >>> import sae_nb as sn
    >>> vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    >>> images = sn.data.scenes(4).images
    >>> measured_effects(vit, images, "resid_post.6", sae.dictionary[:3], 4.0).shape
    torch.Size([3, 10])
    """
    point = model.hook_point(hook_point)
    point.check_writable()
    size = (
        [float(strengths)] * len(directions)
        if isinstance(strengths, float | int)
        else list(strengths)
    )
    if len(size) != len(directions):
        raise ValueError(
            f"`strengths` must have one entry per direction, {len(directions)}, got {len(size)}. Pass one "
            "number for all."
        )
    added = directions.detach().float() * torch.tensor(size)[:, None]
    batches = sample_batches(model, inputs, context_length)
    check_lengths(batches, skip_first + 1)
    with torch.no_grad():
        changes = [_changes(model, batch, str(point), added, skip_first) for batch in batches]
    return torch.stack(changes).mean(dim=0)


def cut_at(model: LiveModel, asked: int | None) -> int | None:
    """Return after how many tokens texts are cut: as requested, at most what the model can read."""
    if asked is None or not model.modality.is_text:
        return None
    return min(asked, model.context_length or asked)


def sample_batches(model: LiveModel, inputs: Inputs, context_length: int | None) -> list[Batch]:
    """Return one batch per sample."""
    length = cut_at(model, context_length)
    return list(model.batches(inputs, batch_size=1, context_length=length))


def check_lengths(batches: Sequence[Batch], least: int) -> None:
    """Refuse a text that is not longer than what is skipped."""
    for batch in batches:
        if batch.keep is None or batch.token_ids is None:
            continue
        if (n := int(batch.keep.sum())) < least:
            if batch.encoder is not None:
                raise ValueError(
                    f"Every target must have at least {least} tokens with its start token, since the first "
                    f"ones are left out (`skip_first`), but target {batch.first_sample} has {n}. Pass pairs, "
                    "[(source, target), …], with longer targets, or skip fewer."
                )
            raise ValueError(
                f"Every text must have at least {least} tokens, since the first ones are left out "
                f"(`skip_first`), but text {batch.first_sample} has {n}. Leave it out, or skip fewer."
            )


def _changes(
    model: LiveModel, batch: Batch, name: str, added: Float[Tensor, "n d"], skip_first: int
) -> Float[Tensor, "n n_outputs"]:
    """Changes of the answer to one sample."""
    copies = max(1, min(len(added), PLACES_AT_ONCE // batch.sample.shape[1]))
    clean = run(model, batch, read=[name])
    source = batch.encoder if model.hook_point(name).encoder else None
    n_places = clean.states[name].shape[1]
    answered = torch.ones(n_places, dtype=torch.bool)
    if batch.keep is not None and batch.token_ids is not None:
        last = valid_places(batch, skip_first, batch.sample.shape[1])[0]
        answered = last | (batch.position[0].cpu() == int(batch.keep.sum()) - 1)
    touched = answered
    if source is not None:  # at all that the encoder reads; the change is the decoder's
        touched = kept_places(source, n_places)[0]
    width = clean.states[name].shape[-1]
    if width != added.shape[1]:
        raise ValueError(
            f"`directions` must have the width of {name}, {width}, got {added.shape[1]}."
        )
    before = _answer(clean, answered)
    found = []
    for begin in range(0, len(added), copies):
        some = added[begin : begin + copies]

        def add(x: Tensor, some: Tensor = some) -> Tensor:
            mask = touched.to(x)[None, :, None]
            return x + mask * some.to(x)[:, None, :]

        ran = run(model, repeated(batch, len(some)), put={name: add})
        found.append(_answer(ran, answered) - before)
    return torch.cat(found)


def _answer(ran: Run, touched: Tensor) -> Float[Tensor, "n n_outputs"]:
    """The answer of each copy: the mean over a text's touched tokens."""
    tensor = ran.answer.tensor.float()
    if ran.answer.by_token:
        return tensor[:, touched.to(tensor.device)].mean(dim=1).cpu()
    return tensor.flatten(1).cpu()
