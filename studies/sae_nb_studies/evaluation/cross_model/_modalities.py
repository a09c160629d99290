"""Two modalities, pair by pair: how far apart they lie, which atoms serve one alone, which join them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor

from sae_nb.checks import (
    Between,
    Count,
    Resamples,
    Seed,
    check_matrix,
    check_memory,
    checked,
    same_length,
)
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import Measurement, Resampling
from sae_nb.figures import Chart, Points
from sae_nb.findings import Plotted, column
from sae_nb_studies.evaluation.cross_model._matching import check_same_rows

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder

N_BINS = 10
"""Of a chart of modality scores."""

SMALLEST = 1e-6
"""Joint strengths below this share of the largest are left out of a bridge's edges."""

_ENTRY_BYTES = 16  # of a sparse product: a double and two indices
_TILE = 2**22  # numbers of gathered atoms held at a time


def _check_two(things: Sequence[Any], name: str) -> None:
    if not isinstance(things, tuple | list) or len(things) != 2:
        given = f"{len(things)}" if isinstance(things, tuple | list) else type(things).__name__
        raise ValueError(
            f"`{name}` must be two, of the first modality and of the second, row by row of the same pairs, "
            f"got {given}. Pass a list: [image, text]."
        )


def _check_codes(codes: Sequence[SparseCodes]) -> None:
    _check_two(codes, "codes")
    for number, one in enumerate(codes):
        if not isinstance(one, SparseCodes):
            raise TypeError(
                f"`codes` must be SparseCodes, as `encode` returns them, got {type(one).__name__} at place "
                f"{number}. Use sae.encode(x)."
            )
    check_same_rows(codes)
    widths = [one.n_atoms for one in codes]
    if widths[0] != widths[1]:
        raise ValueError(
            f"`codes` must be of one shared dictionary, got {widths} atoms. Encode both modalities with the "
            "same SAE."
        )


# -------------------------------------------------------------------------------------------------
# The gap: embeddings of two modalities lie in two cones.


class ModalityGap(Measurement):
    """Distance between the mean embeddings of two modalities, each embedding of unit length."""

    HEADLINE = "{value:.3f}, modalities shuffled {floor:.3f}; {n} pairs"

    direction: Float[Tensor, " d"]
    """First mean − second mean, not normalised. `sae.dictionary @ direction` shows which atoms lie
    along it.
    """


