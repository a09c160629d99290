"""Is an atom's effect its own, or an illusion of patching along a direction?

A direction v may join a part that varies with a concept but reaches no output (disconnected) and a part
that reaches the output but normally stays put (dormant). Patching along v then carries the variation of
the one into the other: a large effect, though neither part alone has any, and the model never does so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.checks import (
    Between,
    Count,
    Resamples,
    Seed,
    at_least,
    check_atom,
    check_matrix,
    checked,
)
from sae_nb.evaluation import Measurement, Measurements, Resampling
from sae_nb.findings import Finding
from sae_nb.steering import Answers, Cost, check_hook_point, random_direction
from sae_nb.steering.edits import Where
from sae_nb_studies.evaluation.causal._target_odds import MAX_SECONDS, quantile_of

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import Batch, LiveModel


# -------------------------------------------------------------------------------------------------
# Which directions of an activation the rest of the model reads: the row space of its Jacobian.
#
# In a residual stream there is no single reader whose null space could be asked. So ∂y/∂x_t is sketched by
# vector–Jacobian products: random weights u of the outputs give rows uᵀ ∂y/∂x_t, and the leading right
# singular vectors of all of them span what is read.


ENERGY = 0.99
"""Share of the Jacobian's energy that the row space holds. Ours."""

N_SKETCHES = 8
"""Vector–Jacobian products per batch. Ours: the ten logits of tiny-vit have rank nine."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadingSpace:
    """An orthonormal basis of what is read, and how much of the reading it holds."""

    basis: Float[Tensor, "rank d_in"]  # Rows are orthonormal, the most read first
    energy: float  # share of ‖J‖² inside; the rest is called unread
    spectrum: Float[Tensor, " d_in"]  # singular values of the sketched Jacobian

    @property
    def rank(self) -> int:
        """Number of directions."""
        return len(self.basis)

    def part(self, v: Float[Tensor, " d_in"]) -> Float[Tensor, " d_in"]:
        """Return the part of a vector that is read."""
        return (self.basis @ v) @ self.basis


def reading_space(
    runs: Answers, *, energy: float = ENERGY, n_sketches: int = N_SKETCHES, seed: int = 0
) -> ReadingSpace:
    """Return what the model's answers read at a hook point, at the positions that are edited."""
    generator = torch.Generator().manual_seed(seed)
    width = runs.model.width(runs.hook_point) or 0
    n_sketches = sketches_for(width, runs.n, n_sketches)
    grams = (
        rows.T @ rows
        for batch in runs.batches
        for rows in _products(runs, batch, n_sketches, generator)
    )
    gram = next(grams, None)
    if gram is None:
        raise ValueError("`inputs` must hold at least one input, got none.")
    return space_of(sum(grams, gram), energy)


