"""What each attention head brings to an answer: by decomposition, by removing it, or by the gradient.

Contextual decomposition splits every activation into β, what comes from a head, and γ, the rest. With patterns
and norms' scales held, all but the MLPs is linear, and biases stay with γ. An MLP g is split as
β' = ½ [g(β) − g(0) + g(β + γ) − g(γ)], γ' = g(β + γ) − β': the mean of what β does alone and on top of γ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import checked, one_of
from sae_nb.circuits._asked import asked
from sae_nb.evaluation import answer_of
from sae_nb.models import Frozen, Intervention, check_frozen, intervening

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.models import Batch, HookPoint, LiveModel, RunState

Method = Literal["contextual", "ablation", "gradient"]
METHODS: tuple[Method, ...] = ("contextual", "ablation", "gradient")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HeadContributions:
    """What heads bring to an answer above their mean output; made by `head_contributions`."""

    name: str
    """What is asked of the answers."""

    method: Method
    n_inputs: int
    answer: float
    """Of it, the mean over inputs: logits, or the function's units."""

    values: Float[np.ndarray, "layers heads"]
    """Means over inputs, in those units: positive for what raises it."""

    @property
    def table(self) -> DataFrame:
        """`layer`, `head`, `contribution`; the largest sizes first."""
        import pandas as pd

        layer, head = np.indices(self.values.shape).reshape(2, -1)
        columns = {"layer": layer, "head": head, "contribution": self.values.ravel()}
        order = np.argsort(-np.abs(self.values.ravel()), kind="stable")
        return pd.DataFrame(columns).iloc[order].reset_index(drop=True)

    def __repr__(self) -> str:
        first = self.table.head(3)
        heads = ", ".join(
            f"{layer}.{head} {value:+.2f}"
            for layer, head, value in zip(
                first.layer, first["head"], first.contribution, strict=True
            )
        )
        return f"HeadContributions({self.name}, {self.answer:.2f}; by {self.method}: {heads}, …)"


@checked(leave=("inputs", "target"))
def head_contributions(
    model: LiveModel, inputs: Any, *, target: Any = None, method: Method = "contextual"
) -> HeadContributions:
    """Measure or estimate what every attention head brings to an answer, above its mean output.

    The mean of a head is that over all positions of all `inputs`, so pass several that differ.

    Parameters
    ----------
    target
        As in `attribution_graph`: an outcome, a pair of them as a tuple, a function. None: each input's own
        top answer.
    method
        "contextual": contextual decomposition, a forward pass a layer, whatever the number of heads.
        "ablation": each head exchanged for its mean in the running model. "gradient": the first-order
        estimate of that, one backward pass for all heads.

    Raises
    ------
    ValueError, TypeError: If the model has no heads that can be read, or attention cannot be held.

    Source
    ------
    Contextual decomposition for transformers: Hsu et al., arXiv 2407.00886, after Murdoch et al., arXiv
    1801.05453. There biases are shared out between the parts; ours stay with the rest, and an MLP is split as
    a whole, which is the same for one with a single activation function and also holds for gated ones.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> texts = ["One day she went to", "When he came to the"]
    >>> heads = head_contributions(gpt, texts, target=(" her", " his"))
    >>> heads.values.shape == (gpt.n_layers, gpt.n_heads)
    True
    """
    one_of(method, METHODS, name="method")
    places = _places(model)
    one = [inputs] if isinstance(inputs, str) else inputs
    batches = [batch.to(model.device) for batch in model.batches(one, batch_size=1)]
    runs = [_Run(model, places, batch, target) for batch in batches]
    rows = [torch.cat([run.outputs[i] for run in runs]) for i in range(len(places))]
    means = [of_all.mean(dim=0) for of_all in rows]
    of = {"contextual": _contextual, "ablation": _ablated, "gradient": _by_gradient}[method]
    names = {run.name for run in runs}
    return HeadContributions(
        name=names.pop() if len(names) == 1 else "the top answer",
        method=method,
        n_inputs=len(runs),
        answer=float(np.mean([run.answer for run in runs])),
        values=np.mean([of(run, means).cpu().numpy() for run in runs], axis=0),
    )


class _Run:
    """One input: its clean pass with everything that may be held, and what is asked of its answer."""

    def __init__(
        self, model: LiveModel, places: Sequence[HookPoint], batch: Batch, target: Any
    ) -> None:
        self.model, self.places, self.batch = model, places, batch
        seen: dict[int, Tensor] = {}

        def note(i: int) -> Intervention:
            def change(x: Tensor, _: RunState) -> Tensor:
                seen[i] = x.detach()
                return x

            return Intervention(places[i], change)

        self.frozen = Frozen()
        with (
            torch.no_grad(),
            intervening(model, [note(i) for i in range(len(places))]),
            self.frozen,
        ):
            raw = model.forward(batch)
        answer, kind = answer_of(model, batch, raw)
        self.name, self.measure = asked(model, answer, kind, target)
        self.answer = float(self.measure(answer))
        self.outputs = [seen[i].reshape(-1, seen[i].shape[-1]).float() for i in range(len(places))]

    def changes(
        self, n: int, edits: Sequence[Intervention], frozen: Frozen | None = None
    ) -> Float[Tensor, " n"]:
        """What is asked, of n copies of the input, less what it was."""
        several = _copies(self.batch, n)
        with torch.no_grad(), intervening(self.model, edits):
            if frozen is None:
                out = self.model.main_output(self.model.forward(several))
            else:
                with frozen:
                    out = self.model.main_output(self.model.forward(several))
        found = [
            float(self.measure(answer_of(self.model, self.batch, out[i : i + 1])[0]))
            for i in range(n)
        ]
        return torch.tensor(found) - self.answer


