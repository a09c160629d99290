"""diff_models: what changed between two checkpoints of one architecture, and which direction carries it.

Per token, KL(a‖b) = Σ_v p_a (log p_a − log p_b). An outcome v is raised by p_b (log p_b − log p_a), in nats,
so that what is likely under b counts, and lowered by p_a (log p_a − log p_b). A direction explains as much as
it restores: b runs with its states set to those of a along the direction alone, x_b − ⟨x_b − x_a, v⟩ v, and
`share` is the part of the KL that goes; what it `raises` are the outcomes that b raises most over b so
restored. Random directions do the same. The simplest method is the mean difference of the states; principal
components, an SAE on differences and a crosscoder's exclusive atoms have to beat it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations.tokens import token_texts
from sae_nb.checks import Count, Seed, checked, shown
from sae_nb.diffing._layer_differences import LayerDifference, heads_of, lens_divergence
from sae_nb.diffing._own_atoms import MEAN, OwnAtoms, directions_between, own_atoms
from sae_nb.diffing._page import changed_page
from sae_nb.files._atomic import write_bytes
from sae_nb.findings import Plotted
from sae_nb.models import outcome_names
from sae_nb.models._prefix_cache import PrefixCache
from sae_nb.models._running import Run, run
from sae_nb.progress import progress_bar
from sae_nb.statistics import Bootstrap
from sae_nb.steering import random_direction
from sae_nb.steering._answers import kl

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.checks import Inputs
    from sae_nb.figures import Chart
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch

SAME = 1e-7
"""Largest KL in nats that counts as rounding."""

N_RANDOM, N_OUTCOMES, N_EXAMPLES, CONTEXT = 3, 5, 12, 16
"""Random directions; outcomes and places that are listed; tokens of context shown."""

OWN = "exclusive atom of a crosscoder"


class DifferentModelsError(ValueError):
    """Two models that cannot be compared: another tokenizer, width, number of blocks or kind of input."""


class ModelDiff(Plotted):
    """Differences of two models, ranked by the part of the change they carry; made by `diff_models`."""

    table: DataFrame
    """A row per finding, the largest share first: finding (which direction), hook_point, share (of the KL that
    goes when b's states are set to a's along it), control (the best of some random directions), raises
    (outcomes that b raises by this direction)."""

    outcomes: DataFrame
    """Outcomes that b raises and lowers most: outcome, change (nats per place, below 0 where it is lowered).
    The simplest reading of what changed."""

    places: DataFrame
    """Places with the largest KL: sample, position, context, kl, raised (the outcome that gains most
    probability)."""

    layers: DataFrame
    """A row per block, and per hook point that was asked for: hook_point, difference (‖x_b − x_a‖ / ‖x_a‖, mean
    over rows), first (share of the squared difference along the mean difference), lens (KL in nats between what
    the two models' own heads read out of these states; NaN without such a head)."""

    exclusive: DataFrame
    """Exclusive atoms of a crosscoder: hook_point, of_a, of_b (atoms of one model alone that fire), control
    (the number in a crosscoder of a and its rotated copy, where all are false)."""

    texts: DataFrame
    """A row per place, in reading order: sample, position, token (empty for images), kl, left (KL in nats that
    is left when the best finding's direction is set back), raised, lowered (outcomes that gain and lose most
    probability)."""

    directions: tuple[Float[Tensor, " d"], ...]
    """Unit direction of each finding, in the order of `table`: what `changed_text` sets back."""

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
        """Mean KL, what is raised most, and the finding that carries most of it; or that nothing differs."""
        if self.same:
            return f"nothing differs on these inputs: {self.n_places} places, largest difference is rounding"
        best = self.table.iloc[0]
        return (
            f"KL {self.kl:.3g} nats [{self.low:.3g}, {self.high:.3g}] over {self.n_places} places; raises "
            f"{self.outcomes['outcome'].iloc[0]!r} most; "
            f"{best['finding']} at {best['hook_point']} carries {best['share']:.0%} of it, a random direction "
            f"{best['control']:.0%}"
        )

    @property
    def below(self) -> tuple[str | DataFrame, ...]:
        """The raised outcomes, the findings, the places, and the limits of the numbers."""
        if self.same:
            return self.notes
        return (self.outcomes.head(6), self.table.head(6), self.places.head(6), *self.notes)

    @checked
    def to_html(self, path: str | Path) -> None:
        """Write a page without scripts: every text, its tokens shaded by their KL, with what changed and why.

        Raises
        ------
        ValueError: If nothing differs, or the inputs are not texts.
        """
        if self.same or not self.texts["token"].any():
            raise ValueError(
                "`to_html` must have texts that the models answer differently, and there are none. See "
                "`places`."
            )
        best = self.table.iloc[0]
        named = f"the {best['finding']} at {best['hook_point']}"
        write_bytes(path, changed_page("What changed, text by text", self.texts, named).encode())

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
    places: list[tuple[float, int, int, str, int]] = field(default_factory=list)
    answers: list[tuple[int, int, str, int, int]] = field(default_factory=list)
    raised: Tensor | float = 0.0
    lowered: Tensor | float = 0.0
    states: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    layers: dict[str, LayerDifference] = field(default_factory=dict)

    def read(self, update: Callable[[], object]) -> None:
        """Run both on every batch."""
        blocks = [f"resid_post.{i}" for i in range(self.a.n_layers or 0)]
        everywhere = list(dict.fromkeys([*blocks, *self.hook_points]))
        heads = heads_of(self.a, self.b, self.batches[0]) if self.batches else None
        for batch in self.batches:
            first = run(self.a, batch, read=everywhere)
            second = run(self.b, batch, read=everywhere)
            old, new, sample, position = scores_of(first, second)
            divergence = kl(old, new).double().cpu()
            self.raised = self.raised + _raised(new, old)
            self.lowered = self.lowered + _raised(old, new)
            self.kl += divergence.tolist()
            self.sample += sample.tolist()
            self.answers += _answers(self.a, batch, first, old, new, sample, position)
            self._note_places(batch, divergence, old, new, sample, position)
            for name in everywhere:
                both = first.states[name], second.states[name]
                keep = _kept(batch, both[0])
                x, y = (states[keep].float().cpu() for states in both)
                layer = self.layers.setdefault(name, LayerDifference())
                layer.add(x, y)
                if heads is not None and name in blocks:
                    layer.add_lens(lens_divergence(heads, *both, keep))
                if name in self.hook_points:
                    self.states.setdefault(name, []).append((x, y))
            update()

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

    def rows(self, name: str) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n d"]]:
        """Return the states of both models at a hook point."""
        x, y = zip(*self.states[name], strict=True)
        return torch.cat(x), torch.cat(y)

    def left(self, name: str, along: Float[Tensor, " d"]) -> list[float]:
        """Return, for every place, the KL that is left when b has a's states along a direction."""
        found: list[float] = []
        with torch.no_grad():
            for batch in self.batches:
                first = run(self.a, batch, read=[name])
                rest = restored(self.b, batch, name, first.states[name], along)
                old, new, *_ = scores_of(first, rest)
                found += kl(old, new).double().cpu().tolist()
        return found

    def tried(
        self, name: str, directions: Float[Tensor, "m d"], update: Callable[[], object]
    ) -> list[tuple[float, Tensor]]:
        """Return, for each direction, the mean KL that is left when b has a's states along it, and what b
        raises over that, (outcomes,), in nats per place.
        """
        left = [0.0] * len(directions)
        fell: list[Tensor | float] = [0.0] * len(directions)
        below = PrefixCache(self.b, [self.b.hook_point(name)])
        for batch in self.batches:
            first = run(self.a, batch, read=[name])
            theirs = first.states[name]
            with self.b.lock:  # what lies below the place is computed once for all directions
                with below.noted():
                    plain = scores_of(first, run(self.b, batch))[1]
                for i, along in enumerate(directions):
                    with below.left_out():
                        run_back = restored(self.b, batch, name, theirs, along)
                    old, rest, *_ = scores_of(first, run_back)
                    left[i] += float(kl(old, rest).double().sum())
                    fell[i] = fell[i] + _raised(plain, rest)
            update()
        n = len(self.kl)
        return [(a / n, torch.as_tensor(b) / n) for a, b in zip(left, fell, strict=True)]


def restored(
    b: LiveModel, batch: Batch, name: str, theirs: Tensor, along: Float[Tensor, " d"]
) -> Run:
    """Run b with its states at a hook point set to another model's along a direction."""
    along = along.to(theirs)

    def put(x: Tensor) -> Tensor:
        return x - ((x - theirs) @ along)[..., None] * along

    return run(b, batch, put={name: put})


def _raised(new: Float[Tensor, "m outcomes"], old: Tensor) -> Float[Tensor, " outcomes"]:
    """Return Σ p_new (log p_new − log p_old) of every outcome, over places."""
    p, q = new.log_softmax(-1), old.log_softmax(-1)
    return (p.exp() * (p - q)).double().sum(dim=0).cpu()


@checked(leave=("inputs",))
def diff_models(
    a: LiveModel,
    b: LiveModel,
    inputs: Inputs,
    *,
    hook_points: Sequence[str] | None = None,
    n_components: Count = 3,
    steps: Count = 200,
    batch_size: int | None = None,
    seed: Seed = 0,
    progress: bool = True,
) -> ModelDiff:
    """Find what changed between two checkpoints of one architecture, and where.

    Costs two forward passes over the inputs, one for each direction tried, three short trainings a hook point.

    Parameters
    ----------
    a, b
        Before and after, such as a model and its fine-tuning; the same tokenizer, width and number of blocks.
    inputs
        Texts or images, as both take them. A change that they do not bring out is not found.
    hook_points
        Places at which states are compared; None: the middle block and the last but one, or the last block
        where nothing below it differs.
    n_components
        Principal components, atoms of an SAE on differences, and exclusive atoms of a crosscoder, each so many.
    steps
        Optimiser steps of that SAE, of the crosscoder and of its control.

    Raises
    ------
    DifferentModelsError: If tokenizers, widths, blocks or kinds of input differ.
    ValueError: If the answers are states, not scores, or states are the same at every hook point given.

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
    check_alike(a, b)
    names = _places_of(a, hook_points)
    pair = _Pair(a, b, list(a.batches(inputs, batch_size=batch_size)), names)
    with (
        torch.no_grad(),
        progress_bar(len(pair.batches), "both models", "batch", enabled=progress) as bar,
    ):
        pair.read(bar.update)
    if not pair.kl:
        raise ValueError(
            "`inputs` must have at least one place with an answer, got none. Pass longer texts."
        )
    mean, (low, high) = _mean_kl(pair, seed)
    differs = max(pair.kl) > SAME
    rows, own, directions = list[Row](), dict[str, OwnAtoms](), tuple[Tensor, ...]()
    notes = ["Other inputs may bring out a difference that these do not."]
    if differs:
        pair.hook_points, unchanged = _where_states_differ(pair, given=hook_points is not None)
        rows, own, directions = _findings(pair, mean, n_components, steps, seed, progress)
        notes = [
            "A share says how much of the change passes through a direction on these inputs, not what it was "
            "for.",
            *unchanged,
            *_simplest(rows),
            *_doubtful(own),
        ]
    else:
        low, high = 0.0, max(pair.kl)
    places = [
        (s, p, text, d, outcome_names(b, [raised])[0]) for d, s, p, text, raised in pair.places
    ]
    exclusive = [(name, one.of_a, one.of_b, one.control) for name, one in own.items()]
    layers = [(name, *layer.row) for name, layer in pair.layers.items()]
    texts = _texts(pair, pair.left(rows[0][1], directions[0])) if differs else []
    return ModelDiff(
        table=_frame(rows, ("finding", "hook_point", "share", "control", "raises")),
        outcomes=_frame(_outcomes(pair) if differs else [], ("outcome", "change")),
        places=_frame(places if differs else [], ("sample", "position", "context", "kl", "raised")),
        layers=_frame(layers, ("hook_point", "difference", "first", "lens")),
        exclusive=_frame(exclusive, ("hook_point", "of_a", "of_b", "control")),
        texts=_frame(
            texts, ("sample", "position", "token", "kl", "left", "raised", "lowered")
        ).sort_values(["sample", "position"], ignore_index=True),
        directions=directions,
        kl=mean,
        low=low,
        high=high,
        n_places=len(pair.kl),
        notes=tuple(notes),
    )


def check_found(found: object) -> None:
    """Refuse anything but what `diff_models` returns, or None."""
    if found is not None and not isinstance(found, ModelDiff):
        raise TypeError(f"`found` must come from sn.diff_models or be None, got {shown(found)}.")


def check_finding(found: ModelDiff | None, finding: int) -> tuple[str | None, Tensor | None]:
    """Return the hook point and direction of a finding, None without any; refuse a row that is not there."""
    n = 0 if found is None else len(found.directions)
    if found is None or not n:
        return None, None
    if not 0 <= finding < n:
        raise ValueError(
            f"`finding` must be a row of `found.table` (0 to {n - 1}), got {finding}. See found.table."
        )
    return str(found.table["hook_point"].iloc[finding]), found.directions[finding]


def read_by_both(
    a: LiveModel, b: LiveModel, batch: Batch, found: ModelDiff | None, finding: int
) -> tuple[Run, Tensor, Tensor, Tensor | None]:
    """Return a's run, and scores of a, of b, and of b with a finding's direction set back (None without)."""
    name, along = check_finding(found, finding)
    with torch.no_grad():
        first = run(a, batch, read=[] if name is None else [name])
        old, new, *_ = scores_of(first, run(b, batch))
        if name is None or along is None:
            return first, old, new, None
        _, rest, *_ = scores_of(first, restored(b, batch, name, first.states[name], along))
    return first, old, new, rest


@checked
def check_alike(a: LiveModel, b: LiveModel) -> None:
    """Refuse two models that cannot be compared place by place, by what differs.

    Raises
    ------
    DifferentModelsError: If tokenizers, widths, blocks or kinds of input differ.

    Example
    -------
    >>> import sae_nb as sn
    >>> check_alike(sn.load_model("tiny-gpt"), sn.load_model("tiny-gpt"))
    """

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
    return tuple(dict.fromkeys(f"resid_post.{i}" for i in (n // 2, max(n - 2, 0), n - 1)))


def _where_states_differ(pair: _Pair, *, given: bool) -> tuple[tuple[str, ...], list[str]]:
    """Return the places where directions are looked for, and a note on those where there are none."""
    moved = [name for name in pair.hook_points if pair.layers[name].square > 0]
    if not given:
        early = pair.hook_points[:-1] if len(pair.hook_points) > 1 else pair.hook_points
        moved = [name for name in early if name in moved] or list(pair.hook_points[-1:])
    same = [name for name in pair.hook_points if pair.layers[name].square == 0]
    if given and not moved:
        raise ValueError(
            f"`hook_points` must name a place where the states differ, and at {', '.join(same)} they are the "
            "same. The change lies in a later block: name that one."
        )
    note = f"At {', '.join(same)} the states of both are the same: what changed lies above."
    return tuple(moved), [note] * bool(same)


def scores_of(first: Run, second: Run) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return scores of both at every place with an answer, (m, outcomes), and where the places are."""
    old, new, batch = first.answer, second.answer, first.batch
    if old.kind == "vector":
        raise ValueError(
            "`a` must answer with scores of classes or next tokens, and its answers are states."
        )
    if old.by_token and old.keep is not None:
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
    """Return the mean over places, with its interval over samples."""
    values, boot = np.array(pair.kl), Bootstrap(seed=seed)
    sums = boot.grouped(np.stack([values, np.ones_like(values)], axis=1), np.array(pair.sample))
    return float(values.mean()), boot.interval(sums, lambda s: s[:, 0] / s[:, 1])


Row = tuple[str, str, float, float, str]


def _findings(
    pair: _Pair, mean: float, n_components: int, steps: int, seed: int, progress: bool
) -> tuple[list[Row], dict[str, OwnAtoms], tuple[Tensor, ...]]:
    """Return the findings, a crosscoder's own atoms by place, and the direction of each finding."""
    rows: list[tuple[Row, Tensor]] = []
    found: dict[str, OwnAtoms] = {}
    n_parts = len(pair.hook_points) * (len(pair.batches) + 2)  # trained twice, tried on each batch
    with progress_bar(n_parts, "directions", "part", enabled=progress) as bar:
        for name in pair.hook_points:
            x, y = pair.rows(name)
            found[name] = own_atoms(x, y, steps, seed, n_components)
            bar.update()
            named = directions_between(y - x, n_components, steps, seed)
            bar.update()
            for atom, direction in zip(found[name].atoms.tolist(), found[name].directions):
                named[f"{OWN}, {atom}"] = direction
            random = [random_direction(x.shape[1], seed + i) for i in range(N_RANDOM)]
            with torch.no_grad():
                left = pair.tried(name, torch.stack([*named.values(), *random]), bar.update)
            shares = [1 - rest / mean for rest, _ in left]
            control = max(shares[len(named) :])
            for (kind, along), share, (_, fell) in zip(named.items(), shares, left):
                raised = outcome_names(
                    pair.b, fell.topk(min(N_OUTCOMES, len(fell))).indices.tolist()
                )
                rows.append(((kind, name, share, control, ", ".join(raised)), along))
    ordered = sorted(rows, key=lambda row: -row[0][2])
    return [row for row, _ in ordered], found, tuple(along for _, along in ordered)


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


def _doubtful(own: Mapping[str, OwnAtoms]) -> list[str]:
    """Say so where exclusive atoms are no more than a pair without any would have."""
    where = [name for name, one in own.items() if 0 < one.of_a + one.of_b <= one.control]
    if not where:
        return []
    return [
        f"At {', '.join(where)} a crosscoder has no more exclusive atoms than one of a model and its rotated "
        "copy: they are no evidence."
    ]


def _outcomes(pair: _Pair) -> list[tuple[str, float]]:
    raised, lowered = (torch.as_tensor(some) / len(pair.kl) for some in (pair.raised, pair.lowered))
    n = min(N_OUTCOMES, len(raised) // 2 or 1)
    rows = []
    for change, sign in ((raised, 1), (lowered, -1)):
        most = change.topk(n)
        names = outcome_names(pair.b, most.indices.tolist())
        rows += [(name, sign * float(x)) for name, x in zip(names, most.values)]
    return rows


def _answers(
    model: LiveModel,
    batch: Batch,
    first: Run,
    old: Tensor,
    new: Tensor,
    sample: Tensor,
    position: Tensor,
) -> list[tuple[int, int, str, int, int]]:
    """Return sample, position and token of every place, and the outcomes that gain and lose most there."""
    moved = new.softmax(-1) - old.softmax(-1)
    ends = moved.argmax(-1).tolist(), moved.argmin(-1).tolist()
    tokens = [""] * len(old)
    keep = first.answer.keep if first.answer.by_token else None
    if keep is not None and batch.token_ids is not None and model.tokenizer is not None:
        ids = batch.token_ids[keep.to(batch.token_ids.device)].tolist()
        tokens = token_texts(model.tokenizer, ids)
    return list(zip(sample.tolist(), position.tolist(), tokens, *ends, strict=True))


def _texts(pair: _Pair, left: list[float]) -> list[tuple[object, ...]]:
    """Return a line for each place: where it is, how far it moved and what is left, and both outcomes."""
    ids = sorted({i for *_, raised, lowered in pair.answers for i in (raised, lowered)})
    names = dict(zip(ids, outcome_names(pair.b, ids), strict=True))
    return [
        (sample, position, token, d, rest, names[raised], names[lowered])
        for (sample, position, token, raised, lowered), d, rest in zip(
            pair.answers, pair.kl, left, strict=True
        )
    ]


def _frame(rows: Sequence[tuple[object, ...]], columns: Sequence[str]) -> DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(columns))
