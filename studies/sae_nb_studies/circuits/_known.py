"""Circuits that are known: which parts of a small model do its task, by a definition that is not a tracer.

tiny-induction: attention of a head of block 0 to the token before, of a head of block 1 to the token after the
earlier copy (Olsson et al., "In-context Learning and Induction Heads", 2022). In the circuit: half or more.

tiny-modular: heads of whose attention at "=" half or more is at the two numbers; neurons made of the key
frequencies, those that the embedding of the numbers is made of. A neuron at "=" is a function n(a, b); of its
variance a frequency k explains what the products of {1, cos, sin}(2πka/p) and {1, cos, sin}(2πkb/p), without
1 · 1, do (Nanda et al., arXiv 2301.05217, section 4.2). In the circuit: half or more by all key frequencies
together. They ask for 85 % by one; here a neuron is made of several.

tiny-brackets: heads and neurons that are functions of how deep the brackets are and, in block 1, of whether
they broke before. Of what a component's output varies within each position, the state there explains what
goes away within groups of one state. In the circuit: half or more. The two quantities are those of the
bracket checker of Redwood Research, taken apart in ARENA, "Interpretability on a balanced bracket classifier",
2023; there they are asked of the whole string at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import Seed, as_tensor, at_least, check_finite, checked
from sae_nb.findings import Finding
from sae_nb.models import attention_patterns, run
from sae_nb.statistics import auroc
from sae_nb_studies.data.tasks import MODULUS, NOT_ASKED, TASKS, Rows, all_sums

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.models import Batch, LiveModel

HALF = 0.5
"""Share of a head's attention at the place that its role names, or of an output's variance, from which it is
in the circuit. Ours."""

KEY = 0.05
"""Share of the variance of the numbers' embedding from which a frequency is a key one. Ours: in the bundled
model key ones have 0.18 and more, others at most 0.01."""
ROUNDED = 1e-24
"""Share of a function's power below which what varies is the rounding of a transform."""

N_STRINGS = 2_000
"""Of brackets, that their states are grouped over: of few strings each state would have one, and explain it."""


class KnownCircuit(Finding):
    """The parts of a model that do its task; made by `known_circuit`."""

    HEADLINE = (
        "{model_name}: {components.in_circuit.sum} of {components.len} components; right answers "
        "{accuracy:.3f}, without them {without:.3f}, by them alone {alone:.3f}, by chance "
        "{chance:.3f}"
    )

    model_name: str

    components: DataFrame
    """A row per component: kind (head, neuron), layer, index (within the layer), hook_point (where it is
    written: heads side by side, neurons a column each), role (what it is measured for), score, in_circuit."""

    inputs: tuple[str, ...]
    answers: tuple[str, ...]
    """Texts that the model answers, one of each row measured on, and the next word that is right."""

    accuracy: float
    """Share of right answers of the whole model."""

    without: float
    alone: float
    """The same with the circuit, and with everything else, held at its mean over the rows."""

    chance: float
    """Of a guess."""

    def __len__(self) -> int:
        return len(self.components)

    @checked
    def auc(self, scores: Any) -> float:
        """Return how well scores of the components find the circuit: the area under their ROC curve.

        1: every component of the circuit has more than every other; 0.5: as if drawn.

        Parameters
        ----------
        scores
            One number per row of `components`, larger if more depends on it; of effects with a sign,
            their size.

        Raises
        ------
        ValueError: If there are not as many as components, or one is not finite.
        """
        numbers = as_tensor(scores, name="scores").detach()
        if numbers.is_meta or numbers.shape != (len(self),):
            raise ValueError(
                f"`scores` must have one number per component, ({len(self)},), got "
                f"{tuple(numbers.shape)}{' without values' if numbers.is_meta else ''}. Their order is "
                "that of `components`."
            )
        check_finite(numbers, name="scores")
        inside = self.components.in_circuit.to_numpy()
        return float(auroc(numbers.double().cpu().numpy(), inside)[0])


