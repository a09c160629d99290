"""KernelSimilarity: a dictionary learned from similarities alone, by ADMM; its atoms are never stored."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.architectures import SoftProx, sparse_code
from sae_nb.checks import (
    Count,
    Positive,
    Seed,
    Weight,
    check_data,
    check_matrix,
    check_memory,
    checked,
    same_length,
)
from sae_nb.codes import SparseCodes
from sae_nb.findings import Finding

Kernel = Literal["linear", "rbf", "precomputed"]
Gram = Float[Tensor, "n n"]

CHECKED_EVERY = 20
"""Steps between two looks at the objective, which costs a factorisation."""

SYMMETRIC = 1e-4
"""Largest |K − Kᵀ| as a share of the largest entry that is rounding."""

SEMI_DEFINITE = 1e-4
"""Most negative eigenvalue as a share of the largest that is rounding."""


@checked
@dataclass(frozen=True, eq=False)
class KernelSimilarity:
    """Sparse codes whose similarities match those of the inputs; who knows the inputs only by similarity.

    With features Φ of the inputs known by K = ΦᵀΦ alone, the codes Z ≥ 0 minimise F(Z) = ½ tr(K (I +
    ZᵀZ/ω)⁻¹) + λ Σ Z: small where ZᵀZ is large exactly where K is. It is sparse coding ½‖Φ − DZ‖² + ω/2
    ‖D‖² + λ Σ Z with the best dictionary D = ΦPᵀ, P = (ZZᵀ + ωI)⁻¹Z, put in: an atom is a mixture of
    inputs, and defines what is generated from a code (predictive coding, top-down).

    Parameters
    ----------
    n_atoms
        Units.
    kernel
        "linear": ⟨x, y⟩; "rbf": exp(−‖x − y‖² / 2 width²); "precomputed": `fit` takes K itself.
    width
        Of "rbf", in the units of x.
    sparsity
        λ ≥ 0.
    ridge
        ω > 0, what length of an atom costs.
    n_steps
        Of ADMM.

    Raises
    ------
    ValueError: If `width` is missing or not asked for.

    Source
    ------
    After "Kernel similarity matching", arXiv 2503.00655, of which we had the abstract. The objective is
    derived from ridge sparse coding (a test), and the ADMM is ours.

    Example
    -------
    >>> angle = torch.linspace(0, 6.2, 60)
    >>> ring = torch.stack([angle.cos(), angle.sin()], dim=1)
    >>> model = KernelSimilarity(12, kernel="rbf", width=0.5, sparsity=0.02, ridge=0.1)
    >>> found = model.fit(ring)
    >>> found.residual < 0.05
    True
    >>> found.encode(ring[:3]).shape
    (3, 12)
    """

    n_atoms: Count
    _: KW_ONLY
    kernel: Kernel = "linear"
    width: Positive | None = None
    sparsity: Weight = 0.1
    ridge: Positive = 0.5
    n_steps: Count = 400

    def __post_init__(self) -> None:
        if (self.width is not None) != (self.kernel == "rbf"):
            raise ValueError(
                f"`width` must be given for kernel='rbf' and for no other, got width={self.width} with "
                f"kernel={self.kernel!r}."
            )

    @checked
    def fit(self, x: Float[Tensor, "n d_in"], *, seed: Seed = 0) -> MatchedSimilarity:
        """Find codes whose similarities match those of the inputs.

        Parameters
        ----------
        x
            Inputs, one per row; or, for "precomputed", their similarities (n, n).
        seed
            Draws the first codes.

        Returns
        -------
        MatchedSimilarity
            Codes, top-down map, objective on the way.

        Raises
        ------
        TypeError, ValueError: If `x` is not a finite matrix; for "precomputed", if it is not square,
        symmetric
            and positive semi-definite.
        MemoryError: If the similarities do not fit.
        """
        rows = check_data(check_matrix(x), name="x").detach().double()
        if self.kernel == "precomputed":
            gram = _checked_gram(rows)
        else:
            check_memory(32 * len(rows) ** 2, f"Similarities of {len(rows)} inputs", "Use fewer.")
            gram = self.similarities(rows, rows)
        generator = torch.Generator().manual_seed(seed)
        start = 0.1 * torch.rand(self.n_atoms, len(rows), generator=generator, dtype=gram.dtype)
        z, objective = _admm(gram, start.to(gram.device), self)
        return MatchedSimilarity(
            settings=self,
            inputs=None if self.kernel == "precomputed" else rows,
            gram=gram,
            z=z,
            objective=torch.tensor(objective),
        )

    def similarities(
        self, x: Float[Tensor, "n d_in"], y: Float[Tensor, "m d_in"]
    ) -> Float[Tensor, "n m"]:
        """Return similarity of every input with every other, by the kernel."""
        if self.width is None:
            return x @ y.T
        return torch.exp(-torch.cdist(x, y).square() / (2 * self.width**2))


class MatchedSimilarity(Finding):
    """Codes that match similarities; made by `KernelSimilarity.fit`."""

    settings: KernelSimilarity
    inputs: Float[Tensor, "n d_in"] | None
    """Inputs that were fitted; None if only similarities were given."""

    gram: Gram
    """K, their similarities."""

    z: Float[Tensor, "n_atoms n"]
    """Codes, dense: they are as many numbers as `gram` has at most."""

    objective: Float[Tensor, " looks"]
    """F before the first step and after every twenty."""

    @property
    def codes(self) -> SparseCodes:
        """The codes of the inputs, one row each."""
        return SparseCodes.from_dense(self.z.T.contiguous())

    @cached_property
    def top_down(self) -> Float[Tensor, "n_atoms n"]:
        """P: an atom is Σ_i P_ji Φ(x_i), a mixture of the inputs."""
        return _top_down(self.z, self.settings.ridge)

    @property
    def dictionary(self) -> Float[Tensor, "n_atoms d_in"]:
        """The atoms as mixtures of the inputs; for another kernel than "linear" their pre-images in the mean.

        Raises
        ------
        ValueError: If only similarities were given: the form of atoms is then unknown.
        """
        if self.inputs is None:
            raise ValueError(
                "`dictionary` needs the inputs, and only their similarities were given. Read `top_down`, "
                "weights of the inputs."
            )
        if self.settings.kernel == "linear":
            return self.top_down @ self.inputs
        weight = self.top_down.clamp_min(0)
        return weight @ self.inputs / weight.sum(dim=1, keepdim=True).clamp_min(1e-12)

    @property
    def residual(self) -> float:
        """‖Φ − DZ‖² / ‖Φ‖²: the share of the inputs that no code explains."""
        there = self.top_down.T @ self.z
        left = self.gram.trace() - 2 * (self.gram * there.T).sum()
        return float((left + ((self.gram @ there) * there).sum()) / self.gram.trace())

    def encode(self, x: Float[Tensor, "m d_in"]) -> SparseCodes:
        """Return codes of other inputs, with fixed atoms; for "precomputed", of their similarities (m, n)."""
        width = len(self.gram) if self.inputs is None else self.inputs.shape[1]
        rows = check_data(check_matrix(x, d_in=width), name="x").detach().to(self.gram)
        seen = rows if self.inputs is None else self.settings.similarities(rows, self.inputs)
        # ‖Φ(x) − Dz‖² depends on DᵀD and DᵀΦ(x) alone: sparse coding against a root of the first.
        gram = self.top_down @ self.gram @ self.top_down.T
        values, vectors = torch.linalg.eigh(gram)
        root = values.clamp_min(1e-10 * values.max()).sqrt()
        target = (seen @ self.top_down.T) @ (vectors / root)
        return sparse_code(
            target,
            vectors * root,
            prox="soft+",
            weight=self.settings.sparsity,
            solver="admm",
            n_steps=300,
        )

    def figure(self) -> Any:
        """Draw the similarities of inputs next to those of their codes, inputs in one order."""
        from sae_nb.figures import heatmaps

        order = torch.argsort(self.z.argmax(dim=0) * len(self.gram), stable=True)
        pair = {}
        for name, gram in (("inputs", self.gram), ("codes", self.z.T @ self.z)):
            length = gram.diagonal().clamp_min(1e-12).sqrt()
            pair[name] = (gram / length[:, None] / length)[order][:, order].cpu().numpy()
        return heatmaps(
            pair, ends=(0.0, 1.0), hover="inputs %{x}, %{y}: %{z:.2f}", bar="cosine", height=340
        )

    @checked
    def tuning(self, along: Float[Tensor, " n"]) -> Any:
        """Draw the code of each unit along a coordinate of the inputs.

        Parameters
        ----------
        along
            The coordinate, one number per input.

        Raises
        ------
        ValueError: If there is not one per input.
        """
        from sae_nb.figures import framed, line, theme

        same_length(along, len(self.gram), name="along", per="input")
        along = check_data(along, name="along").detach()
        order = torch.argsort(along, stable=True)
        at = along[order].cpu().numpy()
        lines = [
            line(
                f"unit {i}",
                at,
                unit[order].cpu().numpy(),
                colour=theme.PALETTE[i % len(theme.PALETTE)],
                showlegend=False,  # more units than colours: hovering names them
            )
            for i, unit in enumerate(self.z)
        ]
        return framed(lines, x="coordinate", y="code", height=320)

    @property
    def headline(self) -> str:
        """Inputs, atoms in use, and what is left."""
        used = int((self.z > 0).any(dim=1).sum())
        return (
            f"{len(self.gram)} inputs, {used} of {len(self.z)} atoms in use, "
            f"{self.residual:.1%} left"
        )


# --- the solver -----------------------------------------------------------------------------------


def _admm(
    gram: Gram, start: Float[Tensor, "n_atoms n"], settings: KernelSimilarity
) -> tuple[Float[Tensor, "n_atoms n"], list[float]]:
    """Z ← (A + ρ)⁻¹(B + ρ(U − V)), U ← prox(Z + V), V ← V + Z − U, with A = PKPᵀ and B = PK of this U."""
    u, v = start, torch.zeros_like(start)
    prox = SoftProx(settings.sparsity, nonnegative=True)
    eye = torch.eye(len(start), dtype=gram.dtype, device=gram.device)
    objective = [_objective(gram, u, settings)]
    for step in range(1, settings.n_steps + 1):
        p = _top_down(u, settings.ridge)
        b = p @ gram
        a = b @ p.T
        rho = a.diagonal().mean().clamp_min(1e-12)
        z = torch.linalg.solve(a + rho * eye, b + rho * (u - v))
        u = prox.dense(z + v, float(1 / rho))
        v = v + z - u
        if step % CHECKED_EVERY == 0 or step == settings.n_steps:
            objective.append(_objective(gram, u, settings))
    return u, objective


def _top_down(z: Float[Tensor, "n_atoms n"], ridge: float) -> Float[Tensor, "n_atoms n"]:
    """P = (ZZᵀ + ωI)⁻¹Z."""
    eye = torch.eye(len(z), dtype=z.dtype, device=z.device)
    return torch.linalg.solve(z @ z.T + ridge * eye, z)


def _objective(gram: Gram, z: Float[Tensor, "n_atoms n"], settings: KernelSimilarity) -> float:
    """½ tr(K (I + ZᵀZ/ω)⁻¹) + λ Σ Z, with the smaller inverse: (I + ZᵀZ/ω)⁻¹ = I − ZᵀP."""
    left = gram.trace() - (gram * (z.T @ _top_down(z, settings.ridge))).sum()
    return float(0.5 * left + settings.sparsity * z.sum())


def _checked_gram(gram: Float[Tensor, "n n"]) -> Gram:
    if gram.shape[0] != gram.shape[1]:
        raise ValueError(
            f"`x` must be square for kernel='precomputed', similarities of inputs with each other, got "
            f"{tuple(gram.shape)}. For inputs use kernel='linear' or 'rbf'."
        )
    apart = float((gram - gram.T).abs().max() / gram.abs().max().clamp_min(1e-300))
    if apart > SYMMETRIC:
        raise ValueError(
            f"`x` must be symmetric, got entries that differ from their mirror image by {apart:.2g} of the "
            "largest. Use (x + x.T) / 2 if that is noise."
        )
    gram = (gram + gram.T) / 2
    values = torch.linalg.eigvalsh(gram)
    if float(values[0]) < -SEMI_DEFINITE * float(values[-1].abs()):
        raise ValueError(
            f"`x` must be positive semi-definite, got an eigenvalue of {float(values[0]):.3g} (largest "
            f"{float(values[-1]):.3g}). Add that much to the diagonal, or use a kernel."
        )
    return gram
