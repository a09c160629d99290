"""Borders of scenes: where a text is least like what came before, and whether that finds known borders."""

from __future__ import annotations

from typing import Annotated

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity

from sae_nb.checks import as_tensor, at_least, checked
from sae_nb.statistics import auroc
from sae_nb_studies.temporal._measures import check_sequences


@checked
def border_scores(
    x: Float[Tensor, "*batch time width"], window: Annotated[int, at_least(1)] = 16
) -> Float[Tensor, "batch places"]:
    """Return how unlike the `window` tokens from each place on are to the `window` tokens before it.

    1 − cosine of their means, in [0, 2], after the mean over all tokens is subtracted. The first place is
    token `window`, the last has `window` tokens left.

    Raises
    ------
    ValueError: If a sequence is shorter than two windows.

    Source: TextTiling (Hearst, 1997) with means of activations or codes in place of counts of words.

    Example
    -------
    >>> import torch
    >>> x = torch.tensor([[[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3])
    >>> border_scores(x, 2).argmax(dim=1)  # token 3 is the third place: 2, 3, 4 have two on either side
    tensor([1])
    """
    x = check_sequences(x).double()
    places = x.shape[1] - 2 * window + 1
    if places < 1:
        raise ValueError(
            f"`x` must have two windows of {window} tokens, got {x.shape[1]} tokens. Give longer sequences, "
            "or a smaller `window`."
        )
    means = (x - x.mean(dim=(0, 1))).unfold(1, window, 1).mean(dim=-1)
    return 1 - cosine_similarity(means[:, :places], means[:, window:], dim=-1)


@checked(leave=("events",))
def border_auroc(
    x: Float[Tensor, "*batch time width"],
    events: Int[Tensor, "batch time"],
    window: Annotated[int, at_least(1)] = 16,
) -> float:
    """Return how often a border of two events scores higher than a place inside one.

    A place counts as inside if no border lies among the tokens that it compares; ½ is chance.

    Parameters
    ----------
    events
        Number of the event each token belongs to, as `spliced_documents` gives them.

    Raises
    ------
    ValueError: If shapes differ, or no place is on a border or none is inside.

    Example
    -------
    >>> import torch
    >>> x = torch.tensor([[[1.0, 0.0]] * 6 + [[0.0, 1.0]] * 6])
    >>> border_auroc(x, torch.tensor([[0] * 6 + [1] * 6]), window=2)
    1.0
    """
    scores = border_scores(x, window)
    events = as_tensor(events, name="events")
    time = scores.shape[1] + 2 * window - 1
    if tuple(events.shape) != (len(scores), time):
        raise ValueError(
            f"`events` must have one number per token, shape {(len(scores), time)}, got {tuple(events.shape)}."
        )
    begins = events[:, 1:] != events[:, :-1]  # [:, t − 1]: a new event begins at token t
    at = begins[:, window - 1 : time - window]
    near = begins.unfold(1, 2 * window - 1, 1).any(dim=-1)
    known = (at | ~near).numpy()
    truth = at.numpy()[known]
    if truth.all() or not truth.any():
        raise ValueError(
            "`events` must have a border with a window on either side and a place without one, got "
            f"{int(truth.sum())} borders among {len(truth)} places."
        )
    return float(auroc(scores.cpu().numpy().round(9)[known], truth)[0])
