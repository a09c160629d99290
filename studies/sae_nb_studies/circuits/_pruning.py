"""Circuits by pruning: the fewest channels and neurons of a GPT-2 with which a task's loss is low enough.

Each place of a block has a mask m over its channels: what attention reads, its queries, keys and values, what
it writes, what the MLP reads, its neurons, what it writes. Where m is 0 a channel stays at its mean μ:
x ← m x + (1 − m) μ. Places stand before or behind a projection, and x W + b with masks is another projection,

    W' = diag(m_in) W diag(m_out),  b' = m_out (b + ((1 − m_in) μ_in) W) + (1 − m_out) μ_out,

and a pruned circuit is a GPT-2 of the same form with fewer weights, which any tool of the package takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from sae_nb.checks import Count, Positive, Seed, at_least, check_finite, checked
from sae_nb.circuits import AttributionGraph, attribution_graph
from sae_nb.figures import Chart, Points
from sae_nb.findings import Finding, Plotted, column
from sae_nb.models import run, wrap
from sae_nb_studies.circuits._neurons import neuron_transcoders

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.models import LiveModel

PLACES = ("reads", "query", "key", "value", "writes", "MLP reads", "neuron", "MLP writes")
"""Of a block, in the order of its pass."""

NOT_ASKED = -100
START, SPREAD = 0.5, 0.3
"""Mean and deviation of the parameters at first. Ours: from .1 and .01, as in the paper, all nodes that a loss
near 0 does not need cross 0 in one step, and those that it does need with them."""

PENALTY = 3e-3
"""Of a node, in nats. Ours, from probes."""

Rows = Int[Tensor, "n time"]
Parameters = Mapping[str, Tensor]


class CircuitFaithfulness(Finding):
    """Losses of a model, of a circuit in it and of the rest, on rows given; made by `PrunedCircuit`."""

    HEADLINE = (
        "{n_rows} rows, loss in nats: model {whole:.3f}, circuit of {n_nodes} alone {alone:.3f} (as many "
        "random nodes {random.mean:.3f}), without it {without:.3f} (without random ones "
        "{random_without.mean:.3f}), nothing {nothing:.3f}"
    )

    n_rows: int
    n_nodes: int
    whole: float
    alone: float
    without: float
    """Mean cross-entropy of the model, of the circuit with all else at its mean, of all else with the circuit
    at its mean; nats per token that is asked for."""

    nothing: float
    """The same with all nodes at their means."""

    right: float
    """Share of right answers of the circuit alone."""

    random: Float[np.ndarray, " n_random"]
    random_without: Float[np.ndarray, " n_random"]
    """`alone` and `without` of as many random nodes at each place."""

    @property
    def recovered(self) -> float:
        """(nothing − alone) / (nothing − whole): 1 where the circuit is enough, below 0 where it harms."""
        span = self.nothing - self.whole
        return (self.nothing - self.alone) / span if span else float("nan")


class PrunedCircuit(Plotted):
    """The fewest nodes found with which a task's loss is low enough; made by `prune_circuit`."""

    HEADLINE = (
        "{model_name}: {n_nodes} of {n_all_nodes} nodes and {n_edges} of {n_all_edges} weights, loss "
        "{loss:.3f} (asked for {target:g}, the model's {whole_loss:.3f})"
    )

    model_name: str
    nodes: DataFrame
    """A row per node that is kept: layer, place, channel."""

    n_nodes: int
    n_all_nodes: int
    n_edges: int
    n_all_edges: int
    """Weights of the blocks' projections between nodes that are kept, and all of them, that are not zero."""

    loss: float
    whole_loss: float
    """Of the circuit alone and of the model, on the rows it was found on; nats."""

    target: float
    """Loss asked for."""

    k: Int[np.ndarray, " steps"] = field(metadata=column("nodes"))
    losses: Float[np.ndarray, " steps"] = field(metadata=column("loss"))
    """Smallest loss found with so many nodes."""

    model: LiveModel
    """The circuit as a model of its own: the same sizes, all other weights zero, their means in its biases."""

    source: LiveModel
    mask: Bool[Tensor, " nodes"]
    means: Float[Tensor, " nodes"]
    """The model that was pruned, which of its nodes are kept, and the mean of each."""

    @property
    def met(self) -> bool:
        """Whether the loss that was asked for is reached."""
        return self.loss <= self.target

    @property
    def chart(self) -> Chart:
        """Loss against the number of nodes."""
        series = (
            Points(self.model_name, self.k, self.losses),
            Points("asked for", self.k, np.full(len(self.k), self.target), control=True),
        )
        return Chart(series=series, x="nodes", y="loss, nats", xaxis={"type": "log"})

    @checked
    def faithfulness(
        self,
        inputs: Rows,
        targets: Rows,
        *,
        n_random: Annotated[int, at_least(0)] = 5,
        seed: Seed = 0,
    ) -> CircuitFaithfulness:
        """Measure the circuit alone and the model without it, on rows that it was not found on.

        Parameters
        ----------
        inputs, targets
            As for `prune_circuit`.
        n_random
            Draws of as many random nodes at each place.

        Raises
        ------
        ValueError: As `prune_circuit`.
        """
        asked, wanted = _checked_rows(self.source, inputs, targets)
        pruner = _Pruner(self.source, self.means)
        draws = torch.Generator().manual_seed(seed)
        drawn = [self._random(pruner, draws) for _ in range(n_random)]

        def loss(mask: Tensor) -> float:
            return float(pruner.loss(mask, asked, wanted))

        answers = pruner.logits(self.mask, asked).argmax(dim=-1)
        there = wanted != NOT_ASKED
        return CircuitFaithfulness(
            n_rows=len(asked),
            n_nodes=self.n_nodes,
            whole=loss(torch.ones_like(self.mask)),
            alone=loss(self.mask),
            without=loss(~self.mask),
            nothing=loss(torch.zeros_like(self.mask)),
            right=float((answers == wanted)[there].float().mean()),
            random=np.array([loss(one) for one in drawn]),
            random_without=np.array([loss(~one) for one in drawn]),
        )

    def _random(self, pruner: _Pruner, draws: torch.Generator) -> Bool[Tensor, " nodes"]:
        parts = torch.split(self.mask, pruner.widths)
        return torch.cat([part[torch.randperm(len(part), generator=draws)] for part in parts])

    @checked(leave=("target",))
    def graph(self, text: str, target: Any = None) -> AttributionGraph:
        """Trace an answer of the circuit: a live attribution graph of its neurons, which `CircuitPanel` draws.

        Parameters
        ----------
        text, target
            One input, and what is explained, as for `attribution_graph`.

        Raises
        ------
        ValueError: As `attribution_graph`.
        """
        transcoders = neuron_transcoders(self.model)
        return attribution_graph(self.model, transcoders, text, target=target, drop_first=False)


