"""What steering does to a model's answer, strength by strength, with random directions beside it.

Effect(a) = mean over inputs of measure(output | x + a·d_j) − measure(output | x). The control adds
random unit directions with the same a, so both have the same norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_atom, check_count
from sae_nb.edits import Where
from sae_nb.steering import random_direction, splice, steer
from sae_nb.steering_request import UNITS, Unit, check_choice
from sae_nb.strengths import strength_p99

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures.base import SparseAutoencoder
    from sae_nb.codes import SparseCodes
    from sae_nb.models.inputs import Batch
    from sae_nb.models.live_model import LiveModel

Measure = int | Callable[[Tensor], Tensor]
"""A class or token id, or a function of the outputs (n, …) that gives one number per sample."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DoseResponse:
    """Effect of one atom against strength, and that of random directions of the same norm."""

    hook_point: str
    """Where it is added."""

    atom: int
    """Which."""

    strengths: Float[np.ndarray, " strengths"]
    """Multiples of the unit atom, in the model's units."""

    effect: Float[np.ndarray, " strengths"]
    """Mean change of the measure over the inputs."""

    control: Float[np.ndarray, "controls strengths"]
    """The same for each random direction."""

    kl: Float[np.ndarray, " strengths"]
    """KL(clean‖steered) of the answer in nats; NaN where the outputs are no scores of classes."""

    control_kl: Float[np.ndarray, "controls strengths"]
    """The same for each random direction."""

    clean: float
    """Mean of the measure without steering."""

    measure: str
    """What is measured, in words."""

    control_seeds: tuple[int, ...]
    """Seeds of the random directions: `random_direction(d_in, seed)`."""

    n: int
    """Inputs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BestEffect:
    """The atom among some candidates that changes an answer most, beside random directions."""

    hook_point: str
    """Where."""

    atom: int
    """Which."""

    amount: float
    """Multiple of the unit atom that was added."""

    effect: float
    """Mean change of the measure."""

    control: Float[np.ndarray, " controls"]
    """Effects of random directions added with that same amount."""

    control_p95: float
    """95th percentile of their absolute effects."""

    candidates: Int[np.ndarray, " candidates"]
    """Atoms that were tried."""

    effects: Float[np.ndarray, " candidates"]
    """Their effects."""

    clean: float
    """Mean of the measure without steering."""

    measure: str
    """What is measured, in words."""


def dose_response(
    model: LiveModel,
    inputs: Any,
    hook_point: str,
    sae: SparseAutoencoder,
    atom: int,
    strengths: Sequence[float],
    *,
    measure: Measure | None = None,
    unit: Unit = "coefficient",
    acts: Activations | Tensor | SparseCodes | None = None,
    positions: Where = None,
    n_controls: int = 8,
    seed: int = 0,
    batch_size: int | None = None,
) -> DoseResponse:
    """Return what adding an atom does to the model's answer, for several strengths.

    Parameters
    ----------
    model, hook_point, sae, atom
        As for `steer`.
    inputs
        What the model reads: one or several.
    strengths
        How much of the unit atom is added, in `unit`s; negative subtracts.
    measure
        A class, whose probability is measured; for decoders a token id, whose log-probability at the
        end of each text is; or a function of the outputs (language: those at the end of each text)
        that gives one number per sample. None takes the model's own answer to the first input: how
        far are all inputs drawn towards it? (Models without classes: the cosine with that output.)
    unit, acts
        As for `steer`.
    positions
        Where it is added.
    n_controls
        Random directions.
    seed
        They are `random_direction(d_in, seed)`, …, `random_direction(d_in, seed + n_controls − 1)`.
    batch_size
        Inputs per forward pass.

    Returns
    -------
    DoseResponse
        A record of plain arrays.

    Raises
    ------
    ValueError, TypeError, IndexError
        If an argument does not fit, before the model runs.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> head = torch.nn.Linear(4, 2, bias=False)
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity(), head))
    >>> sae = sn.TopK(d_in=4, n_atoms=8, k=2)
    >>> found = dose_response(
    ...     model, torch.zeros(1, 4), "0", sae, 3, [1.0, 2.0], measure=lambda logits: logits[:, 0]
    ... )
    >>> logit = float(head.weight[0].detach() @ sae.dictionary[3])
    >>> bool(abs(found.effect[1] - 2 * logit) < 1e-5), found.control.shape
    (True, (8, 2))
    """
    given = np.asarray(strengths, dtype=np.float64).reshape(-1)
    if len(given) == 0 or not np.isfinite(given).all():
        raise ValueError(f"`strengths` must be finite numbers, at least one, got {strengths}.")
    check_count(n_controls, name="n_controls", at_least=0)
    check_choice("unit", unit, UNITS)
    atom = check_atom(atom, sae.n_atoms)
    if unit == "p99":
        # `steer` names what is missing: an atom that never fires, or activations to measure on.
        given = given * steer(model, hook_point, sae, atom, 1.0, unit=unit, acts=acts).recipe.amount
    run = _Answers(model, inputs, hook_point, measure, positions, batch_size)
    curve = [run.effect(_row(sae, atom), amount) for amount in given]
    seeds = tuple(range(seed, seed + n_controls))
    controls = np.array(
        [[run.effect(random_direction(sae.d_in, s), a) for a in given] for s in seeds]
    ).reshape(n_controls, len(given), 2)
    effect, kl = np.array(curve).T
    return DoseResponse(
        hook_point=str(model.hook_point(hook_point)),
        atom=atom,
        strengths=given,
        effect=effect,
        control=controls[..., 0],
        kl=kl,
        control_kl=controls[..., 1],
        clean=run.clean,
        measure=run.words,
        control_seeds=seeds,
        n=run.n,
    )


def best_effect(
    model: LiveModel,
    inputs: Any,
    hook_point: str,
    sae: SparseAutoencoder,
    by: float,
    *,
    measure: Measure | None = None,
    unit: Unit = "coefficient",
    acts: Activations | Tensor | SparseCodes | None = None,
    candidates: Sequence[int] | None = None,
    n_candidates: int = 16,
    positions: Where = None,
    n_controls: int = 8,
    seed: int = 0,
    batch_size: int | None = None,
) -> BestEffect:
    """Return the atom that, when added, changes an answer most, and what random directions do.

    Parameters
    ----------
    model, inputs, hook_point, sae, measure, unit, acts, positions, n_controls, seed, batch_size
        As for `dose_response`.
    by
        How much of each candidate's unit atom is added, in `unit`s.
    candidates
        Atoms to try; None takes the `n_candidates` with the largest first-order effect
        |⟨d_j, ∂measure/∂x⟩| times the amount (for a class, of its log-odds).
    n_candidates
        How many.

    Returns
    -------
    BestEffect
        The winner, its random control, and every candidate's effect.

    Raises
    ------
    ValueError, TypeError, IndexError
        If an argument does not fit, before the model runs.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> head = torch.nn.Linear(4, 2, bias=False)
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity(), head))
    >>> sae = sn.TopK(d_in=4, n_atoms=8, k=2)
    >>> found = best_effect(
    ...     model, torch.zeros(1, 4), "0", sae, 2.0, measure=lambda logits: logits[:, 0]
    ... )
    >>> bool(found.atom == (sae.dictionary @ head.weight[0]).abs().argmax())
    True
    """
    check_choice("unit", unit, UNITS)
    check_count(n_candidates, name="n_candidates")
    check_count(n_controls, name="n_controls")
    amounts = np.full(sae.n_atoms, float(by))
    if unit == "p99":
        amounts *= strength_p99(sae, acts)
    run = _Answers(model, inputs, hook_point, measure, positions, batch_size)
    tried = _candidates(run, sae, amounts, candidates, n_candidates)
    effects = np.array([run.effect(_row(sae, atom), amounts[atom])[0] for atom in tried])
    best = int(np.argmax(np.abs(effects)))
    amount = float(amounts[tried[best]])
    control = np.array(
        [run.effect(random_direction(sae.d_in, seed + i), amount)[0] for i in range(n_controls)]
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


def _row(sae: SparseAutoencoder, atom: int) -> Float[Tensor, " d_in"]:
    return torch.nn.functional.normalize(sae.dictionary[atom].detach().float(), dim=0)


def _candidates(
    run: _Answers,
    sae: SparseAutoencoder,
    amounts: Float[np.ndarray, " n_atoms"],
    candidates: Sequence[int] | None,
    n_candidates: int,
) -> list[int]:
    if candidates is not None:
        chosen = [check_atom(atom, sae.n_atoms, name="candidates") for atom in candidates]
        if not chosen:
            raise ValueError("`candidates` must name at least one atom, got none.")
        return chosen
    unit_rows = torch.nn.functional.normalize(sae.dictionary.detach().float(), dim=1)
    first_order = (unit_rows @ run.gradient(sae.d_in).to(unit_rows)).cpu().numpy() * amounts
    return [int(atom) for atom in np.argsort(-np.abs(first_order), kind="stable")[:n_candidates]]


class _Answers:
    """Runs the same inputs again and again, and compares each answer with the clean one."""

    def __init__(
        self,
        model: LiveModel,
        inputs: Any,
        hook_point: str,
        measure: Measure | None,
        positions: Where,
        batch_size: int | None,
    ) -> None:
        self._model, self._point, self._positions = model, hook_point, positions
        if measure is not None:
            self._measure, self.words = _named(measure, model)
        self._graded = self._measure if callable(measure) else partial(_log_odds, measure)
        # Everything about the edit is checked here, before the first forward pass.
        splice(model, hook_point, torch.zeros_like, positions)
        self._batches = list(model.batches(inputs, batch_size=batch_size))
        self.n = sum(batch.n for batch in self._batches)
        outputs = self._run(nullcontext())
        self._has_scores = model.class_names is not None or (
            model.kind == "language" and model.causal
        )
        self._has_scores &= outputs.ndim == 2
        if measure is None:
            measure = int(outputs[0].argmax()) if self._has_scores else _likeness(outputs[0])
            self._measure, self.words = _named(measure, model)
        self._graded = self._measure if callable(measure) else partial(_log_odds, measure)
        _check_class(measure, outputs)
        self._clean = self._measure(outputs)
        self._log_p = outputs.float().log_softmax(dim=-1) if self._has_scores else None
        self.clean = float(self._clean.double().mean())

    def effect(self, direction: Float[Tensor, " d_in"], amount: float) -> tuple[float, float]:
        """Return the mean change of the measure, and KL(clean‖steered)."""
        outputs = self._run(
            steer(
                self._model,
                self._point,
                direction=direction,
                by=float(amount),
                positions=self._positions,
            )
        )
        change = float((self._measure(outputs) - self._clean).double().mean())
        if self._log_p is None:
            return change, float("nan")
        steered = outputs.float().log_softmax(dim=-1)
        kl = (self._log_p.exp() * (self._log_p - steered)).sum(dim=-1)
        return change, float(kl.double().mean())

    def gradient(self, d_in: int) -> Float[Tensor, " d_in"]:
        """Return how fast the measure grows along each dimension of the activation.

        Of a class, its log-odds: a confident model's probabilities are flat and would point nowhere.
        """
        device = self._model.device
        total = torch.zeros(d_in, device=device)
        probe = torch.zeros(d_in, device=device, requires_grad=True)
        for batch in self._batches:
            edit = splice(self._model, self._point, lambda x: x + probe.to(x), self._positions)
            with self._model.lock, edit:
                raw = self._model.forward(batch, grad=True)
            outputs = _at_the_end(self._model.main_output(raw), batch)
            (slope,) = torch.autograd.grad(self._graded(outputs).sum(), probe)
            total += slope
        return total / self.n

    def _run(self, edit: AbstractContextManager[Any]) -> Tensor:
        # The lock keeps other threads' forward passes out of the steered stretch.
        with self._model.lock, edit:
            outputs = [
                _at_the_end(self._model.main_output(self._model.forward(batch)), batch)
                for batch in self._batches
            ]
        return torch.cat(outputs)


def _at_the_end(output: Tensor, batch: Batch) -> Tensor:
    """Return the answer at each text's last token; anything that is not per token as it is."""
    keep = batch.keep
    if keep is None or output.ndim < 3 or output.shape[:2] != keep.shape:
        return output
    last = (keep.sum(dim=1) - 1).to(output.device)
    return output[torch.arange(len(output), device=output.device), last]


