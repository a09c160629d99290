"""MaskedSAE: reconstruct also with a random part of the atoms taken away, which breaks up co-occurrence."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated

import torch
from jaxtyping import Bool
from torch import Tensor

from sae_nb.activations import generator_for
from sae_nb.architectures import BatchTopK
from sae_nb.architectures.parts import LossTerms, Rows
from sae_nb.checks import Between, Weight, checked
from sae_nb.codes import SparseCodes
from sae_nb_studies.architectures._rng_state import drawn_seed


@checked
@dataclass(eq=False, repr=False)
class MaskedSAE(BatchTopK):
    """A BatchTopK SAE that must also do without a random part of its atoms.

    Codes and inference are BatchTopK's. Each step draws a mask m ∈ {0, 1}ⁿ that hides every atom with
    probability `masked`, and adds λ · ‖x − (z_m D + b)‖² / E‖x − μ‖² to the loss, where z_m keeps the B·k
    largest positive entries of the batch among the atoms that are left. Where a special atom is hidden,
    the general one must step in on its cases; so a general concept is less rewarded for being silent
    under a special one that always comes with it (absorption).

    Parameters
    ----------
    masked
        Probability that an atom is hidden, in (0, 1).
    masked_weight
        λ, weight of the masked reconstruction; 0 is BatchTopK. May change in training.
    d_in, n_atoms, k, aux_k, aux_weight, revival, generator
        As in `BatchTopK`; the generator also draws the seed of the masks.

    Source
    ------
    Narayanaswamy et al., "Improving robustness in sparse autoencoders via masked regularization", arXiv
    2604.06495, whose abstract we know. There tokens of the text are replaced before activations are read;
    an SAE sees no tokens, so ours hides atoms instead, and its settings are our own.

    Example
    -------
    >>> sae = MaskedSAE(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    >>> sae.initialise(x, None)
    >>> codes = sae.masked_codes(x, torch.tensor([True, False] * 4))
    >>> sorted(set(codes.atoms.tolist()) & {0, 2, 4, 6})  # none of those that were hidden
    []
    """

    fixed_codes = False

    _: KW_ONLY
    masked: Annotated[float, Between(0, 1, "()")] = 0.5
    masked_weight: Weight = 1.0

    live_numbers = ("k", "aux_weight", "masked_weight")

    seed: Tensor = field(init=False)
    steps_seen: Tensor = field(init=False)

    def __post_init__(self) -> None:
        generator = self.generator
        super().__post_init__()
        self.register_buffer("seed", drawn_seed(generator, self.pre_bias))
        self.register_buffer("steps_seen", torch.zeros((), dtype=torch.long))

    def hidden_now(self) -> Bool[Tensor, " n_atoms"]:
        """Return which atoms this step hides: the same however often it is asked, another after each step."""
        generator = generator_for(int(self.seed), int(self.steps_seen))
        return (torch.rand(self.n_atoms, generator=generator) < self.masked).to(self.device)

    @torch.no_grad()
    def after_optimiser_step(self) -> None:
        """Put atoms back on the sphere; the next step hides others."""
        super().after_optimiser_step()
        self.steps_seen += 1

    def masked_codes(self, x: Rows, hidden: Bool[Tensor, " n_atoms"]) -> SparseCodes:
        """Return the codes of a batch by the atoms that are not hidden."""
        # Far below any pre-code, and finite: a product with it stays a number.
        lowest = torch.finfo(x.dtype).min / 4
        offset = (self.encoder.bias / self.scaling.scale).masked_fill(hidden, lowest)
        seen, centre = self._seen(x)
        return self._training_prox().of_affine(seen, self.encoder.weight, offset, centre)

    def _terms(
        self, target: Rows, candidates: SparseCodes, codes: SparseCodes, step_fraction: float
    ) -> LossTerms:
        if not self.masked_weight:
            return {}
        hidden = self.hidden_now()
        left = self.masked_codes(target, hidden)
        error, *_ = self.operator.squared_error(left, self.bias, target)
        return {"masked": (self.masked_weight, self._share(error, len(target)))}
