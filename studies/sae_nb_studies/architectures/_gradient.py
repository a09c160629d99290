"""GradientSAE: atoms are selected by their strength and by their effect on the model's loss."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from sae_nb.activations import Activations, WithGradient
from sae_nb.architectures import Prox, TopKProx
from sae_nb.architectures.parts import Centre, Dense, Encodable, OneStep, Rows
from sae_nb.checks import Weight, as_tensor, check_k, check_matrix, checked, warn_caller
from sae_nb.codes import SparseCodes
from sae_nb_studies.architectures._largest_by import LargestBy

NO_GRADIENT = (
    "GradientSAE selects atoms as TopK does where it is given no gradients, as here. Pass activations "
    "that were captured with gradient_of=, or encode(x, gradient=g), to select as in its training."
)


@checked
@dataclass(eq=False, repr=False)
class GradientSAE(OneStep):
    """A TopK SAE that keeps the atoms which matter to the model's loss.

    With g the gradient of the loss by x, captured together with x,
    u = (x − b)Eᵀ + a,  s_j = u_j (1 + β |⟨d_j, g⟩| / γ),  z_j = [u_j]₊ where s_j is among the k largest,
    x̂ = zD + b, with ‖d_j‖ = 1. The score s only decides which; strengths stay those of TopK. γ is the
    root mean square of an entry of g on the first activations, which is also that of ⟨d, g⟩ over random
    directions d: at β = 1 a typical gradient counts as much as the strength. Trained on
    ‖x − x̂‖² / E‖x − μ‖² + α·AuxK.

    Parameters
    ----------
    k
        Most atoms per input, 1 ≤ k ≤ n_atoms.
    gradient_weight
        β ≥ 0; 0 is TopK. May change in training.
    d_in, n_atoms, aux_k, aux_weight, revival, generator
        As in `TopK`.

    Source
    ------
    Olmo et al., "Features that Make a Difference: Leveraging Gradients for Improved Dictionary Learning",
    arXiv 2411.10397. Its β is not known to us; the unit of ours, and its default, are our own.

    Example
    -------
    >>> sae = GradientSAE(d_in=2, n_atoms=2, k=1)
    >>> eye = {name: torch.eye(2) for name in ("operator.weight", "encoder.weight")}
    >>> _ = sae.load_state_dict(sae.state_dict() | eye)
    >>> x = torch.tensor([[1.0, 0.9]])
    >>> sae.encode(x, gradient=torch.zeros(1, 2)).to_dense().tolist()
    [[1.0, 0.0]]
    >>> sae.encode(x, gradient=torch.tensor([[0.0, 1.0]])).atoms.tolist()  # only the second one matters
    [1]
    """

    k: int
    _: KW_ONLY
    gradient_weight: Weight = 1.0

    live_numbers = ("k", "aux_weight", "gradient_weight")
    reads_gradient = True

    gradient_scale: Tensor = field(init=False)

    def __post_init__(self) -> None:
        check_k(self.k, self.n_atoms)
        super().__post_init__()
        self.register_buffer("gradient_scale", torch.ones(()))
        self._has_said = False

    def encode(
        self,
        x: Encodable,
        k: int | None = None,
        *,
        gradient: Float[Tensor, "*batch d_in"] | None = None,
    ) -> SparseCodes:
        """Find the sparse codes of activations, by strength and gradient where there is one.

        Without gradients atoms are selected as by TopK, with a warning the first time.

        Parameters
        ----------
        x, k
            As of any SAE; the result of `capture(gradient_of=…)` brings its gradients.
        gradient
            Of the loss by each row of `x`, of its shape, in units of the loss per unit of x.

        Raises
        ------
        ValueError: If `gradient` is of another shape than `x`.
        """
        if gradient is None and isinstance(x, Activations) and x.has_gradient:
            k = self._checked_k(k)
            self._rows(x[:1])  # whether they fit, said of x alone
            both = self._read(WithGradient(x), 2 * self.d_in)
            return SparseCodes.concatenate(self._encode(rows, k) for rows in both)
        if gradient is None:
            self._say_once()
            return super().encode(x, k)
        k, rows = self._checked_k(k), self._rows(x)
        shape, given = as_tensor(x).shape, as_tensor(gradient, name="gradient").shape
        if given != shape:
            raise ValueError(
                f"`gradient` must have the shape of `x`, {tuple(shape)}, got {tuple(given)}. Capture both "
                "in one call, with gradient_of=."
            )
        beside = check_matrix(gradient, name="gradient", d_in=self.d_in, flatten=True).to(rows)
        codes = self._encode(torch.cat([rows, beside], dim=1), k)
        return codes.reshape(*shape[:-1])

    def _say_once(self) -> None:
        if not self._has_said and self.gradient_weight:
            self._has_said = True
            warn_caller(NO_GRADIENT)

    # Training rows hold x and, beside it, g; what is read is both, what is written x.

    @property
    def sites(self) -> tuple[int, ...]:
        """Widths of the parts of a training row: the activation, and its gradient."""
        return (self.d_in, self.d_in)

    def split(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return training rows as they are, and the activation in them."""
        return rows, rows[:, : self.d_in]

    def _first_rows(self, x: Any, generator: torch.Generator | None) -> Rows:
        if isinstance(x, Activations) and x.has_gradient:
            x = WithGradient(x)
        elif not isinstance(x, WithGradient) and as_tensor(x).shape[-1] == self.d_in:
            # Without gradients the start is TopK's.
            return pad(super()._rows(x), (0, self.d_in))
        return super()._first_rows(x, generator)

    def _begin(self, x: Rows) -> None:
        """Read the gradient's scale off the first activations, where they bring one."""
        size = x[:, self.d_in :].square().mean().sqrt()
        self.gradient_scale.copy_(torch.where(size > 0, size, torch.ones_like(size)))

    def _seen(self, x: Rows) -> tuple[Rows, Centre]:
        return x[:, : self.d_in], self.bias

    def _encode(self, x: Rows, k: int | None) -> SparseCodes:
        gradient = x[:, self.d_in :].detach()
        if not gradient.shape[1] or not self.gradient_weight:
            return self._with(TopKProx(self.k if k is None else k), x)
        return self._with(self._by_gradient(gradient, self.k if k is None else k), x)

    def _by_gradient(self, gradient: Rows, k: int) -> Prox:
        atoms, scale = self.dictionary, self.gradient_weight / self.gradient_scale

        def score(u: Dense, rows: slice) -> tuple[Dense, Dense]:
            return u * (1 + scale * (gradient[rows] @ atoms.T).abs()), u

        return LargestBy(k, score)

    def _prox(self, k: int | None) -> Prox:
        return TopKProx(self.k if k is None else k)