def sketches_for(d_in: int, n_inputs: int, at_least: int = N_SKETCHES) -> int:
    """Return how many products per batch give at least twice as many rows as there are dimensions.

    With fewer rows than dimensions the span would be that of the draw and not of what is read.
    """
    return max(at_least, -(-2 * d_in // max(n_inputs, 1)))


def space_of(gram: Float[Tensor, "d_in d_in"], energy: float = ENERGY) -> ReadingSpace:
    """Return the leading directions of JᵀJ that hold a share of its trace."""
    values, vectors = torch.linalg.eigh(gram.double())
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    share = values.cumsum(0) / values.sum().clamp_min(1e-300)
    # A rank of zero would make everything unread: at least one direction is kept.
    rank = min(int((share < energy - 1e-12).sum()) + 1, len(values))
    return ReadingSpace(
        basis=vectors[:, :rank].T.float().contiguous(),
        energy=float(share[rank - 1]),
        spectrum=values.sqrt().float(),
    )


def _products(
    runs: Answers, batch: Batch, n_sketches: int, generator: torch.Generator
) -> list[Float[Tensor, "rows d_in"]]:
    """Rows uᵀ ∂y/∂x_t of one batch, for several u; the positions that are not edited give none."""
    seen: list[Tensor] = []

    def probe(x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
        seen[:] = [torch.zeros_like(x, requires_grad=True)]
        return x + seen[0]

    with torch.enable_grad():
        answer = runs.with_graph(batch, probe).float()
        # A shift common to all logits changes no answer: only what is left after it counts.
        answer = answer - answer.mean(dim=-1, keepdim=True)
        rows = []
        for _ in range(n_sketches):
            u = torch.randn(answer.shape, generator=generator).to(answer)
            (grad,) = torch.autograd.grad((answer * u).sum(), seen[0], retain_graph=True)
            rows.append(grad.detach().double().cpu().reshape(-1, grad.shape[-1]))
    return rows


# -------------------------------------------------------------------------------------------------
# Is an atom's effect its own, or an illusion of patching along a direction?


Light = Literal["green", "amber", "red", "grey"]
V, ROW, NULL, FULL, PCA = "v", "v_row", "v_null", "full", "pca"
KEPT = 0.5
"""Share of v's effect that its read part must keep. Ours."""

DORMANT = 0.1
"""Dormant index below which the part that acts is called dormant. Ours."""


class IllusionCheck(Finding, Measurements[str]):
    """Effects of patching along v and its parts; a mapping from bar to `Measurement`."""

    hook_point: str
    atom: int | None
    """Where, and which; None for a direction of the user's own."""

    rows: Mapping[str, Measurement]
    """"v", "v_row", "v_null", "full", "pca": FLDD; "dormant index"."""

    random: Float[np.ndarray, " controls"]
    """FLDD of patching along random directions."""

    space: ReadingSpace
    read_share: float
    """Part that the model reads there; ‖v_row‖² / ‖v‖²."""

    light: Light
    verdict: str
    """green: as real as this check can say; amber: mixed; red: an illusion; grey: no effect to explain.
    And the same in words, with the reason."""

    n: int
    cost: Cost
    """Pairs, and what it took."""

    @property
    def headline(self) -> str:
        """The light, the reason, and every bar."""
        bars = ", ".join(f"{name} {m.value:.3g}" for name, m in self.rows.items())
        what = "direction" if self.atom is None else f"atom {self.atom}"
        return f"{what} at {self.hook_point}: {self.light}. {self.verdict} {bars}; {self.n} pairs"


@checked(leave=("reader",))
def illusion_check(
    model: LiveModel,
    hook_point: str,
    sae: SparseAutoencoder | None,
    atom: int | None,
    base: Any,
    source: Any,
    *,
    direction: Float[Tensor, " d_in"] | None = None,
    reader: Float[Tensor, "n_out d_in"] | None = None,
    positions: Where = "default",
    energy: Annotated[float, Between(0, 1, "(]")] = ENERGY,
    n_sketches: Count = N_SKETCHES,
    n_components: Count = 8,
    n_controls: Annotated[int, at_least(2)] = 16,
    n_bootstrap: Resamples = 1000,
    seed: Seed = 0,
    max_seconds: float | None = MAX_SECONDS,
) -> IllusionCheck:
    """Patch along an atom, along its read and unread part, and wholly, and say what that means.

    a' = a_base + ⟨v, a_source − a_base⟩ v at every patched position; effect as a fraction of the logit
    difference recovered, FLDD = Σ (m_patched − m_base) / Σ (m_source − m_base), where m is the logit of
    the source's answer minus that of the base's.

    Parameters
    ----------
    model, hook_point, max_seconds
        As for `ablation_effects`.
    sae, atom, direction
        The atom whose direction v is checked; or None for both, and a direction of your own.
    base, source
        Pairs of inputs, the same number of each, that differ in the concept. The pairs to which the model gives
        the same answer say nothing and are left out.
    reader
        Weights of the only module that reads there, if there is but one (an MLP's output matrix): its
        row space is then exact. None sketches that of the whole rest of the model.
    positions
        Positions that are patched; by default the last token of texts, every position otherwise.
        Positions are those of the base; the source's are taken at the same places, from the end for
        "last".
    energy, n_sketches
        Share of the reading to hold, in (0, 1]; products per batch that it is sketched from, at least.
    n_components, n_controls
        Leading principal components that "pca" restricts v to; random directions.

    Raises
    ------
    ValueError: If no pair differs, or it would take longer than `max_seconds`.

    Source
    ------
    Makelov, Lange and Nanda, "Is This the Subspace You Are Looking for?", arXiv 2311.17030. The sketched
    Jacobian for a residual stream, the dormant index and the lights are ours.

    Example
    -------
    >>> import torch, sae_nb as sn
    >>> head = torch.nn.Linear(3, 2, bias=False)
    >>> head.weight.data = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]])
    >>> model = sn.wrap(torch.nn.Sequential(torch.nn.Identity(), head), class_names=["a", "b"])
    >>> base = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([3.0, 0, 0])
    >>> source = -base
    >>> east = torch.tensor([1.0, 0.0, 0.0])
    >>> illusion_check(model, "0", None, None, base, source, direction=east).light
    'green'
    """
    v, atom = _direction(model, hook_point, sae, atom, direction)
    if reader is not None:
        reader = check_matrix(reader, name="reader", d_in=len(v)).detach().double().cpu()
    resampling = Resampling(n_bootstrap, seed)
    pairs = _Pairs(model, hook_point, base, source, _usual(positions, model))
    n_products = 0 if reader is not None else 2 * sketches_for(len(v), pairs.runs.n, n_sketches)
    pairs.runs.check_cost(n_controls + n_products + 5, max_seconds, "illusion_check")
    if reader is None:
        space = reading_space(pairs.runs, energy=energy, n_sketches=n_sketches, seed=seed)
    else:
        space = space_of(reader.T @ reader, 1.0 - 1e-9)
    row = space.part(v)
    parts = {V: v, ROW: row, NULL: v - row, PCA: _in_components(v, pairs.rows, n_components)}
    moved = {name: pairs.along(_unit(part)) for name, part in parts.items()}
    moved[FULL] = pairs.along(None)
    drawn = [random_direction(len(v), seed + i) for i in range(n_controls)]
    random = np.stack([pairs.along(u) for u in drawn]).sum(axis=1) / pairs.gap.sum()
    rows = _rows(moved, pairs.gap, random, resampling)
    dormant = _dormant(row, space, pairs.rows, seed)
    rows["dormant index"] = Measurement.measured(
        "dormant_index", dormant, floor=1.0, n=len(pairs.rows)
    )
    read_share = float(row.square().sum())
    light, verdict = _judged(rows, read_share)
    return IllusionCheck(
        hook_point=str(model.hook_point(hook_point)),
        atom=atom,
        rows=rows,
        random=random,
        space=space,
        read_share=read_share,
        light=light,
        verdict=verdict,
        n=len(pairs.gap),
        cost=pairs.runs.cost,
    )


def _usual(positions: Where, model: LiveModel) -> Where:
    """Return the last token of a text, every patch of an image, if none is given."""
    if not isinstance(positions, str) or positions != "default":
        return positions
    return "last" if model.modality.is_text else None


def _rows(
    moved: Mapping[str, Float[np.ndarray, " n"]],
    gap: Float[np.ndarray, " n"],
    random: Float[np.ndarray, " c"],
    resampling: Resampling,
) -> dict[str, Measurement]:
    """Return FLDD along each direction, with the 95 % quantile of random directions."""
    control = quantile_of(np.abs(random))
    return {
        name: resampling.ratio("fldd", moved[name], gap, floor=0.0, control=control, unit="pairs")
        for name in (V, ROW, NULL, FULL, PCA)
    }


class _Pairs:
    """Bases whose activations are exchanged, wholly or along a direction, with those of sources."""

    def __init__(
        self, model: LiveModel, hook_point: str, base: Any, source: Any, positions: Where
    ) -> None:
        how: Any = {"positions": positions, "batch_size": 64, "scored": True}
        self.runs = Answers(model, base, hook_point, **how)
        other = Answers(model, source, hook_point, **how)
        if self.runs.n != other.n:
            raise ValueError(
                f"`base` and `source` must hold the same number of inputs, got {self.runs.n} and {other.n}."
            )
        answers, others = (runs.clean.argmax(dim=-1).cpu() for runs in (self.runs, other))
        self._keep = (answers != others).numpy()
        if not self._keep.any():
            raise ValueError(
                f"`base` and `source` must have a pair that the model answers differently, got none in "
                f"{self.runs.n}. Pair inputs with and without the concept."
            )
        self._rows, self._answers, self._others = torch.arange(len(answers)), answers, others
        self._base, self._source = self.runs.edited_rows(), other.edited_rows()
        for (b, _), (s, _) in zip(self._base, self._source):
            if b.shape != s.shape:
                raise ValueError(
                    "`base` and `source` must have the same number of patched positions, got "
                    f'{len(b)} and {len(s)} in a batch. Pass positions="last", or inputs of one length.'
                )
        self.rows = torch.cat([part for part, _ in (*self._base, *self._source)])
        self._measure_clean = self._margin(self.runs.clean)
        self.gap = (self._margin(other.clean) - self._measure_clean)[self._keep]

    def along(self, u: Float[Tensor, " d_in"] | None) -> Float[np.ndarray, " n"]:
        """Change of the margin with the source's coordinate along a unit direction; None: with all of it."""
        deltas = iter([s - b for (b, _), (s, _) in zip(self._base, self._source)])
        places = iter([where for _, where in self._base])

        def change(x: Float[Tensor, "batch time d_in"]) -> Float[Tensor, "batch time d_in"]:
            moved, delta = x.clone(), next(deltas)
            moved[next(places)] += (delta if u is None else (delta @ u)[..., None] * u).to(x)
            return moved

        patched = self._margin(self.runs.under(self.runs.replacing(change)))
        return np.asarray((patched - self._measure_clean)[self._keep])

    def _margin(self, outputs: Float[Tensor, "n outcomes"]) -> Float[np.ndarray, " n"]:
        wide = outputs.cpu().double()
        return (wide[self._rows, self._others] - wide[self._rows, self._answers]).numpy()


def _direction(
    model: LiveModel,
    hook_point: str,
    sae: SparseAutoencoder | None,
    atom: int | None,
    direction: Float[Tensor, " d_in"] | None,
) -> tuple[Float[Tensor, " d_in"], int | None]:
    """The unit direction that is checked."""
    if direction is not None:
        v, atom = direction.detach().float().cpu(), None
        check_hook_point(model, hook_point, width=len(v), what="the direction")
    elif sae is not None and atom is not None:
        atom = check_atom(atom, sae.n_atoms)
        v = sae.dictionary[atom].detach().float().cpu()
        check_hook_point(model, hook_point, width=len(v))
    else:
        raise ValueError(
            "An atom or a direction must be given. Pass `sae` and `atom`, or `direction`."
        )
    if not float(v.norm()) > 0:
        raise ValueError("`direction` must not be zero.")
    return _unit(v), atom


def _unit(v: Float[Tensor, " d_in"]) -> Float[Tensor, " d_in"]:
    """Of length one; what is numerically nothing stays nothing."""
    norm = v.norm()
    return v / norm if float(norm) > 1e-6 else torch.zeros_like(v)


def _in_components(
    v: Float[Tensor, " d_in"], rows: Float[Tensor, "n d_in"], n_components: int
) -> Float[Tensor, " d_in"]:
    """The direction restricted to where activations vary most."""
    centred = rows.double() - rows.double().mean(dim=0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    basis = vectors[:, -min(n_components, len(v)) :].T.float()
    return (basis @ v) @ basis


def _dormant(
    row: Float[Tensor, " d_in"], space: ReadingSpace, rows: Float[Tensor, "n d_in"], seed: int
) -> float:
    """Variance along the part that is read, over that along random directions of what is read."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(64, space.rank, generator=generator)
    drawn = torch.nn.functional.normalize(weights @ space.basis, dim=1)
    usual = float((rows @ drawn.T).var(dim=0).mean())
    return float((rows @ _unit(row)).var()) / max(usual, 1e-300)


def _judged(rows: Mapping[str, Measurement], read_share: float) -> tuple[Light, str]:
    """A light, and why."""
    v, row, null, full = (rows[name].value for name in (V, ROW, NULL, FULL))
    control, dormant = rows[V].control or 0.0, rows["dormant index"].value
    if abs(v) <= control or v <= 0:
        return "grey", (
            f"Patching along it moves the answer no more than random directions do ({v:.3g}, random "
            f"{control:.3g}): there is no effect to explain."
        )
    lost, asleep, alone = row < KEPT * v, dormant < DORMANT, full < KEPT * v
    if lost and null < KEPT * v:
        return "red", (
            f"An illusion: its read part keeps {row / v:.0%} of the effect and its unread part "
            f"{null / v:.0%}, so neither has it alone"
            + (", and the part that acts is dormant otherwise." if asleep else ".")
        )
    concerns = {
        f"the part that is read keeps only {row / v:.0%} of the effect": lost,
        f"the part that acts hardly varies otherwise (dormant index {dormant:.2g})": asleep,
        f"the part called unread has an effect ({null:.3g}): the sketch of what is read is too coarse, "
        "pass more pairs": abs(null) > max(control, 0.1 * v),
        f"patching everything does less ({full:.3g}) than patching along it": alone,
    }
    reasons = [text for text, applies in concerns.items() if applies]
    if reasons:
        return "amber", f"Doubtful: {'; '.join(reasons)}."
    return "green", (
        f"Its read part ({read_share:.0%} of its length squared) keeps {row / v:.0%} of the effect and "
        "varies as what is read does: no sign of an illusion."
    )
