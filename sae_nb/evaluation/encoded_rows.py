"""Codes, checked once: of these rows, of one dictionary, and with an atom alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.codes import SparseCodes

if TYPE_CHECKING:
    from sae_nb.architectures.base import SparseAutoencoder

_BATCH = 4096


@torch.no_grad()
def codes_of(
    sae: SparseAutoencoder, acts: Activations, codes: SparseCodes | None = None
) -> SparseCodes:
    """Return the codes of checked rows on the CPU: those given, checked, or encoded now.

    Raises
    ------
    ValueError
        If given codes are of other rows or another dictionary, the SAE reads sequences and none are
        given, or no atom is active in any row.
    """
    if codes is None and getattr(sae, "reads_sequences", False):
        raise ValueError(
            f"`codes` must be given for {type(sae).__name__}, whose codes depend on the rows before. "
            "Encode whole sequences, and pass codes=."
        )
    if codes is None:
        x = acts.x
        parts = [sae.encode(part).detach().to("cpu") for part in torch.split(x, _BATCH)]
        codes = SparseCodes.concatenate(parts)
    check_codes(codes, len(acts), sae.n_atoms)
    return codes.detach().to("cpu")


def check_dictionary(codes: SparseCodes, dictionary: Tensor) -> None:
    """Refuse codes of another number of atoms than a dictionary has.

    Raises
    ------
    ValueError
        If so.
    """
    if codes.n_atoms != len(dictionary):
        raise ValueError(
            f"`codes` must be of {len(dictionary)} atoms, as the dictionary, got {codes.n_atoms}. "
            "Encode with the SAE whose dictionary this is."
        )


def check_codes(codes: SparseCodes, n_rows: int, n_atoms: int) -> None:
    """Refuse codes of other rows or another dictionary, and codes in which nothing is active.

    Raises
    ------
    ValueError
        If so.
    """
    if (len(codes), codes.n_atoms) != (n_rows, n_atoms):
        raise ValueError(
            f"`codes` must be those of these rows and this dictionary, {n_rows} × {n_atoms}, got "
            f"{len(codes)} × {codes.n_atoms}. Encode the same rows with the same SAE."
        )
    if not bool((codes.values != 0).any()):
        raise ValueError(
            f"`sae` must have an atom that fires, but all {n_atoms} are silent in all {n_rows} rows. "
            "Check that it belongs to these activations: sn.evaluation.check_fit(model, sae)."
        )
