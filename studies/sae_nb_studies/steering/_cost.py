"""The cost of an edit: its effect against the model's loss, with a random direction and a simpler method.

Over the predicted tokens of some texts, with p the model's next-token distribution as it was and q with the
edit: loss = mean −log q(next) − mean −log p(next), kl = mean KL(p‖q), in nats per token; effect = mean change
of a measure. Random directions and the difference of means are added at the same positions, as much as gives
the same kl.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.capturing import capture
from sae_nb.checks import Count, Seed, at_least, check_classes, checked, same_length
from sae_nb.findings import Finding
from sae_nb.models import run
from sae_nb.steering import (
    Active,
    Edit,
    Measure,
    StrengthSearch,
    check_hook_point,
    kl,
    random_direction,
    read_measure,
)
from sae_nb.steering.edits import Along, MaskedEdit

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.models import Batch, HookPoint, LiveModel

RECIPE, RANDOM, SIMPLER, DIRECTION = (
    "recipe",
    "random direction",
    "difference of means",
    "direction",
)
STRENGTHS = (0.25, 0.5, 1.0, 2.0)
"""Multiples of a recipe that are measured. Ours."""

_ROWS = 128  # scored together, in float64
_KEPT = 2**27  # numbers of clean logits that are kept between runs: half a gigabyte
_FAR = 0.9  # quantile of ⟨x, d⟩ beyond which a row has the direction, where there is no SAE to ask

InForce = AbstractContextManager[Any]


class SteeringCost(Finding):
    """The effect and the cost of a recipe, with controls at the same divergence; made by `steering_cost`."""

    table: DataFrame
    """A row per edit and strength: edit ("recipe", "random direction" once per draw, "difference of means"),
    strength (multiple of the recipe, of a control the one whose kl it has), norm (of what is added; NaN where
    nothing is), kl, effect, loss, reached (whether the control has that kl)."""

    layers: DataFrame | None
    """As much as gives the recipe's effect at other hook points, the cheapest first: hook_point, edit
    ("direction", "difference of means"), norm, kl, effect, loss, reached; None where none were asked for."""

    hook_point: str
    measure: str
    """Whose mean change `effect` is."""

    clean: float
    clean_loss: float
    """The measure and the loss without an edit."""

    n_texts: int
    n_scored: int
    """Size of the test set: texts or other inputs; tokens, or answers."""

    simpler_is: str
    """Construction of the difference of means."""

    @property
    def cheapest(self) -> str | None:
        """The hook point at which the recipe's effect costs the least loss; None where none has that effect."""
        if self.layers is None or not self.layers["reached"].any():
            return None
        return str(self.layers[self.layers["reached"]]["hook_point"].iloc[0])

    def plot(self) -> Any:
        """Draw effect against loss, a line per edit along its strengths."""
        from sae_nb.figures import framed, line, theme

        looks = {
            RECIPE: (theme.PREDICTED, "circle", "solid"),
            SIMPLER: (theme.NOVEL, "diamond", "solid"),
            RANDOM: (theme.CONTROL, "x", theme.CONTROL_DASH),
        }
        means = self.table.groupby(["edit", "strength"], sort=True)[["loss", "effect", "kl"]].mean()
        figure = framed(
            (), x="loss added (nats per token)", y=f"change in {self.measure}", height=320
        )
        for name, (colour, symbol, dash) in looks.items():
            if name in means.index.get_level_values(0):
                rows = means.loc[name]
                hover = "strength %{customdata:.3g}: %{y:.3g} for %{x:.3g} nats"
                figure.add_trace(
                    line(
                        name,
                        rows["loss"],
                        rows["effect"],
                        colour=colour,
                        symbol=symbol,
                        dash=dash,
                        size=8,
                        hover=hover,
                        customdata=rows.index,
                    )
                )
        return figure

    @property
    def headline(self) -> str:
        """Effect and loss at the recipe's strength; of the controls at equal divergence."""
        first, *rest = self._summary()
        controls = [f"{what} {effect:+.3g} for {loss:.3g}" for what, effect, loss in rest]
        beside = f"; at equal KL: {', '.join(controls)}" if controls else ""
        found = "" if self.cheapest is None else f"; cheapest at {self.cheapest}"
        return (
            f"at {self.hook_point}: {self.measure} {first[1]:+.3g} for {first[2]:.3g} nats of "
            f"loss{beside}{found}; {self.n_texts} texts, {self.n_scored} tokens"
        )

    def _summary(self) -> Iterator[tuple[str, float, float]]:
        """Each edit at the strength nearest to the recipe's own."""
        strengths = self.table["strength"]
        own = self.table[strengths == strengths.iloc[(strengths - 1).abs().argmin()]]
        for name in (RECIPE, RANDOM, SIMPLER):
            rows = own[own["edit"] == name]
            if len(rows):
                yield name, float(rows["effect"].mean()), float(rows["loss"].mean())


