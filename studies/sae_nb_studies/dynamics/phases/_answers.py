"""Answers over depth: what a model would answer if it stopped after each application of a block.

Every state of the stream is read with the model's own final norm and head (the logit lens). Of a looped
network that is its answer after each loop, and its exit gate is read where it has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sae_nb.checks import Count, checked
from sae_nb.findings import Finding
from sae_nb.lenses import Head, head_of
from sae_nb.models import Batch, run

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.models import LiveModel

_CLOSE = 1e-3
"""Largest difference of logits to the model's own, in units of their largest size. Ours."""


class AnswerPath(Finding):
    """Answers after each application of a block, by the model's own head; layer 0 are the embeddings."""

    HEADLINE = (
        "{model_name}: {own.len} answers over {n_layers} applications; settle after {mean_settled:.1f}, "
        "having changed {mean_flips:.2f} times"
    )

    model_name: str
    modules: tuple[str, ...]
    loops: tuple[int, ...]
    """Block of each application, and the number of times that it ran before."""

    sample: Int[np.ndarray, " rows"]
    position: Int[np.ndarray, " rows"]
    """Input of each answer, and its token; 0 where an input has one answer."""

    own: Int[np.ndarray, " rows"]
    """The model's own answer: a token or a class."""

    answers: Int[np.ndarray, "layers rows"]
    """The answer on top after each application."""

    probability: Float[np.ndarray, "layers rows"]
    """Probability of the model's own answer there."""

    gate: Float[np.ndarray, "loops rows"] | None = None
    """Sigmoid of what the exit gate gives after each loop; None without one."""

    @property
    def n_layers(self) -> int:
        """Applications of blocks."""
        return len(self.modules)

    @property
    def agrees(self) -> Bool[np.ndarray, "layers rows"]:
        """Whether the answer is the model's own."""
        return np.asarray(self.answers == self.own)

    @property
    def flips(self) -> Int[np.ndarray, " rows"]:
        """Number of times that the answer changes from one application to the next."""
        return np.asarray((self.answers[1:] != self.answers[:-1]).sum(axis=0))

    @property
    def settles(self) -> Int[np.ndarray, " rows"]:
        """First layer from which on the answer stays the model's own: 0 in the embeddings, l after application
        number l.
        """
        stays = np.logical_and.accumulate(self.agrees[::-1], axis=0)[::-1]
        return np.asarray(np.where(stays[-1], stays.argmax(axis=0), self.n_layers))

    @property
    def mean_settled(self) -> float:
        """Mean of `settles`."""
        return float(self.settles.mean())

    @property
    def mean_flips(self) -> float:
        """Mean of `flips`."""
        return float(self.flips.mean())

    @property
    def table(self) -> DataFrame:
        """One row per layer: module and loop, share of answers that are the model's own, their mean
        probability, the shares that changed here and settled here, and the gate after the last block of a loop.
        """
        import pandas as pd

        n = self.n_layers + 1
        changed = (self.answers[1:] != self.answers[:-1]).mean(axis=1)
        found = pd.DataFrame(
            {
                "module": ["", *self.modules],
                "loop": [-1, *self.loops],
                "agrees": self.agrees.mean(axis=1),
                "probability": self.probability.mean(axis=1),
                "changed": [np.nan, *changed],
                "settled": [float((self.settles == layer).mean()) for layer in range(n)],
            }
        ).rename_axis("layer")
        if self.gate is not None:
            per_loop = self.n_layers // len(self.gate)
            ends = np.arange(1, len(self.gate) + 1) * per_loop
            found["gate"] = np.nan
            found.loc[ends, "gate"] = self.gate.mean(axis=1)
        return found

    def plot(self) -> Any:
        """Draw by layer the share of answers that are the model's own, and the mean probability of these."""
        from sae_nb.figures import Chart, Points, draw_chart

        layers = np.arange(self.n_layers + 1)
        series = [
            Points("answer is the last one", layers, self.agrees.mean(axis=1)),
            Points("its probability", layers, self.probability.mean(axis=1)),
        ]
        if self.gate is not None:
            ends = np.arange(1, len(self.gate) + 1) * (self.n_layers // len(self.gate))
            series.append(Points("exit gate", ends, self.gate.mean(axis=1)))
        return draw_chart(Chart(series=tuple(series), x="applications of blocks", y="share"))


@checked
def answer_path(
    model: LiveModel,
    inputs: Any,
    *,
    head: str | None = None,
    batch_size: Count | None = None,
) -> AnswerPath:
    """Read the model's answer after each application of a block: when does it change, when does it settle?

    Parameters
    ----------
    model
        Its answer must be one projection of its final norm of the last block's output: next tokens, tokens
        or classes. Of a looped network every loop is read.
    head
        Of a model with several class heads; None: the model's own answer.

    Raises
    ------
    ValueError: If the model has no blocks, or answers otherwise.

    Source
    ------
    nostalgebraist, "interpreting GPT: the logit lens" (2020), at every application. Ours: which of them.

    Example
    -------
    >>> from sae_nb.data import scenes
    >>> from sae_nb.models import load_model
    >>> found = answer_path(load_model("tiny-vit"), scenes(4, seed=0))
    >>> found.answers.shape, bool(found.agrees[-1].all())
    ((13, 4), True)
    """
    model.settle_order(inputs)
    batches = model.batches(inputs, batch_size=batch_size)
    parts, found = [], None
    for batch in batches:
        found = found or _head(model, batch, head)
        parts.append(_read(found, batch))
    joined = [np.concatenate(part, axis=-1) for part in zip(*(p[:5] for p in parts), strict=True)]
    gates = [part[5] for part in parts if part[5] is not None]
    layers = model.layers
    return AnswerPath(
        model_name=model.name,
        modules=tuple(layers["module"]),
        loops=tuple(int(loop) for loop in layers["loop"]),
        sample=joined[0],
        position=joined[1],
        own=joined[2],
        answers=joined[3],
        probability=joined[4],
        gate=np.concatenate(gates, axis=1) if gates else None,
    )


def _head(model: LiveModel, batch: Batch, name: str | None) -> Head:
    """Return the model's head; of a model that answers by token without predicting the next, found here."""
    if not model.modality.is_text or model.causal or model.n_layers is None:
        return head_of(model, batch, name)
    last = f"resid_post.{model.n_layers - 1}"
    ran = run(model, batch, read=[last, *_points(model, "final_norm")])
    wanted, states = ran.answer.tensor.detach().float(), ran.states[last].detach()
    norms = [model.get_module(model.hook_point(p).path) for p in _points(model, "final_norm")]
    for module in model.module.modules():
        fits = isinstance(module, nn.Linear) and module.in_features == states.shape[-1]
        if not fits or module.out_features != wanted.shape[-1] or wanted.ndim != 3:
            continue
        head = Head(
            model=model, last=last, norm=next(iter(norms), None), module=module, pool="each"
        )
        with torch.no_grad():
            differs = float((head.logits(states) - wanted).abs().max())
        if differs <= _CLOSE * float(wanted.abs().max()):
            return head
    return head_of(model, batch, name)  # refuses it, with the reason


def _points(model: LiveModel, kind: str) -> list[str]:
    return [
        str(point)
        for point in model.hook_points()
        if point.rpartition(".")[0] == kind or point == kind
    ]


@torch.no_grad()
def _read(head: Head, batch: Batch) -> tuple[Any, ...]:
    """Return sample, position, own answer, answers by layer, probabilities by layer, gates by loop."""
    model = head.model
    names = ["resid_pre.0", *(f"resid_post.{i}" for i in range(model.n_layers or 0))]
    gates = _points(model, "exit_gate")
    states = run(model, batch, read=[*names, *gates], answer=False).states
    sample, column = _places(head, batch, states[names[-1]])
    rows = [_at(head, states[name], sample, column) for name in names]
    own = head.logits(rows[-1]).argmax(dim=-1)
    answers, probability = [], []
    for states_here in rows:
        logits = head.logits(states_here)
        answers.append(logits.argmax(dim=-1).cpu().numpy())
        at = logits.log_softmax(dim=-1).gather(-1, own[:, None])[:, 0]
        probability.append(at.exp().cpu().numpy())
    gate = [_gate(states[name], sample, column) for name in gates]
    position = column if head.pool == "each" else torch.zeros_like(column)
    return (
        (sample + batch.first_sample).numpy(),
        position.numpy(),
        own.cpu().numpy(),
        np.stack(answers),
        np.stack(probability),
        np.stack(gate) if gate else None,
    )


def _places(head: Head, batch: Batch, last: Tensor) -> tuple[Tensor, Tensor]:
    """Samples and columns of the answers: every token of texts, one of every image."""
    if head.pool != "each":
        return torch.arange(len(last)), torch.zeros(len(last), dtype=torch.long)
    valid = torch.ones(last.shape[:2], dtype=torch.bool) if batch.keep is None else batch.keep.cpu()
    sample, column = valid.nonzero(as_tuple=True)
    return sample, column


def _at(head: Head, x: Tensor, sample: Tensor, column: Tensor) -> Tensor:
    if head.pool == "each":
        return x[sample.to(x.device), column.to(x.device)]
    return x[:, 0] if head.pool == "cls" else x[:, head.model.prefix_tokens :].mean(dim=1)


def _gate(x: Tensor, sample: Tensor, column: Tensor) -> Any:
    """A gate of one number per place, or per sample."""
    places = column.to(x.device) if x.shape[1] > 1 else torch.zeros_like(column).to(x.device)
    return x[sample.to(x.device), places].float().sigmoid().mean(dim=-1).cpu().numpy()
