"""What the HeadsPanel asks of the model: an input, and one head on it. Nothing here knows a widget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sae_nb.circuits import (
    direct_effects,
    head_contributions,
    part_places,
    parts_at_mean,
    position_texts,
    written_by_heads,
)
from sae_nb.lenses import head_of
from sae_nb.models import read_attention, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.circuits import HeadScores
    from sae_nb.models import Batch, HookPoint, LiveModel

HeadName = tuple[int, int]
"""Layer and head."""

N_MEASURED = 8
"""Heads that are removed at once: those of the largest estimates."""

N_RANDOM = 3
N_WORDS = 3
N_SHOWN = 5
SMALL = 1e-9


@dataclass(frozen=True, eq=False)
class Answer:
    """An input, the model's answer to it, and what its heads do for that answer."""

    batch: Batch
    tokens: tuple[str, ...]
    outcome: int
    name: str
    probability: float
    estimated: Float[np.ndarray, "layers heads"]
    """Probability that goes when a head is replaced by its mean over the input, to first order."""

    without: dict[HeadName, float]
    """Probability of the answer without a head, measured."""

    random: dict[HeadName, float]
    """The same of heads drawn at random."""

    direct: Float[np.ndarray, "layers heads"]
    """Logits that each head itself adds to the answer."""

    chances: Float[Tensor, " outcomes"]
    """Probabilities of all answers."""

    outputs: list[Float[Tensor, "time d_heads"]]
    """Of heads, side by side, a layer each."""

    picture: UInt8[np.ndarray, "3 height width"] | None = None

    @property
    def opens_on(self) -> HeadName:
        """The head whose removal changes the answer most."""
        return max(self.without, key=lambda head: abs(self.without[head] - self.probability))

    @property
    def chance(self) -> tuple[float, float]:
        """Least and largest probability without a random head."""
        return min(self.random.values()), max(self.random.values())

    def beyond_chance(self, head: HeadName) -> bool:
        """Whether removing a head moves the answer farther than removing each random one."""
        moved = abs(self.without[head] - self.probability)
        return moved > max(abs(p - self.probability) for p in self.random.values())


@dataclass(frozen=True, eq=False)
class Look:
    """One head on that input."""

    head: HeadName
    pattern: Float[np.ndarray, "time source"]
    pushes: tuple[tuple[str, float], ...]
    """Words that it raises most by itself at the last position, and by how many logits above the mean word."""

    own_word: float
    """The same of the word that it looks at most, besides the first."""

    without: float
    goes_on: tuple[tuple[str, float, float], ...]
    """What the model answers without it: a name, its probability, and that of the untouched model."""


def answer_of(model: LiveModel, batch: Batch, seed: int) -> Answer:
    """Run an input, estimate what every head does for its answer, and remove some heads for real."""
    places = part_places(model, "head")
    ran = run(model, batch, read=places, answer="end")
    logits = ran.answer.one()
    outcome = int(logits.argmax())
    chances = logits.softmax(-1)
    probability = float(chances[outcome])

    def chance_of(z: Tensor) -> Tensor:
        return z.softmax(-1)[outcome]

    given = batch.as_inputs(model)
    estimated = head_contributions(model, given, target=chance_of, method="gradient").values
    n = estimated.size
    order = np.argsort(-np.abs(estimated), axis=None, kind="stable")
    first = [_named(i, estimated.shape) for i in order[: min(N_MEASURED, n)]]
    others = order[min(N_MEASURED, n) :] if n > N_MEASURED + N_RANDOM else order
    drawn = np.random.default_rng(seed).permutation(others)[:N_RANDOM]
    random = [_named(i, estimated.shape) for i in drawn]
    removed = head_contributions(
        model, given, target=chance_of, method="ablation", heads=[*first, *random]
    ).values
    left = {head: probability - float(removed[head]) for head in (*first, *random)}
    tokens = position_texts(model, batch, ran.states[str(places[0])].shape[1])
    picture = None if batch.pictures is None else batch.pictures[0].cpu().numpy()
    return Answer(
        batch=batch,
        tokens=tokens,
        outcome=outcome,
        name=answer_name(model, outcome),
        probability=probability,
        estimated=estimated,
        without={head: left[head] for head in first},
        random={head: left[head] for head in random},
        direct=direct_effects(model, given, outcome).values,
        chances=chances,
        outputs=[ran.states[str(place)].flatten(0, 1).float() for place in places],
        picture=picture,
    )