@checked(leave=("recipe", "texts", "labels", "contrast"))
def steering_cost(
    model: LiveModel,
    recipe: Edit,
    texts: Any,
    *,
    measure: Measure | None = None,
    labels: Any = None,
    strengths: Sequence[float] | None = None,
    hook_points: Sequence[str] | None = None,
    contrast: tuple[Any, Any] | None = None,
    n_controls: Annotated[int, at_least(0)] = 2,
    seed: Seed = 0,
    max_runs: Count = 12,
    batch_size: int | None = None,
) -> SteeringCost:
    """Return what a steering does to a model's answers, and how much worse the model gets by it.

    Each strength is compared with random directions and with the difference of mean activations, both added
    where the recipe edits, as much as changes the answers by the same divergence: what has more effect at equal
    KL is worth its cost. With `hook_points`, the recipe's direction and the difference of means are also added
    at other places, as much as gives the recipe's effect, and ordered by loss.

    Parameters
    ----------
    recipe
        `steering.recipe` of `with sn.steer(…) as steering`.
    texts
        Texts that the recipe was not made on; for other models, their inputs with `labels`.
    measure
        A token id or class, of which the log-probability (of classes: the probability) is measured; or a
        function of scores (n, outcomes) that gives one number each. None: the outcome that the recipe raises
        most on every second text, measured on the others.
    labels
        A task instead of running text: the right outcome for each input, token ids or classes. Loss and effect
        are then those of the answer at its end.
    strengths
        Multiples of the recipe; None: a quarter, a half, once and twice where it adds a direction, else once.
    hook_points
        Where else to try the direction; needs a recipe that adds one, at places of the same width.
    contrast
        Texts that have what the recipe is about and texts that do not, whose means are compared. None: tokens
        of `texts` at which the recipe's atoms fire, and the others.
    n_controls, seed
        Random directions `random_direction(d_in, seed)` and following.
    max_runs
        Runs over all texts for each search of a strength, at most.

    Raises
    ------
    ValueError: If the model gives no scores, or the recipe changes nothing on these texts.

    Source
    ------
    Effect against what it breaks, at equal KL: ours, after snmf-mlp-decomposition (calibration to a KL) and
    AxBench, arXiv 2501.17148 (difference of means as the baseline to beat).

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    >>> with sn.steer(gpt, "resid_post.3", sae, atom=17, by=4.0) as steering:
    ...     recipe = steering.recipe
    >>> texts = sn.data.stories(4, seed=1).texts
    >>> cost = sn.steering_cost(gpt, recipe, texts, strengths=[1.0], n_controls=1)
    >>> cost.table["edit"].tolist()
    ['recipe', 'random direction', 'difference of means']
    """
    _check_recipe(model, recipe)
    added = _added(recipe)
    amounts = _check_multiples(strengths, added)
    places = _check_places(model, hook_points, added)
    if contrast is not None and not (isinstance(contrast, tuple | list) and len(contrast) == 2):
        raise TypeError(
            "`contrast` must be a pair, texts that have it and texts that have not, got "
            f"{type(contrast).__name__}."
        )
    texts = list(texts) if isinstance(texts, Iterator) else texts
    scores = _Scores(model, texts, labels, batch_size)
    scores.judge(measure, lambda: Active(model, recipe, "hooks"))
    means = _Means(model, recipe, texts, contrast, places)
    trial = _Trial(model, recipe, scores, max_runs)
    directions = [(RANDOM, random_direction(means.width, seed + i)) for i in range(n_controls)]
    simple = means.at(recipe.hook_point)
    directions += [] if simple is None else [(SIMPLER, simple)]
    import pandas as pd

    rows = trial.of_recipe(amounts, added)
    for name, direction in directions:
        rows += trial.at_equal_kl(name, direction, rows[: len(amounts)])
    layers = None
    if places:
        layers = pd.DataFrame(trial.at_equal_effect(cast(Tensor, added), means, places))
        layers = layers.sort_values(["reached", "loss"], ascending=[False, True], ignore_index=True)
    return SteeringCost(
        table=pd.DataFrame(rows),
        layers=layers,
        hook_point=str(recipe.hook_point),
        measure=scores.words,
        clean=scores.clean[0],
        clean_loss=scores.clean[1],
        n_texts=scores.n_samples,
        n_scored=scores.n_scored,
        simpler_is=means.words,
    )


