"""The common parts of SAEs whose encoder is one step: a learned adjoint, its start, and how dead atoms
return.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from sae_nb.architectures._base import SparseAutoencoder
from sae_nb.architectures._initialisation import Directions
from sae_nb.architectures._recipe import LossTerms, Silence, TrainingDefaults, TrainingLoss
from sae_nb.architectures._revival import (
    REVIVALS,
    AtomRows,
    Dead,
    Masked,
    Revival,
    as_directions,
    as_long_as_others,
    reaching,
)
from sae_nb.architectures.parts._operators import DenseOperator, LearnedAdjoint, MatrixOperator
from sae_nb.architectures.parts._proxes import Centre, Penalty, Prox, Rows, ThresholdProx, affine
from sae_nb.checks import Count, OneOf, Weight, check_k
from sae_nb.codes import SparseCodes
from sae_nb.kernels import batch_topk_encode, nested_squared_error
from sae_nb.kernels._backends import takes_triton, training_step

TURN_PER_STEP = 0.08
"""Radians an atom may turn in one Adam step. Ours: best of 0.008 … 0.3 at 300–400 steps of 2048 rows
on a vision transformer (d_in 64, 1024 atoms), SmolLM2-135M (576, 2048) and planted data."""


@dataclass(eq=False, repr=False)
class OneStep(SparseAutoencoder):
    """z = prox((x − b)Eᵀ + a),  x̂ = zD + b, with ‖d_j‖ = 1: one ISTA step with a learned adjoint E.

    Trained on ‖x − x̂‖² / E‖x − μ‖² plus terms of its own (`_terms`) plus α·AuxK. A subclass declares
    its settings as fields, checks them in `__post_init__`, chooses the prox (`_prox`), and may replace
    how codes are made or compared with x.
    """

    d_in: Count
    n_atoms: Count
    _: KW_ONLY
    aux_k: int | None = None
    aux_weight: Weight = 1 / 32
    revival: Annotated[Literal["auxk", "push-up", "resample"], OneOf(REVIVALS)] = "auxk"
    generator: torch.Generator | None = None

    live_numbers: ClassVar[tuple[str, ...]] = ("aux_weight",)

    resampled_length: ClassVar[float] = 1.0
    """Length of a resampled encoder row, as a share of the others' mean. Ours: where atoms compete for k
    places, a short row never wins one, and dies again."""

    def __post_init__(self) -> None:
        if self.aux_k is None:
            self.aux_k = max(1, min(self.d_in // 2, self.n_atoms))
        check_k(self.aux_k, self.n_atoms, name="aux_k")
        super().__init__(self._new_operator(), self.d_in)
        self.encoder = self._new_encoder()
        self.generator = None  # what it draws is drawn

    def recipe(self) -> TrainingDefaults:
        """Return defaults for training, made for hundreds to thousands of steps.

        Entries of a unit atom are about 1/√d_in and Adam moves each by one learning rate, so
        0.08 / √d_in turns an atom by 0.08 radians. The published 2e-4·(n_atoms / 2¹⁴)^−½
        (dictionary_learning, sparsify) suits runs a hundred times as long.
        """
        return TrainingDefaults(learning_rate=TURN_PER_STEP / math.sqrt(self.d_in))

    def training_loss(
        self, x: Rows, silent_tokens: Silence, dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Return unexplained share of variance, the terms of this architecture, and AuxK once atoms are
        dead.
        """
        x, target = self.split(x)
        with training_step() if self.has_one_shape else nullcontext():
            candidates = self._candidates(x)
            codes = self._strengths(candidates)
            left = self._left_for_atoms(x, target)
            parts, x_hat, residual = self._reconstruction(left, codes)
            parts |= self._terms(left, candidates, codes, step_fraction)
            self._revive(parts, x, residual, silent_tokens, dead_after, step_fraction)
        return TrainingLoss.of(parts, codes, x_hat if left is target else target - residual)

    @property
    def has_one_shape(self) -> bool:
        """Whether a training step has one shape here and asks the host nothing: on a card with Triton."""
        return self.fixed_codes and takes_triton(self.pre_bias)

    def _revive(
        self,
        parts: LossTerms,
        x: Rows,
        residual: Tensor,
        silent_tokens: Silence,
        dead_after: int,
        step_fraction: float,
        find: Callable[[Tensor], Dead] = Dead,
    ) -> None:
        """Mark dead atoms for resampling, or add the term of the loss that brings them back."""
        way = self._way_back
        if way.resamples:
            self._free_atoms()
            left = self.operator.counted(residual)
            when = (silent_tokens, dead_after, step_fraction)
            self.to_resample = way.marked(left, *when, masked=self.has_one_shape)
        else:
            term = self._auxiliary(x, residual, self._to_revive(silent_tokens >= dead_after), find)
            parts["auxiliary"] = (self.aux_weight * way.weight(step_fraction), term)

    # For subclasses

    def _check_reaches(self, why: str, do: str = "Leave it out.") -> None:
        """Refuse a revival that resets atoms, for a kind of SAE whose atoms must not be."""
        if self._way_back.resamples:
            raise ValueError(
                f"`revival` must be {reaching()} for {type(self).__name__}, whose {why}, got "
                f"{self.revival!r}. {do}"
            )

    def _to_revive(self, is_dead: Bool[Tensor, " n_atoms"]) -> Bool[Tensor, " n_atoms"]:
        """Return the atoms that the term for dead atoms is to reach."""
        return is_dead

    @property
    def _way_back(self) -> Revival:
        return REVIVALS[self.revival]

    def _new_operator(self) -> MatrixOperator:
        """Return the operator that holds the dictionary."""
        return DenseOperator(self.d_in, self.n_atoms, generator=self.generator)

    def _new_encoder(self) -> LearnedAdjoint:
        """Return the encoder: it begins as the dictionary."""
        return LearnedAdjoint(self.operator)

    def _seen(self, x: Rows) -> tuple[Rows, Centre]:
        """Return the encoder's input, in the units of the target, and the centre that is subtracted first."""
        return x, self.bias

    def _left_for_atoms(self, x: Rows, target: Rows) -> Rows:
        """Return what of the target the atoms are to reconstruct."""
        return target

    def over_atoms(self, number: Tensor) -> Tensor:
        """Return a sum over the atoms here as a sum over all; a shard of a training adds other workers'
        atoms.
        """
        return number

    def _prox(self, k: int | None) -> Prox:
        """Return the prox that makes codes of pre-codes, with another k if one was asked for."""
        raise NotImplementedError

    def _start_at(self, atoms: Directions) -> None:
        """Set the dictionary; the encoder begins at its atoms."""
        super()._start_at(atoms)
        self.encoder.start_from_(atoms)

    def _fit_encoder(self, rows: Rows) -> None:
        """Read thresholds and the encoder's gain off the first training rows."""
        x, target = self.split(rows)
        self._begin(x)
        codes = self._strengths(self._candidates(x))
        left = self._left_for_atoms(x, target) - self.bias
        self._aim(codes, left)
        self._fit_gain(codes, left)

    def _fit_gain(self, codes: SparseCodes, left: Rows) -> None:
        """Multiply pre-codes by the number with which codes best explain what is left, in one scale."""
        counted = self.operator.counted
        x_hat = self.over_atoms(self.operator.synthesise(codes))
        self._rescale(best_gain(counted(left), counted(x_hat)))

    def _begin(self, x: Rows) -> None:
        """Read thresholds off the first activations, before the gain is."""

    def _highest(self, x: Rows, per_row: float) -> Float[Tensor, " n"]:
        """Return the highest pre-codes of an untrained encoder, `per_row` of them per row on average."""
        seen, centre = self._seen(x)
        return batch_topk_encode(seen, self.encoder.weight, k=per_row, centre=centre).values

    @torch.no_grad()
    def _first_threshold(self, x: Rows, per_row: float) -> Float[Tensor, ""]:
        """Return the threshold above which an untrained encoder has `per_row` pre-codes per row."""
        kept = self._highest(x, per_row)
        if not len(kept):
            return x.new_zeros(())
        more = self._highest(x, min((len(kept) + 1) / len(x), self.n_atoms))
        left_out = more.min() if len(more) > len(kept) else x.new_zeros(())
        width = self.encoder.weight.shape[1]
        return between(kept.min(), left_out, below(kept.min(), kept.max(), width))

    def _aim(self, codes: SparseCodes, left: Rows) -> None:
        """Turn the atoms to what the first codes are about; those of an SAE are their encoder's."""

    def _rescale(self, gain: float) -> None:
        """Multiply pre-codes, and what they are compared with, by one number."""
        self.encoder.rescale_(gain)

    def _encode(self, x: Rows, k: int | None) -> SparseCodes:
        return self._prox(k).of_affine(*self._affine(x))

    def dense_codes(self, x: Rows) -> Tensor:
        """Return the codes of rows as a matrix, by plain torch operations alone: what can be exported.

        Raises
        ------
        NotImplementedError: If the rule that chooses codes looks at several rows at once.
        """
        prox = self._prox(None)
        if not isinstance(prox, Penalty | ThresholdProx):
            raise NotImplementedError(
                f"Codes must be chosen row by row to be written densely, got {type(prox).__name__}. "
                "Use encode(x)."
            )
        return prox.dense(affine(*self._affine(x)))

    def _candidates(self, x: Rows) -> SparseCodes:
        """Entries of a batch that the loss may look at."""
        return self._encode(x, getattr(self, "k", None))

    def _strengths(self, candidates: SparseCodes) -> SparseCodes:
        """Codes of a batch: the candidates with their strengths, zero where one is not used."""
        return candidates

    def _reconstruction(self, target: Rows, codes: SparseCodes) -> tuple[LossTerms, Tensor, Tensor]:
        """Unexplained share of variance, with x̂ and what it leaves of the target as constants."""
        error, x_hat, residual = self.operator.squared_error(codes, self.bias, target)
        return {"reconstruction": (1.0, self._share(error, len(target)))}, x_hat, residual

    def _nested_reconstruction(
        self, target: Rows, codes: SparseCodes, widths: tuple[int, ...] | Tensor
    ) -> tuple[LossTerms, Tensor, Tensor]:
        """The same as the mean over prefixes of the dictionary, the first m_1 atoms, the first m_2, …, all."""
        errors, x_hat, residual = nested_squared_error(
            codes, self.operator.atoms(), self.bias, target, widths=widths
        )
        shares = self._share(errors, len(target))
        parts: LossTerms = {"reconstruction": (1 / len(widths), shares[-1])}
        if len(widths) > 1:
            parts["prefixes"] = (1 - 1 / len(widths), shares[:-1].mean())
        return parts, x_hat, residual

    def _prices(self, codes: SparseCodes) -> Tensor:
        """Return strengths as a penalty on them counts them."""
        return codes.values

    def _terms(
        self, target: Rows, candidates: SparseCodes, codes: SparseCodes, step_fraction: float
    ) -> LossTerms:
        """Further terms of the loss."""
        return {}

    def _with(self, prox: Prox, x: Rows) -> SparseCodes:
        """Codes by a prox: `ista_step` from zero."""
        return prox.of_affine(*self._affine(x))

    def _affine(self, x: Rows) -> tuple[Rows, Tensor, Tensor, Centre]:
        """Return what pre-codes are made from, in the order in which a prox takes it."""
        seen, centre = self._seen(x)
        # As in `bias`: few rows are encoded in less time than torch would take to look these up.
        encoder: Any = self._modules["encoder"]
        scale: Any = self._modules["scaling"]._buffers["scale"]  # type: ignore[union-attr]
        return seen, encoder.weight, encoder.bias / scale, centre

    def _share(self, error: Tensor, rows: int) -> Tensor:
        """A squared error as a share of what the mean alone would leave."""
        return error / (rows * self.scaling.variance)

    def _auxiliary(
        self,
        x: Tensor,
        residual: Tensor,
        is_dead: Tensor,
        find: Callable[[Tensor], Dead] = Dead,
    ) -> Tensor:
        """Return the term of the loss that reaches dead atoms."""
        term = self._way_back.term
        if not self.aux_weight or term is None:
            return x.new_zeros(())
        if find is Dead and self.has_one_shape:
            dead: Dead = Masked(is_dead)
        else:
            dead = find(is_dead.nonzero().flatten())
            if not dead.n:
                return x.new_zeros(())
        (seen, centre), counted = self._seen(x), self.operator.counted
        return term(
            seen,
            counted(residual),
            self.encoder,
            counted(dead.of(self.operator.atoms())),
            dead=dead,
            aux_k=self.aux_k,
            centre=centre,
            scale=self.scaling.scale,
        )

    # What is kept per atom

    def _free_atoms(self) -> nn.Parameter:
        if not isinstance(self.operator, DenseOperator):
            raise ValueError(
                f"`revival` must be {reaching()} for {type(self).__name__}, whose atoms cannot "
                f"be set one by one, got {self.revival!r}."
            )
        return self.operator.weight

    def _atom_rows(self) -> tuple[AtomRows, ...]:
        return (
            AtomRows(self._free_atoms(), as_directions),
            as_long_as_others(self.encoder.weight, self.resampled_length),
            AtomRows(self.encoder.bias, 0.0),
        )