@checked
def prune_circuit(
    model: LiveModel,
    inputs: Rows,
    targets: Rows,
    *,
    loss: Positive = 0.15,
    means_of: Rows | None = None,
    penalties: Sequence[float] = (PENALTY,),
    steps: Count = 200,
    batch_size: Count = 48,
    learning_rate: Positive = 0.03,
    seed: Seed = 0,
) -> PrunedCircuit:
    """Find the fewest nodes of a GPT-2 whose loss on a task is low enough, all others at their means.

    A node is a channel or neuron at one place of one block, at all tokens. Its parameter τ keeps it where
    τ ≥ 0. Adam lowers the loss of batches + penalty × number of nodes, the step of τ taken for a sigmoid in
    the backward pass. Then nodes are ranked by τ, and the fewest first ones are taken with which `loss` is met
    on all rows; where none do, the number with the smallest loss. The smallest circuit of all penalties counts.

    Parameters
    ----------
    model
        A GPT-2 with pre-norm blocks: `train_sparse_transformer`, tiny-brackets, tiny-induction, gpt2.
    inputs, targets
        Token ids, and the token asked for behind each, −100 where none is.
    loss
        To be reached, mean cross-entropy in nats.
    means_of
        Token ids over which means are taken, of rows and positions alike; None: `inputs`.
    penalties
        Nats per node, each tried.
    steps, batch_size, learning_rate, seed
        Of Adam, its rate falling to 0; first parameters and batches.

    Raises
    ------
    TypeError: If `model` is not of GPT-2's form. ValueError: If ids and targets do not fit.

    Source
    ------
    Gao et al., arXiv 2511.13653, appendix A.5, after a critic's jacobcd52/sparse_pretrain_public, src/pruning
    [code]: places, step with the slope of a sigmoid, limits of −1 and 1, search for the number of nodes. Ours:
    wider first parameters, several penalties in place of a search over all settings, 200 steps in place of
    2000, no calibration of the logits, masks folded into the projections. J. Drori, "Weight-sparse circuits may
    be interpretable yet unfaithful", 2026 [secondary]: such masks reach a low loss on nonsense, too.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, rows = sn.load_model("tiny-brackets"), sn.models.task_rows("brackets", 64)
    >>> circuit = prune_circuit(model, rows.ids, rows.targets, penalties=[1e-3], steps=10)
    >>> 0 < circuit.n_nodes <= circuit.n_all_nodes
    True
    """
    asked, wanted = _checked_rows(model, inputs, targets)
    tried = torch.as_tensor(penalties, dtype=torch.float32).flatten()
    check_finite(tried, name="penalties")
    if not len(tried) or (tried < 0).any():
        raise ValueError(f"`penalties` must be numbers from 0, got {list(penalties)}. Pass [3e-4].")
    means = _means(model, asked if means_of is None else means_of)
    pruner = _Pruner(model, means)
    seen: list[tuple[int, float]] = []
    found = []
    for penalty in tried.tolist():
        order = pruner.ranked(asked, wanted, penalty, steps, batch_size, learning_rate, seed)
        n, reached = pruner.fewest(order, asked, wanted, loss, seen)
        # Those that reach the loss first, by their nodes; the others by their loss.
        rank = (0, n) if reached <= loss else (1, reached)
        found.append((rank, reached, order[:n]))
    _, reached, kept = min(found, key=lambda one: one[0])
    return _circuit(pruner, kept, reached, asked, wanted, loss, seen)


