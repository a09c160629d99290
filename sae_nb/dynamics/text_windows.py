"""Windows of text of one length: what gives states of many documents a common token axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int

if TYPE_CHECKING:
    from torch import Tensor

    from sae_nb.models.live_model import LiveModel


def text_windows(
    model: LiveModel, inputs: Any, context_length: int | None = None
) -> Int[Tensor, "n time"]:
    """Join texts end to end, end-of-text between, and cut them into windows of one length.

    A last piece that fills no window is left out.

    Parameters
    ----------
    model
        Reads language from left to right.
    inputs
        Texts or token ids, as for `capture`.
    context_length
        Tokens per window; None: what the model can read, 1024 at the most.

    Raises
    ------
    TypeError, ValueError
        If the model reads no such inputs, cannot pack, or they fill no window.

    Example
    -------
    >>> from sae_nb.models import load_model
    >>> text_windows(load_model("tiny-gpt"), [[5, 6, 7], [8, 9, 10, 11]], 4).shape
    torch.Size([2, 4])
    """
    batches = model.batches(inputs, batch_size=64, context_length=context_length, pack=True)
    n_tokens, whole = 0, []
    length = batches.policy["context_length"]
    for batch in batches:
        if batch.keep is None or batch.token_ids is None:  # language models' batches have both
            continue
        full = batch.keep.sum(dim=1) == length
        whole.append(batch.token_ids[full].cpu())
        n_tokens += int(batch.keep.sum())
    windows = torch.cat(whole)
    if not len(windows):
        raise ValueError(
            f"`inputs` must fill a window of {length} tokens, got {n_tokens} tokens in all. Pass more"
            " text, or a smaller context_length."
        )
    return windows
