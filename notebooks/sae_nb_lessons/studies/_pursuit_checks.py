"""The promises of matching pursuit and its orthogonal form, measured step by step on given data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.kernels import decode
from sae_nb.pursuit import PursuitTrace, matching_pursuit, orthogonal_matching_pursuit


@dataclass(frozen=True, kw_only=True)
class PursuitChecks:
    """Largest violation of each promise over all inputs and steps; inputs have norm 1 here."""

    mp_growth: float
    """Largest growth of ‖r‖ in a step of matching pursuit; ≤ 0 means that it never grew."""

    omp_growth: float
    """The same of orthogonal matching pursuit."""

    last_atom: float
    """Matching pursuit: largest |⟨r, d⟩| with the atom just taken."""

    whole_support: float
    """Orthogonal matching pursuit, signed: largest |⟨r, d⟩| with any atom taken so far."""

    mp_left: float
    """Mean ‖r‖² that matching pursuit leaves after k steps."""

    omp_left: float
    """Mean ‖r‖² that orthogonal matching pursuit leaves."""

    omp_worse: float
    """Share of inputs of which the orthogonal form leaves a larger residual."""

    n: int
    """Inputs."""

    k: int
    """Steps."""

    def __str__(self) -> str:
        return (
            f"{self.n} inputs of norm 1, {self.k} steps\n"
            f"  residual grew by at most      MP {self.mp_growth:.1e}, OMP {self.omp_growth:.1e}\n"
            f"  residual · last atom          MP {self.last_atom:.1e}\n"
            f"  residual · any atom taken     OMP {self.whole_support:.1e}\n"
            f"  mean ‖r‖² left                MP {self.mp_left:.3f}, OMP {self.omp_left:.3f}\n"
            f"  OMP leaves more than MP on    {100 * self.omp_worse:.2g} % of inputs"
        )


@torch.no_grad()
def measure_pursuits(
    x: Float[Tensor, "n d_in"], dictionary: Float[Tensor, "n_atoms d_in"], k: int
) -> PursuitChecks:
    """Run both pursuits with their trace and measure violations of their promises.

    Parameters
    ----------
    x
        Inputs, none of them zero; scaled to norm 1 first.
    dictionary
        Atoms of unit norm.
    k
        Steps.

    Raises
    ------
    TypeError, ValueError: As the pursuits.

    Example
    -------
    >>> checks = measure_pursuits(torch.eye(4) + 0.1, torch.eye(4), 2)
    >>> checks.mp_growth <= 0, checks.last_atom < 1e-6
    (True, True)
    """
    unit = x / x.norm(dim=1, keepdim=True)
    mp_codes, mp = matching_pursuit(unit, dictionary, k, trace=True)
    omp_codes, omp = orthogonal_matching_pursuit(unit, dictionary, k, trace=True)
    _, signed = orthogonal_matching_pursuit(unit, dictionary, k, nonnegative=False, trace=True)
    left = [
        (unit - decode(codes, dictionary)).square().sum(dim=1) for codes in (mp_codes, omp_codes)
    ]
    return PursuitChecks(
        mp_growth=float(mp.residual_norms.diff(dim=1).max()),
        omp_growth=float(omp.residual_norms.diff(dim=1).max()),
        last_atom=_largest_product(unit, dictionary, mp, support=False),
        whole_support=_largest_product(unit, dictionary, signed, support=True),
        mp_left=float(left[0].mean()),
        omp_left=float(left[1].mean()),
        omp_worse=float((left[1] > left[0] + 1e-5).float().mean()),
        n=len(unit),
        k=k,
    )


def _largest_product(x: Tensor, dictionary: Tensor, trace: PursuitTrace, *, support: bool) -> float:
    """Largest |⟨r_t, d⟩| over rows and steps, d the last atom or any taken so far."""
    largest = 0.0
    for t in range(1, trace.atoms.shape[1] + 1):
        residual = x - decode(trace.codes_at(t), dictionary)
        atoms = (trace.atoms[:, :t] if support else trace.atoms[:, t - 1 : t]).long()
        products = torch.einsum("nd,ntd->nt", residual, dictionary[atoms.clamp_min(0)])
        taken = products[atoms >= 0].abs()
        largest = max(largest, float(taken.max()) if len(taken) else 0.0)
    return largest