@checked(leave=("embeddings",))
def modality_gap(
    embeddings: Sequence[Any], *, n_bootstrap: Resamples = 1000, seed: Seed = 0
) -> ModalityGap:
    """Measure how far apart two modalities lie in their common space.

    ‖mean_r x_r/‖x_r‖ − mean_r y_r/‖y_r‖‖, between 0 and 2. Its floor is the same after each pair has been
    turned about by a coin.

    Parameters
    ----------
    embeddings
        Two: of the first modality and of the second, (n, d) each, row by row of the same pairs.

    Raises
    ------
    TypeError, ValueError: If there are not two, of one width and the same number of rows, or a row is zero.

    Source
    ------
    Liang et al., "Mind the gap", arXiv 2203.02053. The floor is ours.

    Example
    -------
    >>> x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    >>> gap = modality_gap([x + torch.tensor([5.0, 0, 0, 0]), x])
    >>> gap.value > 5 * gap.floor, gap.direction.argmax().item()
    (True, 0)
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    _check_two(embeddings, "embeddings")
    rows = [check_matrix(x, name=f"embeddings[{i}]").double() for i, x in enumerate(embeddings)]
    same_length(rows[1], len(rows[0]), name="embeddings[1]", per="row of embeddings[0]")
    if rows[0].shape != rows[1].shape:
        raise ValueError(
            "`embeddings` must be in one space, got widths "
            f"{rows[0].shape[1]} and {rows[1].shape[1]}. Take both after their projections."
        )
    for number, x in enumerate(rows):
        zero = (x.norm(dim=1) == 0).nonzero().flatten()
        if len(zero):
            raise ValueError(
                "`embeddings` must have a direction, but row "
                f"{int(zero[0])} of embeddings[{number}] is zero. Leave that pair out."
            )
    unit = [x / x.norm(dim=1, keepdim=True) for x in rows]
    between_pairs = (unit[0] - unit[1]).detach()
    coin = torch.rand(len(unit[0]), 1, generator=torch.Generator().manual_seed(seed)) < 0.5
    turned = torch.where(coin.to(between_pairs.device), between_pairs, -between_pairs)
    direction = between_pairs.mean(dim=0)
    columns = between_pairs.cpu().numpy()
    ones = np.ones((len(columns), 1))
    interval = resampling.interval(
        resampling.grouped(np.concatenate([columns, ones], axis=1), None),
        lambda sums: np.linalg.norm(sums[:, :-1] / sums[:, -1:], axis=1),
    )
    value = Measurement.measured(
        "modality_gap",
        float(direction.norm()),
        interval,
        n=len(columns),
        floor=float(turned.mean(dim=0).norm()),
        unit="pairs",
        seconds=round(time.perf_counter() - start, 3),
    )
    return ModalityGap.of(value, direction=direction.to(torch.float32))


# -------------------------------------------------------------------------------------------------
# The split dictionary: atoms that fire for one modality alone.


class SplitDictionary(Measurement, Plotted):
    """Share of the atoms that fire, of those that serve one modality alone.

    Its floor is the same with each pair turned about by a coin: no atom can then serve one side.
    """

    HEADLINE = (
        "{value:.1%} of {n} atoms have at least {alone:.0%} of their strength in one modality, "
        "shuffled {floor:.1%}; they carry {energy:.1%} of all strength"
    )

    scores: Float[np.ndarray, " n_atoms"]
    """m_j: 0 where an atom's strength is all in the second modality, 1 where all in the first; NaN where it
    never fires."""

    energies: Float[np.ndarray, "n_atoms 2"]
    """Mean strength of each atom over the rows of each modality."""

    alone: float
    """From which share of its strength in one modality an atom counts as split."""

    energy: float
    energy_floor: float
    """Share of all strength that split atoms carry; the same with each pair turned about by a coin."""

    @property
    def chart(self) -> Chart:
        """Atoms by m_j, and their strength: how much of a dictionary, and of its use, is of one modality."""
        fires = np.isfinite(self.scores)
        scores, strength = self.scores[fires], self.energies[fires].sum(axis=1)
        edges = np.linspace(0, 1, N_BINS + 1)
        shares = {
            "atoms": np.histogram(scores, edges)[0] / len(scores),
            "strength": np.histogram(scores, edges, weights=strength)[0] / strength.sum(),
        }
        middles = (edges[:-1] + edges[1:]) / 2
        return Chart(
            series=tuple(Points(name, middles, share) for name, share in shares.items()),
            x="m: 0 all in the second modality, 1 all in the first",
            y="share",
        )


@checked(leave=("codes",))
def modality_scores(
    codes: Sequence[SparseCodes],
    *,
    alone: Annotated[float, Between(0.5, 1, "(]")] = 0.95,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> SplitDictionary:
    """Measure which atoms of a shared dictionary serve one modality alone.

    m_j = E|z_j¹| / (E|z_j¹| + E|z_j²|), over the rows of each modality; an atom is split where m_j is at
    least `alone` or at most 1 − `alone`. The value is the share of split atoms among those that fire;
    `energy` weighs each by its strength E|z_j¹| + E|z_j²|: many rare atoms of one modality may carry little.

    Parameters
    ----------
    codes
        Two: of the first modality and of the second, row by row of the same pairs, of one dictionary.
    alone
        In (0.5, 1]. 1 asks that an atom never fires for the other.

    Raises
    ------
    TypeError, ValueError: If they are not two codes of the same pairs and atoms, or nothing fires.

    Source
    ------
    Papadimitriou et al., "Interpreting the linear structure of vision-language model embedding spaces", arXiv
    2504.11695 (m_j and energy E z_j as in a summary of it). `alone`, the weighted share and the floors are
    ours.

    Example
    -------
    >>> image = SparseCodes.from_dense(torch.tensor([[1.0, 0.0, 1.0], [2.0, 0.0, 1.0]]))
    >>> text = SparseCodes.from_dense(torch.tensor([[0.0, 3.0, 1.0], [0.0, 1.0, 1.0]]))
    >>> split = modality_scores([image, text])
    >>> split.scores.tolist(), round(split.value, 2), round(split.energy, 2)
    ([1.0, 0.0, 0.5], 0.67, 0.64)
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    _check_codes(codes)
    tables = [abs(_table(one)) for one in codes]
    n = tables[0].shape[0]
    coin = np.random.default_rng(seed).random(n) < 0.5
    sides = [np.asarray(t.mean(axis=0)).ravel() for t in tables]
    turned = [_mixed(tables, coin), _mixed(tables, ~coin)]
    scores, split, strength = _split(sides, alone)
    _, by_chance, strength_by_chance = _split(turned, alone)
    value = resampling.mean(
        "split_atoms",
        split,
        floor=by_chance.mean(),
        unit="atoms",
        seconds=round(time.perf_counter() - start, 3),
    )
    return SplitDictionary.of(
        value,
        scores=scores,
        energies=np.stack(sides, axis=1),
        alone=alone,
        energy=float(np.average(split, weights=strength)),
        energy_floor=float(np.average(by_chance, weights=strength_by_chance)),
    )


