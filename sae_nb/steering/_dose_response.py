"""The effect of steering on a model's answer, strength by strength, and the effect of random directions.

Effect(a) = mean over inputs of measure(output | x + a·d_j) − measure(output | x). The control adds
random unit directions with the same a, so both have the same norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import Count, Seed, answered, at_least, check_atom, checked
from sae_nb.findings import Finding, column
from sae_nb.models._answers import answering
from sae_nb.models._one_input import outcome_names
from sae_nb.steering._answers import Answers, log_odds
from sae_nb.steering._calibration import combined_direction
from sae_nb.steering._contexts import random_direction, steer
from sae_nb.steering._recipe import SteeringRecipe
from sae_nb.steering._request import check_amounts
from sae_nb.steering.edits import Where
from sae_nb.steering.modes import UNITS, Unit

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.codes import SparseCodes
    from sae_nb.models import LiveModel


Measure = Annotated[int, at_least(0)] | Callable[[Tensor], Tensor]
"""What is measured of answers: a class or token id, or a function of the outputs (n, …) to one number each."""


class DoseResponse(Finding):
    """Effect of one atom against strength, and that of random directions of the same norm."""

    hook_point: str
    atom: int
    strengths: Float[np.ndarray, " strengths"] = field(metadata=column("strength", index=True))
    """Multiples of the unit atom, in the model's units."""

    effect: Float[np.ndarray, " strengths"] = field(metadata=column())
    control: Float[np.ndarray, "controls strengths"]
    """Mean change of the measure over the inputs, by the atom and by each random direction."""

    kl: Float[np.ndarray, " strengths"] = field(metadata=column())
    control_kl: Float[np.ndarray, "controls strengths"]
    """KL(clean‖steered) of the answer in nats, for both; NaN if the outputs are not scores of classes."""

    clean: float
    """Mean of the measure without steering; `measure` describes it in words, on `n` inputs."""

    measure: str
    control_seeds: tuple[int, ...]
    """Seeds of the random directions: `random_direction(d_in, seed)`."""

    n: int
    name: str = ""
    """Of a direction in the atom's place."""

    @property
    def headline(self) -> str:
        """The curve, strength by strength."""
        points = zip(self.strengths, self.effect, strict=True)
        curve = ", ".join(f"{strength:.3g}: {effect:+.3g}" for strength, effect in points)
        what = self.name or f"atom {self.atom}"
        return (
            f"{what} at {self.hook_point}; change in {self.measure} by strength {{{curve}}}; "
            f"{len(self.control)} random controls; {self.n} inputs"
        )


class BestEffect(Finding):
    """The atom among some candidates that changes an answer most, and what random directions do."""

    hook_point: str
    atom: int
    amount: float
    """Multiple of the unit atom that was added."""

    effect: float
    control: Float[np.ndarray, " controls"]
    control_p95: float
    """Mean changes of the measure by the atom and by random directions of that amount; the 95th
    percentile of the latter's absolute values."""

    candidates: Int[np.ndarray, " candidates"] = field(metadata=column("atom"))
    """Atoms that were tried; then their effects."""

    effects: Float[np.ndarray, " candidates"] = field(metadata=column("effect"))
    clean: float
    """Mean of the measure without steering; `measure` describes it in words."""

    measure: str

    @property
    def headline(self) -> str:
        """The effect of the atom on the measure, and that of random directions."""
        return (
            f"atom {self.atom} at {self.hook_point}, amount {self.amount:.3g}: {self.measure} "
            f"{self.clean:.3g} → {self.clean + self.effect:.3g}; {len(self.control)} random directions of "
            f"that norm change it by at most ±{self.control_p95:.2g} in 95 % of cases"
        )


