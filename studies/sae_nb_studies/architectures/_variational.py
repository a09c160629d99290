"""VariationalSAE: codes as samples of a Gaussian around the encoder's output, with a penalty on its means."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import generator_for
from sae_nb.architectures import Prox, TopKProx, TrainingLoss
from sae_nb.architectures.parts import Dense, LossTerms, OneStep, Rows
from sae_nb.checks import Weight, check_k, checked
from sae_nb.codes import SparseCodes
from sae_nb_studies.architectures._largest_by import LargestBy
from sae_nb_studies.architectures._rng_state import drawn_seed


@checked
@dataclass(eq=False, repr=False)
class VariationalSAE(OneStep):
    """A TopK SAE trained on noisy pre-codes, penalised for their size: a variational autoencoder with k atoms.

    μ = (x − b)Eᵀ + a,  z = [TopK_k(μ + σε)]₊ with ε ~ N(0, 1),  x̂ = zD + b, with ‖d_j‖ = 1. Trained on
    ‖x − x̂‖² / E‖x − μ_x‖² + β · ½ E‖μ‖² / d_in + α·AuxK: the second term is, up to a constant, the divergence
    of N(μ, 1) from N(0, 1), over all atoms. Noise and penalty count in scaled units, in which an entry of x has
    unit mean square.

    Noise is a matter of the loss: `training_loss` in training mode draws it, from the SAE's own seed and
    step and by rows, so that a resumed run repeats it; the codes and x̂ that it reports, and `encode`, are
    without. It exists for a tile of rows at a time. The penalty needs no code: E‖Wx + a‖² = tr(W S Wᵀ) +
    2 aᵀW m + ‖a‖² with S the second moment and m the mean of the batch.

    Parameters
    ----------
    k
        Most atoms per input, 1 ≤ k ≤ n_atoms.
    noise
        σ ≥ 0, standard deviation in scaled units; 1 is published. May change in training.
    divergence_weight
        β ≥ 0, weight of the penalty. May change in training.
    d_in, n_atoms, aux_k, aux_weight, revival, generator
        As in `TopK`; the generator also draws the seed of the noise.

    Source
    ------
    "Analysis of Variational Sparse Autoencoders", arXiv 2509.22994. Units of σ and β, and AuxK, are ours.

    Example
    -------
    >>> sae = VariationalSAE(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    >>> x, silent = torch.ones(5, 4), torch.zeros(8, dtype=torch.int64)
    >>> loss = sae.training_loss(x, silent, 100, 0.0)
    >>> sorted(loss.parts), torch.allclose(loss.x_hat, sae(x))
    (['auxiliary', 'divergence', 'reconstruction'], True)
    """

    k: int
    _: KW_ONLY
    noise: Weight = 1.0
    divergence_weight: Weight = 0.01

    live_numbers = ("k", "aux_weight", "noise", "divergence_weight")

    seed: Tensor = field(init=False)
    steps_seen: Tensor = field(init=False)

    def __post_init__(self) -> None:
        check_k(self.k, self.n_atoms)
        generator = self.generator
        super().__post_init__()
        self.register_buffer("seed", drawn_seed(generator, self.pre_bias))
        self.register_buffer("steps_seen", torch.zeros((), dtype=torch.int64))

    def training_loss(
        self, x: Rows, silent_tokens: Int[Tensor, " n_atoms"], dead_after: int, step_fraction: float
    ) -> TrainingLoss:
        """Return the unexplained variance under noise, the penalty on the means, and AuxK; reports
        codes without noise.
        """
        loss = super().training_loss(x, silent_tokens, dead_after, step_fraction)
        if not self._is_noisy():
            return loss
        with torch.no_grad():
            codes = self._encode(x, None)
            x_hat = self.operator.synthesise(codes, self.bias)
        return TrainingLoss(total=loss.total, parts=loss.parts, codes=codes, x_hat=x_hat)

    @torch.no_grad()
    def after_optimiser_step(self) -> None:
        """Put atoms back on the sphere; the next step draws other noise."""
        super().after_optimiser_step()
        self.steps_seen += 1

    def _is_noisy(self) -> bool:
        return self.training and self.noise > 0

    def _candidates(self, x: Rows) -> SparseCodes:
        return self._with(self._noisy(), x) if self._is_noisy() else self._encode(x, None)

    def _noisy(self) -> Prox:
        seed, step = int(self.seed), int(self.steps_seen)
        size = self.noise / self.scaling.scale

        def score(u: Dense, rows: slice) -> tuple[Dense, Dense]:
            drawn = torch.randn(
                u.shape, generator=generator_for(seed, step, rows.start), dtype=u.dtype
            )
            noisy = u + size * drawn.to(u.device)
            return noisy, noisy

        return LargestBy(self.k, score)

    def _terms(
        self, target: Rows, candidates: SparseCodes, codes: SparseCodes, step_fraction: float
    ) -> LossTerms:
        """Compute the penalty: ½ of the mean squared length of scaled pre-codes, over all atoms."""
        return {"divergence": (self.divergence_weight, self._mean_power(target) / (2 * self.d_in))}

    def _mean_power(self, x: Rows) -> Float[Tensor, ""]:
        """E‖μ‖² over the batch and all atoms, exactly, from the batch's moments."""
        seen = (x - self.bias) * self.scaling.scale
        weight, offset = self.encoder.weight, self.encoder.bias
        moment, mean = seen.T @ seen / len(seen), seen.mean(dim=0)
        along = (weight @ moment * weight).sum() + 2 * (offset @ (weight @ mean))
        return along + offset.square().sum()

    def _prox(self, k: int | None) -> Prox:
        return TopKProx(self.k if k is None else k)
