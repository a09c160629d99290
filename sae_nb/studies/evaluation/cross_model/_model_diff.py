"""diff_models: what changed between two checkpoints of one architecture, and which direction carries it.

Per token, KL(a‖b) = Σ_v p_a (log p_a − log p_b). A direction explains as much as it restores: b runs with its
states set to those of a along the direction alone, x_b − ⟨x_b − x_a, v⟩ v, and `share` is the part of the KL
that goes. Random directions do the same. The simplest method is the mean difference of the states; principal
components and an SAE have to beat it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import describe_ids
from sae_nb.atoms import effects_of
from sae_nb.checks import Count, Seed, checked, shown
from sae_nb.evaluation import outcome_name
from sae_nb.findings import Plotted
from sae_nb.models import run
from sae_nb.progress import progress_bar
from sae_nb.statistics import Bootstrap
from sae_nb.steering import kl, random_direction

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.figures import Chart
    from sae_nb.models import Batch, LiveModel

SAME = 1e-7
"""Largest KL in nats that counts as rounding."""

N_RANDOM, N_OUTCOMES, N_EXAMPLES, CONTEXT = 3, 5, 12, 16
"""Random directions; outcomes and places that are listed; tokens of context shown."""

MEAN, COMPONENT, ATOM = "mean difference", "principal component", "atom of an SAE on differences"


class DifferentModelsError(ValueError):
    """Two models that cannot be compared: another tokenizer, width, number of blocks or kind of input."""


class ModelDiff(Plotted):
    """Differences of two models, ranked by the part of the change they carry; made by `diff_models`."""

    table: DataFrame
    """A row per finding, the largest share first: finding (which direction), hook_point, share (of the KL that
    goes when b's states are set to a's along it), control (the best of some random directions), raises
    (outcomes that adding it raises, by the direct path)."""

    outcomes: DataFrame
    """Outcomes that b raises and lowers most, mean over places weighted by their KL: outcome, change (of the
    log-probability, nats). The simplest reading of what changed."""

    places: DataFrame
    """Places with the largest KL: sample, position, context, kl, raised (the outcome that gains most
    probability)."""

    layers: DataFrame
    """A row per hook point: hook_point, difference (‖x_b − x_a‖ / ‖x_a‖, mean over rows), first (share of the
    squared difference along the mean difference)."""

    kl: float
    low: float
    high: float
    """Mean KL(a‖b) per place in nats, with its 95 % interval over samples."""

    n_places: int
    notes: tuple[str, ...]
    """Limits of the numbers, a sentence each."""

    @property
    def same(self) -> bool:
        """Whether nothing differs on these inputs."""
        return self.kl <= SAME

    @property
    def headline(self) -> str:
        """Mean KL, and the finding that carries most of it; or that nothing differs."""
        if self.same:
            return f"nothing differs on these inputs: {self.n_places} places, largest difference is rounding"
        best = self.table.iloc[0]
        return (
            f"KL {self.kl:.3g} nats [{self.low:.3g}, {self.high:.3g}] over {self.n_places} places; "
            f"{best['finding']} at {best['hook_point']} carries {best['share']:.0%} of it, a random direction "
            f"{best['control']:.0%}"
        )

    @property
    def below(self) -> tuple[str | DataFrame, ...]:
        """The findings, what is raised, where, and what the numbers do not say."""
        if self.same:
            return self.notes
        return (self.table.head(6), self.outcomes.head(6), self.places.head(6), *self.notes)

    @property
    def chart(self) -> Chart:
        """Share of the change that each finding carries, next to random directions."""
        from sae_nb.figures import Chart, Points

        place = np.arange(len(self.table), dtype=float)
        text = tuple(f"{f} at {h}" for f, h in zip(self.table["finding"], self.table["hook_point"]))
        return Chart(
            series=(
                Points(name="finding", x=place, y=self.table["share"].to_numpy(float), text=text),
                Points(
                    name="random direction",
                    x=place,
                    y=self.table["control"].to_numpy(float),
                    control=True,
                ),
            ),
            x="finding, by its share",
            y="share of the KL that goes",
            marks=True,
        )


@dataclass(eq=False)
class _Pair:
    """Two models on the same batches, and what their answers tell."""

    a: LiveModel
    b: LiveModel
    batches: list[Batch]
    hook_points: tuple[str, ...]
    kl: list[float] = field(default_factory=list)
    sample: list[int] = field(default_factory=list)
    change: Tensor | None = None
    places: list[tuple[float, int, int, str, int]] = field(default_factory=list)
    differences: dict[str, list[Tensor]] = field(default_factory=dict)
    norms: dict[str, list[Tensor]] = field(default_factory=dict)

    def read(self, bar: Any) -> None:
        """Run both on every batch."""
        for batch in self.batches:
            first = run(self.a, batch, read=self.hook_points)
            second = run(self.b, batch, read=self.hook_points)
            old, new, sample, position = _scores(first, second)
            divergence = kl(old, new).double().cpu()
            weighted = (new.log_softmax(-1) - old.log_softmax(-1)).double().cpu() * divergence[
                :, None
            ]
            self.change = weighted.sum(0) if self.change is None else self.change + weighted.sum(0)
            self.kl += divergence.tolist()
            self.sample += sample.tolist()
            self._note_places(batch, divergence, old, new, sample, position)
            for name in self.hook_points:
                keep = _kept(batch, first.states[name])
                x, y = (states.states[name][keep].float().cpu() for states in (first, second))
                self.differences.setdefault(name, []).append(y - x)
                self.norms.setdefault(name, []).append(x.norm(dim=1))
            bar.update()

    def _note_places(
        self,
        batch: Batch,
        divergence: Tensor,
        old: Tensor,
        new: Tensor,
        sample: Tensor,
        position: Tensor,
    ) -> None:
        for i in divergence.topk(min(N_EXAMPLES, len(divergence))).indices.tolist():
            raised = int((new[i].softmax(-1) - old[i].softmax(-1)).argmax())
            context = _context(self.a, batch, int(sample[i]), int(position[i]))
            found = (float(divergence[i]), int(sample[i]), int(position[i]), context, raised)
            self.places.append(found)
        self.places = sorted(self.places, reverse=True)[:N_EXAMPLES]

    def restored(self, name: str, directions: Float[Tensor, "m d"]) -> float:
        """Return the mean KL that is left when b has a's states along some orthonormal directions."""
        total, n = 0.0, 0
        for batch in self.batches:
            first = run(self.a, batch, read=[name])
            theirs = first.states[name]
            along = directions.to(theirs)

            def put(x: Tensor, theirs: Tensor = theirs, along: Tensor = along) -> Tensor:
                return x - ((x - theirs) @ along.T) @ along

            second = run(self.b, batch, put={name: put})
            old, new, *_ = _scores(first, second)
            divergence = kl(old, new).double()
            total, n = total + float(divergence.sum()), n + len(divergence)
        return total / n