@checked
def dose_response(
    model: LiveModel,
    hook_point: str,
    sae: SparseAutoencoder,
    inputs: Inputs,
    atom: int,
    strengths: Sequence[float],
    *,
    measure: Measure | None = None,
    unit: Unit = "coefficient",
    acts: Activations | Tensor | SparseCodes | None = None,
    positions: Where = None,
    n_controls: Annotated[int, at_least(0)] = 8,
    seed: Seed = 0,
    batch_size: int | None = None,
) -> DoseResponse:
    """Return what adding an atom does to the model's answer, for several strengths.

    The other arguments are those of `steer`.

    Parameters
    ----------
    strengths
        Amounts of the unit atom that are added, in `unit`s; negative subtracts.
    measure
        A class, whose probability is measured; for decoders a token id, whose log-probability at the
        end of each text is; or a function of the outputs (language: those at the end of each text)
        that gives one number per sample. None takes the model's own answer to the first input: how
        far are all inputs drawn towards it? (Models without classes: the cosine with that output.)
    n_controls, seed
        Random directions `random_direction(d_in, seed)`, …,
        `random_direction(d_in, seed + n_controls − 1)`.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> head = torch.nn.Linear(4, 2, bias=False)
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity(), head))
    >>> sae = sn.TopK(d_in=4, n_atoms=8, k=2)
    >>> found = dose_response(
    ...     model, "0", sae, torch.zeros(1, 4), 3, [1.0, 2.0], measure=lambda logits: logits[:, 0]
    ... )
    >>> logit = float(head.weight[0].detach() @ sae.dictionary[3])
    >>> bool(abs(found.effect[1] - 2 * logit) < 1e-5), found.control.shape
    (True, (8, 2))
    """
    amounts = check_strengths(strengths)
    atom = check_atom(atom, sae.n_atoms)
    if UNITS[unit].measured:
        # `steer` names what is missing: an atom that never fires, or activations to measure on.
        size = steer(model, hook_point, sae, atom, 1.0, unit=unit, acts=acts).recipe.amount
        amounts = amounts * size
    effects = Effects(model, inputs, hook_point, measure, positions, batch_size)
    found = effects.response(unit_atom(sae, atom), amounts, atom, n_controls=n_controls, seed=seed)
    return replace(found, name=getattr(sae, "given_names", {}).get(atom, ""))


@checked
def best_effect(
    model: LiveModel,
    hook_point: str,
    sae: SparseAutoencoder,
    inputs: Inputs,
    by: float,
    *,
    measure: Measure | None = None,
    unit: Unit = "coefficient",
    acts: Activations | Tensor | SparseCodes | None = None,
    candidates: Sequence[int] | None = None,
    n_candidates: Count = 16,
    positions: Where = None,
    n_controls: Count = 8,
    seed: Seed = 0,
    batch_size: int | None = None,
) -> BestEffect:
    """Return the atom that, when added, changes an answer most, and what random directions do.

    The other arguments are those of `dose_response`.

    Parameters
    ----------
    by
        Amounts of each candidate's unit atom that are added, in `unit`s.
    candidates
        Atoms to try; None takes the `n_candidates` with the largest first-order effect
        |⟨d_j, ∂measure/∂x⟩| times the amount (for a class, of its log-odds).

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> head = torch.nn.Linear(4, 2, bias=False)
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity(), head))
    >>> sae = sn.TopK(d_in=4, n_atoms=8, k=2)
    >>> found = best_effect(
    ...     model, "0", sae, torch.zeros(1, 4), 2.0, measure=lambda logits: logits[:, 0]
    ... )
    >>> bool(found.atom == (sae.dictionary @ head.weight[0]).abs().argmax())
    True
    """
    amounts = np.full(sae.n_atoms, check_amounts(by, 1)[0])
    if candidates is not None:
        candidates = [check_atom(atom, sae.n_atoms, name="candidates") for atom in candidates]
        if not candidates:
            raise ValueError("`candidates` must name at least one atom, got none.")
    amounts *= UNITS[unit].sizes(sae, acts)
    run = Effects(model, inputs, hook_point, measure, positions, batch_size)
    tried = candidates or _first_order_best(run, sae, amounts, n_candidates)
    effects = np.array([run.of_adding(unit_atom(sae, atom), amounts[atom])[0] for atom in tried])
    best = int(np.argmax(np.abs(effects)))
    amount = float(amounts[tried[best]])
    control = np.array(
        [run.of_adding(random_direction(sae.d_in, seed + i), amount)[0] for i in range(n_controls)]
    )
    return BestEffect(
        hook_point=str(model.hook_point(hook_point)),
        atom=tried[best],
        amount=amount,
        effect=float(effects[best]),
        control=control,
        control_p95=float(np.quantile(np.abs(control), 0.95)),
        candidates=np.array(tried),
        effects=effects,
        clean=run.clean,
        measure=run.words,
    )