class _Pruner:
    """A model, its places, and passes of it with masks folded in."""

    def __init__(self, model: LiveModel, means: Float[Tensor, " nodes"]) -> None:
        self.model, self.module = model, model.module
        self.blocks = _blocks(model)
        self.widths = [width for block in self.blocks for width in _widths(block)]
        self.means = means
        self._parameters = {name: p.detach() for name, p in self.module.named_parameters()}

    def folded(self, mask: Float[Tensor, " nodes"]) -> dict[str, Tensor]:
        """Return the projections with masked nodes at their means."""
        masks = torch.split(mask, self.widths)
        means = torch.split(self.means, self.widths)
        n, found = len(PLACES), {}
        for layer in range(len(self.blocks)):
            m, mu = masks[n * layer : n * (layer + 1)], means[n * layer : n * (layer + 1)]
            for name, read, written in (
                ("attn.c_attn", (0,), (1, 2, 3)), ("attn.c_proj", (), (4,)),
                ("mlp.c_fc", (5,), ()), ("mlp.c_proj", (6,), (7,)),
            ):  # fmt: skip
                at = f"transformer.h.{layer}.{name}"
                weight, bias = (self._parameters[f"{at}.{part}"] for part in ("weight", "bias"))
                if read:
                    into = m[read[0]]
                    bias = bias + ((1 - into) * mu[read[0]]) @ weight
                    weight = into[:, None] * weight
                if written:
                    out, there = (torch.cat([x[i] for i in written]) for x in (m, mu))
                    weight, bias = weight * out, out * bias + (1 - out) * there
                found[f"{at}.weight"], found[f"{at}.bias"] = weight, bias
        return found

    def logits(self, mask: Tensor, ids: Rows) -> Float[Tensor, "n time words"]:
        """Return the model's answers with some nodes alone."""
        parameters = {**self._parameters, **self.folded(mask.float())}
        given = {"input_ids": ids, "use_cache": False}
        return functional_call(self.module, parameters, kwargs=given).logits

    def loss(self, mask: Tensor, ids: Rows, targets: Rows) -> Float[Tensor, ""]:
        """Return its mean cross-entropy; without a graph unless the mask has one."""
        with torch.set_grad_enabled(mask.requires_grad), self.model.lock:
            logits = self.logits(mask, ids).flatten(0, 1)
            return cross_entropy(logits.float(), targets.flatten(), ignore_index=NOT_ASKED)

    def ranked(
        self,
        ids: Rows,
        targets: Rows,
        penalty: float,
        steps: int,
        batch_size: int,
        learning_rate: float,
        seed: int,
    ) -> Int[Tensor, " kept"]:
        """Learn the parameters, and return the nodes that are kept, the surest first."""
        draws = torch.Generator().manual_seed(seed)
        first = START + SPREAD * torch.randn(len(self.means), generator=draws)
        tau = first.to(self.means).requires_grad_()
        optimiser = torch.optim.Adam([tau], lr=learning_rate, betas=(0.9, 0.95))
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
            some = torch.randperm(len(ids), generator=draws)[:batch_size].to(ids.device)
            mask: Tensor = _Step.apply(tau)  # type: ignore[no-untyped-call]
            loss = self.loss(mask, ids[some], targets[some]) + penalty * mask.sum()
            (tau.grad,) = torch.autograd.grad(loss, tau)
            optimiser.step()
            with torch.no_grad():
                tau.clamp_(-1, 1)
        order = tau.detach().argsort(descending=True, stable=True)
        return order[: max(1, int((tau >= 0).sum()))]

    def fewest(
        self,
        order: Int[Tensor, " kept"],
        ids: Rows,
        targets: Rows,
        loss: float,
        seen: list[tuple[int, float]],
    ) -> tuple[int, float]:
        """Return how many first nodes reach a loss, found by halving, and theirs; or those of smallest loss."""
        found: dict[int, float] = {}

        def of(n: int) -> float:
            if n not in found:
                mask = torch.zeros_like(self.means, dtype=torch.bool)
                mask[order[:n]] = True
                found[n] = float(self.loss(mask, ids, targets))
            return found[n]

        for n in np.unique(np.geomspace(1, len(order), 10).round().astype(int)).tolist():
            of(n)
        low, high = 0, len(order)
        while of(high) <= loss and high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if of(middle) <= loss else (middle, high)
        seen += found.items()
        return (high, of(high)) if of(high) <= loss else min(found.items(), key=lambda one: one[1])