def _table(codes: SparseCodes) -> csr_matrix:
    """Codes in double precision."""
    return codes.detach().to("cpu").to_scipy().astype(np.float64)


def _mixed(tables: Sequence[csr_matrix], first: Any) -> Float[np.ndarray, " n_atoms"]:
    """Mean strength over rows of which some are taken from the first table, the others from the second."""
    total = tables[0][first].sum(axis=0) + tables[1][~first].sum(axis=0)
    return np.asarray(total).ravel() / len(first)


def _split(
    sides: Sequence[Float[np.ndarray, " n_atoms"]], alone: float
) -> tuple[Float[np.ndarray, " n_atoms"], Float[np.ndarray, " alive"], Float[np.ndarray, " alive"]]:
    """Return m_j of every atom; of those that fire, whether each is split, and its strength."""
    total = sides[0] + sides[1]
    scores = np.divide(sides[0], total, out=np.full_like(total, np.nan), where=total > 0)
    alive = total > 0
    split = (scores[alive] >= alone) | (scores[alive] <= 1 - alone)
    return scores, split.astype(float), total[alive]


# -------------------------------------------------------------------------------------------------
# The bridge: atoms of one modality and atoms of the other that fire on the same pairs and point alike.


class Bridge(Measurement):
    """The amount that two modalities share through their atoms: Σ_ij B_ij, as a share of its maximum.

    `value` is between −1 and 1; its floor is the mean over all ways to shuffle the pairs.
    """

    HEADLINE = (
        "{value:.3f}, pairs shuffled {floor:.3f}; {scores.len} edges, {same:.1%} within one atom"
    )

    first: Int[np.ndarray, " edges"] = field(metadata=column())
    second: Int[np.ndarray, " edges"] = field(metadata=column())
    """Atoms of the first modality, and the atom of the second that each is joined with."""

    scores: Float[np.ndarray, " edges"] = field(metadata=column("score"))
    """B_ij of each, in squared units of the embeddings."""

    floors: Float[np.ndarray, " edges"] = field(metadata=column("floor"))
    """Mean of B_ij if pairs are shuffled."""

    same: float
    """Share of Σ|B_ij| in which both modalities use the same atom, i = j; NaN if all are 0."""

    @checked
    def edges(self, n: Count = 20) -> pd.DataFrame:
        """Return the strongest bridges: atom of the first modality, of the second, score, and its floor."""
        import pandas as pd

        order = np.argsort(-self.scores, kind="stable")[:n]
        columns = {
            "first": self.first, "second": self.second, "score": self.scores, "floor": self.floors,
        }  # fmt: skip
        return pd.DataFrame({name: column[order] for name, column in columns.items()})