def _ablated(run: _Run, means: Sequence[Tensor]) -> Float[Tensor, "layers heads"]:
    """m(clean) − m(the head at its mean), in the running model."""
    n = _n_heads(run.model)
    return torch.stack(
        [
            -run.changes(n, [Intervention(place, _at_mean(range(n), mean, n))])
            for place, mean in zip(run.places, means, strict=True)
        ]
    )


def _by_gradient(run: _Run, means: Sequence[Tensor]) -> Float[Tensor, "layers heads"]:
    """Σ_t ⟨x_t − mean, ∂m/∂x_t⟩ of every head."""
    leaves: dict[int, Tensor] = {}

    def leaf(i: int) -> Intervention:
        def change(x: Tensor, _: RunState) -> Tensor:
            leaves[i] = x if x.requires_grad else x.detach().requires_grad_()
            return leaves[i]

        return Intervention(run.places[i], change)

    edits = [leaf(i) for i in range(len(run.places))]
    with torch.inference_mode(False), torch.enable_grad():
        with intervening(run.model, edits):
            raw = run.model.forward(run.batch, grad=True)
        value = run.measure(answer_of(run.model, run.batch, raw)[0])
        slopes = torch.autograd.grad(value, [leaves[i] for i in range(len(leaves))])
    n = _n_heads(run.model)
    return torch.stack(
        [
            ((x - mean) * slope.reshape(x.shape).float()).sum(dim=0).reshape(n, -1).sum(dim=1)
            for x, mean, slope in zip(run.outputs, means, slopes, strict=True)
        ]
    )


def _contextual(run: _Run, means: Sequence[Tensor]) -> Float[Tensor, "layers heads"]:
    """β of the answer for every head: copies hold β + γ, 0, and γ and β of each head of a layer."""
    check_frozen(run.frozen, run.model)
    n = _n_heads(run.model)
    rest, part = list(range(2, 2 + n)), list(range(2 + n, 2 + 2 * n))

    def split_input(x: Tensor, _: RunState) -> Tensor:
        x = x.clone()
        x[1] = 0
        x[part] = x[:1] - x[rest]
        return x

    def split_output(y: Tensor, _: RunState) -> Tensor:
        y = y.clone()
        y[rest] = y[:1] - 0.5 * (y[part] - y[1:2] + y[:1] - y[rest])
        return y

    values = []
    for i, (place, mean) in enumerate(zip(run.places, means, strict=True)):
        edits = [Intervention(place, _at_mean(rest, mean, n))]
        for layer in range(i, run.model.n_layers or 0):
            edits.append(Intervention(run.model.hook_point(f"mlp_in.{layer}"), split_input))
            edits.append(Intervention(run.model.hook_point(f"mlp_out.{layer}"), split_output))
        changed = run.changes(2 + 2 * n, edits, Frozen(run.frozen.constants))
        values.append(-changed[rest])
    return torch.stack(values)


def _at_mean(
    rows: Sequence[int], mean: Float[Tensor, " d"], n_heads: int
) -> Callable[[Tensor, RunState], Tensor]:
    """Exchange head h for its mean in the h-th of some rows."""

    def change(x: Tensor, _: RunState) -> Tensor:
        x = x.clone()
        split = x.reshape(*x.shape[:-1], n_heads, -1)
        for head, row in enumerate(rows):
            split[row, ..., head, :] = mean.reshape(n_heads, -1)[head].to(x)
        return split.flatten(-2)

    return change


def _places(model: LiveModel) -> list[HookPoint]:
    places = [point for point in model.hook_points() if str(point).startswith("head_out.")]
    if not places or model.n_heads is None:
        raise ValueError(
            f"`model` must have attention heads whose outputs can be read, and {model.name} has none. "
            "`model.hook_points()` lists what it has."
        )
    return places


def _n_heads(model: LiveModel) -> int:
    return int(model.n_heads or 1)


def _copies(batch: Batch, n: int) -> Batch:
    """One input n times, as one batch."""

    def several(value: Any) -> Any:
        if isinstance(value, Tensor) and value.ndim and len(value) == 1:
            return value.expand(n, *value.shape[1:])
        return value

    changes: dict[str, Any] = {f.name: several(getattr(batch, f.name)) for f in fields(batch)}
    changes["args"] = tuple(several(value) for value in batch.args)
    changes["kwargs"] = {name: several(value) for name, value in batch.kwargs.items()}
    return replace(batch, **{**changes, "n": n})
