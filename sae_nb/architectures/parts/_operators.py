"""Operators: the linear maps from codes to reconstructions, and the learned adjoint that encoders use."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Bool, Complex, Float, Int
from torch import Generator, Tensor, nn

from sae_nb.architectures.parts._proxes import Centre, Dense, Matrix, Rows, SimplexProx
from sae_nb.checks import (
    Count,
    check_count,
    check_integers,
    check_matrix,
    check_memory,
    checked,
    methods_in_own_modes,
    own_modes,
)
from sae_nb.codes import SparseCodes
from sae_nb.kernels import decode, squared_error


@runtime_checkable
class Operator(Protocol):
    """A linear map from codes to reconstructions. It knows nothing of models, links or penalties."""

    @property
    def n_atoms(self) -> int:
        """Width of a code."""

    @property
    def d_in(self) -> int:
        """Width of a reconstruction."""

    def atoms(self) -> Matrix:
        """Return the matrix of A, one row per entry of a code."""

    def forward(self, z: Dense) -> Rows:
        """Return a z of dense codes."""

    def adjoint(self, r: Rows) -> Dense:
        """Return aᵀ r, dense."""

    def lipschitz(self) -> float:
        """Return a bound on ‖A‖²: 1 / lipschitz is a safe step for ½‖x − A z‖²."""

    def energy(self) -> Float[Tensor, " n_atoms"]:
        """‖a_j‖² of each atom, the diagonal of AᵀA."""


class MatrixOperator(ABC):
    """Everything that follows from a dictionary D, however it is parametrised."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        methods_in_own_modes(cls, "atoms")

    @abstractmethod
    def atoms(self) -> Matrix:
        """Return the effective dictionary D, with its gradient."""

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return self.atoms().shape[0]

    @property
    def d_in(self) -> int:
        """Width of an atom."""
        return self.atoms().shape[1]

    def synthesise(self, codes: SparseCodes, bias: Centre = None) -> Rows:
        """Return a z + b."""
        return decode(codes, self.atoms(), bias)

    def squared_error(
        self, codes: SparseCodes, bias: Centre, target: Rows
    ) -> tuple[Float[Tensor, ""], Rows, Rows]:
        """Σ‖target − (A z + b)‖², with A z + b and the residual as constants."""
        return squared_error(codes, self.atoms(), bias, target)

    def counted(self, rows: Rows) -> Rows:
        """Return differences of rows in the units in which errors are counted: as they are, unless
        sites differ.
        """
        return rows

    def forward(self, z: Dense) -> Rows:
        """Return a z of dense codes, inside a solver."""
        return z @ self.atoms()

    def adjoint(self, r: Rows) -> Dense:
        """Return aᵀ r = r Dᵀ, the correlations of each row with every atom; dense."""
        return r @ self.atoms().T

    def lipschitz(self) -> float:
        """‖A‖², the largest curvature of ½‖x − A z‖²: 1 / lipschitz is a safe step."""
        atoms = self.atoms().detach()
        gram = atoms.T @ atoms if self.d_in < self.n_atoms else atoms @ atoms.T
        if not bool(torch.isfinite(gram).all()):
            raise ValueError(
                f"`dictionary` must have finite squared norms in {atoms.dtype}, got atoms of up to "
                f"{float(atoms.abs().max()):.3g}. Scale it."
            )
        return float(torch.linalg.eigvalsh(gram)[-1])

    def energy(self) -> Float[Tensor, " n_atoms"]:
        """‖d_j‖² of each atom."""
        return self.atoms().square().sum(dim=1)

    def project_gradient_(self) -> None:  # noqa: B027 - a dictionary need not be constrained
        """Project the gradient before each optimiser step; nothing to do if D is unconstrained."""

    def project_(self) -> None:  # noqa: B027
        """Project D after each optimiser step; nothing to do if D is unconstrained."""