class Effects:
    """One number of every answer, and what adding a direction does to its mean."""

    def __init__(
        self,
        model: LiveModel,
        inputs: Inputs,
        hook_point: str,
        measure: Measure | None,
        positions: Where,
        batch_size: int | None = None,
    ) -> None:
        answers = Answers(model, inputs, hook_point, positions=positions, batch_size=batch_size)
        if measure is None:
            first = answers.clean[0]
            measure = int(first.argmax()) if answers.scored else _likeness(first)
        self._answers = answers
        self._measure, self._slope, self.words = read_measure(measure, model, answers.clean)
        self._clean = self._measure(answers.clean)
        self.clean = float(self._clean.double().mean())

    def of_adding(self, direction: Float[Tensor, " d_in"], by: float) -> tuple[float, float]:
        """Return the mean change of the measure, and KL(clean‖steered)."""
        outputs = self._answers.add(direction, by)
        change = float((self._measure(outputs) - self._clean).double().mean())
        return change, float(self._answers.kl(outputs).mean())

    def response(
        self,
        direction: Float[Tensor, " d_in"],
        strengths: Float[np.ndarray, " strengths"],
        atom: int,
        *,
        n_controls: int,
        seed: int,
    ) -> DoseResponse:
        """Return what several strengths of a unit direction do, and of random ones."""
        seeds = tuple(range(seed, seed + n_controls))
        drawn = [random_direction(len(direction), s) for s in seeds]
        both = np.array([[self.of_adding(u, a) for a in strengths] for u in (direction, *drawn)])
        return DoseResponse(
            hook_point=str(self._answers.model.hook_point(self._answers.hook_point)),
            atom=atom,
            strengths=strengths,
            effect=both[0, :, 0],
            control=both[1:, :, 0],
            kl=both[0, :, 1],
            control_kl=both[1:, :, 1],
            clean=self.clean,
            measure=self.words,
            control_seeds=seeds,
            n=self._answers.n,
        )

    def gradient(self, d_in: int) -> Float[Tensor, " d_in"]:
        """Return how fast the measures of all answers together grow along each dimension of the activation.

        Of a class, its log-odds: a confident model's probabilities are flat and would point nowhere.
        """
        probe = torch.zeros(d_in, device=self._answers.model.device, requires_grad=True)
        total = torch.zeros_like(probe)
        for batch in self._answers.batches:
            with torch.enable_grad():
                outputs = self._answers.with_graph(batch, lambda x: x + probe.to(x))
                (slope,) = torch.autograd.grad(self._slope(outputs).sum(), probe)
            total = total + slope
        return total.detach()


def unit_atom(sae: SparseAutoencoder, atom: int) -> Float[Tensor, " d_in"]:
    """Return an atom at length 1: what "add" adds."""
    return torch.nn.functional.normalize(sae.dictionary[atom].detach().float(), dim=0)


def _likeness(first: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the measure of models without classes: cosine with the first input's output."""
    target = first.float().flatten()

    def cosine_with_first_output(outputs: Tensor) -> Tensor:
        return torch.nn.functional.cosine_similarity(
            outputs.float().flatten(1), target.to(outputs.device), dim=-1
        )

    return cosine_with_first_output


def read_measure(
    measure: Measure, model: LiveModel, outputs: Tensor
) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], str]:
    """Return what is measured of outputs (n, …), one number each; what its slope is taken of; and its name.

    A token's log-probability or a class's probability, whose slopes are of its log-odds; or a function itself.

    Raises
    ------
    ValueError: If the outputs have no such class or token.
    """
    if callable(measure):
        asked = partial(answered, measure, name="measure")
        return asked, asked, getattr(measure, "__name__", "measure").replace("_", " ")
    if outputs.ndim != 2 or measure >= outputs.shape[1]:
        raise ValueError(
            f"`measure` must be one of the model's {outputs.shape[-1]} classes or tokens, got "
            f"{measure} for an output of shape {tuple(outputs.shape)}. Pass a function instead."
        )
    slope = partial(log_odds, targets=measure)
    if model.modality.is_text:
        token = model.tokenizer.decode([measure]) if model.tokenizer is not None else measure
        words = f"log-probability of {token!r} next"
        return lambda out: out.float().log_softmax(dim=-1)[:, measure], slope, words
    names = model.class_names or ()
    words = f"probability of class {names[measure] if measure < len(names) else measure}"
    return lambda out: out.float().softmax(dim=-1)[:, measure], slope, words


def check_strengths(strengths: Sequence[float]) -> Float[np.ndarray, " strengths"]:
    """Return strengths as an array, if there is one at least and all are finite."""
    numbers = np.asarray(strengths, dtype=np.float64).ravel()
    if len(numbers) == 0 or not np.isfinite(numbers).all():
        raise ValueError(f"`strengths` must be finite numbers, at least one, got {strengths}.")
    return numbers