@checked
def known_circuit(
    model: LiveModel, *, n: Annotated[int, at_least(2)] = 200, seed: Seed = 0
) -> KnownCircuit:
    """Measure which parts of a bundled model do its task.

    By definition and not by tracing (see the page on following a circuit), and checked by ablation: held at
    its mean over the rows, position by position, the circuit takes the answers with it, all the rest
    does not.

    Parameters
    ----------
    model
        `load_model` of "tiny-induction", "tiny-modular" or "tiny-brackets".
    n, seed
        Rows that are drawn, and from which seed.

    Raises
    ------
    ValueError: If the circuit of this model is not known.

    Source
    ------
    Olsson et al., "In-context Learning and Induction Heads", 2022 (arXiv 2209.11895); Nanda et al.,
    "Progress measures for grokking via mechanistic interpretability", 2023 (arXiv 2301.05217).

    Example
    -------
    >>> import sae_nb as sn
    >>> model = sn.load_model("tiny-induction")
    >>> circuit = known_circuit(model)
    >>> circuit.auc(circuit.components.score)
    1.0
    """
    if model.name not in _MEASURES:
        raise ValueError(
            f"`model` must be one whose circuit is known ({', '.join(_MEASURES)}), got {model.name!r}. "
            f'Use sn.load_model("{next(iter(_MEASURES))}").'
        )
    rows = TASKS[model.name].draw(n, np.random.default_rng(seed), True)
    batch = next(iter(model.batches(rows.ids, batch_size=len(rows))))
    components = _MEASURES[model.name](model, batch, rows)
    circuit = components.in_circuit.to_numpy()
    accuracy = partial(_accuracy, model, batch, rows, components)
    inputs, answers = _asked(rows, TASKS[model.name].vocabulary, seed)
    return KnownCircuit(
        model_name=model.name,
        components=components,
        inputs=inputs,
        answers=answers,
        accuracy=accuracy(np.zeros_like(circuit)),
        without=accuracy(circuit),
        alone=accuracy(~circuit),
        chance=TASKS[model.name].chance,
    )


# -------------------------------------------------------------------------------------------------
# What each model's circuit is.


def _induction(model: LiveModel, batch: Batch, rows: Rows) -> DataFrame:
    """Return heads of the first block that look one back, and of the second that look behind a copy."""
    first, second = attention_patterns(model, batch)
    asked = rows.targets != NOT_ASKED
    back = first.diagonal(-1, 2, 3)[:, :, 1:].mean(dim=(0, 2))  # from the second word on
    earlier = (rows.ids[:, :, None] == rows.ids[:, None, :]).tril(-1)
    after = (second[..., 1:] * earlier[:, None, :, :-1]).sum(dim=-1)
    onward = after.transpose(0, 1)[:, asked].mean(dim=1)
    return _joined(
        _table("head", 0, "previous token", back, back >= HALF),
        _table("head", 1, "induction", onward, onward >= HALF),
    )


def _modular(model: LiveModel, batch: Batch, rows: Rows) -> DataFrame:
    """Neurons that are functions of key frequencies, and heads that look at the numbers."""
    del batch, rows  # what a neuron is a function of shows over all pairs
    everything = next(iter(model.batches(all_sums().ids, batch_size=MODULUS**2)))
    (pattern,) = attention_patterns(model, everything)
    neurons = _outputs(model, everything, "mlp_post.0")[:, -1]
    shares = frequency_shares(neurons.T.reshape(-1, MODULUS, MODULUS))
    score = shares[:, key_frequencies(model)].sum(dim=1)
    numbers = pattern[:, :, -1, [1, 3]].sum(dim=2).mean(dim=0)
    return _joined(
        _table("head", 0, "looks at the numbers", numbers, numbers >= HALF),
        _table("neuron", 0, "key frequencies", score, score >= HALF),
    )


