"""The checks of a pursuit, before any work: rule, given, do."""

from __future__ import annotations

import math
import os
from typing import Literal, get_args

import torch
from torch import Tensor

from sae_nb.checks import as_tensor, check_data, check_finite, check_matrix, hidden_gpus, one_of
from sae_nb.pursuit._gram import Known, Norms, known, remember

Backend = Literal["auto", "reference", "cpu", "cuda"]
Gradient = Literal["full", "dictionary"]

UNIT = 1e-4
"""Allowed distance of an atom's norm from 1."""


def as_tensors(x: object, dictionary: object) -> tuple[Tensor, Tensor]:
    """Return rows and dictionary as tensors; an array, which chose neither device nor float64, goes along
    with the other.

    Example
    -------
    >>> import numpy as np
    >>> [one.dtype for one in as_tensors(np.ones((1, 2)), torch.eye(2))]
    [torch.float32, torch.float32]
    """
    rows, atoms = as_tensor(x), as_tensor(dictionary, name="dictionary")
    if not isinstance(x, Tensor) and atoms.is_floating_point():
        return rows.to(atoms), atoms
    if not isinstance(dictionary, Tensor) and rows.is_floating_point():
        return rows, atoms.to(rows)
    return rows, atoms


def check_dictionary(
    dictionary: object, *, normalise: bool = False, any_norm: bool = False
) -> Known:
    """Return the facts about a dictionary of unit atoms; an unchanged one is not checked again."""
    norms: Norms = "any" if any_norm else "scaled" if normalise else "unit"
    if isinstance(dictionary, Tensor) and dictionary.ndim == 2 and dictionary.numel():
        check_data(dictionary, name="dictionary")
        facts = known(dictionary, norms=norms)
        if facts is not None:
            return facts
    rows = check_matrix(dictionary, name="dictionary").detach()
    work = rows if rows.dtype == torch.float64 else rows.float()
    lengths = work.norm(dim=1)
    _check_norms(lengths, dictionary_dtype=rows.dtype, norms=norms)
    used = work / lengths[:, None] if normalise else work
    return remember(rows, used.contiguous(), norms=norms)


def _check_norms(lengths: Tensor, *, dictionary_dtype: torch.dtype, norms: Norms) -> None:
    empty = int((lengths == 0).sum())
    if empty:
        raise ValueError(
            f"`dictionary` must have no zero rows, but {empty} of {len(lengths)} are zero; the first is "
            f"row {int((lengths == 0).int().argmax())}. Drop these atoms, or draw them again."
        )
    off = (lengths - 1).abs()
    allowed = max(UNIT, torch.finfo(dictionary_dtype).eps)
    if norms != "unit" or bool((off <= allowed).all()):
        return
    worst = int(off.argmax())
    raise ValueError(
        f"`dictionary` must have rows of unit norm, but {int((off > allowed).sum())} of {len(lengths)} "
        f"have not; the worst is row {worst} with norm {float(lengths[worst]):.6g}. Pass normalise=True "
        "to have them scaled (the codes then belong to the scaled atoms)."
    )


def check_input(x: object, dictionary: Tensor) -> Tensor:
    """Return `x` as rows of the dictionary's width, on its device and in its precision."""
    rows = check_matrix(x, d_in=dictionary.shape[1], flatten=True, finite=False)
    if (rows.dtype, rows.device) != (dictionary.dtype, dictionary.device):
        raise ValueError(
            f"`x` and `dictionary` must have one dtype and device, got {rows.dtype} on {rows.device} "
            f"and {dictionary.dtype} on {dictionary.device}. Use x.to(dictionary)."
        )
    check_finite(rows)
    return rows


def check_tolerance(value: object, name: str) -> float | None:
    """Return a tolerance as a number, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(
            f"`{name}` must be a residual norm ≥ 0 or None, got {value!r}. Leave it out to take k steps."
        )
    return float(value)


def pick_backend(backend: Backend, device: torch.device, *, triton: bool = False) -> Backend:
    """Choose who computes, or say why the one asked for cannot; `triton`: its kernels take the inputs."""
    one_of(backend, get_args(Backend), name="backend")
    if backend == "auto":
        if device.type == "cuda":
            return "cuda" if triton or _kernels_for_gpu() else "reference"
        return "cpu" if device.type == "cpu" else "reference"
    if backend == "cpu" and device.type != "cpu":
        raise ValueError(
            f"The CPU pursuit kernels need tensors on the CPU, got {device}. Use x.cpu() and "
            "dictionary.cpu(), or backend='auto'."
        )
    if backend == "cuda" and not triton:
        _check_gpu(device)
    return backend


def simulated() -> bool:
    """Return whether Numba's CUDA simulator replaces a GPU (NUMBA_ENABLE_CUDASIM=1)."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


def _kernels_for_gpu() -> bool:
    from numba import cuda

    return bool(cuda.is_available())


def _check_gpu(device: torch.device) -> None:
    if simulated():
        return
    if not torch.cuda.is_available():
        raise ValueError(
            "The CUDA pursuit kernels need an NVIDIA GPU, got a machine where none is visible"
            f"{f' ({hidden_gpus()})' if hidden_gpus() else ''}. Use backend='cpu' (same codes, slower) or "
            "backend='auto'."
        )
    if device.type != "cuda":
        raise ValueError(
            f"The CUDA pursuit kernels need tensors on the GPU, got {device}. Use x.cuda() and "
            "dictionary.cuda(), or backend='auto'."
        )
    if not _kernels_for_gpu():
        raise ValueError(
            "The CUDA pursuit kernels need numba-cuda, got a Numba that finds no CUDA toolkit. Install "
            "the package's cuda12 or cuda13 extra, or use backend='reference'."
        )
