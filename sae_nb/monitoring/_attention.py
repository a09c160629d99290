"""A probe of texts that learns where to look: softmax(⟨x_t, q⟩) weighs what ⟨x_t, v⟩ says of each token.

With q = 0 it is a probe of the text's mean row, from which its fit begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import checked
from sae_nb.findings import Finding
from sae_nb.monitoring._rows import rows_of_texts
from sae_nb.statistics import auroc

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""C, of which the one with the smallest loss on texts left out is taken; ½(‖v‖² + ‖q‖²) counts 1 / C."""

N_FOLDS, N_STEPS, LEAST = 3, 60, 4


class AttentionProbe(Finding):
    """Weights v, q and b of Σ_t a_t ⟨x_t, v⟩ + b, a = softmax(⟨x_t, q⟩) over the tokens of a text.

    Above zero for texts like the first group. Read it by `sn.monitor`.
    """

    HEADLINE = (
        "{n_positive} against {n_negative} texts at {hook_point}, C = {inverse_penalty:g}; AUC of texts left "
        "out {separation:.2f}, of their mean rows {separation_mean:.2f}"
    )
    hook_point: str
    model_name: str
    vector: Float[Tensor, " d_in"]
    """v: what a token says."""

    query: Float[Tensor, " d_in"]
    """q: how much a token counts; all zeros: each the same."""

    middle: float
    """−b: what is taken off."""

    inverse_penalty: float
    separation: float
    """AUC on texts left out, by cross-validation, which chose C too."""

    separation_mean: float
    """The same of a probe of the mean rows."""

    n_positive: int
    n_negative: int


@dataclass(frozen=True, kw_only=True, eq=False)
class TextSet:
    """Rows of several texts end to end, which text each is of, and the group of each text."""

    x: Float[Tensor, "rows d_in"]
    text: Int[Tensor, " rows"]
    truth: Bool[np.ndarray, " texts"]

    def subset(self, kept: Bool[np.ndarray, " texts"]) -> TextSet:
        """Return some of the texts."""
        number = torch.from_numpy(np.cumsum(kept) - 1)
        rows = torch.from_numpy(kept)[self.text]
        return TextSet(x=self.x[rows], text=number[self.text[rows]], truth=self.truth[kept])

    def means(self) -> TextSet:
        """Return each text as its mean row."""
        n = len(self.truth)
        counts = torch.bincount(self.text, minlength=n)
        sums = torch.zeros(n, self.x.shape[1], dtype=self.x.dtype).index_add(0, self.text, self.x)
        return TextSet(x=sums / counts[:, None], text=torch.arange(n), truth=self.truth)


def text_set(
    model: LiveModel,
    hook_point: str,
    positive: Inputs,
    negative: Inputs,
    batch_size: int | None = None,
) -> TextSet:
    """Read two groups of texts."""
    groups = [
        [one.rows[hook_point].cpu() for one in rows_of_texts(model, some, [hook_point], batch_size, name)]
        for some, name in ((positive, "positive"), (negative, "negative"))
    ]  # fmt: skip
    return text_set_of(*groups)


def text_set_of(positive: Sequence[Tensor], negative: Sequence[Tensor]) -> TextSet:
    """Put the rows of texts of two groups end to end."""
    rows = [*positive, *negative]
    text = torch.arange(len(rows)).repeat_interleave(torch.tensor([len(one) for one in rows]))
    truth = np.arange(len(rows)) < len(positive)
    return TextSet(x=torch.cat(rows).double(), text=text, truth=truth)


@dataclass(frozen=True, eq=False)
class Weights:
    """A fitted probe in units of the rows."""

    vector: Tensor
    query: Tensor
    bias: float

    def scores(self, texts: TextSet) -> Float[np.ndarray, " texts"]:
        """Return Σ_t a_t ⟨x_t, v⟩ + b of each text."""
        read = texts.x @ torch.stack([self.vector, self.query], dim=1)
        return (_weighed(read, texts.text, len(texts.truth)) + self.bias).numpy()


def _weighed(read: Float[Tensor, "rows 2"], text: Tensor, n: int) -> Float[Tensor, " texts"]:
    values, logits = read[:, 0], read[:, 1]
    top = torch.full((n,), -torch.inf, dtype=read.dtype).scatter_reduce(
        0, text, logits.detach(), "amax"
    )
    weights = (logits - top[text]).exp()
    sums = torch.zeros(2, n, dtype=read.dtype).index_add(
        1, text, torch.stack([weights * values, weights])
    )
    return sums[0] / sums[1]