@checked(leave=("inputs",))
def diff_models(
    a: LiveModel,
    b: LiveModel,
    inputs: Any,
    *,
    hook_points: Sequence[str] | None = None,
    n_components: Count = 3,
    steps: Count = 200,
    batch_size: int | None = None,
    seed: Seed = 0,
    progress: bool = True,
) -> ModelDiff:
    """Find what changed between two checkpoints of one architecture, and where.

    Costs two forward passes over the inputs, and two for every direction that is tried.

    Parameters
    ----------
    a, b
        Before and after, such as a model and its fine-tuning; the same tokenizer, width and number of blocks.
    inputs
        Texts or images, as both take them. A change that they do not bring out is not found.
    hook_points
        Places at which states are compared; None: the middle block and the last but one.
    n_components
        Principal components of the difference, and atoms of an SAE trained on it, that are tried.
    steps
        Optimiser steps of that SAE.

    Raises
    ------
    DifferentModelsError: If tokenizers, widths, blocks or kinds of input differ.
    ValueError: If the answers are states, not scores.

    Source
    ------
    Reading narrow fine-tuning from activation differences: arXiv 2510.13900. The share of the KL that a
    direction restores is ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt = sn.load_model("tiny-gpt")
    >>> diff_models(gpt, gpt, ["The cat sat."], progress=False).same
    True
    """
    _check_alike(a, b)
    names = _places_of(a, hook_points)
    pair = _Pair(a, b, list(a.batches(inputs, batch_size=batch_size)), names)
    with (
        torch.no_grad(),
        progress_bar(len(pair.batches), "both models", "batch", enabled=progress) as bar,
    ):
        pair.read(bar)
    if not pair.kl:
        raise ValueError(
            "`inputs` must have at least one place with an answer, got none. Pass longer texts."
        )
    mean, (low, high) = _mean_kl(pair, seed)
    if max(pair.kl) <= SAME:
        return _nothing(pair)
    rows = _findings(pair, mean, n_components, steps, seed, progress)
    notes = [
        "A share says how much of the change passes through a direction on these inputs, not what it was for.",
        *_simplest(rows),
    ]
    return ModelDiff(
        table=_frame(rows, ("finding", "hook_point", "share", "control", "raises")),
        outcomes=_outcomes(pair),
        places=_frame(
            [(s, p, text, d, outcome_name(b, raised)) for d, s, p, text, raised in pair.places],
            ("sample", "position", "context", "kl", "raised"),
        ),
        layers=_layers(pair),
        kl=mean,
        low=low,
        high=high,
        n_places=len(pair.kl),
        notes=tuple(notes),
    )


