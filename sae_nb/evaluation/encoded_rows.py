"""Rows and their codes, checked once: of one width, of one dictionary, and with an atom alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.checks import check_matrix
from sae_nb.codes import SparseCodes

if TYPE_CHECKING:
    from sae_nb.architectures.base import SparseAutoencoder

_BATCH = 4096


def checked_rows(sae: SparseAutoencoder, acts: Activations | Tensor) -> Activations:
    """Return activations an SAE can read; rows of a plain tensor are samples of their own.

    Raises
    ------
    TypeError, ValueError
        If `sae` is none, or `acts` are of another kind or width, or hold no row.
    """
    if not hasattr(sae, "encode") or not hasattr(sae, "dictionary"):
        raise TypeError(f"`sae` must be a sparse autoencoder, got {type(sae).__name__}.")
    if isinstance(acts, Tensor):
        return Activations.from_tensor(check_matrix(acts, name="acts", d_in=sae.d_in))
    if not isinstance(acts, Activations):
        raise TypeError(
            f"`acts` must be Activations or a tensor of shape (n, d_in), got {type(acts).__name__}. "
            "Use `sn.capture(model, inputs, hook_point)`."
        )
    if acts.d_in != sae.d_in:
        raise ValueError(
            f"`acts` must have width d_in={sae.d_in} to match the SAE, got {acts.d_in}. Capture it at "
            "`sae.hook_point`."
        )
    if len(acts) == 0:
        raise ValueError("`acts` must have at least one row, got none. Capture some.")
    return acts


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