# What is checked before anything runs


def _check_recipe(model: LiveModel, recipe: Any) -> None:
    if not isinstance(recipe, Edit) or not isinstance(recipe.edit, MaskedEdit):
        raise TypeError(
            "`recipe` must be `steering.recipe` of `with sn.steer(…) as steering`, got "
            f"{type(recipe).__name__}."
        )
    point = check_hook_point(model, recipe.hook_point)
    if point.place != recipe.hook_point.place:
        raise ValueError(
            f'`recipe` must be made on a model of this kind: there "{recipe.hook_point}" is '
            f'"{recipe.hook_point.path}", in {model.name} it is "{point.path}". Steer {model.name} once.'
        )


def _added(recipe: Edit) -> Float[Tensor, " d_in"] | None:
    """Return the vector that the recipe adds at every position it edits; None if that depends on the
    activation.
    """
    plain = recipe.edit.plain()
    if plain is None or plain[1] != 0:
        return None
    return plain[2] * plain[0].float()


def _check_multiples(
    strengths: Sequence[float] | None, added: Tensor | None
) -> Float[np.ndarray, " strengths"]:
    if strengths is None:
        strengths = (1.0,) if added is None else STRENGTHS
    amounts = np.asarray(strengths, dtype=np.float64).ravel()
    positive = len(amounts) > 0 and bool(((amounts > 0) & (amounts < np.inf)).all())
    if not positive or (added is None and set(amounts) != {1.0}):
        raise ValueError(
            f"`strengths` must be positive multiples of the recipe, and 1 where it does not add a direction, "
            f"got {amounts.tolist()}. Leave it out."
        )
    return amounts


def _check_places(
    model: LiveModel, hook_points: Sequence[str] | None, added: Tensor | None
) -> list[HookPoint]:
    if hook_points is None:
        return []
    if not hook_points:
        raise ValueError(
            f"`hook_points` must be a list of at least one hook point, got {hook_points!r}."
        )
    if added is None:
        raise ValueError(
            "`hook_points` needs a recipe that adds a direction, which can be added elsewhere, got one whose "
            'change depends on the activation. Use mode="add".'
        )
    what = "the recipe's direction"
    return [check_hook_point(model, name, width=len(added), what=what) for name in hook_points]


# -------------------------------------------------------------------------------------------------
# Scores of the same texts again and again.