def frequency_shares(
    functions: Float[Tensor, "n p p"],
) -> Float[Tensor, "n frequencies"]:
    """Return share of each function's variance over all (a, b) that frequency 1, 2, … explains; 0 of a
    constant.
    """
    power = torch.fft.fft2(functions.double()).abs().square()
    level = power[:, 0, 0].clone()
    power[:, 0, 0] = 0
    p = functions.shape[-1]
    frequencies = torch.arange(1, (p - 1) // 2 + 1)
    own = torch.stack([torch.zeros_like(frequencies), frequencies, p - frequencies], dim=1)
    found = power[:, own[:, :, None], own[:, None, :]].sum(dim=(2, 3))
    total = power.sum(dim=(1, 2))
    varies = total > ROUNDED * level  # the transform of a constant is rounded, too
    return torch.where(varies[:, None], found / total.clamp(min=1e-30)[:, None], 0)


def key_frequencies(model: LiveModel) -> Bool[Tensor, " frequencies"]:
    """Return frequencies that have at least a twentieth of the variance of the numbers' embedding."""
    words = model.get_module(model.hook_point("embed").path).get_parameter("weight").detach()
    first = len(TASKS["tiny-modular"].vocabulary) - len(TASKS["tiny-modular"].words)
    power = torch.fft.rfft(words[first : first + MODULUS].double(), dim=0).abs().square().sum(1)[1:]
    return (power >= KEY * power.sum()).cpu()


def _brackets(model: LiveModel, batch: Batch, rows: Rows) -> DataFrame:
    """Heads and neurons that are functions of the depth; in block 1, also of whether the string broke."""
    del batch, rows  # states are grouped over more strings
    strings = TASKS["tiny-brackets"].draw(N_STRINGS, np.random.default_rng(0), True)
    batch = next(iter(model.batches(strings.ids, batch_size=N_STRINGS)))
    opens = strings.ids[:, 1:] == TASKS["tiny-brackets"].vocabulary.index("(")
    depth = (2 * opens.long() - 1).cumsum(dim=1)
    broken = depth.cummin(dim=1).values < 0
    tables = []
    for layer, (role, state) in enumerate(
        (("depth", depth), ("depth and breaks", 2 * depth + broken))
    ):
        for kind, n in (("head", model.n_heads), ("neuron", None)):
            seen = _outputs(model, batch, f"{_HOOK_POINTS[kind]}.{layer}")[:, 1:]
            score = state_shares(seen.reshape(*seen.shape[:2], n or seen.shape[2], -1), state)
            tables.append(_table(kind, layer, role, score, score >= HALF))
    return _joined(*tables)


def state_shares(
    outputs: Float[Tensor, "rows time n width"], state: Int[Tensor, "rows time"]
) -> Float[Tensor, " n"]:
    """Return share of each output's variance within positions that groups of equal state explain; 0 of
    a constant.
    """
    x = (outputs - outputs.mean(dim=0)).double().flatten(0, 1)
    position = torch.arange(state.shape[1]).expand_as(state)
    both = torch.stack([position, state], dim=2).flatten(0, 1)
    groups, group = torch.unique(both, dim=0, return_inverse=True)
    sums = x.new_zeros(len(groups), *x.shape[1:]).index_add_(0, group, x)
    count = group.bincount(minlength=len(groups))[:, None, None]
    explained = (sums.square() / count).sum(dim=(0, 2))
    total = x.square().sum(dim=(0, 2))
    return torch.where(total > 0, explained / total.clamp(min=1e-30), 0)


def _outputs(model: LiveModel, batch: Batch, name: str) -> Float[Tensor, "batch time d"]:
    """Return the output written at one place."""
    return run(model, batch, read=name, answer=False).states[name].cpu()


_MEASURES: dict[str, Callable[[LiveModel, Batch, Rows], DataFrame]] = {
    "tiny-induction": _induction,
    "tiny-modular": _modular,
    "tiny-brackets": _brackets,
}

_HOOK_POINTS = {"head": "head_out", "neuron": "mlp_post"}


def _table(
    kind: str, layer: int, role: str, score: Float[Tensor, " n"], inside: Bool[Tensor, " n"]
) -> DataFrame:
    """Components of one kind in one layer."""
    import pandas as pd

    return pd.DataFrame(
        {
            "kind": kind,
            "layer": layer,
            "index": range(len(score)),
            "hook_point": f"{_HOOK_POINTS[kind]}.{layer}",
            "role": role,
            "score": score.double().cpu().numpy(),
            "in_circuit": inside.cpu().numpy(),
        }
    )


def _joined(*tables: DataFrame) -> DataFrame:
    import pandas as pd

    return pd.concat(tables, ignore_index=True)


# -------------------------------------------------------------------------------------------------
# The check: some components held at their mean.


def _accuracy(
    model: LiveModel, batch: Batch, rows: Rows, components: DataFrame, held: Bool[np.ndarray, " n"]
) -> float:
    """Share of right answers while some components are at their mean over the rows, position by position."""
    edits = []
    for name, part in components[held].groupby("hook_point"):
        point = model.hook_point(str(name))
        n = int((components.hook_point == name).sum())
        width = (model.width(str(name)) or n) // n
        columns = np.add.outer(part["index"].to_numpy() * width, np.arange(width)).ravel()
        edits.append((point, partial(_at_batch_mean, torch.from_numpy(columns))))
    answer = run(model, batch, put=edits).answer.tensor
    asked = rows.targets != NOT_ASKED
    found = answer.argmax(dim=-1).cpu()
    return float((found == rows.targets)[asked].float().mean())


def _at_batch_mean(columns: Tensor, x: Float[Tensor, "batch time d"]) -> Tensor:
    held = x.clone()
    held[..., columns] = x[..., columns].mean(dim=0, keepdim=True)
    return held


def _asked(rows: Rows, words: Sequence[str], seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of each row the words up to one place at which something is asked, and the answer."""
    generator = np.random.default_rng(seed)
    inputs, answers = [], []
    for ids, targets in zip(rows.ids.tolist(), rows.targets.tolist(), strict=True):
        places = [t for t, target in enumerate(targets) if target != NOT_ASKED]
        if places:
            place = int(generator.choice(places))
            inputs.append(" ".join(words[i] for i in ids[1 : place + 1]))
            answers.append(words[targets[place]])
    return tuple(inputs), tuple(answers)