class _Step(torch.autograd.Function):
    """1 where x ≥ 0, else 0; backwards the slope of a sigmoid."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x >= 0).to(x)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return slopes[0] * torch.sigmoid(x) * torch.sigmoid(-x)


def _circuit(
    pruner: _Pruner,
    kept: Int[Tensor, " kept"],
    reached: float,
    ids: Rows,
    targets: Rows,
    target: float,
    seen: Sequence[tuple[int, float]],
) -> PrunedCircuit:
    import pandas as pd

    mask = torch.zeros_like(pruner.means, dtype=torch.bool)
    mask[kept] = True
    parts = torch.split(mask, pruner.widths)
    rows = [
        (i // len(PLACES), PLACES[i % len(PLACES)], channel)
        for i, part in enumerate(parts)
        for channel in part.nonzero()[:, 0].tolist()
    ]
    alone = _alone(pruner, mask)
    curve: dict[int, float] = {}
    for n, one in sorted(seen):
        curve[n] = min(one, curve.get(n, one))
    return PrunedCircuit(
        model_name=pruner.model.name,
        nodes=pd.DataFrame(rows, columns=["layer", "place", "channel"]),
        n_nodes=len(rows),
        n_all_nodes=len(mask),
        n_edges=_edges(alone.module),
        n_all_edges=_edges(pruner.module),
        loss=reached,
        whole_loss=float(pruner.loss(torch.ones_like(mask), ids, targets)),
        target=target,
        k=np.array(list(curve)),
        losses=np.minimum.accumulate(list(curve.values())),
        model=alone,
        source=pruner.model,
        mask=mask,
        means=pruner.means,
    )


@torch.no_grad()
def _alone(pruner: _Pruner, mask: Bool[Tensor, " nodes"]) -> LiveModel:
    """Return the circuit as a model: constants that are left go into biases, so that no weight reads them."""
    module: Any = deepcopy(pruner.module)
    for name, value in pruner.folded(mask.float()).items():
        module.get_parameter(name).copy_(value)
    n, masks = len(PLACES), torch.split(mask, pruner.widths)
    for layer, block in enumerate(module.transformer.h):
        values, neurons = masks[n * layer + 3], masks[n * layer + 6]
        into, out = block.attn.c_attn, block.attn.c_proj
        constant = into.bias[
            -len(values) :
        ]  # of values that are not kept; a pattern's rows sum to 1
        constant = torch.where(values, 0, constant)
        out.bias += constant @ out.weight
        out.weight.mul_(values[:, None])
        into.bias[-len(values) :] -= constant
        block.mlp.c_fc.weight.mul_(neurons)
        block.mlp.c_fc.bias.mul_(neurons)
    name = f"{pruner.model.name}, circuit"
    return wrap(module.eval(), pruner.model.tokenizer, name=name, causal=True)


def _edges(module: Any) -> int:
    return sum(
        int((part.weight != 0).sum())
        for block in module.transformer.h
        for part in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj)
    )


def _blocks(model: LiveModel) -> nn.ModuleList:
    blocks = getattr(getattr(model.module, "transformer", None), "h", None)
    try:
        for block in blocks or ():
            _widths(block)
            _ = block.mlp.c_proj.bias, block.ln_1, block.ln_2
        if not isinstance(blocks, nn.ModuleList):
            raise AttributeError
    except AttributeError:
        raise TypeError(
            f"`model` must be of GPT-2's form (transformer.h, attn.c_attn, mlp.c_fc), and {model.name} is not. "
            'Use sn.models.train_sparse_transformer() or sn.load_model("tiny-brackets").'
        ) from None
    return blocks


def _widths(block: Any) -> list[int]:
    """Return the channels of each place."""
    d, neurons = block.attn.c_proj.weight.shape[1], block.mlp.c_fc.weight.shape[1]
    return [d, d, d, d, d, d, neurons, d]


@torch.no_grad()
def _means(model: LiveModel, ids: Rows) -> Float[Tensor, " nodes"]:
    """Return the mean of each node over rows and positions."""
    parts = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.act", "mlp.c_proj")
    names = [
        f"transformer.h.{layer}.{part}" for layer in range(len(_blocks(model))) for part in parts
    ]
    batch = next(iter(model.batches(ids, batch_size=len(ids))))
    states = run(model, batch, read=names, answer=False).states
    return torch.cat([states[name].flatten(0, -2).float().mean(dim=0) for name in names])


def _checked_rows(model: LiveModel, inputs: Rows, targets: Rows) -> tuple[Rows, Rows]:
    """Return ids and targets where the model is."""
    _blocks(model)
    if inputs.ndim != 2 or inputs.shape != targets.shape or not len(inputs):
        raise ValueError(
            f"`inputs` and `targets` must be ids of one shape (n, time), got {tuple(inputs.shape)} and "
            f"{tuple(targets.shape)}. Use rows = sn.models.task_rows(task, n)."
        )
    if not (targets != NOT_ASKED).any():
        raise ValueError(
            f"`targets` must ask for a token somewhere, got {NOT_ASKED} everywhere. Pass token ids."
        )
    return inputs.to(model.device), targets.to(model.device)