class _Scores:
    """Loss, divergence and measure over the predicted tokens of some texts, or over the answers to a task."""

    def __init__(self, model: LiveModel, texts: Any, labels: Any, batch_size: int | None) -> None:
        self.model = model
        self._batches: list[Batch] = [
            batch.to(model.device) for batch in model.batches(texts, batch_size=batch_size)
        ]
        self.n_samples = sum(batch.n for batch in self._batches)
        self._labels: Int[Tensor, " n"] | None = None
        if labels is not None:
            self._labels = check_classes(labels)
            same_length(self._labels, self.n_samples, name="labels", per="input of `texts`")
        elif not (model.modality.is_text and model.causal):
            raise ValueError(
                f"`labels` must give the right outcome of each input for {model.name}, which does not predict "
                "its own next token, got None."
            )
        self._half: int | None = None
        self._kept: dict[int, Tensor] = {}
        self._n_kept = self.n_scored = 0
        self.words, self.clean = "", (0.0, 0.0)

    def judge(self, measure: Measure | None, edit: Callable[[], InForce]) -> None:
        """Choose what is measured, and take the clean numbers; refuse an edit that changes nothing."""
        if measure is None:
            measure = self._raised_most(edit)
        logits, _ = self._rows(self._batches[-1])
        self._measure, _, self.words = read_measure(measure, self.model, logits)
        _, *clean = self.under(nullcontext())
        self.clean = clean[0], clean[1]
        if not self.under(edit())[0] > 0:
            raise ValueError(
                "`recipe` must change the answers to these texts, and changes none. Are its positions and "
                "steps among the tokens of `texts`?"
            )

    def under(self, edit: InForce) -> tuple[float, float, float]:
        """Measure mean KL, measure and loss with an edit in force, in nats per token."""
        sums, count = np.zeros(3), 0
        for i, batch in enumerate(self._batches):
            clean = self._clean(i, batch)
            logits, targets = self._rows(batch, edit)
            parts_of = (torch.split(part, _ROWS) for part in (clean, logits, targets))
            for own, new, right in zip(*parts_of, strict=True):
                loss = -new.float().log_softmax(dim=-1).gather(1, right[:, None])
                parts = (kl(own, new), self._measure(new), loss)
                sums += [float(part.double().sum()) for part in parts]
            count += len(logits)
        self.n_scored = count
        divergence, value, loss_mean = (float(part) for part in sums / max(count, 1))
        return divergence, value, loss_mean

    def _rows(
        self, batch: Batch, edit: InForce | None = None
    ) -> tuple[Float[Tensor, "n outcomes"], Int[Tensor, " n"]]:
        """Logits of everything that is scored in a batch, and what would have been right."""
        # The lock keeps other threads' forward passes out of the edited stretch.
        with self.model.lock, edit or nullcontext(), torch.no_grad():
            answer = run(self.model, batch).answer
            output = answer.tensor
        if self._labels is None:
            where = batch.has_next()
            logits, ids = output[:, :-1][where], cast(Tensor, batch.token_ids)
            targets, sample = ids[:, 1:][where], batch.sample[:, :-1][where]
        else:
            logits, sample = answer.at_end, batch.sample.amax(dim=1)
            if logits.ndim != 2:
                raise ValueError(
                    f"`model` must answer with scores of outcomes, got an answer of shape "
                    f"{tuple(logits.shape)} from {self.model.name}."
                )
            targets = self._labels.to(logits.device)[sample]
        if len(targets) and int(targets.max()) >= logits.shape[-1]:
            raise ValueError(
                f"`labels` must be outcomes of {self.model.name}, 0 … {logits.shape[-1] - 1}, got "
                f"{int(targets.max())}."
            )
        own = slice(None) if self._half is None else sample % 2 == self._half
        return logits[own], targets[own]

    def _clean(self, i: int, batch: Batch) -> Float[Tensor, "n outcomes"]:
        """The answers without an edit, kept as far as there is room."""
        if i in self._kept:
            return self._kept[i]
        logits, _ = self._rows(batch)
        if self._n_kept + logits.numel() <= _KEPT:
            self._kept[i] = logits
            self._n_kept += logits.numel()
        return logits

    def _raised_most(self, edit: Callable[[], InForce]) -> int:
        """The outcome that an edit raises most, on every second input; from then on the others count."""
        several = self.n_samples > 1
        self._half = 0 if several else None
        raised: Tensor | float = 0.0
        for batch in self._batches:
            logits = [self._rows(batch, way)[0] for way in (edit(), None)]
            new, old = (part.float().log_softmax(dim=-1).double().sum(dim=0) for part in logits)
            raised = raised + (new - old)
        self._half = 1 if several else None
        return int(cast(Tensor, raised).argmax())


