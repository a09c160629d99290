"""ITDA: a dictionary whose atoms are rows of the data, stored where those before leave too much."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sae_nb.activations import Activations
from sae_nb.activations._positions import PositionPolicy
from sae_nb.activations._sites import acts_for
from sae_nb.architectures import DenseOperator, SparseAutoencoder
from sae_nb.architectures._base import Untrained
from sae_nb.checks import Between, Count, checked, shown
from sae_nb.codes import SparseCodes
from sae_nb.progress import progress_bar
from sae_nb.pursuit import matching_pursuit

THRESHOLD = 0.1
"""Largest unexplained share of a row. Ours: several times d_in atoms from ten thousand patches of a vision
transformer (d_in 64, k 16); the published τ = 4e-4 in width 768 is 0.28, and gives fewer than d_in there."""

BLOCK = 8192
"""Rows that are read and encoded together."""

GROWTH = 16
"""The dictionary grows by at most a 16th between two looks at the rows that are left. Ours: the finer,
the fewer atoms that another atom has made needless; at 16 a fit takes some hundred looks at most."""

MOST_COMPARED = 4096
"""Rows that are compared with each other for the advice of an error."""

Rows = Float[Tensor, "rows d_in"]


class StoredRow(NamedTuple):
    """The row of the data that an atom is."""

    sample: int
    position: int
    """Of the text or image, and of the token or patch in it, as in `Activations`."""

    words: str
    """The same in words, as `acts.where(row)` returns it: "image 12, patch 3,4"."""


@checked(leave=("stored",))
class ITDA(Untrained, SparseAutoencoder):
    """A dictionary without gradients: every atom is an activation that was met, at unit length.

    Rows are visited in their order. One of which k steps of matching pursuit over the rows stored so
    far leave more than `threshold`, ‖x − x̂‖² / ‖x‖², is stored: d = x / ‖x‖. Codes are that pursuit,
    x̂ = zD, with signs and without a bias. So an atom's label need not be guessed: `stored` names the
    token and text, or the patch and image, that it is. Where rows come in another order, others are
    stored.

    Parameters
    ----------
    d_in
        Width of an activation.
    k
        Most atoms per input, ≥ 1.
    threshold
        Share of ‖x‖² that may be left of a row, in (0, 1). No width is in it: the same number asks the
        same of every model.
    max_atoms
        Store no more rows than this; None: as many as the threshold asks for.
    nonnegative
        Only positive codes; otherwise atoms are chosen by |⟨r, d_j⟩|.
    stored
        Rows that the atoms come from; `fit` sets it.

    Source
    ------
    "Inference-Time Decomposition of Activations", arXiv 2505.17769 (davidkaczer/itda, train.py). Theirs
    fills the first atoms with frequent activations, then appends every offender of a batch, also many of
    one kind, by τ < mean_dims (x/‖x‖ − x̂/‖x̂‖)². Ours begins empty and looks again at the offenders after
    each 16th of growth, and of two that k = 1 would reconstruct from each other stores the first. Where x̂
    is a projection, `threshold` = 1 − (1 − τ d_in / 2)².

    Example
    -------
    >>> x = torch.tensor([[1.0, 0.0], [2.0, 0.1], [0.0, 3.0]])
    >>> itda = ITDA(d_in=2, k=1, threshold=0.1).fit(x)
    >>> itda.n_atoms, [row.words for row in itda.stored]
    (2, ['sample 0', 'sample 2'])
    >>> itda.dictionary.tolist(), itda.encode(-x).l0.tolist()
    ([[1.0, 0.0], [0.0, 1.0]], [1, 1, 1])
    """

    no_training = "ITDA must be fitted, not trained: it has no gradient. Use itda.fit(acts)."

    operator: DenseOperator
    stored: tuple[StoredRow, ...]
    """Row of the data that each atom is, in the order of the dictionary."""

    def __init__(
        self,
        d_in: Count,
        k: Count,
        *,
        threshold: Annotated[float, Between(0, 1, "()")] = THRESHOLD,
        max_atoms: Count | None = None,
        nonnegative: bool = False,
        stored: Sequence[tuple[int, int, str]] = (),
    ) -> None:
        fields = len(StoredRow._fields)
        if not isinstance(stored, Sequence) or any(
            not isinstance(row, Sequence) or len(row) != fields for row in stored
        ):
            raise ValueError(
                f"`stored` must have (sample, position, words) for each atom, got {shown(stored)}. "
                "`fit` sets it."
            )
        rows = tuple(StoredRow(*row) for row in stored)
        super().__init__(_StoredAtoms(d_in, len(rows)))
        self.k = k
        self.threshold = threshold
        self.max_atoms = max_atoms
        self.nonnegative = nonnegative
        self.stored = rows

    def settings(self) -> dict[str, Any]:
        """Return constructor arguments that rebuild it, JSON-able."""
        names = ("d_in", "k", "threshold", "max_atoms", "nonnegative")
        own = {name: getattr(self, name) for name in names}
        return own | {"stored": [list(row) for row in self.stored]}

    @checked(leave=("data",))
    @torch.no_grad()
    def fit(self, data: Activations | Float[Tensor, "n d_in"], *, progress: bool = True) -> Self:
        """Store rows of activations, in place of those stored before.

        Parameters
        ----------
        data
            Activations, of which rows on disk are read some at a time; or a tensor, whose rows are
            samples of their own.
        progress
            Show a bar.

        Returns
        -------
        ITDA
            Itself, ready to encode.

        Raises
        ------
        ValueError: If `threshold` is so low that every row would be stored.
        """
        acts = acts_for(self, data, name="data")
        growing = _Growing(self)
        with progress_bar(len(acts), "ITDA", "row", enabled=progress) as bar:
            for start, block in self._blocks(acts):
                growing.take(block, start)
                bar.update(len(block))
                if growing.is_full:
                    break
        if growing.n_directed == len(growing.chosen):
            _refuse(self, growing, len(acts))
        self._hold(growing.atoms, acts, growing.chosen)
        return self

    def jaccard(self, other: ITDA) -> float:
        """Measure the similarity of two layers or models: |I ∩ J| / |I ∪ J| of the rows that they stored.

        Both must have been fitted to the same inputs in the same order. 1: the same tokens or patches
        were hard for both; 0: none.

        Raises
        ------
        TypeError: If `other` is not an ITDA. ValueError: If one of them was not fitted yet.

        Source
        ------
        arXiv 2505.17769 (layer_similarity.py).

        Example
        -------
        >>> x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> one = ITDA(4, 2, threshold=0.2).fit(x, progress=False)
        >>> one.jaccard(ITDA(4, 2, threshold=0.2).fit(3 * x, progress=False))
        1.0
        """
        if not isinstance(other, ITDA):
            raise TypeError(f"`other` must be an ITDA, got {type(other).__name__}.")
        ours, theirs = (one._ids() for one in (self, other))
        return len(ours & theirs) / len(ours | theirs)

    def _ids(self) -> set[tuple[int, int]]:
        self._check_fitted()
        return {(row.sample, row.position) for row in self.stored}

    def _blocks(self, acts: Activations) -> Iterator[tuple[int, Rows]]:
        for start in range(0, len(acts), BLOCK):
            rows = acts.rows(range(start, min(start + BLOCK, len(acts)))).to(self.device)
            yield start, self._rows(rows)

    def _hold(self, atoms: Rows, acts: Activations, chosen: Sequence[int]) -> None:
        stored = tuple(
            StoredRow(int(acts.sample[row]), int(acts.position[row]), acts.where(row))
            for row in chosen
        )
        # Last, and all together: an interrupted fit leaves the one before as it was.
        self.operator.weight = nn.Parameter(atoms)
        self.n_atoms, self.stored = len(atoms), stored
        if acts.hook_point is not None:
            self.hook_point, self.model_name = acts.hook_point, acts.model_name
            self.position_policy = PositionPolicy.of(acts)
        self.initialised.fill_(value=True)
        self.eval()

    def _checked_k(self, k: int | None) -> int | None:
        self._check_fitted()
        return super()._checked_k(k)

    def _check_fitted(self) -> None:
        if self.n_atoms == 0:
            raise ValueError(
                "An ITDA must be fitted first: it stores no row yet. Use itda.fit(acts)."
            )

    def _encode(self, x: Rows, k: int | None) -> SparseCodes:
        return self._pursue(x, self.operator.atoms(), self.k if k is None else k)

    def _pursue(self, x: Rows, atoms: Tensor, k: int) -> SparseCodes:
        return matching_pursuit(x, atoms, min(k, len(atoms)), nonnegative=self.nonnegative)


class _StoredAtoms(DenseOperator):
    """Unit rows that are given, not drawn; at first none."""

    def __init__(self, d_in: int, n_atoms: int) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.zeros(n_atoms, d_in))


class _Growing:
    """The rows stored so far, while more are visited."""

    def __init__(self, itda: ITDA) -> None:
        self._itda, self.chosen = itda, list[int]()
        self.atoms = torch.zeros(0, itda.d_in, dtype=itda.dtype, device=itda.device)
        self.n_directed = 0
        """Rows visited that are not zero: those that have a direction to store."""

    @property
    def room(self) -> int:
        """Rows that may still be stored before the next look."""
        most = self._itda.max_atoms
        step = max(1, len(self.atoms) // GROWTH)
        return step if most is None else min(step, most - len(self.atoms))

    @property
    def is_full(self) -> bool:
        return self.room == 0

    def take(self, block: Rows, start: int) -> None:
        """Visit rows, the first of which has number `start`."""
        norms = block.norm(dim=1)
        left = (norms > 0).nonzero().flatten()
        self.n_directed += len(left)
        rows = block / norms[:, None]
        left = self._offenders(rows, left)
        while len(left) and not self.is_full:
            taken = self._unlike(rows, left[: self.room])
            self.atoms = torch.cat([self.atoms, rows[taken]])
            self.chosen += (start + taken).tolist()
            left = self._offenders(rows, left[~torch.isin(left, taken)])

    def _offenders(self, rows: Rows, left: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
        """Rows of unit length of which the atoms so far leave too much."""
        if not len(self.atoms) or not len(left):
            return left
        x = rows[left]
        x_hat = self._itda._pursue(x, self.atoms, self._itda.k) @ self.atoms
        return left[(x - x_hat).square().sum(dim=1) > self._itda.threshold]

    def _unlike(self, rows: Rows, left: Int[Tensor, " n"]) -> Int[Tensor, " m"]:
        """The rows of which none before reconstructs another by itself."""
        x = rows[left]
        cosines = x @ x.T
        reach = cosines if self._itda.nonnegative else cosines.abs()
        alike = (reach > 0) & (1 - reach.square() <= self._itda.threshold)
        kept = torch.ones(len(left), dtype=torch.bool, device=left.device)
        for i in range(1, len(left)):
            kept[i] = not bool((alike[i, :i] & kept[:i]).any())
        return left[kept]


def _refuse(itda: ITDA, growing: _Growing, n_rows: int) -> None:
    atoms = growing.atoms[:MOST_COMPARED]
    if not len(atoms):
        raise ValueError(f"`data` must have a row that is not zero, got {n_rows} zeros.")
    cosines = (atoms @ atoms.T).fill_diagonal_(0)
    reach = float((cosines if itda.nonnegative else cosines.abs()).max())
    do = "Pass more rows."
    if reach > 0 and (least := 1 - reach**2) < 1:
        do = f"The two most alike share an atom from {least:.3g} on; raise it, or pass more rows."
    raise ValueError(
        f"`threshold` must be so high that not every row is stored, got {itda.threshold}, by which each "
        f"of the {growing.n_directed} rows becomes an atom. {do}"
    )
