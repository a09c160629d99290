"""Which backend computes, and whether training steps on a GPU may use bf16 products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

from torch import Tensor, float32, float64

from sae_nb.checks import one_of
from sae_nb.codes import SparseCodes, Support
from sae_nb.kernels._primitives import Primitives

Backend = Literal["auto", "reference", "cpu", "cuda"]


def pick(backend: Backend, x: Tensor) -> Backend:
    """The backend for a tensor, refused where it cannot run."""
    one_of(backend, get_args(Backend), name="backend")
    loops = x.device.type == "cpu" and x.dtype in (float32, float64)
    if backend == "auto":
        return "cuda" if x.is_cuda else "cpu" if loops else "reference"
    if backend == "cuda" and not x.is_cuda:
        raise ValueError(
            f"The CUDA path needs tensors on an NVIDIA GPU, got {x.device}. Use backend='cpu' (same "
            "codes, slower) or backend='auto'."
        )
    if backend == "cpu" and not loops:
        raise ValueError(
            f"The CPU path needs fp32 or fp64 tensors on the CPU, got {x.dtype} on {x.device}. Use "
            "x.float().cpu(), or backend='auto'."
        )
    return backend


def primitives_of(backend: Backend, support: Support) -> Primitives:
    """What decodes: the CPU's loops, or on a GPU the path that made the codes."""
    if backend == "cpu":
        from sae_nb.kernels._cpu import Cpu

        return Cpu()
    from sae_nb.kernels import _cuda as cuda

    return support.path or cuda.Sparse()


def check_dictionary(codes: SparseCodes, dictionary: Tensor) -> None:
    """Refuse codes of another number of atoms."""
    if codes.n_atoms != len(dictionary):
        raise ValueError(
            f"`codes` must be codes of this dictionary with n_atoms={len(dictionary)}, got codes of "
            f"{codes.n_atoms} atoms. Decode with the SAE that encoded."
        )


def check_fit(x: Tensor, weight: Tensor, vectors: dict[str, tuple[Tensor | None, int]]) -> None:
    """Refuse tensors of other widths, dtypes or devices."""
    if x.ndim == 2 and x.shape[1] != weight.shape[1]:
        raise ValueError(
            f"`x` must have last dimension d_in={weight.shape[1]} to match the dictionary, got shape "
            f"{tuple(x.shape)}. Capture it at the hook point the dictionary was trained on."
        )
    for name, (vector, length) in vectors.items():
        if vector is not None and vector.shape != (length,):
            raise ValueError(
                f"`{name}` must have shape ({length},), got {tuple(vector.shape)}. Flatten it."
            )
    for other in (weight, *(vector for vector, _ in vectors.values() if vector is not None)):
        if (other.dtype, other.device) != (x.dtype, x.device):
            raise ValueError(
                f"Everything must have one dtype and device, got {x.dtype} on {x.device} and "
                f"{other.dtype} on {other.device}. Use .to(…) first."
            )


Precision = Literal["auto", "float32"]
"""`auto`: bf16 products where a measurement finds them faster; `float32`: never."""

_WANTED: ContextVar[Precision] = ContextVar("precision", default="auto")


@contextmanager
def precision(wanted: Precision) -> Iterator[None]:
    """Hold the precision of training steps for a while."""
    before = _WANTED.set(wanted)
    try:
        yield
    finally:
        _WANTED.reset(before)


def is_exact() -> bool:
    """Whether a training step has to be computed in the precision of its parameters."""
    return _WANTED.get() == "float32"