# -------------------------------------------------------------------------------------------------
# What the recipe is compared with.


class _Means:
    """Differences of mean activations: the simpler method, which needs no SAE."""

    def __init__(
        self,
        model: LiveModel,
        recipe: Edit,
        texts: Any,
        contrast: tuple[Any, Any] | None,
        places: Sequence[HookPoint],
    ) -> None:
        home = str(recipe.hook_point)
        names = list(dict.fromkeys([home, *map(str, places)]))
        acts = capture(model, texts, names, progress=False)
        x = acts[home].x.float().to(model.device)
        self.width = x.shape[1]
        moved = _mean_change(recipe, x)
        on, self.words = _with_it(recipe, acts[home], x, moved)
        if contrast is not None:
            parts = [capture(model, part, names, progress=False) for part in contrast]
            self.words = "texts of `contrast` that have it minus those that have not"
            found = {n: _mean(parts[0][n].x) - _mean(parts[1][n].x) for n in names}
        elif on is None:
            found = {}
        else:
            found = {n: _mean(acts[n].x[on]) - _mean(acts[n].x[~on]) for n in names}
        # In the sense of the recipe: taking an atom away is compared with taking the difference away.
        turned = bool(found) and moved is not None and float(moved.double() @ found[home]) < 0
        self._found = {name: -d if turned else d for name, d in found.items()}

    def at(self, point: str) -> Float[Tensor, " d_in"] | None:
        """Return the difference at a hook point; None if there is none."""
        found = self._found.get(str(point))
        usable = found is not None and bool(found.isfinite().all()) and bool(found.norm() > 0)
        return cast(Tensor, found).float() if usable else None


def _mean(x: Float[Tensor, "n d_in"]) -> Float[Tensor, " d_in"]:
    return x.double().mean(dim=0).cpu()


def _mean_change(recipe: Edit, x: Float[Tensor, "n d_in"]) -> Float[Tensor, " d_in"] | None:
    """Where the recipe moves activations to, on average; None where it has to see more than them."""
    edit = recipe.edit
    if edit.tap is not None or getattr(edit.change, "reads_sequences", False):
        return None
    with torch.no_grad():
        moved = (edit.change(x[None])[0].to(x) - x).mean(dim=0)
    return moved.cpu() if bool(moved.norm() > 0) else None


def _with_it(
    recipe: Edit, acts: Any, x: Float[Tensor, "n d_in"], moved: Tensor | None
) -> tuple[Tensor | None, str]:
    """Return a mask of the rows that the recipe is about, and its meaning in words."""
    sae: Any = getattr(recipe, "sae", None)
    atoms: Any = getattr(recipe, "atoms", None)
    if sae is not None and recipe.edit.tap is None and sae.d_in == x.shape[1]:
        with torch.no_grad():
            z = sae.encode(acts).of_atoms(atoms)
        on = (z != 0).any(dim=-1).cpu()
        if bool(on.any()) and not bool(on.all()):
            return on, "tokens at which the recipe's atoms fire minus the others"
    if moved is None:
        return None, "none: nothing says which tokens have it; pass contrast="
    along = x.cpu() @ moved
    on = along > along.quantile(_FAR)
    return (on if bool(on.any()) else None), "the tenth furthest along the recipe minus the others"