def _first_order_best(
    run: Effects, sae: SparseAutoencoder, amounts: Float[np.ndarray, " n_atoms"], n: int
) -> list[int]:
    unit_rows = torch.nn.functional.normalize(sae.dictionary.detach().float(), dim=1)
    first_order = (unit_rows @ run.gradient(sae.d_in).to(unit_rows)).cpu().numpy() * amounts
    if not first_order.any():  # at a maximum, such as the cosine of one input with itself
        first_order = amounts
    return [int(atom) for atom in np.argsort(-np.abs(first_order), kind="stable")[:n]]


# -------------------------------------------------------------------------------------------------
# The same of a recipe, and of the atom that is most like the recipe's own.


@dataclass(frozen=True, kw_only=True, eq=False)
class SteeringCurve:
    """Effect and cost of an atom against its strength, with its nearest atom and random directions."""

    recipe: SteeringRecipe
    """The request; its strength is where the curve started."""

    strengths: Float[np.ndarray, " strengths"]
    """In the recipe's units."""

    response: DoseResponse
    """Effect and KL of the atom and of random directions."""

    nearest_atom: int
    """The other atom with the largest cosine to it."""

    nearest_cosine: float
    nearest_effect: Float[np.ndarray, " strengths"]
    """Effect of that atom, added with the same coefficients."""

    target_name: str


def summarise_dose_response(
    model: LiveModel,
    inputs: Inputs,
    sae: SparseAutoencoder,
    recipe: SteeringRecipe,
    strengths: Sequence[float],
    target: int,
    *,
    n_controls: int = 8,
) -> SteeringCurve:
    """Measure the effect on one outcome and the cost by strength, with nearest atom and random directions.

    The atom is added, whatever the recipe's mode; where atoms are combined, the others are scaled in
    proportion to it, and nearest atom and random directions have the norm of the whole.

    `target`: Class or token whose probability (tokens: log-probability) is measured.
    """
    model = answering(model, recipe.head)
    checked = check_strengths(strengths)
    if recipe.others:
        mixture = _mixture(sae, recipe)
        unit, size = mixture / mixture.norm(), float(mixture.norm())
        nearest, cosine = nearest_to(sae, mixture, recipe.atoms)
    else:
        unit, size = unit_atom(sae, recipe.atom), recipe.unit_size
        nearest, cosine = nearest_atom(sae, recipe.atom)
    amounts, neighbour = size * checked, unit_atom(sae, nearest)
    run = Effects(model, inputs, recipe.hook_point, target, recipe.positions)
    return SteeringCurve(
        recipe=recipe,
        strengths=checked,
        response=run.response(unit, amounts, recipe.atom, n_controls=n_controls, seed=recipe.seed),
        nearest_atom=nearest,
        nearest_cosine=cosine,
        nearest_effect=np.array([run.of_adding(neighbour, amount)[0] for amount in amounts]),
        target_name=outcome_names(model, [target])[0],
    )


def nearest_atom(sae: SparseAutoencoder, atom: int) -> tuple[int, float]:
    """Return the other atom with the largest cosine to `atom`, and the cosine."""
    return nearest_to(sae, sae.dictionary[atom].detach().float(), (atom,))


def nearest_to(
    sae: SparseAutoencoder, direction: Float[Tensor, " d_in"], besides: Sequence[int]
) -> tuple[int, float]:
    """Return the atom with the largest cosine to a direction, and the cosine."""
    rows = torch.nn.functional.normalize(sae.dictionary.detach().float(), dim=1)
    cosine = rows @ torch.nn.functional.normalize(direction.to(rows), dim=0)
    cosine[list(besides)] = -torch.inf
    best = int(cosine.argmax())
    return best, float(cosine[best])


def _mixture(sae: SparseAutoencoder, recipe: SteeringRecipe) -> Float[Tensor, " d_in"]:
    """Return what one unit of the recipe's strength adds, the other atoms in proportion."""
    if not recipe.strength:
        raise ValueError(
            f"`strength` of atom {recipe.atom} must not be 0 where atoms are combined: the others are "
            "scaled with it. Set one, or take the others away."
        )
    return combined_direction(
        sae, recipe.atoms, [amount / recipe.strength for amount in recipe.amounts]
    )
