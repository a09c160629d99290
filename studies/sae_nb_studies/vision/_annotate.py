"""Contents of an image and their places, by the atoms that fire: a table with boxes, and the marks of
clusters for comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import Between, Count, Seed, check_count, checked
from sae_nb.corpora import check_labels
from sae_nb.findings import Finding
from sae_nb_studies.vision._patches import Patches, iou

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel

N_CLUSTERS = 32
"""Of patches, by k-means, at most one for four patches: what the atoms' masks are compared with."""


class Annotations(Finding):
    """Atoms of some images with the place of each; made by `annotate`."""

    images: Float[Tensor, "n channels height width"]
    """In [0, 1]."""

    image: Int[np.ndarray, " rows"]
    atom: Int[np.ndarray, " rows"]
    """Image and atom of each row of `table`: image by image, the strongest atom first."""

    heat: Float[np.ndarray, "rows grid_rows grid_columns"]
    """Strength |z| ‖d‖ at each patch, in the model's units."""

    share: float
    fires: Float[np.ndarray, " rows"]
    """Share of all patches in which the atom fires."""

    simpler: Float[np.ndarray, " rows"]
    """Largest overlap (IoU) of the mask with a cluster of patches in its image."""

    labels: Mapping[int, str]

    @property
    def masks(self) -> Bool[np.ndarray, "rows grid_rows grid_columns"]:
        """Patches at which an atom has at least `share` of its strength at the peak."""
        peak = self.heat.max(axis=(1, 2), keepdims=True)
        return self.heat >= self.share * peak

    @property
    def boxes(self) -> Int[np.ndarray, "rows 4"]:
        """Top, left, bottom and right in pixels, of the part of each mask that joins at the peak."""
        height, width = self.images.shape[2:]
        rows, columns = self.heat.shape[1:]
        scale = np.array([height / rows, width / columns] * 2)
        found = [_box(mask, heat) for mask, heat in zip(self.masks, self.heat, strict=True)]
        return np.round(np.array(found).reshape(-1, 4) * scale).astype(int)

    @property
    def table(self) -> pd.DataFrame:
        """One row per image and atom: where, how strong, how often; `simpler` is the overlap with a cluster.

        `patches` are those of the mask; top, left, bottom, right the box around the part with the peak, in
        pixels. Where `simpler` is near 1, clustering the patches marks the same place.
        """
        import pandas as pd

        columns: dict[str, Any] = {
            "image": self.image,
            "atom": self.atom,
            "label": [str(self.labels.get(int(atom), "")) for atom in self.atom],
            "strength": self.heat.max(axis=(1, 2)),
            "patches": self.masks.sum(axis=(1, 2)),
        }
        columns |= dict(zip(("top", "left", "bottom", "right"), self.boxes.T, strict=True))
        return pd.DataFrame(columns | {"fires": self.fires, "simpler": self.simpler})

    @checked
    def plot(self, image: int = 0, n: Count = 3) -> Any:
        """Draw an image with the boxes of its n strongest atoms, and where each fires."""
        from sae_nb.figures import image_and_maps

        check_count(image, name="image", at_least=0, at_most=len(self.images) - 1)
        rows = np.flatnonzero(self.image == image)[:n]
        names = [self._name(int(self.atom[row])) for row in rows]
        boxes = {name: tuple(self.boxes[row].tolist()) for name, row in zip(names, rows)}
        maps = {name: self.heat[row] for name, row in zip(names, rows)}
        return image_and_maps((f"image {image}", self.images[image]), maps, boxes)

    def _name(self, atom: int) -> str:
        label = self.labels.get(atom, "")
        return f"atom {atom}: {label}" if label else f"atom {atom}"

    @property
    def headline(self) -> str:
        """Places, atoms, images, and how many have a label."""
        labelled = int(sum(int(atom) in self.labels for atom in self.atom))
        return (
            f"{len(self.atom)} places of {len(np.unique(self.atom))} atoms in "
            f"{len(self.images)} images, {labelled} with a label"
        )


def _box(mask: Bool[np.ndarray, "rows columns"], heat: np.ndarray) -> tuple[int, int, int, int]:
    """Ends of the part of a mask that holds the peak, in patches; corners join, too."""
    from scipy.ndimage import label

    parts, _ = label(mask, structure=np.ones((3, 3)))
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    rows, columns = np.nonzero(parts == parts[row, column])
    return int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1