class _Trial:
    """Edits at the recipe's positions, by strength."""

    def __init__(self, model: LiveModel, recipe: Edit, scores: _Scores, max_runs: int) -> None:
        self._model, self._recipe, self._scores = model, recipe, scores
        self._max_runs = max_runs

    def of_recipe(
        self, amounts: Float[np.ndarray, " strengths"], added: Tensor | None
    ) -> list[dict[str, Any]]:
        """Return a row per strength."""
        rows = []
        for amount in amounts.tolist():
            edit = Active(self._model, self._recipe, "hooks")
            if added is not None and amount != 1:
                edit = self._adding(added, amount)
            norm = math.nan if added is None else amount * float(added.norm())
            rows.append(self._row(RECIPE, amount, norm, self._scores.under(edit), reached=True))
        return rows

    def at_equal_kl(
        self, name: str, direction: Float[Tensor, " d_in"], rows: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return a row per row of the recipe, with the amount of a direction that has the same KL."""
        made, guess, before = [], rows[0]["norm"], rows[0]["strength"]
        guess = guess if math.isfinite(guess) and guess > 0 else 1.0
        for own in rows:
            guess *= own["strength"] / before
            before = own["strength"]
            if own["kl"] > 0:
                norm, seen, reached = self._search(direction, guess, own["kl"], lambda s: s[0], 2.0)
                made.append(self._row(name, own["strength"], norm, seen, reached=reached))
                guess = norm
        return made

    def at_equal_effect(
        self, added: Float[Tensor, " d_in"], means: _Means, places: Sequence[HookPoint]
    ) -> list[dict[str, Any]]:
        """Return a row per hook point and direction, with the amount that has the recipe's effect."""
        clean = self._scores.clean[0]
        wanted = self._scores.under(Active(self._model, self._recipe, "hooks"))[1] - clean
        if wanted == 0:
            raise ValueError(
                f"`hook_points` needs a recipe that has an effect on the {self._scores.words}, got one with "
                "none. Pass another measure=."
            )
        rows = []
        for point in places:
            for name, direction in ((DIRECTION, added), (SIMPLER, means.at(point))):
                if direction is None:
                    continue
                norm, seen, reached = self._search(
                    direction,
                    float(added.norm()),
                    abs(wanted),
                    lambda s: math.copysign(1.0, wanted) * (s[1] - clean),
                    1.0,
                    point,
                )
                row = self._row(name, 1.0, norm, seen, reached=reached)
                rows.append({"hook_point": str(point), **row})
        return [{name: row[name] for name in row if name != "strength"} for row in rows]

    def _adding(
        self, direction: Float[Tensor, " d_in"], by: float, point: HookPoint | None = None
    ) -> Active:
        own = self._recipe.edit
        edit = MaskedEdit(own.positions, Along(direction, "add", by), at=own.at)
        recipe = Edit(hook_point=point or self._recipe.hook_point, edit=edit)
        return Active(self._model, recipe, "hooks")

    def _search(
        self,
        direction: Float[Tensor, " d_in"],
        guess: float,
        target: float,
        value: Callable[[tuple[float, float, float]], float],
        power: float,
        point: HookPoint | None = None,
    ) -> tuple[float, tuple[float, float, float], bool]:
        """The norm at which a value of the scores is the target, the scores there, and whether it is met."""
        unit = direction / direction.norm()
        seen: dict[float, tuple[float, float, float]] = {}

        def at(factor: float) -> float:
            seen[factor] = self._scores.under(self._adding(unit, factor * guess, point))
            return value(seen[factor])

        search = StrengthSearch(at, target, power=power)
        factor = search.find(self._max_runs, search.LARGEST / guess)
        return factor * guess, seen[factor], search.reached

    def _row(
        self, name: str, strength: float, norm: float, seen: Sequence[float], *, reached: bool
    ) -> dict[str, Any]:
        divergence, value, loss = seen
        clean, clean_loss = self._scores.clean
        return {
            "edit": name,
            "strength": strength,
            "norm": norm,
            "kl": divergence,
            "effect": value - clean,
            "loss": loss - clean_loss,
            "reached": reached,
        }