def fit_weights(
    texts: TextSet, inverse_penalty: float, *, attends: bool, start: Weights | None = None
) -> Weights:
    """Minimise Σ log(1 + exp(−±s)) + (‖v‖² + ‖q‖²) / 2C by L-BFGS, both groups counting the same.

    Rows are centred and divided by the root of their total variance, so that C means the same everywhere.
    """
    mean = texts.x.mean(dim=0)
    size = float(texts.x.var(dim=0, unbiased=False).sum().sqrt()) or 1.0
    z, n, d = (texts.x - mean) / size, len(texts.truth), texts.x.shape[1]
    sign = torch.from_numpy(np.where(texts.truth, 1.0, -1.0))
    shares = {
        True: n / (2 * max(texts.truth.sum(), 1)),
        False: n / (2 * max((~texts.truth).sum(), 1)),
    }
    weight = torch.tensor([shares[bool(one)] for one in texts.truth], dtype=torch.float64)
    # v, q and b in one vector.
    w = torch.zeros(2 * d + 1, dtype=torch.float64)
    if start is not None:
        w[:d], w[d : 2 * d] = start.vector * size, start.query * size
        w[-1] = start.bias + float(start.vector @ mean)
    w.requires_grad_()
    mask = torch.tensor([1.0, float(attends)], dtype=torch.float64)

    def loss() -> Tensor:
        pair = w[: 2 * d].view(2, d) * mask[:, None]
        scores = _weighed(z @ pair.T, texts.text, n) + w[-1]
        error = torch.nn.functional.softplus(-sign * scores) @ weight
        return error + pair.square().sum() / (2 * inverse_penalty)

    optimiser = torch.optim.LBFGS([w], max_iter=N_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        torch.autograd.backward(value)
        return value

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    found = w.detach()
    vector, query = found[:d] / size, found[d : 2 * d] / size * float(attends)
    return Weights(vector, query, float(found[-1] - vector @ mean))


def fitted(texts: TextSet, *, attends: bool) -> tuple[Weights, float, float]:
    """Return the probe at the best C, this C, and the AUC of texts left out."""
    part = np.empty(len(texts.truth), dtype=int)
    for group in (texts.truth, ~texts.truth):
        part[group] = np.arange(group.sum()) % N_FOLDS
    held = np.empty((len(PENALTIES), len(part)))
    for fold in range(N_FOLDS):
        rest, left, weights = texts.subset(part != fold), texts.subset(part == fold), None
        for i, penalty in enumerate(PENALTIES):
            weights = fit_weights(rest, penalty, attends=attends, start=weights)
            held[i, part == fold] = weights.scores(left)
    losses = np.logaddexp(0, -np.where(texts.truth, 1, -1) * held).mean(axis=1)
    best = int(losses.argmin())
    weights = fit_weights(texts, PENALTIES[0], attends=attends)
    for penalty in PENALTIES[1 : best + 1]:
        weights = fit_weights(texts, penalty, attends=attends, start=weights)
    return weights, PENALTIES[best], float(auroc(held[best], texts.truth)[0])


@checked
def attention_probe(
    model: LiveModel,
    hook_point: str,
    positive: Inputs,
    negative: Inputs,
    *,
    batch_size: int | None = None,
) -> AttentionProbe:
    """Train a probe with one learned query on two groups of texts; read it by `sn.monitor`.

    Parameters
    ----------
    positive, negative
        Texts, conversations, images or sounds of either group.

    Raises
    ------
    ValueError: If a group has fewer than 4 texts, or a text has no token after the first.

    Source
    ------
    Attention probes: Eleuther AI, 2025; for monitors: McKenzie et al., arXiv 2506.10805. Start at the mean and
    choice of the penalty are ours.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
    >>> texts = torch.randn(24, 5, 4, generator=torch.Generator().manual_seed(0))
    >>> texts[:12, 2, 0] += 6.0  # one token of five says it
    >>> probe = sn.monitoring.attention_probe(model, "0", texts[:12], texts[12:])
    >>> probe.separation > 0.9
    True
    """
    point = str(model.hook_point(hook_point))
    texts = text_set(model, point, positive, negative, batch_size)
    counts = int(texts.truth.sum()), int((~texts.truth).sum())
    if min(counts) < LEAST:
        raise ValueError(
            f"`positive` and `negative` must hold at least {LEAST} texts each, got {counts[0]} and "
            f"{counts[1]}. Add texts."
        )
    weights, penalty, separation = fitted(texts, attends=True)
    _, _, separation_mean = fitted(texts.means(), attends=False)
    return AttentionProbe(
        hook_point=point,
        model_name=model.name,
        vector=weights.vector.float(),
        query=weights.query.float(),
        middle=-weights.bias,
        inverse_penalty=penalty,
        separation=separation,
        separation_mean=separation_mean,
        n_positive=counts[0],
        n_negative=counts[1],
    )
