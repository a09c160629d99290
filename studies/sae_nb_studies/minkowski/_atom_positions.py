"""The atoms that a task uses, and where on an image they fire: on borders, elsewhere, on registers.

All formulas here are inferred (ours): arXiv 2510.08638 names border, elsewhere and register concepts
without defining their scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import (
    Between,
    Count,
    Seed,
    as_tensor,
    at_least,
    check_data,
    check_matrix,
    checked,
)
from sae_nb.codes import SparseCodes
from sae_nb.geometry import check_dictionary
from sae_nb.statistics import logistic_probe

# -------------------------------------------------------------------------------------------------
# Which atoms a task uses: I_iy = E[z_i] · (D Wᵀ)_iy, exact for a head that is linear in x̂ = z D + b.


@dataclass(frozen=True, kw_only=True, eq=False)
class Recruitment:
    """The contribution of each atom to each answer of a linear head, in the mean over rows."""

    importance: Float[Tensor, "n_atoms n_classes"]
    """I: what the logit of class y loses, in the mean, if atom i is taken out of x̂."""

    @checked
    def top(self, y: int, n: Count = 100) -> Int[Tensor, " n"]:
        """Return atoms with the largest importance for a class, in falling order.

        Raises
        ------
        ValueError: If there is no such class.
        """
        if isinstance(y, bool) or not isinstance(y, int) or not 0 <= y < self.importance.shape[1]:
            raise ValueError(
                f"`y` must be a class from 0 to {self.importance.shape[1] - 1}, got {y!r}."
            )
        n = min(n, len(self.importance))
        return self.importance[:, y].topk(n).indices

    @property
    def n_recruited(self) -> Float[Tensor, " n_classes"]:
        """Atoms that share each answer: the exponential of the entropy of |I| within a class (ours)."""
        share = self.importance.abs() / self.importance.abs().sum(dim=0).clamp_min(1e-30)
        return (-(share * share.clamp_min(1e-30).log()).sum(dim=0)).exp()


@checked
@torch.no_grad()
def recruit(
    codes: SparseCodes,
    dictionary: Float[Tensor, "n_atoms d_in"],
    weight: Float[Tensor, "n_classes d_in"],
) -> Recruitment:
    """Attribute the answers of a linear head to atoms.

    Logits of the reconstruction are W (z D + b) + c = Σ_i z_i (D Wᵀ)_iy + const: E[z_i] (D Wᵀ)_iy is
    therefore exact, with nothing left over but the SAE's own error.

    Parameters
    ----------
    codes
        Of the rows that the head reads (the cls tokens, say, or the patches).
    dictionary
        Effective atoms, with the norms that decode the codes.
    weight
        W of the head, or of a linear probe.

    Raises
    ------
    TypeError, ValueError: If shapes do not fit together, or there are no rows.

    Source
    ------
    arXiv 2510.08638, task recruitment.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    >>> recruit(codes, torch.eye(2), torch.tensor([[1.0, -1.0]])).importance.tolist()
    [[1.0], [-2.0]]
    """
    atoms = check_matrix(dictionary, name="dictionary").detach()
    head = check_matrix(weight, name="weight", d_in=atoms.shape[1]).detach().to(atoms)
    check_dictionary(codes, atoms)
    return Recruitment(importance=mean_strength(codes).to(atoms)[:, None] * (atoms @ head.T))


def mean_strength(codes: SparseCodes) -> Float[Tensor, " n_atoms"]:
    """Return E[z_i] over all rows, zeros included."""
    if codes.n_rows == 0:
        raise ValueError("`codes` must have at least one row, got none.")
    total = torch.zeros(codes.n_atoms, dtype=torch.float64, device=codes.device)
    total.index_add_(0, codes.atoms.long(), codes.values.detach().double())
    return (total / codes.n_rows).float()


@dataclass(frozen=True, kw_only=True, eq=False)
class SubspaceCoherence:
    """Similarity of some atoms, with the same number of random ones of the same dictionary."""

    value: float
    """Mean |cos| over pairs."""

    floor: float
    """The same for random atoms, mean over draws."""

    floor_sd: float
    """Over draws."""

    spectrum: Float[np.ndarray, " n"]
    """Shares of the eigenvalues of the atoms' Gram matrix, falling."""

    floor_spectrum: Float[np.ndarray, " n"]
    """The same for random atoms, mean over draws."""


