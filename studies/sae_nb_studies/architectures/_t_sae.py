"""T-SAE: the first atoms are drawn to be alike at neighbouring tokens, and unlike at all others of a batch."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from sae_nb.architectures.parts import LossTerms, OneStep, Rows, class_over
from sae_nb.checks import Count, Positive, Weight, at_least, checked, one_of
from sae_nb.codes import SparseCodes
from sae_nb.kernels import nested_squared_error
from sae_nb.temporal import SequenceRows

BASES = ("TopK", "BatchTopK", "JumpReLU", "ReLU", "Gated", "AbsTopK")
"""SAEs that can have the two terms; Matryoshka has nested dictionaries of its own."""

HIGH = 0.2
"""Share of the atoms that are high-level, and weight of their own reconstruction: 20 : 80, as published."""

CONTRAST, TEMPERATURE = 0.03, 0.1
"""Ours, of few that were tried on tiny-gpt: with γ = 0.1 or 0.3 R² is lower and codes hardly smoother; with
τ = 0.3 half the atoms are in use."""


@checked
class TSAE(OneStep):
    """A sparse autoencoder with high-level atoms, which keep what neighbouring tokens have in common.

    The first `n_high` atoms are high-level, the others low-level. With z a token's code, z^h its high-level
    part and x̂^h = z^h D + b, the loss is that of `base` with its reconstruction replaced by

    (0.2 ‖x − x̂^h‖² + 0.8 ‖x − x̂‖²) / E‖x − μ‖²  +  γ · ½ (CE(S) + CE(Sᵀ)),  S_ij = cos(z^h_i, z^h_{j−1}) / τ,

    where i and j run over the tokens of a batch that have a token before them, and CE is the cross-entropy of
    choosing j = i (InfoNCE): a token's high-level code should be more like that of the token before it than
    like those of the rest of the batch. Syntax changes from token to token and is left to the low-level atoms.

    It trains on the order of tokens, so its data are activations as captured or (batch, time, d_in), and a pair
    never crosses the border of a text. Once trained, a code depends on its own token alone, as in `base`.

    Parameters
    ----------
    k
        Of the base, where it has one.
    base
        The SAE that gets the two terms: TopK, BatchTopK, JumpReLU, ReLU, Gated or AbsTopK.
    n_high
        High-level atoms, fewer than n_atoms. None: a fifth of them.
    contrast
        γ; 0 is a Matryoshka of two groups. May change in training.
    temperature
        τ.
    context
        Tokens that stay together in a batch. 2: pairs, drawn from all texts. With more, other tokens of a
        text are among those that a code should differ from.
    settings
        Of the base.
    d_in, n_atoms, generator
        As in `TopK`.

    Raises
    ------
    ValueError: If `n_high` is not fewer than n_atoms, or the base is another.

    Source
    ------
    Bhalla, Oesterling et al., "Temporal sparse autoencoders: Leveraging the sequential nature of language
    for interpretability", arXiv 2511.05541. [abstract] a contrastive loss for high-level features of
    adjacent tokens. [code] AI4LIFE-GROUP/temporal-saes, trainers/temporal_sequence_top_k.py: BatchTopK, two
    groups of 20 and 80 % of the atoms with these weights, shuffled pairs of a token and the one before it
    (or any earlier one), cross-entropy both ways with the batch as negatives, γ = 0.1 beside squared errors
    that are not divided by the variance; its logits are inner products. [secondary] the paper's are cosines.
    [ours] cosines over a temperature, so that units do not matter; γ and τ; both tokens of a pair are
    reconstructed, there the later one; bases other than BatchTopK.

    Example
    -------
    >>> sae = TSAE(d_in=4, n_atoms=10, k=2, generator=torch.Generator().manual_seed(0))
    >>> codes = sae.encode(torch.ones(3, 4))
    >>> sae.n_high, sae.high_level(codes).nnz + sae.low_level(codes).nnz == codes.nnz
    (2, True)
    """

    trains_on_sequences = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.live_numbers = (*cls.live_numbers, "contrast")  # beside those of the base

    def __new__(cls, *_: object, base: str = "BatchTopK", **__: object) -> TSAE:
        """An object that is a TSAE and a base, once the base is known."""
        if "_host" not in vars(cls):
            cls = class_over(cls, one_of(base, BASES, name="base"))
        return super().__new__(cls)

    def __init__(
        self,
        d_in: Count,
        n_atoms: Annotated[int, at_least(2)],
        k: float | None = None,
        *,
        base: str = "BatchTopK",
        n_high: Count | None = None,
        contrast: Weight = CONTRAST,
        temperature: Positive = TEMPERATURE,
        context: Annotated[int, at_least(2)] = 2,
        generator: torch.Generator | None = None,
        **settings: Any,
    ) -> None:
        own: dict[str, Any] = {} if k is None else {"k": k}
        super().__init__(d_in, n_atoms, **own, generator=generator, **settings)
        self.n_high = max(1, round(HIGH * n_atoms)) if n_high is None else n_high
        if self.n_high >= n_atoms:
            raise ValueError(
                f"`n_high` must be fewer than n_atoms={n_atoms}, got {n_high}. Leave some atoms low-level."
            )
        self.base, self.contrast, self.temperature = base, contrast, temperature
        self.context = context

    __new__.__wrapped__ = __init__  # type: ignore[attr-defined]  # help() shows these arguments

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild an SAE of this kind and size."""
        names = ("base", "n_high", "contrast", "temperature", "context")
        return super().settings() | {name: getattr(self, name) for name in names}

    @checked
    def high_level(self, codes: SparseCodes) -> SparseCodes:
        """Return the codes of the first `n_high` atoms alone; `decode` of them is what they reconstruct."""
        return codes.only(codes.atoms < self.n_high)

    @checked
    def low_level(self, codes: SparseCodes) -> SparseCodes:
        """Return the codes of the other atoms alone."""
        return codes.only(codes.atoms >= self.n_high)

    def _reconstruction(self, target: Rows, codes: SparseCodes) -> tuple[LossTerms, Tensor, Tensor]:
        errors, x_hat, residual = nested_squared_error(
            codes, self.operator.atoms(), self.bias, target, widths=(self.n_high, self.n_atoms)
        )
        high, all_atoms = self._share(errors, len(target))
        parts: LossTerms = {"reconstruction": (1 - HIGH, all_atoms), "high level": (HIGH, high)}
        return parts, x_hat, residual

    def _terms(
        self, target: Rows, candidates: SparseCodes, codes: SparseCodes, step_fraction: float
    ) -> LossTerms:
        parts = super()._terms(target, candidates, codes, step_fraction)
        if not self.contrast or len(target) < 2:
            return parts
        return parts | {
            "contrast": (self.contrast, self._contrast(codes, SequenceRows.of(target).lengths))
        }

    def _contrast(self, codes: SparseCodes, lengths: tuple[int, ...]) -> Float[Tensor, ""]:
        """Return the cross-entropy, in nats, of finding a token's neighbour in the batch, before its weight."""
        high = codes.atoms < self.n_high
        place = codes.support.rows[high], codes.atoms[high].long()
        # Of a fifth of the atoms and one batch; every pair of rows is compared.
        dense = codes.values.new_zeros(codes.n_rows, self.n_high).index_put(
            place, codes.values[high]
        )
        units = normalize(dense, dim=1)
        starts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
        follows = torch.ones(codes.n_rows, dtype=torch.bool).index_fill(0, starts, False)
        later = follows.nonzero().flatten().to(dense.device)
        likeness = units[later] @ units[later - 1].T / self.temperature
        own = torch.arange(len(later), device=dense.device)
        back = cross_entropy(likeness.T, own, reduction="sum")
        both = cross_entropy(likeness, own, reduction="sum") + back
        return both / (2 * max(1, len(own)))  # a batch may have no pair