def best_gain(x: Rows, x_hat: Rows) -> float:
    """Return the number c that minimises ‖x − c x̂‖², or 1 if x̂ is zero or points away."""
    power = float(x_hat.square().sum())
    gain = float((x * x_hat).sum()) / power if power > 0 else 1.0
    return gain if gain > 0 else 1.0


def below(smallest: Tensor, largest: Tensor, n_products: int) -> Tensor:
    """Return a threshold that pre-codes down to the smallest pass however their sums are rounded.

    Another batch shape, number of threads or processor adds the products of a pre-code in another order,
    which moves it by up to about ε √n of the largest one.
    """
    eps = torch.finfo(largest.dtype).eps
    of_sums = 4 * min(eps, torch.finfo(torch.float32).eps) * n_products**0.5 * largest
    return (smallest - of_sums - eps * smallest).clamp_min(0)


def between(smallest: Tensor, left_out: Tensor, lowest: Tensor) -> Tensor:
    """Return thresholds half-way from the smallest kept pre-codes to the largest left out.

    Where these are so near that rounding may exchange them, no threshold separates them: it then lies
    below both, so that ties are kept.
    """
    return torch.minimum((smallest + left_out) / 2, lowest)


def without_zeros(codes: SparseCodes) -> SparseCodes:
    """Return the same codes, their stored zeros left out."""
    used = codes.values.detach() != 0
    return codes if bool(used.all()) else codes.only(used)
