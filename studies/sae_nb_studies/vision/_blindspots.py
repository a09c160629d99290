"""Blindspots: concepts that one set of images has and another lacks, or has too much of.

δ_k = E_b(k) / (E_a(k) + E_b(k)): ½ where both sets have as much of concept k, 0 where b has none of it.
E(k) is the mean over a set's images of the atom's pooled strength.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, Int

from sae_nb.checks import Between, Resamples, Seed, at_least, check_atom, check_count, checked
from sae_nb.corpora import Documents, check_same_kind, check_several
from sae_nb.evaluation import duplicate_groups
from sae_nb.figures import Chart, Points
from sae_nb.findings import Plotted
from sae_nb.statistics import bootstrap_counts, percentile_intervals, permutation_p

if TYPE_CHECKING:
    from pandas import DataFrame
    from scipy.sparse import csc_matrix

SUPPRESSED, EXAGGERATED, LEVEL = 0.1, 0.9, 0.05
Energy = Literal["mean", "square", "share"]
_BLOCK = 2**22  # sums of one block of concepts under all draws
_COMPONENTS = 50


class Blindspots(Plotted):
    """Two sets of images compared by the energy of every concept; made by `blindspots`."""

    table: DataFrame
    """A concept per row, the surest first: atom, label, atoms (how many alike are taken together), a and b
    (energies), delta with low and high (95 % over resamples of the images), z, p (that any concept of two
    random halves differs so much), kind."""

    simpler: DataFrame
    """The same of the leading principal components of the mean activations: component, explained, a, b
    (means of its scores), difference in standard deviations, p."""

    groups: dict[int, tuple[int, ...]]
    """Atoms that are taken together, by the one that is named."""

    docs_a: Documents
    docs_b: Documents
    n_faint: int
    """Concepts left out because their energy is below the floor."""

    @property
    def headline(self) -> str:
        """Images, concepts of each kind, and principal components that differ."""
        of = self.table["kind"].value_counts()
        counts = ", ".join(f"{of.get(kind, 0)} {kind}" for kind in KINDS)
        components = int((self.simpler["p"] < LEVEL).sum())
        return (
            f"{len(self.docs_a)} and {len(self.docs_b)} images, {len(self.table)} concepts: "
            f"{counts}; {components} of {len(self.simpler)} principal components differ"
        )

    def examples(self, atom: int, n: int = 5) -> DataFrame:
        """Return the images of each set in which a concept is strongest: set, image, value, position.

        `image` is the number in its documents; `docs.context.pictures[sample]` is the image itself.

        Raises
        ------
        IndexError: If there is no such atom.
        """
        import pandas as pd

        atom = check_atom(atom, self.docs_a.n_atoms)
        check_count(n, name="n")
        parts = []
        for name, docs in (("a", self.docs_a), ("b", self.docs_b)):
            top = docs.top(atom, n)[["document", "sample", "value", "position"]]
            top.insert(0, "set", name)
            parts.append(top.rename(columns={"document": "image"}))
        return pd.concat(parts, ignore_index=True)

    @property
    def images(self) -> DataFrame:
        """Images of b, the oddest first, by the share of their strength in concepts that b has more of."""
        import pandas as pd

        tags = self.table.loc[self.table["kind"].isin(("exaggerated", "stronger")), "atom"]
        members = [j for atom in tags for j in self.groups.get(int(atom), (int(atom),))]
        strength = abs(self.docs_b.matrix)
        total = np.asarray(strength.sum(axis=1), np.float64).ravel()
        odd = np.asarray(strength[:, members].sum(axis=1), np.float64).ravel()
        share = np.divide(odd, total, out=np.zeros_like(total), where=total > 0)
        frame = pd.DataFrame({"image": np.arange(len(share)), "share": share})
        return frame.sort_values("share", ascending=False, kind="stable").reset_index(drop=True)

    @property
    def chart(self) -> Chart:
        """δ against how sure it is, a point per concept, the published cuts dashed."""
        series = []
        for kind in (*KINDS, ""):
            some = self.table[self.table["kind"] == kind]
            if len(some):
                series.append(
                    Points(
                        kind or "no difference found",
                        some["delta"],
                        some["z"].abs(),
                        control=not kind,
                        text=tuple(
                            f"atom {i} {label}" for i, label in zip(some["atom"], some["label"])
                        ),
                        hover="%{text}<br>δ %{x:.3f}, |z| %{y:.1f}",
                    )
                )
        return Chart(
            series=tuple(series),
            x="δ (0: only in a, 1: only in b)",
            y="|z|",
            marks=True,
            height=340,
            cuts=(SUPPRESSED, EXAGGERATED),
            xaxis={"range": [-0.02, 1.02]},
        )


KINDS = ("suppressed", "weaker", "stronger", "exaggerated")
"""In b: below and beyond the published cuts, or surely different between them."""


@checked
def blindspots(
    docs_a: Documents,
    docs_b: Documents,
    *,
    energy: Energy = "mean",
    floor: Annotated[float, Between(0, 1, "[)")] = 1e-3,
    alike: Annotated[float, Between(0, 1, "(]")] = 0.8,
    paired: bool = False,
    n_bootstrap: Resamples = 200,
    n_permutations: Annotated[int, at_least(20)] = 1000,
    seed: Seed = 0,
) -> Blindspots:
    """Find concepts that images of set b lack, and those they have too much of, by those of set a.

    δ = E_b / (E_a + E_b) with E the mean over images of an atom's pooled strength (of its strongest patch,
    where documents were pooled by "max"). A concept is suppressed where δ < 0.1, exaggerated where
    δ > 0.9, and weaker or stronger between, all of them only with p < .05. p counts random divisions of all
    images whose largest |z| of any concept is at least the concept's own: one in twenty comparisons of two
    halves of one set finds anything at all. z is the difference of the means over its standard deviation
    in random divisions.

    Parameters
    ----------
    docs_a, docs_b
        Of `uses.documents`, such as real and generated images; texts do as well.
    energy
        "mean" of the pooled strengths; of their "square", for atoms that also fire weakly elsewhere; or the
        "share" of images in which the atom fires.
    floor
        Share of the largest E_a + E_b below which a concept is left out.
    alike
        Cosine beyond which atoms are one concept: otherwise one of two copies may look suppressed and the
        other exaggerated. At least 1 keeps all apart.
    paired
        Whether image i of both sets belongs together (of one prompt): p is then that of exchanged pairs.
    n_bootstrap, n_permutations, seed
        Resamples of the images for the interval, random divisions for p; of both.

    Raises
    ------
    ValueError: If a set has fewer than two images, they are of different places, SAEs or pools, pairs do not
        match, or no atom fires.

    Source
    ------
    "Conceptual blindspots", arXiv 2506.19708: δ and its cuts by its abstract. The formula of δ, the floor, the
    interval, p (Westfall and Young's largest of all) and the merging of copies are ours.

    Example
    -------
    >>> from sae_nb.models import wrap
    >>> from sae_nb.architectures import TopK
    >>> from sae_nb.corpora import documents
    >>> import torch
    >>> model = wrap(torch.nn.Sequential(torch.nn.Identity()))
    >>> sae = TopK(4, 8, 1, generator=torch.Generator().manual_seed(0))
    >>> rows = torch.eye(4)[torch.arange(80) % 4] * 2  # four kinds of images
    >>> docs = documents(model, sae, rows, "0", progress=False)
    >>> without = docs.subset(torch.arange(80) % 4 != 3)
    >>> found = blindspots(docs, without, alike=1.0)
    >>> found.table.loc[0, "kind"], float(found.table.loc[0, "delta"])
    ('suppressed', 0.0)
    """
    check_several(docs_a, name="docs_a")
    check_several(docs_b, name="docs_b")
    check_same_kind(docs_a, docs_b)
    sizes = len(docs_a), len(docs_b)
    if paired and sizes[0] != sizes[1]:
        raise ValueError(
            f"Pairs need sets of one size, got {sizes[0]} and {sizes[1]} images. Leave out those without "
            "a partner, or paired=True."
        )
    both, groups = _concepts(docs_a, docs_b, alike)
    if energy == "square":
        both.data = np.square(both.data)
    elif energy == "share":
        both.data = np.ones_like(both.data)
    total = np.asarray(both.sum(axis=0)).ravel()
    if not total.any():
        raise ValueError("An atom must fire in some image, got none. Was this SAE trained here?")
    first, second = (_means(both, rows) for rows in _halves(*sizes))
    kept = np.flatnonzero((first + second > floor * (first + second).max()) & (total > 0))
    both = both[:, kept]
    division = _pairs_exchanged if paired else _divisions
    z, p = _tested(both, division(*sizes, n_permutations, seed))
    low, high = _interval(both, sizes, n_bootstrap, seed, paired=paired)
    table = _tabled(docs_a, docs_b, kept, groups, first[kept], second[kept], z, p, low, high)
    return Blindspots(
        table=table,
        simpler=_components(docs_a, docs_b, division(*sizes, n_permutations, seed)),
        groups=groups,
        docs_a=docs_a,
        docs_b=docs_b,
        n_faint=int((total > 0).sum()) - len(kept),
    )


def _halves(n_a: int, n_b: int) -> tuple[slice, slice]:
    return slice(n_a), slice(n_a, n_a + n_b)


def _means(both: csc_matrix, rows: slice) -> Float[np.ndarray, " m"]:
    return np.asarray(both[rows].mean(axis=0), np.float64).ravel()


def _concepts(
    docs_a: Documents, docs_b: Documents, alike: float
) -> tuple[csc_matrix, dict[int, tuple[int, ...]]]:
    """|strengths| of all images with copies summed under the most energetic of them, and who is summed."""
    from scipy.sparse import csr_matrix, vstack

    both = abs(vstack([docs_a.matrix, docs_b.matrix])).astype(np.float64)
    # Atoms of any length are compared by what they write.
    both = both @ _diagonal(docs_a.dictionary.norm(dim=1).double().numpy())
    if alike >= 1:
        return both.tocsc(), {}
    energies = np.asarray(both.sum(axis=0)).ravel()
    leader, groups = np.arange(both.shape[1]), {}
    for group in duplicate_groups(docs_a.dictionary, cosine=alike):
        atoms = docs_a.dictionary[group.tolist()]
        chosen = int(energies[group].argmax())
        # Opposite directions are linked too, and are no copies.
        members = group[(atoms @ atoms[chosen] > 0).numpy()]
        if len(members) > 1:
            chosen = int(group[chosen])
            leader[members], groups[chosen] = chosen, tuple(members.tolist())
    fold = csr_matrix(
        (np.ones(len(leader)), (np.arange(len(leader)), leader)), shape=(len(leader),) * 2
    )
    return (both @ fold).tocsc(), groups


def _diagonal(values: np.ndarray) -> Any:
    from scipy.sparse import diags

    return diags(values)


# -------------------------------------------------------------------------------------------------
# What random divisions of the same images give: a weight per image and draw, the first draw the true one.


def _divisions(n_a: int, n_b: int, draws: int, seed: int) -> Float[np.ndarray, "n draws"]:
    """1/n_b in b and −1/n_a in a: a weighted sum is the difference of the means."""
    true = np.repeat([-1 / n_a, 1 / n_b], [n_a, n_b])
    rows = np.tile(true, (draws, 1))
    return np.vstack([true, np.random.default_rng(seed).permuted(rows, axis=1)]).T


def _pairs_exchanged(_n_a: int, n_b: int, draws: int, seed: int) -> Float[np.ndarray, "n draws"]:
    """As divisions, but each pair keeps one image on either side."""
    sign = np.random.default_rng(seed).choice([-1.0, 1.0], (n_b, draws))
    sign = np.hstack([np.ones((n_b, 1)), sign]) / n_b
    return np.vstack([-sign, sign])


def _blocks(both: csc_matrix, draws: int) -> Iterator[slice]:
    size = max(_BLOCK // draws, 1)
    return (slice(i, i + size) for i in range(0, both.shape[1], size))


def _tested(
    both: csc_matrix, weights: Float[np.ndarray, "n draws"]
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Return z of each concept, and the share of random divisions in which the largest |z| reaches it."""
    z = np.zeros(both.shape[1])
    largest = np.zeros(weights.shape[1])
    for block in _blocks(both, weights.shape[1]):
        difference = both[:, block].T @ weights
        # The true division is one of all: left out of the spread, it would look too far out.
        spread = difference.std(axis=1, keepdims=True)
        scores = np.divide(difference, spread, out=np.zeros_like(difference), where=spread > 1e-12)
        z[block] = scores[:, 0]
        largest = np.maximum(largest, abs(scores).max(axis=0))
    return z, permutation_p(largest[1:], abs(z), slack=1e-9)


def _interval(
    both: csc_matrix, sizes: tuple[int, int], n: int, seed: int, *, paired: bool
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """95 % of δ over resamples of the images of each set."""
    n_a, n_b = sizes
    low, high = np.full((2, both.shape[1]), np.nan)
    if not n:
        return low, high
    in_a = bootstrap_counts(n_a, n, seed).T / n_a
    in_b = in_a if paired else bootstrap_counts(n_b, n, seed + 1).T / n_b
    rows_a, rows_b = _halves(*sizes)
    for block in _blocks(both, n):
        some = both[:, block].tocsr()
        a, b = some[rows_a].T @ in_a, some[rows_b].T @ in_b
        low[block], high[block] = percentile_intervals(_delta(a, b).T)
    return low, high


def _delta(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """½ where neither has any."""
    return np.divide(b, a + b, out=np.full_like(b, 0.5), where=a + b > 0)


def _tabled(
    docs_a: Documents,
    docs_b: Documents,
    atoms: Int[np.ndarray, " m"],
    groups: dict[int, tuple[int, ...]],
    a: np.ndarray,
    b: np.ndarray,
    z: np.ndarray,
    p: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> DataFrame:
    import pandas as pd

    delta = _delta(a, b)
    place = (delta >= SUPPRESSED) + 1 * (delta > 0.5) + (delta > EXAGGERATED)
    kind = np.where(p < LEVEL, np.array(KINDS)[place], "")
    columns = {
        "atom": atoms,
        "label": [docs_a.label(j) or docs_b.label(j) for j in atoms],
        "atoms": [len(groups.get(int(j), (j,))) for j in atoms],
        "a": a, "b": b, "delta": delta, "low": low, "high": high, "z": z, "p": p, "kind": kind,
    }  # fmt: skip
    order = np.lexsort((-abs(z), p))
    return pd.DataFrame(columns).iloc[order].reset_index(drop=True)


# -------------------------------------------------------------------------------------------------
# What a simpler method says.


def _components(
    docs_a: Documents, docs_b: Documents, weights: Float[np.ndarray, "n draws"]
) -> DataFrame:
    """Leading principal components of the mean activations, tested as concepts are."""
    import pandas as pd
    from scipy.sparse import csc_matrix

    x = np.concatenate([docs_a.means, docs_b.means]).astype(np.float64)
    x = x - x.mean(axis=0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    kept = np.flatnonzero(s > 1e-9 * max(s[0], 1e-300))[:_COMPONENTS]
    scores = u[:, kept] * s[kept]
    z, p = _tested(csc_matrix(scores), weights)
    a, b = (scores[rows].mean(axis=0) for rows in _halves(len(docs_a), len(docs_b)))
    columns = {
        "component": kept, "explained": s[kept] ** 2 / max((s**2).sum(), 1e-300), "a": a, "b": b,
        "difference": (b - a) / np.maximum(scores.std(axis=0), 1e-300), "z": z, "p": p,
    }  # fmt: skip
    order = np.lexsort((-abs(z), p))
    return pd.DataFrame(columns).iloc[order].reset_index(drop=True)
