"""Which known regions of images does a dictionary find without labels? Atoms against PCA, k-means, NMF, random.

A feature marks the patches where it is above a threshold. Feature and threshold are chosen by the
overlap with a region on one half of the images, and judged on the other: more features to choose from
are not an advantage by themselves. IoU = F1 / (2 − F1), so the best of one is the best of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import Seed, as_tensor, checked, one_of
from sae_nb.codes import SparseCodes
from sae_nb.corpora import check_labels
from sae_nb.evaluation import Factor, FactorEvidence, match_factors, random_like
from sae_nb.figures import Chart, Points
from sae_nb.findings import Plotted
from sae_nb_studies.vision._craft import factorised
from sae_nb_studies.vision._patches import Patches

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

Method = Literal["neurons", "PCA", "k-means", "NMF", "random"]

SAE = "SAE"
CLUSTERS = (4, 16, 64, 256)
"""Sizes of the clusterings whose clusters k-means offers side by side: regions are large and small. Ours."""

MOST_CONCEPTS = 32
"""Of NMF, where the SAE has more atoms: beyond, it takes minutes. Ours."""

COVERED = 0.5
"""Share of a patch's pixels from which a region of pixels holds it."""


class Discovery(Plotted):
    """The quality of each method's best single feature for each known region; made by `discover`."""

    factors: tuple[str, ...]
    methods: tuple[str, ...]
    """The first is the SAE, the last random atoms, if they were asked for."""

    iou: Float[np.ndarray, "factors methods"]
    """Intersection over union with the region, on images on which nothing was chosen."""

    feature: Int[np.ndarray, "factors methods"]
    """Index of the feature: the SAE's atom, the number of a component, cluster or coordinate."""

    floor: Float[np.ndarray, " factors"]
    """IoU of marking every patch: the share of patches in the region."""

    n_features: tuple[int, ...]
    """Of each method; PCA and neurons have two of each coordinate, one for each sign."""

    labels: Mapping[int, str]

    @property
    def table(self) -> pd.DataFrame:
        """One row per region: IoU of every method, the floor; `simpler` is the best method without an SAE."""
        import pandas as pd

        atoms = self.feature[:, 0]
        others = self.iou[:, 1:]
        columns: dict[str, Any] = {"floor": self.floor}
        columns |= dict(zip(self.methods, self.iou.T, strict=True))
        if others.shape[1]:
            columns["simpler"] = [self.methods[1 + int(row.argmax())] for row in others]
            columns["ahead"] = self.iou[:, 0] - others.max(axis=1)
        columns["atom"] = atoms
        columns["label"] = [str(self.labels.get(int(atom), "")) for atom in atoms]
        return pd.DataFrame(columns, index=pd.Index(self.factors, name="region"))

    @property
    def mean(self) -> pd.DataFrame:
        """One row per method: mean IoU over regions, how many it marks best, and its number of features."""
        import pandas as pd

        best = self.iou.argmax(axis=1)
        columns = {
            "iou": self.iou.mean(axis=0),
            "best": np.bincount(best, minlength=len(self.methods)),
            "features": self.n_features,
        }
        return pd.DataFrame(columns, index=pd.Index(self.methods, name="method"))

    @property
    def chart(self) -> Chart:
        """The IoU of every method in every region, and that of marking all patches."""
        of_methods = (
            Points(name, self.factors, self.iou[:, i], control=name == "random")
            for i, name in enumerate(self.methods)
        )
        series = (Points("all patches", self.factors, self.floor, control=True), *of_methods)
        return Chart(series=series, y="IoU", marks=True, height=340, xaxis={"type": "category"})

    @property
    def headline(self) -> str:
        """The mean overlap of every method."""
        means = ", ".join(f"{name} {value:.2f}" for name, value in self.mean["iou"].items())
        return f"{len(self.factors)} regions, mean IoU: {means}"