@checked(leave=("codes", "dictionary"))
def bridge_score(
    codes: Sequence[SparseCodes],
    dictionary: SparseAutoencoder,
    *,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
) -> Bridge:
    """Measure which atoms join two modalities: they fire on the same pairs, and point the same way.

    B_ij = (1/n) Σ_r z_ri¹ z_rj² · ⟨d_i, d_j⟩, the cosine where atoms have unit length. Summed over all i and
    j this is E⟨z¹D, z²D⟩; the value is that sum divided by √(E‖z¹D‖² E‖z²D‖²). Shuffled pairs leave
    ⟨E z¹D, E z²D⟩, which is the floor. Only atoms that fire on a common pair have an entry.

    Parameters
    ----------
    codes
        Two: of the first modality and of the second, row by row of the same pairs, of one dictionary.
    dictionary
        Atoms, (n_atoms, d); or two such, where the modalities have an atom each, in one space.

    Raises
    ------
    TypeError, ValueError: If codes or atoms do not fit each other, or nothing fires.
    MemoryError: If the pairs of atoms that fire together would not fit.

    Source
    ------
    Papadimitriou et al., arXiv 2504.11695, B_ij as in a summary of it. One number for all of B, its division
    by energies and the exact floor are ours.

    Example
    -------
    >>> image = SparseCodes.from_dense(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    >>> bridge = bridge_score([image, image], torch.eye(2))
    >>> bridge.value, bridge.floor, bridge.same
    (1.0, 0.5, 1.0)
    """
    start, resampling = time.perf_counter(), Resampling(n_bootstrap, seed)
    _check_codes(codes)
    atoms = _atoms(dictionary, codes[0].n_atoms)
    tables = [_table(one) for one in codes]
    first, second = (t @ d for t, d in zip(tables, atoms, strict=True))
    columns = np.stack(
        [(first * second).sum(axis=1), (first**2).sum(axis=1), (second**2).sum(axis=1)], axis=1
    )

    def share(sums: Float[np.ndarray, "draws 3"]) -> Float[np.ndarray, " draws"]:
        return sums[:, 0] / np.sqrt(sums[:, 1] * sums[:, 2])

    total = columns.sum(axis=0)
    shuffled = len(first) * float(first.mean(axis=0) @ second.mean(axis=0))
    one, other, joint = _joint(tables)
    cosines = _gathered(one, other, *atoms)
    means = [np.asarray(t.mean(axis=0)).ravel() for t in tables]
    scores = joint * cosines
    size = float(np.abs(scores).sum())
    same = np.abs(scores[one == other]).sum() / size if size else float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        value = Measurement.measured(
            "bridge",
            share(total[None])[0],
            resampling.interval(resampling.grouped(columns, None), share),
            n=len(first),
            floor=shuffled / np.sqrt(total[1] * total[2]),
            unit="pairs",
            seconds=round(time.perf_counter() - start, 3),
        )
    return Bridge.of(
        value,
        first=one,
        second=other,
        scores=scores,
        floors=means[0][one] * means[1][other] * cosines,
        same=float(same),
    )


def _atoms(dictionary: SparseAutoencoder, n_atoms: int) -> list[Float[np.ndarray, "n_atoms d"]]:
    """The atoms of either modality, checked."""
    given = list(dictionary) if isinstance(dictionary, tuple | list) else [dictionary, dictionary]
    _check_two(given, "dictionary")
    tables = [check_matrix(one, name="dictionary") for one in given]
    if any(one.is_meta for one in tables):
        raise ValueError(
            "`dictionary` must have values, got one on the meta device. Load its weights first."
        )
    atoms = [one.detach().double().cpu().numpy() for one in tables]
    for one in atoms:
        same_length(one, n_atoms, name="dictionary", per="atom of the codes")
    if atoms[0].shape != atoms[1].shape:
        raise ValueError(
            "`dictionary` must have its atoms in one space, got widths "
            f"{atoms[0].shape[1]} and {atoms[1].shape[1]}. Atoms of different spaces have no cosine."
        )
    return atoms


def _joint(tables: Sequence[csr_matrix]) -> tuple[Any, Any, Any]:
    """E z_i¹ z_j² of the atoms that fire on a common pair, by a sparse product."""
    n, n_atoms = tables[0].shape
    most = int((np.diff(tables[0].indptr).astype(float) * np.diff(tables[1].indptr)).sum())
    check_memory(
        2 * _ENTRY_BYTES * min(most, n_atoms**2),
        "Strengths of atoms that fire together",
        "Take fewer pairs.",
    )
    joint = ((tables[0].T @ tables[1]) / n).tocoo()
    largest = np.abs(joint.data).max(initial=0.0)
    kept = np.abs(joint.data) > SMALLEST * largest
    return joint.row[kept].astype(np.int64), joint.col[kept].astype(np.int64), joint.data[kept]


def _gathered(
    one: Int[np.ndarray, " edges"],
    other: Int[np.ndarray, " edges"],
    first: Float[np.ndarray, "n_atoms d"],
    second: Float[np.ndarray, "n_atoms d"],
) -> Float[np.ndarray, " edges"]:
    """⟨d_i, d_j⟩ of the edges alone, some at a time."""
    step = max(1, _TILE // first.shape[1])
    parts = [
        np.einsum("ed,ed->e", first[one[i : i + step]], second[other[i : i + step]])
        for i in range(0, len(one), step)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)