@checked
@torch.no_grad()
def subspace_coherence(
    dictionary: Float[Tensor, "n_atoms d_in"],
    atoms: Int[Tensor, " n"],
    *,
    among: Int[Tensor, " m"] | None = None,
    n_draws: Annotated[int, at_least(2)] = 20,
    seed: Seed = 0,
) -> SubspaceCoherence:
    """Measure whether the atoms of a task share a subspace.

    Parameters
    ----------
    dictionary
        All atoms; only directions count.
    atoms
        Those of a task, at least two.
    among
        Atoms that random ones are drawn from; None is all. Pass those that fire: dead atoms are often
        random directions, and would make any set of alive atoms look coherent.

    Raises
    ------
    TypeError, ValueError: If there are fewer than two atoms, or too few to draw from.

    Source
    ------
    arXiv 2510.08638, top-100 of a task against random-100.

    Example
    -------
    >>> directions = torch.randn(50, 16, generator=torch.Generator().manual_seed(0))
    >>> directions[:5] = directions[0]
    >>> found = subspace_coherence(directions, torch.arange(5))
    >>> round(found.value, 3), found.floor < 0.5
    (1.0, True)
    """
    rows = check_matrix(dictionary, name="dictionary").detach().float()
    pool = torch.arange(len(rows)) if among is None else among.cpu()
    if atoms.dtype == torch.bool:
        raise TypeError(
            "`atoms` must be numbers of atoms, got truth values. Use mask.nonzero()[:, 0]."
        )
    n = len(atoms)
    if n < 2 or len(pool) < n:
        raise ValueError(
            f"`atoms` must be two or more, and at most the {len(pool)} that random ones are drawn from, "
            f"got {n}."
        )
    unit = torch.nn.functional.normalize(rows, dim=1)
    generator = torch.Generator().manual_seed(seed)
    draws = [pool[torch.randperm(len(pool), generator=generator)[:n]] for _ in range(n_draws)]
    floors = [_alike(unit[drawn]) for drawn in draws]
    values = np.array([value for value, _ in floors])
    value, spectrum = _alike(unit[atoms])
    return SubspaceCoherence(
        value=value,
        floor=float(values.mean()),
        floor_sd=float(values.std(ddof=1)),
        spectrum=spectrum,
        floor_spectrum=np.mean([shares for _, shares in floors], axis=0),
    )


def _alike(unit: Tensor) -> tuple[float, Float[np.ndarray, " n"]]:
    gram = unit @ unit.T
    upper = torch.triu_indices(len(unit), len(unit), offset=1)
    shares = torch.linalg.eigvalsh(gram.double()).flip(0).clamp_min(0) / len(unit)
    return float(gram[tuple(upper)].abs().mean()), shares.numpy(force=True)


@checked(leave=("y",))
def linear_probe(
    x: Float[Tensor, "n d_in"],
    y: Int[Tensor, " n"],
    *,
    strength: Annotated[float, Between(0, math.inf, "(]")] = 1.0,
) -> tuple[Float[Tensor, "n_classes d_in"], Float[Tensor, " n_classes"]]:
    """Fit a linear head to rows and their classes: multinomial logistic regression.

    Gives weight and bias, for rows as they are.

    Parameters
    ----------
    y
        Class of each row; with two classes, row 1 of the weight is class 1 against class 0.
    strength
        Inverse of the ridge penalty, on rows scaled to unit variance in the mean over coordinates.

    Raises
    ------
    TypeError, ValueError: If the numbers of rows differ or there is one class only.

    Example
    -------
    >>> x = torch.tensor([[2.0, 0.0], [3.0, 1.0], [-2.0, 0.0], [-3.0, 1.0]])
    >>> weight, bias = linear_probe(x, torch.tensor([0, 0, 1, 1]))
    >>> (x @ weight.T + bias).argmax(dim=1).tolist()
    [0, 0, 1, 1]
    """
    rows = check_matrix(x).detach()
    y = check_data(as_tensor(y, name="y"), name="y", what="classes")
    if y.is_complex() or (y.is_floating_point() and not bool(torch.isfinite(y).all())):
        raise ValueError(f"`y` must hold finite classes, got {y.dtype}. Number them.")
    n_classes = len(torch.unique(y))
    if y.shape != (len(rows),) or n_classes < 2:
        raise ValueError(
            f"`y` must hold a class for each of the {len(rows)} rows, two classes at least, got shape "
            f"{tuple(y.shape)} and {n_classes} classes."
        )
    middle, scale = rows.mean(dim=0), float(rows.std())
    if not 0 < scale < math.inf:
        raise ValueError(f"`x` must vary, with a finite variance, got a deviation of {scale:g}.")
    scaled = ((rows - middle) / scale).double().numpy(force=True)
    probe = logistic_probe(
        scaled, y.numpy(force=True), scale=1.0, centred=False, inverse_penalty=strength
    )
    weight, bias = torch.from_numpy(probe.weight), torch.from_numpy(probe.bias)
    if len(weight) == 1:
        weight, bias = torch.cat([0 * weight, weight]), torch.cat([0 * bias, bias])
    weight = (weight / scale).to(rows)
    return weight, bias.to(rows) - weight @ middle