@checked
class FixedOperator(MatrixOperator):
    """A given dictionary: A z = z D, of any norms; a gradient reaches the tensor itself.

    Example
    -------
    >>> operator = FixedOperator(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    >>> operator.lipschitz(), operator.energy().tolist()
    (4.0, [4.0, 1.0])
    """

    def __init__(self, dictionary: Float[Tensor, "n_atoms d_in"]) -> None:
        self._dictionary = dictionary

    def atoms(self) -> Matrix:
        """Return the dictionary as it was given."""
        return self._dictionary


@checked
class FreeOperator(MatrixOperator, nn.Module):
    """A z = z (u · W): a free matrix W, and the length u of its unit in the model's units.

    Norms carry scale, for codes that have none of their own (memberships that sum to 1). `generator`
    draws the first atoms, standard normal.
    """

    unit: Tensor

    def __init__(self, d_in: int, n_atoms: int, *, generator: Generator | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(normal_rows(n_atoms, d_in, generator))
        self.register_buffer("unit", torch.ones(()))

    def atoms(self) -> Matrix:
        """Return the effective dictionary D = u · W, with its gradient."""
        return self.weight * self.unit


DRAWN_AT_ONCE = 2**22
"""Numbers that are drawn together."""

_KEPT: ContextVar[slice | None] = ContextVar("rows that are kept of those drawn", default=None)


@contextmanager
def keeping_rows(rows: slice) -> Iterator[None]:
    """Draw every row of a dictionary in the block, and keep these alone: a worker's part of a start."""
    token = _KEPT.set(rows)
    try:
        yield
    finally:
        _KEPT.reset(token)


def normal_rows(n: int, width: int, generator: Generator | None = None) -> Float[Tensor, "n width"]:
    """Draw rows of standard normal numbers, some at a time: of those that are not kept none is held."""
    if not isinstance(generator, Generator | None):
        raise TypeError(
            f"`generator` must be a torch.Generator or None, got {generator!r}. For a seed use "
            "torch.Generator().manual_seed(seed)."
        )
    n, width = check_count(n, name="n"), check_count(width, name="width")
    kept = range(n)[_KEPT.get() or slice(None)]
    _check_fits(len(kept), width)
    rows = torch.empty(len(kept), width)
    if rows.is_meta:
        return rows
    device = rows.device if generator is None else generator.device
    for start, stop in _draws(n, width) if device.type == "cpu" else [(0, n)]:
        drawn = torch.randn(stop - start, width, generator=generator, device=device)
        first, end = max(start, kept.start), min(stop, kept.stop)
        if first < end:
            here = slice(first - kept.start, end - kept.start)
            rows[here] = drawn[first - start : end - start]
    return rows


def _draws(n: int, width: int) -> Iterator[tuple[int, int]]:
    """Yield the rows that are drawn together, such that the numbers are those of one draw.

    torch makes normal numbers from sixteen uniform ones at a time, and the last sixteen anew where some are
    left over: only the last draw may have a rest, and must have sixteen.
    """
    at_once = max(16, DRAWN_AT_ONCE // width // 16 * 16)
    for start in range(0, max(n - 15, 1), at_once):
        stop = start + at_once
        yield start, stop if stop + 16 <= n else n
        if stop + 16 > n:
            return


def _check_fits(n_atoms: int, width: int) -> None:
    """Refuse a dictionary that would not fit into memory together with its unit rows."""
    if torch.get_default_device().type != "cpu":  # on the meta device nothing is drawn
        return
    needed = 2 * torch.get_default_dtype().itemsize * n_atoms * width
    check_memory(
        needed, f"A dictionary of {n_atoms} atoms × {width}", "Choose a smaller `n_atoms`."
    )


UNIT_GUARD = 1e-12
"""Added to atom norms before dividing, far below any norm that training reaches."""

PART = 256
"""Atoms whose gradient is projected at once: what is computed on the way stays in a core's cache."""


@checked
class DenseOperator(MatrixOperator, nn.Module):
    """A free matrix with unit rows: A z = z D, ‖d_j‖ = 1.

    `generator` draws the first atoms, uniformly on the sphere.

    Source
    ------
    Unit rows by projecting gradients and renormalising: saprmarks/dictionary_learning,
    trainers/trainer.py; Bricken et al., "Towards Monosemanticity".
    """

    def __init__(self, d_in: int, n_atoms: int, *, generator: Generator | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(random_unit_rows(n_atoms, d_in, generator))
        self.to_draw = generator if self.weight.is_meta else None

    def atoms(self) -> Matrix:
        """Return the effective dictionary D, with its gradient."""
        return self.weight

    @torch.no_grad()
    def project_gradient_(self) -> None:
        """Remove from each row's gradient the part along the atom, which would only change its norm."""
        if self.weight.grad is None:
            return
        parts = (torch.split(whole, PART) for whole in (self.weight, self.weight.grad))
        for rows, grad in zip(*parts, strict=True):
            direction = rows / (torch.linalg.vector_norm(rows, dim=1, keepdim=True) + UNIT_GUARD)
            along = torch.linalg.vecdot(grad, direction)
            grad.addcmul_(along[:, None], direction, value=-1)

    @torch.no_grad()
    def project_(self) -> None:
        """Give every atom unit norm again."""
        norms = torch.linalg.vector_norm(self.weight, dim=1, keepdim=True)
        self.weight.div_(norms + UNIT_GUARD)


class _InUnits(nn.Module):
    """Several sites side by side, each in a unit u of its own: differences of rows are counted in it."""

    unit: Tensor
    widths: tuple[int, ...]

    def _add_units(self) -> None:
        self.register_buffer("unit", torch.ones(sum(self.widths)))

    def counted(self, rows: Rows) -> Rows:
        """Return differences of rows, each site in its own unit."""
        return rows / self.unit

    @torch.no_grad()
    def fit_(self, centred: Rows) -> None:
        """Read the units off rows around their mean."""
        for part, unit in zip(
            torch.split(centred, list(self.widths), dim=1),
            torch.split(self.unit, list(self.widths)),
            strict=True,
        ):
            spread = part.square().sum(dim=1).mean() * len(self.widths) / sum(self.widths)
            unit.copy_(torch.where(spread > 0, spread.sqrt(), torch.ones_like(spread)))


@checked
class SitesOperator(_InUnits, DenseOperator):
    """Atoms over several sites side by side, each site in a unit of its own: A z = z (W · u), ‖w_j‖ = 1.

    u is one number per site, in the model's units, such that every site has the same spread in units of
    it: E‖(x_m − μ_m) / u_m‖² = d_in / M. Errors are counted in it, so that no site weighs more for being
    wider or louder. `generator` draws the first atoms, uniformly on the sphere of all sites together.
    """

    def __init__(
        self, widths: Sequence[int], n_atoms: int, *, generator: Generator | None = None
    ) -> None:
        self.widths = check_integers(widths, name="widths")
        super().__init__(sum(self.widths), n_atoms, generator=generator)
        self._add_units()

    def atoms(self) -> Matrix:
        """Return the effective dictionary W · u, with its gradient."""
        return self.weight * self.unit

    def synthesise(self, codes: SparseCodes, bias: Centre = None) -> Rows:
        """Return a z + b."""
        rows = decode(codes, self.weight) * self.unit
        return rows if bias is None else rows + bias

    def squared_error(
        self, codes: SparseCodes, bias: Centre, target: Rows
    ) -> tuple[Float[Tensor, ""], Rows, Rows]:
        """Σ‖(target − (A z + b)) / u‖², with A z + b and the residual as constants, in the model's units."""
        centre = None if bias is None else self.counted(bias)
        error, x_hat, residual = squared_error(codes, self.weight, centre, self.counted(target))
        return error, x_hat * self.unit, residual * self.unit

    def part(self, site: int) -> Float[Tensor, "n_atoms d_m"]:
        """Return the effective atoms at one site, with their gradient."""
        weight, unit = (
            torch.split(whole, list(self.widths), dim=-1)[site]
            for whole in (self.weight, self.unit)
        )
        return weight * unit

    def site_norms(self) -> Float[Tensor, "n_atoms sites"]:
        """‖w_jm‖ of each atom at each site, in the units in which errors are counted, with its gradient."""
        parts = torch.split(self.weight, list(self.widths), dim=1)
        return torch.stack([torch.linalg.vector_norm(part, dim=1) for part in parts], dim=1)


NEAR_ONE = 1e-6
"""A norm this close to 1 is 1: what has not moved stays as it is, to the bit."""


@checked
class ModelsOperator(_InUnits, MatrixOperator):
    """A dictionary for each of several models, side by side: A z = z [W_1 u_1 | … | W_M u_M], ‖w_mj‖ = 1.

    Each W_m is a parameter of its own, so that one may learn while the others stay. u as in
    `SitesOperator`; `generator` draws the first atoms, uniformly on the sphere of each model.
    """

    def __init__(
        self, widths: Sequence[int], n_atoms: int, *, generator: Generator | None = None
    ) -> None:
        super().__init__()
        self.widths = check_integers(widths, name="widths")
        self.of_models: Sequence[DenseOperator] = nn.ModuleList(  # type: ignore[assignment]
            DenseOperator(width, n_atoms, generator=generator) for width in self.widths
        )
        self._add_units()

    @property
    def weights(self) -> list[Tensor]:
        """W_m of each model."""
        return [one.weight for one in self.of_models]

    def atoms(self) -> Matrix:
        """Return the effective dictionaries W_m u_m side by side, with their gradient."""
        return torch.cat(self.weights, dim=1) * self.unit

    def project_gradient_(self) -> None:
        """Remove from each gradient the part along its atom, which would only change its norm."""
        for one in self.of_models:
            one.project_gradient_()

    @torch.no_grad()
    def project_(self) -> None:
        """Give every model's part of an atom unit norm again; what has not moved keeps its bits."""
        for weight in self.weights:
            norms = weight.norm(dim=1, keepdim=True)
            moved = (norms - 1).abs() > NEAR_ONE
            weight.copy_(torch.where(moved, weight / (norms + UNIT_GUARD), weight))


@checked
def random_unit_rows(
    n: int, width: int, generator: Generator | None = None
) -> Float[Tensor, "n width"]:
    """Draw directions uniformly on the sphere."""
    rows = normal_rows(n, width, generator)
    return rows if rows.is_meta else rows / rows.norm(dim=1, keepdim=True)


AT_THE_CENTRE = 1e-6
"""A candidate closer to the centre than this share of the typical distance has no direction."""


@checked
class HullOperator(MatrixOperator, nn.Module):
    """d_j = p_j / ‖p_j‖ with p_j = Σ_i w_ji c_i + Λ_j, w_j on the simplex, ‖Λ_j‖ ≤ δ.

    Candidates c_i are points around the centre of the data, in scaled units; they stay fixed. With δ =
    0 every p_j is in their convex hull. Norms are divided out, as a code is how far an input reaches
    along an atom.

    `delta`: δ, the longest step off the hull, in scaled units, where activations have norm √d_in in the
    root mean square. `generator` draws the first candidates, on the sphere of that norm.

    Source
    ------
    "Archetypal SAE", arXiv 2502.12892 (KempnerInstitute/overcomplete,
    archetypal_dictionary.py). Theirs clips negative weights and divides by their sum; ours projects
    rows of W on the simplex, which keeps mixtures sparse under Adam.
    """

    candidates: Tensor

    def __init__(
        self,
        d_in: int,
        n_atoms: int,
        n_candidates: int,
        *,
        delta: float,
        generator: Generator | None = None,
    ) -> None:
        for name, size in (("d_in", d_in), ("n_atoms", n_atoms), ("n_candidates", n_candidates)):
            check_count(size, name=name)
        _check_fits(n_atoms, n_candidates)
        super().__init__()
        self.delta = delta
        drawn = math.sqrt(d_in) * random_unit_rows(n_candidates, d_in, generator)
        self.register_buffer("candidates", drawn)
        self.mixture = nn.Parameter(torch.eye(n_atoms, n_candidates))
        # In units of √d_in its entries are as large as those of a unit atom, and so are Adam's steps.
        self.offset = nn.Parameter(torch.zeros(n_atoms, d_in)) if delta > 0 else None
        self._fused: tuple[object, Tensor] | None = None

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.mixture)

    @property
    def d_in(self) -> int:
        """Width of an atom."""
        return self.candidates.shape[1]

    def relaxation(self) -> Float[Tensor, "n_atoms d_in"]:
        """Λ, in scaled units, with its gradient."""
        if self.offset is None:
            return self.candidates.new_zeros(self.n_atoms, self.d_in)
        return self.offset * math.sqrt(self.d_in)

    def points(self) -> Float[Tensor, "n_atoms d_in"]:
        """Return W C + Λ around the centre, in scaled units, with its gradient."""
        mixed = self.mixture @ self.candidates
        return mixed if self.offset is None else mixed + self.relaxation()

    def atoms(self) -> Matrix:
        """Return the effective dictionary: unit rows, with their gradient.

        Without a gradient the product is computed once per state of the weights.
        """
        if torch.is_grad_enabled() and self.mixture.requires_grad:
            return self._directions()
        state = tuple(
            (t.data_ptr(), t._version, t.dtype)
            for t in (self.mixture, self.candidates, self.offset)
            if t is not None
        )
        if self._fused is None or self._fused[0] != state:
            with own_modes(), torch.no_grad():
                self._fused = (state, self._directions())
        return self._fused[1]

    def _directions(self) -> Tensor:
        points = self.points()
        return points / (points.norm(dim=1, keepdim=True) + UNIT_GUARD)

    @torch.no_grad()
    def start_from_(
        self, candidates: Float[Tensor, "n_candidates d_in"], chosen: Int[Tensor, " n_atoms"]
    ) -> None:
        """Take candidates, and let each atom begin as one of them."""
        self.candidates.copy_(candidates)
        self.mixture.zero_()
        self.mixture[torch.arange(self.n_atoms, device=chosen.device), chosen] = 1.0
        if self.offset is not None:
            self.offset.zero_()

    @torch.no_grad()
    def project_(self) -> None:
        """Return rows of W to the simplex and Λ to its ball."""
        self.mixture.copy_(SimplexProx().dense(self.mixture))
        if self.offset is not None:
            radius = self.delta / math.sqrt(self.d_in)
            norms = self.offset.norm(dim=1, keepdim=True)
            self.offset.mul_((radius / norms.clamp_min(radius)).clamp_max(1.0))


def with_direction(candidates: Float[Tensor, "n d_in"]) -> Int[Tensor, " n_directed"]:
    """Return candidates that are not at the centre, and so can be an atom by themselves."""
    norms = candidates.norm(dim=1)
    typical = norms.square().mean().sqrt()
    return (norms > AT_THE_CENTRE * typical).nonzero().flatten()


LONG = 4096
"""Samples from which a convolution goes by FFT: with 40 samples a kernel and 150 000 of a recording, five
times faster than directly (one core), and never by much slower from here on."""


@checked
class ConvolutionOperator:
    """Kernels h_k at every place of a recording; each kernel at each place is an atom.

    Codes are (kernel, place) flattened: entry k · n_places + t is kernel k starting at sample t.
    ‖A‖² ≤ max_ω Σ_k |ĥ_k(ω)|² over the frequencies of n_samples: exact if the recording were a
    circle, an upper bound for one with ends.

    Parameters
    ----------
    kernels
        One per row; a gradient reaches them.
    n_samples
        Length of a recording, at least that of a kernel.

    Raises
    ------
    ValueError: If a kernel is longer than the recording.

    Source
    ------
    Tolooshams et al., DUNL (btolooshams/dunl-compneuro); the bound on ‖A‖² is ours.

    Example
    -------
    >>> operator = ConvolutionOperator(torch.tensor([[1.0, 2.0]]), n_samples=4)
    >>> operator.forward(torch.tensor([[0.0, 1.0, 0.0]])).tolist()
    [[0.0, 1.0, 2.0, 0.0]]
    >>> operator.lipschitz()
    9.0
    """

    def __init__(self, kernels: Float[Tensor, "n_kernels length"], n_samples: Count) -> None:
        self.kernels = check_matrix(kernels, name="kernels")
        self.n_samples = n_samples
        if self.n_samples < kernels.shape[1]:
            raise ValueError(
                f"`n_samples` must be at least the length of a kernel, {kernels.shape[1]}, got "
                f"{n_samples}. Use shorter kernels or longer recordings."
            )

    @property
    def d_in(self) -> int:
        """Samples of a recording."""
        return self.n_samples

    @property
    def n_places(self) -> int:
        """Number of places where a kernel can start and still fit."""
        return self.n_samples - self.kernels.shape[1] + 1

    @property
    def n_atoms(self) -> int:
        """Kernels times places."""
        return len(self.kernels) * self.n_places

    def forward(self, z: Dense) -> Rows:
        """Add up every kernel at every place, as strong as its code."""
        placed = z.reshape(len(z), len(self.kernels), self.n_places)
        if self.n_samples < LONG:
            return F.conv_transpose1d(placed, self.kernels[:, None])[:, 0]
        # A kernel ends where the recording does, so nothing goes round the circle of the FFT.
        product = torch.fft.rfft(placed, n=self.n_samples) * self._spectrum(self.kernels)
        return torch.fft.irfft(product.sum(dim=1), n=self.n_samples)

    def adjoint(self, r: Rows) -> Dense:
        """Return correlation of a recording with every kernel at every place."""
        if self.n_samples < LONG:
            return F.conv1d(r[:, None], self.kernels[:, None]).flatten(1)
        product = torch.fft.rfft(r)[:, None] * self._spectrum(self.kernels).conj()
        return torch.fft.irfft(product, n=self.n_samples)[..., : self.n_places].flatten(1)

    def lipschitz(self) -> float:
        """Return max_ω Σ_k |ĥ_k(ω)|², by one FFT."""
        spectrum = self._spectrum(self.kernels.detach())
        return float(spectrum.abs().square().sum(dim=0).max())

    def _spectrum(self, kernels: Matrix) -> Complex[Tensor, "n_kernels frequencies"]:
        return torch.fft.rfft(kernels, n=self.n_samples)

    def energy(self) -> Float[Tensor, " n_atoms"]:
        """‖h_k‖² of each kernel, at all its places."""
        return self.kernels.square().sum(dim=1).repeat_interleave(self.n_places)

    def atoms(self) -> Matrix:
        """Return every kernel at every place, as a matrix: for ADMM and small recordings."""
        eye = torch.eye(self.n_atoms, dtype=self.kernels.dtype, device=self.kernels.device)
        return self.forward(eye)


@checked
class CosineOperator:
    """A signal as a sum of cosines of which only some samples were taken: A = Ω Φ, by FFT.

    Φ is the orthonormal cosine transform (DCT-II): atom k is √(2/N) cos(π k (2i + 1) / 2N) at sample i,
    and √(1/N) for k = 0. Ω keeps the samples where `mask` is true. Neither is stored as a matrix.

    Parameters
    ----------
    mask
        Indices of a signal's samples; its length N is also the number of atoms.
    dtype
        Of the numbers; None is torch's default.

    Raises
    ------
    ValueError: If `mask` takes no sample.

    Source
    ------
    Makhoul, "A fast cosine transform in one and two dimensions", 1980; the masked transform is the design
    of al5250/sparse-bayes-learn.

    Example
    -------
    >>> operator = CosineOperator(torch.tensor([True, False, True, True]))
    >>> operator.forward(torch.tensor([[2.0, 0.0, 0.0, 0.0]])).tolist()
    [[1.0, 1.0, 1.0]]
    >>> operator.n_atoms, operator.d_in, operator.lipschitz()
    (4, 3, 1.0)
    """

    def __init__(self, mask: Bool[Tensor, " n_samples"], dtype: torch.dtype | None = None) -> None:
        if not bool(mask.any()):
            raise ValueError(
                "`mask` must take a sample or more, got none. Set it to True where one was taken."
            )
        self.mask = mask
        n = len(mask)
        like = torch.empty(0, dtype=dtype or torch.get_default_dtype(), device=mask.device)
        if not like.is_floating_point():
            raise TypeError(f"`dtype` must be of floating-point numbers, got {dtype}.")
        self._kept = mask.nonzero().flatten()
        scale = torch.full((n,), math.sqrt(2 / n), dtype=torch.float64, device="cpu")
        scale[0] = math.sqrt(1 / n)
        self._scale = scale.to(like)
        angle = torch.arange(n, dtype=torch.float64, device="cpu") * (math.pi / (2 * n))
        self._turned = torch.complex(angle.cos().to(like), angle.sin().to(like))

    @property
    def n_atoms(self) -> int:
        """Cosines, the number of samples of a whole signal."""
        return len(self.mask)

    @property
    def d_in(self) -> int:
        """Samples that were taken."""
        return len(self._kept)

    def forward(self, z: Dense) -> Rows:
        """Return the samples that were taken of a sum of cosines."""
        n = self.n_atoms
        scaled = z * self._scale
        scaled = torch.cat([2 * scaled[:, :1], scaled[:, 1:]], dim=1)  # irfft doubles the others
        return n * torch.fft.irfft(scaled * self._turned, n=2 * n)[:, self._kept]

    def adjoint(self, r: Rows) -> Dense:
        """Return cosine transform of a signal that is zero where no sample was taken."""
        whole = r.new_zeros(len(r), self.n_atoms).index_copy(1, self._kept, r)
        waves = torch.fft.rfft(whole, n=2 * self.n_atoms)[:, :-1]
        return (waves * self._turned.conj()).real * self._scale

    def lipschitz(self) -> float:
        """1: rows of an orthonormal matrix."""
        return 1.0

    def energy(self) -> Float[Tensor, " n_atoms"]:
        """Σ over the samples taken of each cosine squared, by cos² θ = (1 + cos 2θ) / 2."""
        waves = torch.fft.fft(self.mask.to(self._scale.dtype)) * self._turned.conj().square()
        return self._scale.square() * (self.d_in + waves.real) / 2

    def atoms(self) -> Matrix:
        """Return every cosine at the samples taken, as a matrix: for exact inference and small signals."""
        eye = torch.eye(self.n_atoms, dtype=self._scale.dtype, device=self.mask.device)
        return self.forward(eye)


@checked
class LearnedAdjoint(nn.Module):
    """An affine map to pre-codes, u = r Eᵀ + a.

    Source: Gregor and LeCun, "Learning fast approximations of sparse coding", ICML 2010.
    """

    def __init__(self, operator: MatrixOperator) -> None:
        super().__init__()
        atoms = operator.atoms().detach()
        self.weight = nn.Parameter(atoms.clone())
        self.bias = nn.Parameter(atoms.new_zeros(len(atoms)))

    def forward(self, r: Rows, scale: Float[Tensor, ""] | float = 1.0) -> Dense:
        """Return all pre-codes at once, dense: for small inputs, panels and tests."""
        return r @ self.weight.T + self.bias / scale

    @torch.no_grad()
    def start_from_(self, atoms: Matrix) -> None:
        """Begin as the transpose of a dictionary."""
        self.weight.copy_(atoms)
        self.bias.zero_()

    @torch.no_grad()
    def rescale_(self, gain: float) -> None:
        """Multiply every pre-code by one number."""
        self.weight.mul_(gain)
        self.bias.mul_(gain)
