"""Small transformers most of whose weights are zero, and the tasks that they are trained on.

After every step each matrix keeps its largest entries in magnitude, a falling share of them; the others are
set to zero and may come back with the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.checks import Between, Count, Positive, Seed, at_least, checked
from sae_nb.models import wrap
from sae_nb_studies.data.tasks import TASKS, Rows
from sae_nb_studies.models._small_gpt import new_tokenizer, small_gpt

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

TaskName = Literal["brackets", "induction", "modular"]

DENSE, SPARSE = 0.01, 0.6
"""Shares of the steps: until the first all weights are kept, from the second on `density` of them. Ours; .5 in
the paper."""

_TRAIN_STREAM, _DRAWN_STREAM = 0, 1  # of a seed's rows


class SparseNorm(nn.RMSNorm):
    """An RMS norm that passes on the largest values of each token in magnitude, and zeros for the rest."""

    def __init__(self, width: int, share: float) -> None:
        super().__init__(width, eps=1e-5)
        self.k = max(1, round(share * width))

    def forward(self, x: Float[Tensor, "... d"]) -> Float[Tensor, "... d"]:
        """Return the normed values, k of them not zero."""
        y = super().forward(x)
        if self.k >= y.shape[-1]:
            return y
        largest = y.detach().abs().topk(self.k, dim=-1).indices
        return y * torch.zeros_like(y).scatter_(-1, largest, 1.0)


@checked
def task_rows(task: TaskName, n: Count, *, held_out: bool = True, seed: Seed = 0) -> Rows:
    """Draw rows of a small task: `ids` and `targets`, (n, time), −100 where nothing is asked.

    Parameters
    ----------
    task
        "brackets", "induction" or "modular", those of the bundled models of these names.
    held_out
        Whether rows are of those that are never trained on.

    Example
    -------
    >>> task_rows("brackets", 5).ids.shape
    torch.Size([5, 21])
    """
    return TASKS[f"tiny-{task}"].draw(n, np.random.default_rng((seed, _DRAWN_STREAM)), held_out)


@checked
def train_sparse_transformer(
    task: TaskName = "brackets",
    *,
    density: Annotated[float, Between(0, 1, "(]")] = 0.02,
    fewest: Annotated[int, at_least(0)] = 2,
    active: Annotated[float, Between(0, 1, "(]")] = 0.25,
    d_model: Count = 64,
    n_blocks: Count = 2,
    n_heads: Count = 4,
    n_neurons: Count = 128,
    steps: Count = 600,
    rows: Count = 32,
    learning_rate: Positive = 2e-3,
    seed: Seed = 0,
) -> LiveModel:
    """Train a small transformer with most weights held at zero.

    A GPT-2 of ReLUs with RMS norms. Adam moves all weights; then each matrix, embeddings among them, keeps the
    `density` of its entries that are largest in magnitude, of every neuron, channel and word at least `fewest`.
    The share falls from 1 to `density` in equal ratios. 600 steps take 10 seconds of one core.

    Parameters
    ----------
    task
        "brackets", "induction" or "modular", see `task_rows`.
    density
        Share of each matrix that is not zero at the end; 1: an ordinary model to compare with.
    fewest
        Entries that stay in each column of a projection and each row of an embedding.
    active
        Share of the values that each norm before attention and MLP passes on; 1: all.
    d_model, n_blocks, n_heads, n_neurons
        Sizes; `n_heads` divides `d_model`, neurons are those of one MLP.
    steps, rows, learning_rate, seed
        Of Adam with a linear rise and fall; rows of a step; initial weights and rows.

    Returns
    -------
    LiveModel
        Reads texts of the task, words between spaces; `model.module` is a `GPT2LMHeadModel`.

    Raises
    ------
    ValueError: If a number is out of range, or `n_heads` does not divide `d_model`.

    Source
    ------
    Gao et al., "Weight-sparse transformers have interpretable circuits", arXiv 2511.13653. From the authors'
    openai/circuit_sparsity, inference/gpt.py [code]: RMS norms; the largest values in magnitude pass after the
    norms before attention and MLP, and before what these add, of which we leave out the second. From the
    critic's copy, jacobcd52/sparse_pretrain_public [code]: after each step the largest of each matrix, one
    share for all, a least number per neuron (4; ours 2), an annealed share (linear over half of the steps; in
    equal ratios there as an option), biases dense. Ours: sizes, tasks, learned positions, no attention sink and
    no table of pairs of words, rates.

    Example
    -------
    >>> model = train_sparse_transformer("brackets", density=0.1, steps=3, rows=4)
    >>> model(["( ( )"]).shape[-1]
    7
    """
    if d_model % n_heads or d_model % 2:
        raise ValueError(
            f"`n_heads` must divide `d_model`, which is even, got {n_heads} and {d_model}. "
            "Pass sizes such as 4 and 64."
        )
    of = TASKS[f"tiny-{task}"]
    module = small_gpt(
        of, d_model=d_model, n_blocks=n_blocks, n_heads=n_heads, n_neurons=n_neurons, seed=seed
    )
    for block in module.transformer.h:
        block.ln_1, block.ln_2 = SparseNorm(d_model, active), SparseNorm(d_model, active)
    module.transformer.ln_f = nn.RMSNorm(d_model, eps=1e-5)
    matrices = _matrices(module)
    optimiser = torch.optim.Adam(module.parameters(), lr=learning_rate, betas=(0.9, 0.95))
    draws = np.random.default_rng((seed, _TRAIN_STREAM))
    for step in range(steps):
        rise, fall = min(1.0, (step + 1) / (0.02 * steps)), min(1.0, (steps - step) / (0.3 * steps))
        optimiser.param_groups[0]["lr"] = learning_rate * rise * fall
        drawn = of.draw(rows, draws, False)
        logits = module(input_ids=drawn.ids, use_cache=False).logits
        loss = F.cross_entropy(logits.flatten(0, 1), drawn.targets.flatten())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        along = (step / steps - DENSE) / (SPARSE - DENSE)
        keep_largest(matrices, density ** min(max(along, 0.0), 1.0), fewest)
    keep_largest(matrices, density, fewest)
    name = f"{task}, {'dense' if density == 1 else 'sparse'}"
    return wrap(module.eval(), new_tokenizer(of), name=name, causal=True)


def _matrices(module: Any) -> list[tuple[Tensor, int]]:
    """Return each matrix, and the axis along which a neuron, channel or word has its weights."""
    return [(p, 0 if ".h." in name else 1) for name, p in module.named_parameters() if p.ndim == 2]


@torch.no_grad()
def keep_largest(matrices: Sequence[tuple[Tensor, int]], density: float, fewest: int) -> None:
    """Set to zero all entries of each matrix but a share, the largest in magnitude, in place."""
    for matrix, axis in matrices:
        n = max(1, round(density * matrix.numel()))
        if n >= matrix.numel():
            continue
        size = matrix.abs()
        keep = size >= size.flatten().kthvalue(matrix.numel() - n + 1).values
        at_least_these = size.topk(min(fewest, matrix.shape[axis]), dim=axis).indices
        matrix.mul_(keep.scatter(axis, at_least_these, True))
