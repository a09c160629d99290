"""which_sae: what activations look like, which assumptions that breaks, and what to try first.

Every SAE assumes something of its inputs. Properties that can be measured cheaply are measured here,
and compared with the same measurement on a surrogate that has the assumption, or lacks all structure:
Gaussian rows of the same covariance, or codes shuffled atom by atom.

The coherence of nearest directions is not among it, because nothing cheap measures it honestly. Centres
of clusters lie as close to each other whether planted atoms have a mean cosine of 0.6 or of 0. Directions
that rows gather around (`geometry.nested_directions`) give it to 0.02 while nearest atoms have a cosine
of at most 0.5, but read 0.36 where it is 0.74: an atom less than 60° from another cannot be told from a
sum with it before anything is trained. A low value would say "nearly orthogonal" of the very data that
are not. Train, and ask `evaluation.babel` about what was learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.checks import Seed, at_least, check_matrix, checked
from sae_nb.codes import SparseCodes
from sae_nb.findings import Finding
from sae_nb.geometry import (
    local_dimensions,
    nested_directions,
    nested_fraction,
    participation_ratio,
)
from sae_nb.geometry._dimension import covariance

if TYPE_CHECKING:
    import pandas as pd

FEWEST_ROWS = 512
N_DIRECTIONS, LARGEST_L0 = 128, 8
LEFT = 0.15
"""Share of a row's length below which it counts as explained. Ours."""

COVERED = 0.9
"""Share of the energy that directions must explain before anything is read off their codes. Ours."""

DIMENSION_MARGIN, HIERARCHY_MARGIN, COUNT_MARGIN, SIGN_MARGIN = 2.5, 0.15, 0.7, 0.8
"""Distance from its floor at which a measure counts as different: halfway, roughly, between the planted
data that have a property and those that lack it (tests/evaluation/test_which.py). Ours.
"""