@checked(leave=("factors", "labels"))
def discover(
    images: Any,
    model: LiveModel,
    sae: SparseAutoencoder,
    hook_point: str,
    factors: Mapping[str, Bool[Tensor, "n rows columns"]],
    *,
    methods: Sequence[Method] = get_args(Method),
    labels: Mapping[int, str] | None = None,
    seed: Seed = 0,
) -> Discovery:
    """Find, for each known region, the single feature that marks it best, and judge it on other images.

    Half of the images serve to learn the simpler methods' features and to choose feature and threshold, the
    others to judge. Simpler methods read the same activations: their coordinates ("neurons") and principal
    components, both signs of each; clusters of patches by k-means, coarse and fine, as strong as near; NMF of
    the signs; random unit atoms with the SAE's size and L0.

    Parameters
    ----------
    images
        Of one size, as the model reads them; scenes of one kind, at least four.
    hook_point
        Hook point that the SAE reads; class and register tokens are left out.
    factors
        Regions by name: of every image a mask by patches, or by pixels, (n, rows, columns). A patch belongs to
        a region of pixels if half of it does.
    methods
        Methods that the SAE is compared with.
    labels
        Names of atoms, such as `sn.load_examples(name).labels`.
    seed
        Of the halves, and of what is drawn.

    Returns
    -------
    Discovery
        `.table` by region, `.mean` by method, `.plot()`.

    Raises
    ------
    TypeError, ValueError: If there are no regions, one is of other images or sizes, or absent in a half; or as
        `annotate`.

    Source
    ------
    Ours, after the discovery of parts by SAE features and after Network Dissection, arXiv 1704.05796 (IoU of a
    unit with a concept, theirs with a threshold by quantile and without a half left out).

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    >>> scenes = sn.data.scenes(8)
    >>> found = discover(
    ...     scenes.images, model, sae, "resid_post.6", {"digit": scenes.mask}, methods=["neurons"])
    >>> found.methods, found.iou.shape
    (('SAE', 'neurons'), (1, 2))
    """
    asked = [one_of(method, get_args(Method), name="methods") for method in methods]
    names = check_labels(labels, sae.n_atoms)
    patches = Patches.of(model, sae, images, hook_point)
    regions = _checked_regions(factors, patches)
    first = np.random.default_rng(seed).permutation(patches.n) < patches.n // 2
    on = first[patches.image]
    for name, truth in regions.items():
        for half in (on, ~on):
            if not truth[half].any() or truth[half].all():
                raise ValueError(
                    f"`factors[{name!r}]` must hold some patches and leave some out in both halves of the "
                    f"{patches.n} images, and does not. Pass more images, or leave it out."
                )
    columns = [_judged(patches.codes, patches, regions, on)]
    for method in asked:
        codes = MAKERS[method](patches, sae, on, seed)
        columns.append(_judged(codes, patches, regions, on))
    iou, feature, sizes = zip(*columns, strict=True)
    return Discovery(
        factors=tuple(regions),
        methods=(SAE, *asked),
        iou=np.stack(iou, axis=1),
        feature=np.stack(feature, axis=1),
        floor=np.array([truth[~on].mean() for truth in regions.values()]),
        n_features=sizes,
        labels=names,
    )


def _checked_regions(factors: Any, patches: Patches) -> dict[str, Bool[np.ndarray, " rows"]]:
    """Whether each patch is in each region."""
    if not isinstance(factors, Mapping) or not factors:
        raise TypeError(
            f"`factors` must be masks by name, {{name: (n, rows, columns)}}, got {type(factors).__name__}. Of "
            'scenes, {"digit": scenes.mask}.'
        )
    found = {}
    rows, columns = patches.grid
    for name, given in factors.items():
        mask = as_tensor(given, name=f"factors[{name!r}]").detach().cpu()
        if mask.ndim == 2 and mask.shape[1] == rows * columns:
            mask = mask.view(-1, rows, columns)
        fits = mask.ndim == 3 and len(mask) == patches.n
        if not fits or mask.shape[1] % rows or mask.shape[2] % columns or not mask.numel():
            raise ValueError(
                f"`factors[{name!r}]` must be a mask of {patches.n} images, by patches ({patches.n}, {rows}, "
                f"{columns}) or by pixels, got {tuple(mask.shape)}."
            )
        height, width = mask.shape[1] // rows, mask.shape[2] // columns
        cells = mask.bool().float().reshape(-1, rows, height, columns, width)
        held = (cells.mean(dim=(2, 4)) >= COVERED).flatten(1).numpy()
        found[str(name)] = held[patches.image, patches.place]
    return found