# -------------------------------------------------------------------------------------------------
# Where on an image atoms fire, held against the known mask: on borders, elsewhere, on registers.


@checked(leave=("mask",))
def border_band(
    mask: Bool[Tensor, "n rows columns"],
) -> Bool[Tensor, "n rows columns"]:
    """Return tokens on the edge of the mask, or one token next to it.

    The edge is what a one-token dilation adds and what a one-token erosion removes, with the eight
    neighbours of a token; the image's rim is not an edge.

    `mask`: tokens covered by the object, on their grid.

    Example
    -------
    >>> mask = torch.zeros(1, 5, 5, dtype=torch.bool)
    >>> mask[0, 1:4, 1:4] = True
    >>> border_band(mask)[0].int()[2].tolist()
    [1, 1, 0, 1, 1]
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.ndim != 3:
        given = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask)
        raise TypeError(
            f"`mask` must be a boolean tensor of shape (n, rows, columns), got {given}. Reshape it to the "
            "grid of patches."
        )
    if not check_data(mask, name="mask", what="truth values").numel():
        raise ValueError(f"`mask` must not be empty, got shape {tuple(mask.shape)}.")
    grid = mask.float()
    grown = torch.nn.functional.max_pool2d(grid, 3, stride=1, padding=1)
    # max_pool pads with −∞, so an erosion (a dilation of the rest) does not start at the rim.
    shrunk = -torch.nn.functional.max_pool2d(-grid, 3, stride=1, padding=1)
    return (grown - shrunk) > 0.5


@checked
@torch.no_grad()
def share_on(codes: SparseCodes, on: Bool[Tensor, " rows"]) -> Float[Tensor, " n_atoms"]:
    """Compute E[z | on] / (E[z | on] + E[z | off]): 1 for atoms that fire on these rows only, 0 for never.

    With `on` a border band this is the border score: the ratio E[z | on] / E[z | off] put between 0 and
    1, the size of signed codes being taken. Atoms that never fire have NaN.

    Raises
    ------
    ValueError: If there is not one entry per row, or all rows or none are on.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 2.0]]))
    >>> share_on(codes, torch.tensor([True, False])).tolist()
    [1.0, 0.5, 0.0]
    """
    if on.dtype != torch.bool or on.shape != (codes.n_rows,):
        raise ValueError(
            f"`on` must be a boolean for each of the {codes.n_rows} rows, got {on.dtype} of shape "
            f"{tuple(on.shape)}."
        )
    if not bool(on.any()) or bool(on.all()):
        raise ValueError("`on` must mark some rows and not all: there is nothing to compare.")
    inside, outside = (mean_size(codes.rows(part.nonzero()[:, 0])) for part in (on, ~on))
    total = inside + outside
    return torch.where(total > 0, inside / total.clamp_min(1e-30), torch.nan)


def mean_size(codes: SparseCodes) -> Float[Tensor, " n_atoms"]:
    """Compute E|z_i| over rows."""
    sizes = SparseCodes(codes.values.detach().abs(), codes.atoms, codes.offsets, codes.n_atoms)
    return mean_strength(sizes)


@dataclass(frozen=True, kw_only=True, eq=False)
class ElsewhereScores:
    """Atoms that favour an object and fire next to it."""

    least: ClassVar[float] = 0.8
    """Off-ratio and dependence above which an atom is an elsewhere atom (inferred)."""

    off_ratio: Float[Tensor, " n_atoms"]
    """o = E[z | y, off the object] / (E[z | y, on it] + the same); NaN for atoms silent in both."""

    dependence: Float[Tensor, " n_atoms"]
    """δ = 1 − E[z | object taken out] / E[z | y, off the object], over the same tokens; at most 1, below 0
    where the object holds the atom down; NaN for atoms silent there."""

    @property
    def elsewhere(self) -> Bool[Tensor, " n_atoms"]:
        """Both o and δ are above `least`: fires off the object, and falls silent when it is taken out."""
        return (self.off_ratio > self.least) & (self.dependence > self.least)


@checked
@torch.no_grad()
def elsewhere_scores(
    codes: SparseCodes, without: SparseCodes, on: Bool[Tensor, " rows"]
) -> ElsewhereScores:
    """Score atoms by where they fire when an object is there, and whether they need it to be.

    Parameters
    ----------
    codes
        Of tokens of images with the object (one class, say).
    without
        Of the same tokens of the same images with the object painted over.
    on
        Tokens covered by the object.

    Raises
    ------
    ValueError: If the rows do not match, or the object covers all tokens or none.

    Example
    -------
    >>> there = SparseCodes.from_dense(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))
    >>> gone = SparseCodes.from_dense(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    >>> found = elsewhere_scores(there, gone, torch.tensor([True, False]))
    >>> found.elsewhere.tolist(), found.dependence.tolist()
    ([True, False], [1.0, 0.0])
    """
    if codes.n_rows != len(without) or codes.n_atoms != without.n_atoms:
        raise ValueError(
            f"`without` must have the rows and atoms of `codes`, {codes.n_rows} and {codes.n_atoms}, got "
            f"{without.n_rows} and {without.n_atoms}."
        )
    on_it = share_on(codes, on)
    off = (~on).nonzero()[:, 0]
    there, gone = mean_size(codes.rows(off)), mean_size(without.rows(off))
    dependence = torch.where(there > 0, 1 - gone / there.clamp_min(1e-30), torch.nan)
    return ElsewhereScores(off_ratio=1 - on_it, dependence=dependence)


@checked
@torch.no_grad()
def footprint_entropy(
    codes: SparseCodes, place: Int[Tensor, " rows"], n_places: int
) -> Float[Tensor, " n_atoms"]:
    """Return how evenly an atom fires over places (cls, registers, patches): 0 in one place only, 1 in
    all alike.

    H(p) / log n with p_a ∝ E|z| at place a, so that a place with many tokens counts no more than one with
    few. Atoms that never fire have NaN.

    Parameters
    ----------
    place
        Of each row, from 0.
    n_places
        Number of places; two at least.

    Raises
    ------
    ValueError: If a row has no place, or a place no row.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]]))
    >>> [round(value, 3) for value in footprint_entropy(codes, torch.tensor([0, 1, 1]), 2).tolist()]
    [0.0, 1.0]
    """
    strength = place_strengths(codes, place, n_places)
    total = strength.sum(dim=0)
    p = strength / total.clamp_min(1e-30)
    entropy = (p * p.clamp_min(1e-30).log()).sum(dim=0).abs() / math.log(n_places)
    return torch.where(total > 0, entropy.clamp(0, 1), torch.nan)


@checked
def place_strengths(
    codes: SparseCodes, place: Int[Tensor, " rows"], n_places: int
) -> Float[Tensor, "n_places n_atoms"]:
    """Compute E|z| of each atom at each place.

    Parameters and errors as for `footprint_entropy`.

    Example
    -------
    >>> codes = SparseCodes.from_dense(torch.tensor([[2.0], [0.0]]))
    >>> place_strengths(codes, torch.tensor([0, 1]), 2).tolist()
    [[2.0], [0.0]]
    """
    if n_places < 2 or place.shape != (codes.n_rows,):
        raise ValueError(
            f"`place` must name one of two places or more for each of the {codes.n_rows} rows, got shape "
            f"{tuple(place.shape)} and n_places={n_places}."
        )
    rows = [(place == a).nonzero()[:, 0] for a in range(n_places)]
    if sum(map(len, rows)) != codes.n_rows or not all(map(len, rows)):
        raise ValueError(
            f"`place` must be from 0 to {n_places - 1} and use each, got {torch.unique(place).tolist()}."
        )
    return torch.stack([mean_size(codes.rows(part)) for part in rows])
