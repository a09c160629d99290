"""What dictionaries of several sites share: widths, a dictionary and a bias each, lists in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.architectures._base import Data, SparseAutoencoder
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
        """Add up the atoms of each row, at every site; one reconstruction per site, in order.

        Raises
        ------
        TypeError: If they are no `SparseCodes`.
        ValueError: If the codes are of another dictionary size or device.
        """
        return list(torch.split(super().decode(codes), list(self.widths), dim=-1))


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Refuse widths of sites that are no list of positive whole numbers."""
    if isinstance(widths, str) or not isinstance(widths, Sequence):
        raise TypeError(
            f"`widths` must be a list, one width per site, got {widths!r}. For one site use an SAE, such as "
            "sn.TopK."
        )
    if not widths:
        raise ValueError("`widths` must name at least one site, got []. Give one width per site.")
    return tuple(check_count(size, name="widths") for size in widths)


def as_given(parts: list[Tensor], x: Data | Sequence[Data]) -> Any:
    """Reconstructions in the form and dtype of what was read: a list, or side by side."""
    if isinstance(x, tuple | list):
        return [part.to(_dtype(given)) for part, given in zip(parts, x, strict=True)]
    return torch.cat(parts, dim=-1).to(_dtype(x))


def _dtype(x: Any) -> torch.dtype:
    return x.dtype if isinstance(x, Activations) else as_tensor(x).dtype
