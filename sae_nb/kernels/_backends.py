"""The interface that a backend implements, and the choice of a backend.

Encoding, decoding and all gradients are built from these primitives.
With entries e of row i (atom j_e, value v_e), table rows t_j and gradient rows g_i:
`sum_atoms` y_i = s + Σ_{e∈i} v_e t_{j_e};  `sum_inputs` y_j = Σ_{e: j_e = j} v_e t_{i_e};
`dots` y_e = ⟨g_i, t_{j_e}⟩;  `totals` y_j = Σ_{e: j_e = j} v_e;  `residuals` r_i = x_i − y_i with
y of `sum_atoms`, and Σ‖r_i‖². Entries are chosen by one of three selections: `topk` by row,
`batch_topk` over all rows, `above` by threshold.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb._above import above
from sae_nb._hooks import Hook
from sae_nb.checks import one_of, shown
from sae_nb.codes import SparseCodes
from sae_nb.codes._support import Support

Values = Float[Tensor, " nnz"]
Rows = Float[Tensor, "rows width"]
Atoms = Float[Tensor, "n_atoms width"]
Row = Float[Tensor, " width"]
PerAtom = Float[Tensor, " n_atoms"]


@dataclass(frozen=True, eq=False)
class PreCodes:
    """Pre-codes u = (x − centre) weightᵀ + bias that are described, not computed: they exist in tiles."""

    x: Float[Tensor, "rows d_in"]
    weight: Float[Tensor, "n_atoms d_in"]
    bias: PerAtom | None = None
    centre: Float[Tensor, " d_in"] | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def n_atoms(self) -> int:
        """Width of a row."""
        return len(self.weight)

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """The tensors that the pre-codes are made from."""
        return self.x, self.weight, self.bias, self.centre

    @property
    def trains(self) -> bool:
        """Whether any of them needs a gradient."""
        wanted = any(part is not None and part.requires_grad for part in self.tensors)
        return torch.is_grad_enabled() and wanted

    def detach(self) -> PreCodes:
        """Return the same numbers without a gradient."""
        bias, centre = (None if v is None else v.detach() for v in (self.bias, self.centre))
        return PreCodes(self.x.detach(), self.weight.detach(), bias, centre)

    def centred(self, rows: slice = slice(None)) -> Float[Tensor, "some d_in"]:
        """Return some rows of x − centre."""
        x = self.x[rows]
        return x if self.centre is None else x - self.centre

    def dense(self) -> Float[Tensor, "rows n_atoms"]:
        """Return all pre-codes at once."""
        u = self.centred() @ self.weight.T
        return u if self.bias is None else u + self.bias


class Entries(NamedTuple):
    """Entries of sparse codes before they become `SparseCodes`: a plain CSR triple."""

    values: Values
    atoms: Int[Tensor, " nnz"]
    offsets: Int[Tensor, " rows_plus_1"]

    @property
    def support(self) -> Support | None:
        """The support that goes with them, where the selection made one."""
        return None

    @property
    def centred(self) -> Rows | None:
        """The rows x − c as the product took them, where they were kept."""
        return None

    def alone(self) -> Entries:
        """Return the entries without what fills their room: what a user sees."""
        return self


class Residuals(NamedTuple):
    """A reconstruction against its target."""

    x_hat: Rows
    residual: Rows
    squared_error: Float[Tensor, ""]
    column_sums: Row
    dots: Values | None = None
    """⟨r_i, t_j⟩ at the entries, where they were taken at once."""
    rough: Rows | None = None
    """The residual as sums by atom read it, where that is not `residual`."""


@runtime_checkable
class Primitives(Protocol):
    """Sparse arithmetic of one backend."""

    name: str

    def topk(self, pre_codes: PreCodes, k: int, *, signed: bool = False) -> Entries:
        """Return the k largest positive pre-codes of each row, or the k of largest magnitude."""

    def batch_topk(self, pre_codes: PreCodes, n_kept: int) -> Entries:
        """Return the `n_kept` largest positive pre-codes of all rows together."""

    def above(self, pre_codes: PreCodes, thresholds: PerAtom) -> Entries:
        """Return the pre-codes above the threshold of their atom."""

    def sum_atoms(
        self, values: Values, support: Support, table: Atoms, start: Row | None = None
    ) -> Rows:
        """Return for each row the sum of its atoms' table rows, weighted by its values."""

    def residuals(
        self, values: Values, support: Support, table: Atoms, start: Row | None, target: Rows
    ) -> Residuals:
        """Return the difference of a target and `sum_atoms`: residual rows, their squared sum and
        column sums.
        """

    def scaled(self, values: Values, by: Float[Tensor, ""]) -> Values:
        """Return values times one number."""

    def sum_inputs(self, values: Values, support: Support, table: Rows) -> Atoms:
        """Return for each atom the sum of its inputs' table rows, weighted by its values."""

    def dots(self, g: Rows, support: Support, table: Atoms) -> Values:
        """Return for each entry the dot product of its row of `g` with its atom's table row."""

    def totals(self, values: Values, support: Support) -> PerAtom:
        """Return for each atom the sum of its values."""

    # One that also has `nested` decodes all prefixes of a dictionary at once; see `_triton_primitives`.