def _likeness(first: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the measure of models without classes: cosine with the first input's output."""
    target = first.float().flatten()

    def cosine_with_first_output(outputs: Tensor) -> Tensor:
        return torch.nn.functional.cosine_similarity(
            outputs.float().flatten(1), target.to(outputs.device), dim=-1
        )

    return cosine_with_first_output


def _named(measure: Measure, model: LiveModel) -> tuple[Callable[[Tensor], Tensor], str]:
    if callable(measure):
        return measure, getattr(measure, "__name__", "measure")
    if isinstance(measure, bool) or not isinstance(measure, int) or measure < 0:
        raise TypeError(
            f"`measure` must be a class, a token id, or a function of the outputs, got {measure!r}."
        )
    if model.kind == "language":
        token = model.tokenizer.decode([measure]) if model.tokenizer is not None else measure
        return (
            lambda outputs: outputs.float().log_softmax(dim=-1)[:, measure],
            f"log-probability of {token!r} next",
        )
    names = model.class_names
    name = names[measure] if names is not None and measure < len(names) else measure
    return (
        lambda outputs: outputs.float().softmax(dim=-1)[:, measure],
        f"probability of class {name}",
    )


def _log_odds(target: int, outputs: Float[Tensor, "n classes"]) -> Float[Tensor, " n"]:
    others = outputs.float().clone()
    others[:, target] = -torch.inf
    return outputs.float()[:, target] - others.logsumexp(dim=-1)


def _check_class(measure: Measure, outputs: Tensor) -> None:
    if callable(measure):
        return
    if outputs.ndim != 2 or measure >= outputs.shape[1]:
        raise ValueError(
            f"`measure` must be one of the model's {outputs.shape[-1]} classes or tokens, got "
            f"{measure} for an output of shape {tuple(outputs.shape)}. Pass a function instead."
        )
