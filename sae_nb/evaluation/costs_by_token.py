"""Where in a text an SAE costs: Δ cross-entropy and KL of every next token, by splicing it in.

Δ_t = −log p_spliced(x_{t+1}) + log p_clean(x_{t+1}); the mean over tokens is the report's `delta_ce`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.evaluation.splicing import splice_task
from sae_nb.steering import splice

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures.base import SparseAutoencoder
    from sae_nb.models.inputs import Batch
    from sae_nb.models.live_model import LiveModel


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenCosts:
    """What splicing changes for every token that has a next one."""

    sample: Int[np.ndarray, " tokens"]
    """Text each token is in."""

    position: Int[np.ndarray, " tokens"]
    """Its place there; what is predicted is the token after it."""

    token_id: Int[np.ndarray, " tokens"]
    """The token itself."""

    ce_clean: Float[np.ndarray, " tokens"]
    """−log p of the next token, nats."""

    ce_spliced: Float[np.ndarray, " tokens"]
    """The same on reconstructions."""

    kl: Float[np.ndarray, " tokens"]
    """KL(clean‖spliced), nats."""

    @property
    def delta(self) -> Float[np.ndarray, " tokens"]:
        """What the next token costs more."""
        return self.ce_spliced - self.ce_clean

    def worst(self, n: int = 10) -> Int[np.ndarray, " n"]:
        """Return the tokens that cost most, by their place in these arrays.

        Parameters
        ----------
        n
            How many.
        """
        return np.argsort(-self.delta, kind="stable")[:n]


def token_costs(
    model: LiveModel,
    sae: SparseAutoencoder,
    acts: Activations,
    inputs: Any = None,
    *,
    hook_point: str | None = None,
    batch_size: int = 8,
) -> TokenCosts:
    """Splice an SAE into a language model and measure every next token.

    Parameters
    ----------
    model
        A causal language model.
    sae
        In the units of `acts`.
    acts
        Captured from it: where, and which positions pass through untouched.
    inputs
        Texts; None: those that `acts` carry.
    hook_point
        Where to splice; by default where `acts` come from.
    batch_size
        Texts at a time.

    Returns
    -------
    TokenCosts
        `.delta`, `.kl`, `.worst()`.

    Raises
    ------
    ValueError
        If the model predicts no next token, or hook point and width do not fit.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> texts = ["The cat sat in the garden.", "Tom walked to the castle."]
    >>> acts = sn.capture(model, texts, "resid_post.3", progress=False)
    >>> costs = token_costs(model, sae, acts, texts)
    >>> costs.delta.shape == costs.kl.shape, bool((costs.kl >= 0).all())
    (True, True)
    """
    if model.kind != "language" or not model.causal:
        raise ValueError(
            f"`model` must predict next tokens, got {model.name}, of kind {model.kind!r}."
        )
    task = splice_task(sae, acts, model, inputs, None, hook_point)
    if task is None:
        raise ValueError("`model` must be a live model, got none.")
    parts = []
    for cpu_batch in model.batches(task.inputs, batch_size=batch_size):
        batch = cpu_batch.to(model.device)
        with model.lock, torch.no_grad():
            clean = model.main_output(model.forward(batch))
            with splice(model, task.hook_point, sae, task.keep(batch)):
                spliced = model.main_output(model.forward(batch))
        parts += [_of_text(batch, row, clean[row], spliced[row]) for row in range(len(clean))]
    names = ("sample", "position", "token_id", "ce_clean", "ce_spliced", "kl")
    columns = zip(*parts, strict=True)
    return TokenCosts(**{n: np.concatenate(c) for n, c in zip(names, columns, strict=True)})


def _of_text(batch: Batch, row: int, clean: Tensor, spliced: Tensor) -> tuple[np.ndarray, ...]:
    """The columns of one row of a batch; padding and borders between texts left out."""
    sample, ids = batch.sample[row], batch.token_ids[row]  # type: ignore[index]
    where = ((sample[1:] >= 0) & (sample[1:] == sample[:-1])).nonzero().flatten()
    following = ids[where + 1][:, None]
    log_p, log_q = (out[where].float().log_softmax(dim=-1) for out in (clean, spliced))
    kl = torch.where(log_p > -torch.inf, log_p.exp() * (log_p - log_q), 0.0).sum(dim=-1)
    columns = (
        sample[where],
        batch.position[row][where],
        ids[where],
        -log_p.gather(1, following)[:, 0].double(),
        -log_q.gather(1, following)[:, 0].double(),
        kl.clamp_min(0).double(),
    )
    return tuple(column.cpu().numpy() for column in columns)