def _check_alike(a: LiveModel, b: LiveModel) -> None:
    """Refuse models that cannot be compared, by what differs."""

    def refuse(what: str, first: object, second: object) -> None:
        if first != second:
            raise DifferentModelsError(
                f"`a` and `b` must be checkpoints of one architecture, but their {what} differ: {shown(first)} "
                f"and {shown(second)}. Pass a model and its own fine-tuning."
            )

    refuse("kinds of input", a.kind, b.kind)
    refuse("numbers of blocks", a.n_layers, b.n_layers)
    refuse("hook points", len(list(a.hook_points())), len(list(b.hook_points())))
    if a.tokenizer is not None and b.tokenizer is not None:
        refuse("tokenizers", len(a.tokenizer), len(b.tokenizer))
        if a.tokenizer.get_vocab() != b.tokenizer.get_vocab():
            refuse("tokenizers", "one vocabulary", "another of the same size")
    sizes = [{name: tuple(p.shape) for name, p in m.module.named_parameters()} for m in (a, b)]
    for name in sizes[0]:
        refuse(f"shapes of {name}", sizes[0][name], sizes[1].get(name))


def _places_of(model: LiveModel, hook_points: Sequence[str] | None) -> tuple[str, ...]:
    if hook_points is not None:
        return tuple(str(model.hook_point(name)) for name in hook_points)
    n = model.n_layers
    if not n:
        raise ValueError(
            "`hook_points` must be given for a model without blocks, got None. See model.hook_points()."
        )
    return tuple(dict.fromkeys(f"resid_post.{i}" for i in (n // 2, max(n - 2, 0))))


def _scores(first: Any, second: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return scores of both at every place with an answer, (m, outcomes), and where the places are."""
    old, new, batch = first.answer, second.answer, first.batch
    if old.kind == "vector":
        raise ValueError(
            "`a` must answer with scores of classes or next tokens, and its answers are states."
        )
    if old.by_token:
        keep = old.keep.cpu()
        scores = [one.tensor[keep.to(one.tensor.device)].float() for one in (old, new)]
        return scores[0], scores[1], batch.sample[keep], batch.position[keep]
    sample = batch.sample.amax(dim=1)
    return old.at_end.float(), new.at_end.float(), sample, torch.zeros_like(sample)


def _kept(batch: Batch, states: Tensor) -> Tensor:
    keep = batch.keep
    if keep is not None and keep.shape == states.shape[:2]:
        return keep.to(states.device)
    return torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)


def _context(model: LiveModel, batch: Batch, sample: int, position: int) -> str:
    if batch.token_ids is None or model.tokenizer is None:
        return ""
    here = (
        (batch.sample == sample)
        & (batch.position <= position)
        & (batch.position > position - CONTEXT)
    )
    return str(model.tokenizer.decode(batch.token_ids[here].tolist()))


def _mean_kl(pair: _Pair, seed: int) -> tuple[float, tuple[float, float]]:
    values, boot = np.array(pair.kl), Bootstrap(seed=seed)
    sums = boot.grouped(np.stack([values, np.ones_like(values)], axis=1), np.array(pair.sample))
    return float(values.mean()), boot.interval(sums, lambda s: s[:, 0] / s[:, 1])


Row = tuple[str, str, float, float, str]


def _findings(
    pair: _Pair, mean: float, n_components: int, steps: int, seed: int, progress: bool
) -> list[Row]:
    rows: list[Row] = []
    with torch.no_grad(), progress_bar(None, "directions", "direction", enabled=progress) as bar:
        for name in pair.hook_points:
            x = torch.cat(pair.differences[name])
            random = [
                1 - pair.restored(name, random_direction(x.shape[1], seed + i)[None]) / mean
                for i in range(N_RANDOM)
            ]
            for kind, direction in _directions(x, n_components, steps, seed):
                share = 1 - pair.restored(name, direction[None]) / mean
                raised = effects_of(pair.b, direction, hook_point=name, n=N_OUTCOMES).up
                rows.append((kind, name, share, max(random), ", ".join(word for word, _ in raised)))
                bar.update()
    return sorted(rows, key=lambda row: -row[2])


def _directions(
    x: Float[Tensor, "n d"], n_components: int, steps: int, seed: int
) -> Iterator[tuple[str, Float[Tensor, " d"]]]:
    """Yield unit directions in which the states differ, each with the name of its method."""
    mean = x.mean(dim=0)
    if float(mean.norm()) > 0:
        yield MEAN, torch.nn.functional.normalize(mean, dim=0)
    centred = x - mean
    values, vectors = torch.linalg.eigh((centred.T @ centred).double())
    order = values.argsort(descending=True)[:n_components]
    for i, place in enumerate(order.tolist()):
        vector = vectors[:, place].float()
        yield f"{COMPONENT} {i + 1}", vector * (-1 if float(vector @ mean) < 0 else 1)
    atoms, energy = _atoms_of(x, steps, seed)
    for atom in energy.argsort(descending=True)[:n_components].tolist():
        yield f"{ATOM}, {atom}", atoms[atom]


@torch.enable_grad()
def _atoms_of(x: Float[Tensor, "n d"], steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Train a small SAE on the differences; return its atoms, and the energy of each."""
    from sae_nb.architectures import TopK
    from sae_nb.training import train

    n_atoms = min(64, max(8, len(x) // 8))
    sae = TopK(x.shape[1], n_atoms, min(4, n_atoms), generator=torch.Generator().manual_seed(seed))
    train(sae, x, steps=steps, seed=seed, progress=False)
    codes = sae.encode(x).detach()
    energy = torch.zeros(n_atoms, dtype=torch.float64)
    energy.index_add_(0, codes.atoms.long(), codes.values.double().square())
    return sae.dictionary.detach().float().cpu(), energy


def _simplest(rows: list[Row]) -> list[str]:
    """Say so where the simplest method does as well."""
    best = rows[0]
    simple = max((row for row in rows if row[0] == MEAN), key=lambda row: row[2], default=None)
    if simple is None or simple[2] < 0.9 * best[2]:
        return []
    if simple is best:
        return ["The mean difference of the states, the simplest method, carries the most."]
    return [
        f"The mean difference of the states, the simplest method, does as well: {simple[2]:.0%}."
    ]


def _outcomes(pair: _Pair) -> DataFrame:
    if pair.change is None:
        return _frame([], ("outcome", "change"))
    change = pair.change / sum(pair.kl)
    n = min(N_OUTCOMES, len(change) // 2 or 1)
    ids = [*change.topk(n).indices.tolist(), *(-change).topk(n).indices.tolist()]
    model = pair.b
    names: Any = (
        describe_ids(model.tokenizer, ids)
        if model.modality.is_text and model.tokenizer is not None
        else {i: outcome_name(model, i) for i in ids}
    )
    return _frame([(names[i], float(change[i])) for i in ids], ("outcome", "change"))


def _layers(pair: _Pair) -> DataFrame:
    rows = []
    for name in pair.hook_points:
        x, norm = torch.cat(pair.differences[name]), torch.cat(pair.norms[name])
        total = float(x.square().sum())
        along = float(x.mean(dim=0).square().sum()) * len(x)
        moved = float((x.norm(dim=1) / norm.clamp_min(1e-12)).mean())
        rows.append((name, moved, along / total if total > 0 else float("nan")))
    return _frame(rows, ("hook_point", "difference", "first"))


def _nothing(pair: _Pair) -> ModelDiff:
    return ModelDiff(
        table=_frame([], ("finding", "hook_point", "share", "control", "raises")),
        outcomes=_frame([], ("outcome", "change")),
        places=_frame([], ("sample", "position", "context", "kl", "raised")),
        layers=_layers(pair),
        kl=float(np.mean(pair.kl)),
        low=0.0,
        high=float(np.max(pair.kl)),
        n_places=len(pair.kl),
        notes=("Other inputs may bring out a difference that these do not.",),
    )


def _frame(rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(columns))