card_encoding: Hook[[PreCodes, str], Primitives] = Hook("card_encoding")
card_decoding: Hook[[Values], Primitives] = Hook("card_decoding")
card_topk_among: Hook[[PreCodes, int, Tensor], tuple[Primitives, Entries]] = Hook("card_topk_among")
"""The primitives of a card, which `_cuda.py` chooses: to encode, to decode, to encode by some atoms alone."""

Backend = Literal["auto", "reference", "cpu", "cuda"]


def on_card(x: Tensor) -> bool:
    """Return whether a tensor is on a card; tests put Triton's interpreter in its place."""
    return x.is_cuda


def pick(backend: Backend, x: Tensor) -> Backend:
    """Return the backend for a tensor; refuse one that cannot run it."""
    loops = x.is_cpu and x.dtype in (torch.float32, torch.float64)
    if backend == "auto":
        return "cuda" if on_card(x) else "cpu" if loops else "reference"
    one_of(backend, get_args(Backend), name="backend")
    if backend == "cuda" and not on_card(x):
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


_MATRICES = ("x", "weight", "dictionary", "target")


def check_tensors(**given: object) -> None:
    """Refuse what is not a tensor with the right number of axes; bias and centre are optional."""
    for name, value in given.items():
        if value is None and name in ("bias", "centre"):
            continue
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            raise TypeError(f"`{name}` must be a dense torch tensor, got {shown(value)}.")
        if name in _MATRICES and (value.ndim != 2 or not value.shape[1]):
            raise ValueError(f"`{name}` must have two axes, got shape {tuple(value.shape)}.")


def check_codes(codes: object) -> None:
    """Refuse what is not codes."""
    if not isinstance(codes, SparseCodes):
        raise TypeError(f"`codes` must be SparseCodes, got {shown(codes)}. Encode with an SAE.")


def check_dictionary(codes: SparseCodes, dictionary: Tensor) -> None:
    """Refuse codes of another number of atoms."""
    check_tensors(dictionary=dictionary)
    check_codes(codes)
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


@cache
def has_triton(device: torch.device) -> bool:
    """Return whether Triton runs on a device; where it does not, `paths_taken()` says why."""
    try:
        if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
            raise RuntimeError("its kernels need bf16: a card of compute capability 8.0")
        from sae_nb.kernels import _triton as kernels

        bins = torch.zeros(256, dtype=torch.int32, device=device)
        with torch.cuda.device_of(bins):  # type: ignore[no-untyped-call]
            kernels.pick_digit[(1,)](bins, torch.zeros_like(bins), SHIFT=0, WIDTH=8)
    except Exception as error:  # noqa: BLE001 - Triton, a compiler, a driver: whatever is missing
        note = above("sae_nb.kernels._dense", "note")
        note("triton", "torch instead", f"{type(error).__name__}: {str(error)[:200]}")
        return False
    return True


def takes_triton(x: Tensor) -> bool:
    """Return whether Triton's kernels compute these rows: fp32 on a card, where Triton is."""
    return x.dtype == torch.float32 and pick("auto", x) == "cuda" and has_triton(x.device)


PreCodesOfStep = dict[tuple[int, int], tuple[PreCodes, Tensor, Tensor]]
"""By the addresses of input and weight: what they are made from, rows x − c, and dense pre-codes."""

_STEP: ContextVar[PreCodesOfStep | None] = ContextVar("step", default=None)


@contextmanager
def training_step() -> Iterator[None]:
    """Hold while a loss is computed whose codes, on a card, are to have a fixed number of entries.

    Pre-codes stay to its end, so that a second selection of the same ones needs no second product.
    """
    before = _STEP.set({})
    try:
        yield
    finally:
        _STEP.reset(before)


def kept_pre_codes() -> PreCodesOfStep | None:
    """Return the pre-codes of the training step under way; None outside of one."""
    return _STEP.get()


Precision = Literal["auto", "float32"]
"""`auto`: bf16 products in training steps on a GPU with Triton; `float32`: never."""

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
    """Return whether a training step has to be computed in the precision of its parameters."""
    return _WANTED.get() == "float32"