@checked(leave=("labels",))
def annotate(
    images: Any,
    model: LiveModel,
    sae: SparseAutoencoder,
    hook_point: str,
    *,
    labels: Mapping[int, str] | None = None,
    n: Count = 5,
    share: Annotated[float, Between(0, 1, "(]")] = 0.5,
    most: Annotated[float, Between(0, 1, "(]")] = 0.5,
    seed: Seed = 0,
) -> Annotations:
    """List the atoms that fire in images, where each does, and its name.

    Parameters
    ----------
    images
        Of one size, as the model reads them.
    hook_point
        Hook point that the SAE reads; class and register tokens are left out.
    labels
        Names of atoms, such as `sn.load_examples(name).labels`.
    n
        Atoms of each image, by their strength |z| ‖d‖ at the patch where it is largest.
    share
        Of that strength, from which a patch belongs to the mask.
    most
        Atoms that fire in a larger share of all patches are left out: they mark no place.
    seed
        Of the clusters.

    Returns
    -------
    Annotations
        `.table` with boxes in pixels, `.masks`, `.heat`, `.plot(image)`.

    Raises
    ------
    TypeError, ValueError: If the model reads no images, the hook point has no grid of patches, the SAE reads
        elsewhere, or no atom is left.

    Source
    ------
    Ours, after the annotation of traits by SAE features; the clusters (k-means of the same patches) are what no
    SAE would need.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    >>> found = annotate(sn.data.scenes(2).images, model, sae, "resid_post.6", n=2)
    >>> list(found.table.columns[:5]), found.masks.shape
    (['image', 'atom', 'label', 'strength', 'patches'], (4, 8, 8))
    """
    names = check_labels(labels, sae.n_atoms)
    patches = Patches.of(model, sae, images, hook_point)
    norms = sae.dictionary.detach().norm(dim=1).cpu().numpy()
    fires = patches.codes.frequency.cpu().numpy()
    clusters = _clustered(patches, seed)
    rows = _strongest(patches, norms * (fires <= most), n)
    if not rows:
        raise ValueError(
            f"`most` must leave an atom that fires, got {most:g}: every atom fires in more of the patches, "
            "or in none. Raise it, or pass other images."
        )
    heat = np.stack([heat for _, _, heat in rows])
    image, atom = (np.array([row[i] for row in rows]) for i in (0, 1))
    found = heat >= share * heat.max(axis=(1, 2), keepdims=True)
    overlap = [
        max(iou(mask, clusters[i] == c) for c in np.unique(clusters[i]))
        for mask, i in zip(found, image)
    ]
    return Annotations(
        images=patches.images,
        image=image,
        atom=atom,
        heat=heat,
        share=share,
        fires=fires[atom].astype(float),
        simpler=np.array(overlap),
        labels=names,
    )


def _strongest(
    patches: Patches, norms: Float[np.ndarray, " n_atoms"], n: int
) -> list[tuple[int, int, np.ndarray]]:
    """Image, atom and map of the n atoms of largest peak in each image."""
    table = patches.codes.to_scipy()
    found = []
    for i in range(patches.n):
        rows = np.flatnonzero(patches.image == i)
        own = abs(table[rows]).tocsc()
        peak = own.max(axis=0).toarray().ravel() * norms
        for atom in np.argsort(-peak, kind="stable")[:n].tolist():
            if peak[atom] > 0:
                heat = own[:, atom].toarray().ravel() * norms[atom]
                found.append((i, atom, patches.on_grid(rows, heat)))
    return found


def _clustered(patches: Patches, seed: int) -> Int[np.ndarray, "n rows columns"]:
    """The cluster of every patch."""
    from sklearn.cluster import KMeans

    x = patches.acts.x.float().cpu().numpy()
    k = max(min(N_CLUSTERS, len(x) // 4), 1)
    cluster = KMeans(k, n_init=1, random_state=seed).fit_predict(x)
    maps = np.full((patches.n, patches.grid[0] * patches.grid[1]), -1)
    maps[patches.image, patches.place] = cluster
    return maps.reshape(-1, *patches.grid)
