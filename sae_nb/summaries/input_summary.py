"""InputSummary: which atoms one input uses, position by position and overall.

lift_j = (share of the input's positions where atom j fires) / (its base frequency);
surprise_j = n·KL(share ‖ base) nats, where the share is the larger: how little chance explains it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from sae_nb.checks import check_atom
from sae_nb.evaluation.attribution import Attribution, SpliceCheck
from sae_nb.summaries.base_rates import NO_BASE_RATE, BaseRate
from sae_nb.summaries.contrast import Contrast, Grouped, contrast_codes

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_matrix

UseOrder = Literal["surprise", "lift", "strength", "total strength", "attribution"]
USE_ORDERS: tuple[UseOrder, ...] = (
    "surprise",
    "lift",
    "strength",
    "total strength",
    "attribution",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class AtomsUsed:
    """Every atom that fired in an input, ascending, one number each."""

    atom: Int[np.ndarray, " active"]
    """Row of the dictionary."""

    n_fired: Int[np.ndarray, " active"]
    """Positions where it fires."""

    strength: Float[np.ndarray, " active"]
    """Largest |z|."""

    total_strength: Float[np.ndarray, " active"]
    """Sum of |z| over positions."""

    base_frequency: Float[np.ndarray, " active"] | None
    """Share of rows in which it fires elsewhere; None where no base rate is known."""

    lift: Float[np.ndarray, " active"] | None
    """Share of positions here, divided by the base frequency."""

    surprise: Float[np.ndarray, " active"] | None
    """n·KL in nats, negative where it fires less than usual."""

    attribution: Float[np.ndarray, " active"]
    """First-order contribution to the answer, all positions together."""

    control: Float[np.ndarray, " active"]
    """Size of contribution that 95 % of random directions of the same strengths stay below."""

    def __len__(self) -> int:
        return len(self.atom)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class InputSummary:
    """One input seen through an SAE: strengths and contributions, position by position and overall."""

    model_name: str
    """Which model."""

    hook_point: str
    """Where the SAE reads."""

    kind: str
    """What the model reads: "language", "vision" or "other"."""

    text: str | None
    """The input, where it is a text."""

    picture: UInt8[np.ndarray, "3 height width"] | None
    """The input as the model sees it, where it is a picture."""

    tokens: tuple[str, ...]
    """Name of every position."""

    special: Bool[np.ndarray, " positions"]
    """Which positions are special tokens."""

    patch_grid: tuple[int, int] | None
    """Rows and columns of patches."""

    prefix_tokens: int
    """Positions before the first patch."""

    position: Int[np.ndarray, " entries"]
    """Position of every firing."""

    atom: Int[np.ndarray, " entries"]
    """Its atom."""

    strength: Float[np.ndarray, " entries"]
    """Its strength z, sign kept."""

    attribution: Float[np.ndarray, " entries"]
    """Its first-order contribution to the answer, z ⟨d, ∂m/∂x⟩."""

    error_attribution: Float[np.ndarray, " positions"]
    """What hangs on the part of each activation that the SAE does not explain; NaN where unread."""

    used: AtomsUsed
    """The atoms that fired, overall."""

    base: BaseRate | None
    """What `used.lift` compares with."""

    measure: str
    """What contributions are contributions to."""

    value: float
    """The measure, as the model answers."""

    target: int | None
    """Class or token the measure is about; None where it is neither."""

    answers: tuple[tuple[int, str, float], ...]
    """Likeliest answers: number, name, probability; empty where the answer is a vector."""

    k: int
    """How many atoms are shown unless asked otherwise."""

    notes: tuple[str, ...] = ()
    """What was done to the input, and what is not known."""

    labels: Mapping[int, str] = field(default_factory=dict)
    """What atoms are called."""

    run: Attribution
    """The run behind it: model, SAE, gradients."""

    # --- positions --------------------------------------------------------------------------------

    @property
    def read(self) -> Int[np.ndarray, " rows"]:
        """Positions the SAE reads; an attention sink and beginning-of-text tokens are not."""
        return self.run.position

    def strengths(self, atom: int) -> Float[np.ndarray, " positions"]:
        """Return an atom's strength at every position; NaN where the SAE does not read."""
        return self._spread(atom, self.strength)

    def attributions(self, atom: int) -> Float[np.ndarray, " positions"]:
        """Return an atom's contribution at every position; NaN where the SAE does not read."""
        return self._spread(atom, self.attribution)

    def _spread(
        self, atom: int, values: Float[np.ndarray, " entries"]
    ) -> Float[np.ndarray, " positions"]:
        atom = check_atom(atom, self.run.sae.n_atoms)
        out = np.full(len(self.tokens), np.nan, np.float32)
        out[self.read] = 0.0
        mine = self.atom == atom
        out[self.position[mine]] = values[mine]
        return out

    def at(self, position: int, k: int | None = None) -> list[tuple[int, float, float]]:
        """Return the strongest atoms at a position: atom, strength, contribution; strongest first.

        Raises
        ------
        IndexError
            If there is no such position.
        """
        if not -len(self.tokens) <= position < len(self.tokens):
            raise IndexError(
                f"`position` must be between 0 and {len(self.tokens) - 1}, got {position}."
            )
        here = np.flatnonzero(self.position == position % len(self.tokens))
        here = here[np.argsort(-np.abs(self.strength[here]), kind="stable")][: k or self.k]
        columns = (self.atom[here], self.strength[here], self.attribution[here])
        return [(int(a), float(z), float(e)) for a, z, e in zip(*columns, strict=True)]

    def patches(self, values: Float[np.ndarray, " positions"]) -> Float[np.ndarray, "r c"] | None:
        """Return the part of per-position values that are patches, as a map; None without patches."""
        if self.patch_grid is None:
            return None
        rows, columns = self.patch_grid
        kept = values[self.prefix_tokens :]
        return kept.reshape(rows, columns) if kept.size == rows * columns else None

    # --- overall ----------------------------------------------------------------------------------

    @property
    def natural_order(self) -> UseOrder:
        """The order used unless another is asked for: surprise where a base rate is known."""
        return "total strength" if self.base is None else "surprise"

    def order(self, by: UseOrder | None = None) -> Int[np.ndarray, " active"]:
        """Return the atoms that fired, first what matters most in one respect.

        Parameters
        ----------
        by
            "surprise" (how little the base rate explains it), "lift", "strength", "total strength",
            or "attribution" (its size). None is `natural_order`.

        Raises
        ------
        ValueError
            If there is no such order, or no base rate for it.
        """
        by = by or self.natural_order
        if by not in USE_ORDERS:
            raise ValueError(f"`by` must be one of {list(USE_ORDERS)}, got {by!r}.")
        column = getattr(self.used, by.replace(" ", "_"))
        if column is None:
            raise ValueError(f'`by="{by}"` needs a base rate, and {NO_BASE_RATE}.')
        size = np.abs(column) if by == "attribution" else column
        return self.used.atom[np.lexsort((-self.used.total_strength, -size))]

    def top(self, k: int | None = None, by: UseOrder | None = None) -> list[int]:
        """Return the first `k` atoms of `order`."""
        return [int(atom) for atom in self.order(by)[: k or self.k]]

    def place(self, atom: int) -> int | None:
        """Return where an atom is in `used`; None if it did not fire."""
        found = np.flatnonzero(self.used.atom == check_atom(atom, self.run.sae.n_atoms))
        return int(found[0]) if len(found) else None

    def table(self, k: int | None = None, by: UseOrder | None = None) -> pd.DataFrame:
        """Return the first `k` atoms of `order` as a table."""
        import pandas as pd

        atoms = self.top(k, by)
        places = np.searchsorted(self.used.atom, atoms)
        columns: dict[str, Any] = {
            "atom": atoms,
            "label": [self.labels.get(atom, "") for atom in atoms],
        }
        for name in (
            "n_fired",
            "strength",
            "total_strength",
            "base_frequency",
            "lift",
            "surprise",
            "attribution",
            "control",
        ):
            values = getattr(self.used, name)
            if values is not None:
                columns[name] = values[places]
        return pd.DataFrame(columns).set_index("atom")

    def splice_check(self, atom: int, *, n_controls: int = 8, seed: int = 0) -> SpliceCheck:
        """Run the live model without an atom, error kept: first order and exact side by side.

        Parameters
        ----------
        atom
            Removed at every position the SAE reads.
        n_controls
            Random directions of the same strengths that are removed in its place, for comparison.
        seed
            Which ones.

        Raises
        ------
        TypeError, IndexError
            If there is no such atom.
        """
        return self.run.splice(atom, n_controls=n_controls, seed=seed)

    def compare(self, other: InputSummary, *, n_permutations: int = 500, seed: int = 0) -> Contrast:
        """Return what this input uses more than another, with a floor from permuting positions.

        Contributions are compared where both are to one measure.

        Parameters
        ----------
        other
            Through the same SAE.
        n_permutations, seed
            As for `contrast`.

        Raises
        ------
        ValueError
            If the other went through another SAE.
        """
        if other.run.sae is not self.run.sae:
            raise ValueError(
                "`other` must be an input seen through the same SAE. Run top_atoms on it."
            )
        both = (self, other)
        same = self.measure == other.measure
        return contrast_codes(
            *(Grouped(codes=s.run.codes, sample=np.zeros(len(s.read), np.int64)) for s in both),
            n_permutations=n_permutations,
            seed=seed,
            labels=self.labels,
            contributions=(_contributions(self), _contributions(other)) if same else None,
        )

    # --- for people -------------------------------------------------------------------------------

    def name_of(self, atom: int) -> str:
        """Return the number of an atom and its label, where it has one."""
        label = self.labels.get(atom, "")
        return f"{atom} {label}" if label else f"{atom}"

    def __repr__(self) -> str:
        shown = ", ".join(self.name_of(atom) for atom in self.top(3))
        notes = f"; {'; '.join(self.notes)}" if self.notes else ""
        return (
            f"InputSummary({len(self.used)} atoms fired at {len(self.read)} positions of "
            f"{self.hook_point}, first by {self.natural_order}: {shown}; {self.measure} "
            f"{self.value:.3g}{notes})"
        )

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{escape(repr(self))}</p>{self.table().to_html(escape=True)}"


def _contributions(summary: InputSummary) -> csr_matrix:
    from scipy.sparse import csr_matrix

    codes = summary.run.codes
    place = (codes.support.rows.numpy(), summary.atom)
    return csr_matrix(
        (summary.attribution.astype(np.float64), place), shape=(len(codes), codes.n_atoms)
    )
