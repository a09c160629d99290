"""The common parts of dictionaries of several sites: widths, a dictionary and a bias each, lists in and
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.activations._sites import side_by_side
from sae_nb.architectures._base import Encodable, SparseAutoencoder
from sae_nb.architectures.parts._operators import SitesOperator
from sae_nb.checks import as_tensor, check_count
from sae_nb.codes import SparseCodes


class SeveralSites(SparseAutoencoder):
    """Sites side by side in one row, each in its own unit, which its dictionary carries."""

    by_site = True
    unit_atoms = False

    widths: tuple[int, ...]

    @property
    def reads(self) -> tuple[int, ...]:
        """Widths of the sites."""
        return self.widths

    @property
    def dictionaries(self) -> list[Float[Tensor, "n_atoms d_m"]]:
        """The effective atoms at each site, detached, in the site's units: x̂_m = z D_m + b_m."""
        return list(torch.split(self.dictionary, list(self.widths), dim=1))

    @property
    def at_sites(self) -> list[Float[Tensor, "n_atoms d_m"]]:
        """Directions of the atoms at each site: `dictionaries`."""
        return self.dictionaries

    @property
    def biases(self) -> list[Float[Tensor, " d_m"]]:
        """The reconstruction of an all-zero code at each site."""
        return list(torch.split(self.bias, list(self.widths)))

    def decode(self, codes: SparseCodes) -> list[Float[Tensor, "*batch d_m"]]:  # type: ignore[override]
        """Add up the atoms of each row, at every site; one reconstruction per site, in order."""
        return list(torch.split(super().decode(codes), list(self.widths), dim=-1))


class SharedCode(SeveralSites):
    """One code that is read from all sites at once: x̂_m = z D_m + b_m."""

    operator: SitesOperator

    @property
    def bias(self) -> Float[Tensor, " d_in"]:
        """The reconstruction of an all-zero code, site after site, in the models' units."""
        return self.scaling.mean + self.pre_bias * self.operator.unit

    def encode(self, x: Encodable | Sequence[Encodable], k: float | None = None) -> SparseCodes:
        """Find the code that all sites share.

        Parameters
        ----------
        x
            One thing per site, each (…, d_m): activations, tensors or arrays of the same tokens in the
            same order; or all sites side by side, (…, Σ d_m).
        k
            Selections per row, where the base has them; None is its own.

        Raises
        ------
        ValueError: If a site is missing, or of other tokens.
        """
        return super().encode(side_by_side(self, x), k)  # type: ignore[arg-type]

    def forward(self, x: Encodable | Sequence[Encodable]) -> Any:
        """Reconstruct every site, in its own dtype: a list for a list, side by side for what is so."""
        return as_given(self.decode(self.encode(x)), x)

    def shares(self) -> Float[Tensor, "n_atoms sites"]:
        """‖d_jm‖ / Σ_m ‖d_jm‖, with each site in units of its typical length: where an atom lives."""
        norms = self.operator.site_norms().detach()
        return norms / norms.sum(dim=1, keepdim=True)

    def difference(self) -> Float[Tensor, " n_atoms"]:
        """‖d_j2‖ / (‖d_j1‖ + ‖d_j2‖): 0 where an atom is of the first site alone, 1 where of the second.

        Norms are taken in units of each site's typical length, so that 0.5 means that an atom matters as
        much at both. Near 0 and 1 an ℓ1 penalty makes false exclusives (complete shrinkage, latent
        decoupling); see the class, and `base="BatchTopK"`.

        Raises
        ------
        ValueError: If there are not two sites.
        """
        if len(self.widths) != 2:
            raise ValueError(
                f"`difference` compares two sites, got {len(self.widths)}. Use `shares()`, one column per "
                "site."
            )
        return self.shares()[:, 1]


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Refuse widths of sites that are not a list of positive whole numbers."""
    if isinstance(widths, str) or not isinstance(widths, Sequence):
        raise TypeError(
            f"`widths` must be a list, one width per site, got {widths!r}. For one site use an SAE, such as "
            "sn.TopK."
        )
    if not widths:
        raise ValueError("`widths` must name at least one site, got []. Give one width per site.")
    return tuple(check_count(size, name="widths") for size in widths)


def as_given(parts: list[Tensor], x: Encodable | Sequence[Encodable]) -> Any:
    """Return reconstructions in the form and dtype of the input: a list, or side by side."""
    if isinstance(x, tuple | list):
        return [part.to(_dtype(given)) for part, given in zip(parts, x, strict=True)]
    return torch.cat(parts, dim=-1).to(_dtype(x))


def _dtype(x: object) -> torch.dtype:
    return x.dtype if isinstance(x, Activations) else as_tensor(x).dtype