def look_of(model: LiveModel, seen: Answer, head: HeadName) -> Look:
    """Return where a head looks on the input, what it pushes for, and the answer without it."""
    layer, index = head
    attention = read_attention(model, seen.batch, layer)
    pattern = attention.pattern[index].cpu().numpy()
    output = seen.outputs[layer]
    n_heads = len(attention.pattern)
    place = part_places(model, "head")[layer]
    removed = _without(model, seen, place, index, n_heads)
    top = removed.topk(min(N_SHOWN, len(removed))).indices.tolist()
    goes_on = tuple((answer_name(model, i), float(removed[i]), float(seen.chances[i])) for i in top)
    pushes, own_word = _pushes(model, seen, head, output, pattern)
    return Look(
        head=head,
        pattern=pattern,
        pushes=pushes,
        own_word=own_word,
        without=float(removed[seen.outcome]),
        goes_on=goes_on,
    )


def readable(model: LiveModel) -> None:
    """Refuse a model whose heads cannot be shown, before any work."""
    part_places(model, "head")
    if model.streams or model.n_layers is None:
        raise ValueError(
            f"`model` must be one stream of blocks with attention, got {model.name}. "
            "sn.circuits.head_scores has the heads of encoders, decoders and between them."
        )


def strongest_source(pattern: Float[np.ndarray, "time source"], position: int) -> int:
    """Return what a position looks at most, besides the first; the first where there is nothing else."""
    row = pattern[position].copy()
    if len(row) > 1:
        row[0] = -1.0
    return int(row.argmax())


def answer_name(model: LiveModel, outcome: int) -> str:
    """Return the name of a class or token."""
    if model.class_names is not None and outcome < len(model.class_names):
        return model.class_names[outcome]
    return str(outcome) if model.tokenizer is None else str(model.tokenizer.decode([outcome]))


def named_heads(scores: HeadScores) -> dict[HeadName, str]:
    """Return the heads that a score names, by their place."""
    rows = zip(scores.layer, scores.head, scores.roles, strict=True)
    return {(int(layer), int(head)): role for layer, head, role in rows if role}


def _named(i: int, shape: tuple[int, ...]) -> HeadName:
    layer, head = np.unravel_index(int(i), shape)
    return int(layer), int(head)


def _without(
    model: LiveModel, seen: Answer, place: HookPoint, index: int, n_heads: int
) -> Float[Tensor, " outcomes"]:
    mean = seen.outputs[place.layer or 0].mean(dim=0)
    with torch.no_grad():
        ran = run(
            model,
            seen.batch,
            put=[(place, parts_at_mean([0], [index], mean, n_heads))],
            answer="end",
        )
    return ran.answer.one().softmax(-1)


def _pushes(
    model: LiveModel,
    seen: Answer,
    head: HeadName,
    output: Float[Tensor, "time d_heads"],
    pattern: Float[np.ndarray, "time source"],
) -> tuple[tuple[tuple[str, float], ...], float]:
    """Return the words that a head raises by itself, with the size that its direct effect gives them."""
    layer, index = head
    try:
        reads = head_of(model, seen.batch)
    except ValueError:
        return (), float("nan")
    position = 0 if reads.pool == "cls" else len(output) - 1
    n_heads = len(seen.direct[layer])
    alone = torch.zeros_like(output[position : position + 1])
    width = len(alone[0]) // n_heads
    own = slice(index * width, (index + 1) * width)
    alone[:, own] = output[position, own]
    with torch.no_grad():
        effects = reads.effects(written_by_heads(model, layer, alone))[0].double()
    # One positive factor, the last norm's scale, is the same for all words: that of the answer is known.
    raw = float(effects[seen.outcome])
    factor = float(seen.direct[layer, index]) / raw if abs(raw) > SMALL else 0.0
    effects = (effects - effects.mean()) * max(factor, 0.0)
    named: dict[str, float] = {}
    for i in effects.topk(min(4 * N_WORDS, len(effects))).indices.tolist():
        word = answer_name(model, i)  # of words that differ in case or a space, the first
        if word.strip().lower() not in {one.strip().lower() for one in named}:
            named[word] = float(effects[i])
    pushes = tuple(named.items())[:N_WORDS]
    ids = seen.batch.token_ids
    if ids is None:
        return pushes, float("nan")
    source = int(ids[0, strongest_source(pattern, len(pattern) - 1)])
    return pushes, float(effects[source]) if source < len(effects) else float("nan")


def saes_in_front(
    saes: SparseAutoencoder | Sequence[SparseAutoencoder] | None,
) -> dict[int, SparseAutoencoder]:
    """Return SAEs by the layer in front of which they read the stream."""
    given = () if saes is None else saes if isinstance(saes, list | tuple) else (saes,)
    found: dict[int, SparseAutoencoder] = {}
    for sae in given:
        kind, _, layer = str(getattr(sae, "hook_point", "")).rpartition(".")
        if kind not in ("resid_post", "resid_pre") or not layer.isdigit():
            raise ValueError(
                "`saes` must read the stream in front of a layer, such as resid_post.16, got "
                f"{getattr(sae, 'hook_point', sae)!r}. Leave it out."
            )
        found[int(layer) + (kind == "resid_post")] = sae
    return found