def _judged(
    codes: SparseCodes,
    patches: Patches,
    regions: Mapping[str, Bool[np.ndarray, " rows"]],
    on: Bool[np.ndarray, " rows"],
) -> tuple[Float[np.ndarray, " factors"], Int[np.ndarray, " factors"], int]:
    """IoU on one half of the feature chosen on the other, which it is, and out of how many."""
    evidence = []
    for half in (on, ~on):
        rows = torch.from_numpy(np.flatnonzero(half))
        _, sample = np.unique(patches.image[half], return_inverse=True)
        factors = [
            Factor(name=name, per="row", truth=truth[half]) for name, truth in regions.items()
        ]
        evidence.append(FactorEvidence(codes=codes.rows(rows), sample=sample, factors=factors))
    found = match_factors(*evidence).by_factor
    f1 = np.array([match.f1 for match in found])
    return f1 / (2 - f1), np.array([match.atom for match in found]), codes.n_atoms


# -------------------------------------------------------------------------------------------------
# Features of the simpler methods, learned on the patches of one half.

Maker = Callable[[Patches, Any, Bool[np.ndarray, " rows"], int], SparseCodes]


def _rows(patches: Patches) -> Float[Tensor, "rows d_in"]:
    return patches.acts.x.detach().float().cpu()


def _both_signs(z: Float[Tensor, "rows m"]) -> SparseCodes:
    """Return features of each sign; few, and most of them there, so that they are sparse codes in form
    only.
    """
    return SparseCodes.from_dense(torch.cat((z.clamp_min(0), (-z).clamp_min(0)), dim=1))


def _neurons(patches: Patches, _sae: Any, on: np.ndarray, _seed: int) -> SparseCodes:
    x = _rows(patches)
    return _both_signs(x - x[torch.from_numpy(on)].mean(dim=0))


def _pca(patches: Patches, _sae: Any, on: np.ndarray, _seed: int) -> SparseCodes:
    x = _rows(patches)
    own = x[torch.from_numpy(on)].double()
    mean = own.mean(dim=0)
    axes = torch.linalg.svd(own - mean, full_matrices=False).Vh.float()
    return _both_signs((x - mean.float()) @ axes.T)


def _k_means(patches: Patches, _sae: Any, on: np.ndarray, seed: int) -> SparseCodes:
    from sklearn.cluster import KMeans

    x = _rows(patches).numpy()
    sizes = [k for k in CLUSTERS if k <= int(on.sum()) // 4] or [1]
    strengths, atoms = [], []
    for i, k in enumerate(sizes):
        found = KMeans(k, n_init=1, random_state=seed).fit(x[on])
        cluster = found.predict(x)
        away = np.square(x - found.cluster_centers_[cluster]).sum(axis=1)
        near = np.exp(-away / max(float(away[on].mean()), 1e-12)).astype(np.float32)
        strengths.append(np.maximum(near, 1e-30))
        atoms.append(cluster + sum(sizes[:i]))
    values, at = (torch.from_numpy(np.stack(each, axis=1).ravel()) for each in (strengths, atoms))
    rows = torch.arange(len(x)).repeat_interleave(len(sizes))
    return SparseCodes.from_entries(values, rows, at, (len(x), sum(sizes)))


def _nmf(patches: Patches, sae: SparseAutoencoder, on: np.ndarray, seed: int) -> SparseCodes:
    x = _rows(patches).double()
    halves = torch.cat((x.clamp_min(0), (-x).clamp_min(0)), dim=1).numpy()
    r = min(sae.n_atoms, MOST_CONCEPTS, int(on.sum()))
    _, codes = factorised(halves, r, seed, learn_on=on)
    return SparseCodes.from_dense(torch.from_numpy(codes).float())


def _random(patches: Patches, sae: SparseAutoencoder, _on: np.ndarray, seed: int) -> SparseCodes:
    random = random_like(sae, patches.acts, seed=seed)
    return random.encode(patches.acts.x).detach().to("cpu")


MAKERS: dict[Method, Maker] = {
    "neurons": _neurons,
    "PCA": _pca,
    "k-means": _k_means,
    "NMF": _nmf,
    "random": _random,
}
"""By name: the features of every patch."""
