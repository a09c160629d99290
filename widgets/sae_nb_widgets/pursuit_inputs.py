"""What a PursuitStepper is given, checked once: inputs, dictionaries, names, picture shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor

from sae_nb.checks import check_matrix
from sae_nb.summaries.pursuit_steps import check_algorithm

NONE = ""
"""Value of `algorithm_b` that leaves the second algorithm out."""


def unit_atoms(dictionary: Any, normalise: bool, name: str, d_in: int | None = None) -> Tensor:
    """Return the dictionary, scaled to unit rows if asked."""
    atoms = check_matrix(dictionary, name=name, d_in=d_in).detach()
    return F.normalize(atoms, dim=1) if normalise else atoms


def input_rows(x: Any, dictionary: Tensor, bias: Tensor) -> Tensor:
    """Return the inputs as rows without their bias: of a tensor, an array or activations."""
    rows = x if isinstance(x, Tensor) else getattr(x, "x", x)
    rows = torch.as_tensor(rows) if isinstance(rows, np.ndarray) else rows
    found = check_matrix(rows, d_in=dictionary.shape[1], flatten=True).detach()
    return found - bias.to(found.device)


def checked_bias(bias: Any, dictionary: Tensor) -> Tensor:
    """Return the bias, or zeros.

    Raises
    ------
    ValueError
        If it is not of the dictionary's width.
    """
    if bias is None:
        return torch.zeros(dictionary.shape[1])
    if not isinstance(bias, Tensor) or bias.shape != dictionary.shape[1:]:
        given = tuple(bias.shape) if isinstance(bias, Tensor) else type(bias).__name__
        raise ValueError(
            f"`bias` must be a tensor of shape ({dictionary.shape[1]},), got {given}. An SAE's own is "
            "`sae.bias`."
        )
    return bias.detach().float()


def algorithm_names(algorithms: Sequence[str] | None, *, two: bool) -> tuple[str, str]:
    """Return both algorithms by name; the second is empty where there is one.

    Raises
    ------
    ValueError
        If there are none, too many, or unknown ones.
    """
    given = list(algorithms) if algorithms is not None else ["mp", "mp" if two else "omp"]
    if not 1 <= len(given) <= 2:
        raise ValueError(f"`algorithms` must name one or two, got {given}.")
    for name in given:
        check_algorithm(name)
    return given[0], given[1] if len(given) > 1 else NONE


def checked_shape(shape: tuple[int, ...] | None, d_in: int) -> tuple[int, ...] | None:
    """Return the picture shape as plain numbers.

    Raises
    ------
    ValueError
        If it does not hold `d_in` numbers.
    """
    if shape is None:
        return None
    size = tuple(int(n) for n in shape)
    if len(size) not in (2, 3) or (len(size) == 3 and size[0] != 3) or np.prod(size) != d_in:
        raise ValueError(
            f"`picture_shape` must be (height, width) or (3, height, width) with d_in={d_in} numbers, "
            f"got {tuple(shape)}. Leave it out where inputs are no pictures."
        )
    return size