# What is assumed, what is measured, what is missed where it does not hold, what to try instead.
ASSUMPTIONS = (
    (
        "Concepts have the same number of dimensions everywhere.",
        "local dimension, 90th / 10th percentile",
        "A fixed k is too many atoms for the flat concepts and too few for the others.",
        ("SpaDE", "BatchTopK"),
    ),
    (
        "Every row has about the same number of atoms.",
        "standard deviation / mean of the atoms per row (floor: independent atoms)",
        "With a fixed k, simple rows get atoms they do not need, rich ones too few.",
        ("BatchTopK", "JumpReLU"),
    ),
    (
        "No concept comes only on top of another.",
        "share of atoms that fire only where a more general one does",
        "The general atom stops firing where the special one fires (absorption).",
        ("MatchingPursuit", "Matryoshka"),
    ),
    (
        "A direction means something one way only.",
        "share of the energy on negative codes, where signs are allowed",
        "A concept and its opposite take two atoms.",
        ("AbsTopK",),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """One assumption, and what the activations say of it."""

    assumption: str  # what is assumed, as a sentence
    measure: str  # what was measured
    value: float  # on the activations; NaN where it cannot be measured cheaply
    floor: float  # on the surrogate
    limit: float  # between holding and not: the floor with its margin
    holds: bool | None  # whether the value is on the floor's side; None where it cannot be seen
    missed: str  # what an SAE that assumes it would miss where it does not hold
    try_instead: tuple[str, ...]  # architectures that do not assume it

    @property
    def words(self) -> str:
        """Whether it holds."""
        return "not seen" if self.holds is None else "holds" if self.holds else "in doubt"


class Advice(Finding, eq=True):
    """The suggestion that the activations support; evidence, never a verdict."""

    HEADLINE = (
        "{n_rows} rows: {dimensions:.0f} directions share the variance, {explained:.0%} of the energy "
        "is near a few directions"
    )

    findings: tuple[Assumed, ...]
    """Every assumption that was checked."""

    n_rows: int
    """Number of rows read."""

    dimensions: float
    """Directions that share their variance (participation ratio)."""

    explained: float
    """Share of the energy that a few directions explain with at most 8 atoms a row."""

    published: tuple[str, ...] = ()
    """Names of published SAEs of this model and place, for `load_sae`: those on this machine first, then the
    smallest, of these the ones of middle L0."""

    @property
    def first_try(self) -> str:
        """The architecture the most broken assumptions point to; TopK where none is broken."""
        votes: dict[str, int] = {}
        for finding in self.findings:
            if finding.holds is False:
                for place, name in enumerate(finding.try_instead):
                    votes[name] = votes.get(name, 0) + len(finding.try_instead) - place
        return max(votes, key=lambda name: votes[name]) if votes else "TopK"

    @property
    def table(self) -> pd.DataFrame:
        """A row per assumption: whether it holds, and what was measured of it."""
        import pandas as pd

        rows = [
            (one.words, one.assumption, one.measure, one.value, one.floor, one.limit)
            for one in self.findings
        ]
        columns = ["", "assumption", "measure", "value", "floor", "limit"]
        return pd.DataFrame(rows, columns=columns).set_index("")

    @property
    def below(self) -> tuple[str | pd.DataFrame, ...]:
        """Every assumption with its numbers; what those in doubt cost, and what to try first."""
        doubted = (
            f"In doubt by the {one.measure}: {one.missed} Try {' or '.join(one.try_instead)}."
            for one in self.findings
            if one.holds is False
        )
        unseen = (
            f"Only where a few directions explain {COVERED:.0%} of the energy can everything be seen "
            "without training."
        )
        compared = "" if self.first_try == "TopK" else ", next to TopK"
        first = (
            f"First try {self.first_try}{compared} and over several seeds (sn.sweep): these are hints "
            "about the rows, not about what an SAE will find."
        )
        hidden = any(one.holds is None for one in self.findings)
        table = self.table.drop(columns="measure")
        ready = (
            f"{len(self.published)} SAEs of this place are published; begin with sn.load_sae({name!r})."
            for name in self.published[:1]
        )
        return (table, *doubted, *[unseen] * hidden, first, *ready)


@checked
def which_sae(
    acts: Activations | Float[Tensor, "n d_in"],
    *,
    max_rows: Annotated[int, at_least(FEWEST_ROWS)] = 4096,
    seed: Seed = 0,
) -> Advice:
    """Measure cheap properties of activations and say which assumptions hold.

    Local dimensions and signs can be measured on any rows. The number of atoms of a row, and whether
    some come only on top of others, can be seen if rows lie near few directions; otherwise the advice
    states that it cannot be seen without training. 4096 rows of width 128 take 1 to 3 CPU-seconds. Where the
    activations say their model and place, published SAEs of these are named.

    Parameters
    ----------
    acts, max_rows
        A few thousand rows are enough; of more, `max_rows` are drawn at random.

    Raises
    ------
    ValueError: If fewer than 512 rows are different.

    Source
    ------
    The assumptions of the methods: "Projecting Assumptions", arXiv 2503.01822 (dimension, number of
    atoms); "From Flat to Hierarchical", arXiv 2506.03093 (hierarchy). The measures, surrogates and
    margins are ours, calibrated on planted data.

    Example
    -------
    >>> from sae_nb.data import concept_tree
    >>> advice = which_sae(concept_tree(1000).x)
    >>> [finding.assumption for finding in advice.findings if finding.holds is False]
    ['No concept comes only on top of another.']
    >>> advice.first_try
    'MatchingPursuit'
    """
    generator = torch.Generator().manual_seed(seed)
    x = _rows(acts, max_rows, generator)
    centred = x - x.mean(dim=0)
    values, vectors = torch.linalg.eigh(covariance(centred))
    drawn = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    surrogate = (drawn * values.clamp_min(0).sqrt() @ vectors.T).float()
    sparse, explained = _few_atoms(x, generator)
    shuffled = None
    if sparse is not None:
        # The same atoms, each as often and as strongly, independent of each other.
        columns = sparse.to_dense().T
        moved = [column[torch.randperm(len(column), generator=generator)] for column in columns]
        shuffled = SparseCodes.from_dense(torch.stack(moved, dim=1))
    dimension = [_dimension_ratio(rows) for rows in (centred, surrogate)]
    counts = [math.nan if c is None else _spread(c.l0.float()) for c in (sparse, shuffled)]
    nested = [math.nan if c is None else nested_fraction(c) for c in (sparse, shuffled)]
    negative = [_negative_share(rows, generator) for rows in (centred, surrogate)]
    limits = (
        DIMENSION_MARGIN * dimension[1],
        COUNT_MARGIN * counts[1],
        nested[1] + HIERARCHY_MARGIN,
        # The surrogate is as strong both ways: only what lies well below it is one-sided.
        SIGN_MARGIN * negative[1],
    )
    measures = zip(ASSUMPTIONS, (dimension, counts, nested, negative), limits, strict=True)
    return Advice(
        findings=tuple(_assumed(words, v, floor, limit) for words, (v, floor), limit in measures),
        n_rows=len(x),
        dimensions=participation_ratio(centred),
        explained=explained,
        published=_published(acts),
    )


def _published(acts: Activations | Tensor) -> tuple[str, ...]:
    if not isinstance(acts, Activations):
        return ()
    from sae_nb.interop._published import published_at

    place = None if acts.hook_point is None else str(acts.hook_point)
    return tuple(entry.name for entry in published_at(acts.model_name, place))


def _assumed(
    words: tuple[str, str, str, tuple[str, ...]], value: float, floor: float, limit: float
) -> Assumed:
    """Quantities that cannot be measured cheaply are NaN, and neither hold nor fail."""
    assumption, measure, missed, try_instead = words
    return Assumed(
        assumption=assumption,
        measure=measure,
        value=value,
        floor=floor,
        limit=limit,
        holds=None if math.isnan(value) else value <= limit,
        missed=missed,
        try_instead=try_instead,
    )


def _rows(acts: Activations | Tensor, most: int, generator: torch.Generator) -> Tensor:
    source = acts if isinstance(acts, Activations) else check_matrix(acts, name="acts")
    chosen = torch.randperm(len(source), generator=generator)[:most]
    drawn = (
        source.rows(chosen) if isinstance(source, Activations) else source[chosen.to(source.device)]
    )
    x = check_matrix(drawn.detach().cpu().float(), name="acts")
    different = len(torch.unique(x, dim=0))
    if different < FEWEST_ROWS:
        raise ValueError(
            f"`acts` must have at least {FEWEST_ROWS} different rows to be compared with chance, got "
            f"{different} among {len(x)}. Capture more inputs."
        )
    exact = x.double()  # whose squares neither overflow nor vanish
    return (exact / (exact - exact.mean(dim=0)).square().sum(dim=1).mean().sqrt()).float()


def _few_atoms(x: Tensor, generator: torch.Generator) -> tuple[SparseCodes | None, float]:
    """Codes of the rows in directions they gather around, if these explain them, and how well."""
    from sae_nb.pursuit import orthogonal_matching_pursuit

    mean = x.mean(dim=0)
    # Rows that are mostly one common offset would all lie in a single cone around it.
    if mean.square().sum() > 0.5 * x.square().sum(dim=1).mean():
        x = x - mean
    directions = nested_directions(x, N_DIRECTIONS, generator)
    if not len(directions):
        return None, 0.0
    k = min(LARGEST_L0, len(directions))
    codes = orthogonal_matching_pursuit(x, directions, k, relative_tolerance=LEFT)
    z = codes.to_dense()
    explained = float(1 - (x - z @ directions).square().sum() / x.square().sum())
    # A small code corrects a direction that was found a little askew: it is no atom of the row.
    z = z * (z > LEFT * x.norm(dim=1, keepdim=True))
    return (SparseCodes.from_dense(z) if explained >= COVERED else None), explained


def _dimension_ratio(rows: Tensor) -> float:
    shares = torch.tensor([0.1, 0.9], dtype=torch.float64)
    low, high = torch.quantile(local_dimensions(rows), shares)
    return float(high / low)


def _spread(values: Tensor) -> float:
    return float(values.std() / values.mean().clamp_min(1e-12))


def _negative_share(x: Tensor, generator: torch.Generator) -> float:
    """Of signed pursuit in the directions of cluster centres, copies left out."""
    from sae_nb.architectures._archetypal import centroids
    from sae_nb.geometry._coherence import distinct_atoms
    from sae_nb.pursuit import matching_pursuit

    centres = F.normalize(centroids(x, min(N_DIRECTIONS, len(x)), generator), dim=1)
    centres = centres[centres.norm(dim=1) > 0.5]
    directions = centres[distinct_atoms(centres, cosine=0.95)]
    k = min(2 * LARGEST_L0, len(directions))
    codes = matching_pursuit(x, directions, k, nonnegative=False, relative_tolerance=2 * LEFT)
    energy = codes.values.square()
    return float(energy[codes.values < 0].sum() / energy.sum().clamp_min(1e-12))
