"""Signatures: which textures are near each other, by a network's features and by what leaves those alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.capturing import capture
from sae_nb.checks import (
    Between,
    Count,
    Seed,
    Share,
    above,
    check_data,
    checked,
    one_of,
    same_length,
)
from sae_nb.findings import Finding
from sae_nb.models import LiveModel
from sae_nb.statistics import correlation, mantel_null, permutation_p

Part = Literal["distance", "texture", "symmetry"]
Pairs = Float[np.ndarray, "n_artists n_artists"]

GENERATORS = ("right", "down", "stretch x", "shear x", "shear y", "stretch y")
"""Movements of the plane, affine: two shifts, and the four entries of a matrix, row by row."""

TILE = 32
"""Images whose features under all movements are held at once."""


@checked
@dataclass(frozen=True, eq=False)
class Signatures:
    """The distances of artists: D = (1 − λ) d_texture + λ d_symmetry.

    d_texture compares Gram matrices of features, G = (1/N) Σ f fᵀ over the patches of all images of an artist:
    ‖G_a − G_b‖ / (‖G_a‖ + ‖G_b‖), mean over hook points. d_symmetry compares what leaves the images as the
    network sees them. Of all small affine movements h of the plane, the generators are those that change the
    features of the last hook point least, in least squares: eigenvectors of M with the smallest eigenvalues,
    M_hk = Σ ⟨∂f/∂h, ∂f/∂k⟩ over images and patches. Two artists' spaces of generators are compared by Grassmann
    distance, the root of the sum of squared principal angles, as a share of the largest there is.

    Parameters
    ----------
    model
        A network for images.
    hook_points
        Where features are read: one, or several for textures of several scales. Movements are judged at the
        last one.
    mixing
        λ in [0, 1].
    n_generators
        Dimension of the space of movements, 1 to 5.
    step
        Size of a movement in pixels, root mean square over the image, each way.

    Raises
    ------
    ValueError: If no hook point is named.

    Source
    ------
    After the abstract and reports of "Artistic signatures", arXiv 2412.04441, which we did not read: Gram
    matrices, Lie generators by LieGG (arXiv 2210.04345), Grassmann distance, one distance of both and Mantel
    tests are its. Ours: the norms that put both into [0, 1], affine generators from central differences of
    moved images instead of gradients, and any network of yours instead of VGG-19.

    Example
    -------
    >>> import sae_nb as sn
    >>> drawn = sn.data.scenes(48, seed=0)
    >>> kept = drawn.texture < 2  # horizontal and vertical stripes
    >>> found = Signatures(sn.load_model("tiny-vit"), "resid_post.1", n_generators=1).fit(
    ...     drawn.images[kept], drawn.texture[kept])
    >>> sideways = (found.generators[:, 0, [0, 2, 3]] ** 2).sum(axis=1)  # of the quietest movement
    >>> found.names, sideways.round().tolist()
    (('0', '1'), [1.0, 0.0])
    """

    model: LiveModel
    hook_points: str | Iterable[str]
    _: KW_ONLY
    mixing: Share = 0.5
    n_generators: Annotated[int, Between(1, len(GENERATORS) - 1)] = 3
    step: Annotated[float, above(0, do="Half a pixel is usual.")] = 0.5

    def __post_init__(self) -> None:
        points = [self.hook_points] if isinstance(self.hook_points, str) else [*self.hook_points]
        if not points:
            raise ValueError(
                '`hook_points` must name at least one, got none. Give one such as "embed".'
            )
        object.__setattr__(self, "hook_points", tuple(points))

    @checked(leave=("artists",))
    @torch.no_grad()
    def fit(self, images: Float[Tensor, "n 3 height width"], artists: Any) -> SignatureDistances:
        """Return the distances of all pairs of artists.

        Parameters
        ----------
        images
            In [0, 1], of the size that the network takes.
        artists
            Whose each image is: one label per image, of at least two artists. Artists are in the order
            in which they come first.

        Raises
        ------
        TypeError, ValueError: If images are not finite, labels are not one per image, there is one artist, or
            no such hook point.
        """
        names, signs = self._known(images, artists)
        texture = np.mean(
            [_pairs(grams, _gram_distance) for grams in zip(*(one.grams for one in signs))], axis=0
        )
        spaces = [one.directions[:, : self.n_generators] for one in signs]
        return SignatureDistances(
            names=names,
            texture=texture,
            symmetry=_pairs(spaces, grassmann),
            mixing=float(self.mixing),
            generators=np.stack([space.T for space in spaces]),
            changes=np.stack([one.changes for one in signs]),
        )

    @checked(leave=("artists",))
    @torch.no_grad()
    def attribute(
        self,
        images: Float[Tensor, "n 3 height width"],
        artists: Any,
        asked: Float[Tensor, "n_asked 3 height width"],
    ) -> Attribution:
        """Say whose other images are: the artist whose signature is nearest to that of the image alone.

        Parameters
        ----------
        images, artists
            Images whose artists are known, as in `fit`.
        asked
            Images whose artists are not.

        Raises
        ------
        TypeError, ValueError: As of `fit`.

        Example
        -------
        >>> import sae_nb as sn
        >>> drawn = sn.data.scenes(48, seed=0)
        >>> kept = drawn.texture < 2  # horizontal and vertical stripes
        >>> images, whose = drawn.images[kept], drawn.texture[kept]
        >>> signatures = Signatures(sn.load_model("tiny-vit"), "resid_post.1", n_generators=1)
        >>> found = signatures.attribute(images[:8], whose[:8], images[8:])
        >>> found.accuracy(whose[8:], "symmetry") > 0.5
        True
        """
        names, known = self._known(images, artists)
        grams, changes = self._moments(check_data(asked, name="asked").float())
        k, texture, symmetry = self.n_generators, [], []
        for i in range(len(asked)):
            own = _Signature.of([gram[i] for gram in grams], changes[i])
            texture.append([np.mean([*map(_gram_distance, own.grams, one.grams)]) for one in known])
            symmetry.append(
                [grassmann(own.directions[:, :k], one.directions[:, :k]) for one in known]
            )
        return Attribution(
            names=names,
            texture=np.array(texture),
            symmetry=np.array(symmetry),
            mixing=float(self.mixing),
        )

    def _known(self, images: Tensor, artists: Any) -> tuple[tuple[str, ...], list[_Signature]]:
        """Names of artists, and the signature of each."""
        shown = check_data(images, name="images").float()
        labels = [str(label) for label in _listed(artists)]
        same_length(labels, len(shown), name="artists", per="image")
        names = tuple(dict.fromkeys(labels))
        if len(names) < 2:
            raise ValueError(
                f"`artists` must be of at least two, got {len(names)}. Distances need pairs."
            )
        grams, changes = self._moments(shown)
        rows = [np.array(labels) == name for name in names]
        signs = [
            _Signature.of([gram[row].mean(axis=0) for gram in grams], changes[row].sum(axis=0))
            for row in rows
        ]
        return names, signs

    def _moments(
        self, images: Float[Tensor, "n 3 height width"]
    ) -> tuple[list[Float[np.ndarray, "n d d"]], Float[np.ndarray, "n 6 6"]]:
        """Gram matrices of each image, one per hook point, and M of each."""
        points: Any = self.hook_points
        grams: list[list[Tensor]] = [[] for _ in points]
        changes = []
        height, width = images.shape[2:]
        movements = _movements(height, width, self.step)
        for start in range(0, len(images), TILE):
            tile = images[start : start + TILE]
            for held, features in zip(grams, self._features(tile, points).values()):
                rows = features.double()
                held.append(torch.einsum("npd,npe->nde", rows, rows) / rows.shape[1])
            moved = []
            for movement in movements:
                ends = [
                    self._features(_moved(tile, sign * movement), points[-1:])[points[-1]]
                    for sign in (1, -1)
                ]
                moved.append(((ends[0] - ends[1]) / (2 * self.step)).flatten(1).double())
            changes.append(torch.einsum("hnx,knx->nhk", *[torch.stack(moved)] * 2))
        return [torch.cat(held).numpy() for held in grams], torch.cat(changes).numpy()

    def _features(
        self, images: Tensor, points: tuple[str, ...]
    ) -> dict[str, Float[Tensor, "n patches d"]]:
        """Features of the patches of images; what belongs to no patch is left out."""
        found = capture(self.model, images, list(points), progress=False)
        kept = {}
        for name, acts in found.items():
            patches = acts.position >= acts.context.prefix_tokens
            kept[name] = acts.x[patches].float().reshape(len(images), -1, acts.d_in)
        return kept


@dataclass(frozen=True)
class _Signature:
    """Of an artist, or of one image: Gram matrices by hook point, and movements, the quietest first."""

    grams: list[Float[np.ndarray, "d d"]]
    directions: Float[np.ndarray, "6 6"]
    changes: Float[np.ndarray, " 6"]

    @classmethod
    def of(
        cls, grams: list[Float[np.ndarray, "d d"]], together: Float[np.ndarray, "6 6"]
    ) -> _Signature:
        share, directions = np.linalg.eigh(together)
        total = max(float(share.sum()), 1e-300)
        return cls(grams, directions, np.maximum(share, 0) / total)


class _Distances(Finding):
    """Two distances, and their mixture."""

    names: tuple[str, ...]
    """The artists."""

    texture: Float[np.ndarray, "rows n_artists"]
    """d_texture in [0, 1]."""

    symmetry: Float[np.ndarray, "rows n_artists"]
    """d_symmetry in [0, 1]."""

    mixing: float
    """λ."""

    @property
    def distance(self) -> Float[np.ndarray, "rows n_artists"]:
        """D = (1 − λ) d_texture + λ d_symmetry."""
        return (1 - self.mixing) * self.texture + self.mixing * self.symmetry

    def _part(self, part: str) -> Float[np.ndarray, "rows n_artists"]:
        return np.asarray(
            getattr(self, one_of(part, ("distance", "texture", "symmetry"), name="part"))
        )


class SignatureDistances(_Distances):
    """The distances of artists from each other; made by `Signatures.fit`."""

    HEADLINE = "{names.len} artists, λ = {mixing:g}"

    generators: Float[np.ndarray, "n_artists n_generators 6"]
    """Movements that change an artist's images least, each a unit vector over `GENERATORS`: right, down,
    stretch x, shear x, shear y, stretch y, all of one size in pixels."""

    changes: Float[np.ndarray, "n_artists 6"]
    """Change of the features by each eigenvector, as a share of all six, the least first."""

    @checked
    def nearest(self, part: Part = "distance") -> tuple[str, ...]:
        """Return the nearest other artist of each, by one of the distances."""
        apart = self._part(part).copy()
        np.fill_diagonal(apart, np.inf)
        return tuple(self.names[i] for i in apart.argmin(axis=1))

    @checked(leave=("other",))
    def mantel(
        self,
        other: Any,
        part: Part = "distance",
        *,
        n_permutations: Count = 999,
        level: Annotated[float, Between(0, 1, "()")] = 0.05,
        seed: Seed = 0,
    ) -> MantelTest:
        """Test whether artists that are near each other are so by another measure too.

        The correlation of two matrices of distances over all pairs, and the same with the artists of one of
        them permuted: pairs are not independent, artists are.

        Parameters
        ----------
        other
            Distances of the same artists, (n_artists, n_artists) and symmetric; or a family for each artist,
            then 0 within a family and 1 between.
        part
            Distance of ours.
        n_permutations
            Random ones.
        level
            p that is asked for.
        seed
            Draws them.

        Raises
        ------
        ValueError: If `other` does not fit, is the same for all pairs, or p cannot be so small.

        Source
        ------
        Mantel 1967.
        """
        if 1 / (1 + n_permutations) > level * (1 + 1e-9):
            raise ValueError(
                f"`n_permutations` must be large enough for p ≤ {level:g}, got {n_permutations}, of which "
                f"the smallest p is {1 / (1 + n_permutations):.3g}. Draw more."
            )
        pairs = np.triu_indices(len(self.names), 1)
        ours, theirs = self._part(part)[pairs], _distances(other, len(self.names))[pairs]
        null = mantel_null(ours, theirs, n_permutations, seed)
        return MantelTest(observed=float(correlation(ours, theirs)), null=null, level=level)

    @checked
    def figure(self, part: Part = "distance") -> Any:
        """Draw the distances of all pairs, artists in their order."""
        from sae_nb.figures import heatmaps, named_ticks

        apart = self._part(part)
        ends = (0.0, float(apart.max()) or 1.0)
        drawn = heatmaps(
            {part: apart}, ends=ends, hover="%{y} and %{x}: %{z:.3f}", bar="distance", height=420
        )
        drawn.update_xaxes(named_ticks(self.names))
        return drawn.update_yaxes(named_ticks(self.names, autorange="reversed"))


class Attribution(_Distances):
    """The distances of images from artists; made by `Signatures.attribute`."""

    HEADLINE = "{texture.len} images, {names.len} artists, λ = {mixing:g}"

    @checked
    def nearest(self, part: Part = "distance") -> tuple[str, ...]:
        """Return the artist that each image is nearest to."""
        return tuple(self.names[i] for i in self._part(part).argmin(axis=1))

    @checked(leave=("truth",))
    def accuracy(self, truth: Any, part: Part = "distance") -> float:
        """Return the share of images that are nearest to their own artist.

        Raises
        ------
        ValueError: If `truth` is not one label per image.
        """
        return float(np.mean([a == b for a, b in zip(self.nearest(part), self._truth(truth))]))

    @checked(leave=("truth",))
    def figure(self, truth: Any, part: Part = "distance") -> Any:
        """Draw the share of each artist's images that is given to each artist: true ones are rows.

        Raises
        ------
        ValueError: If `truth` is not one label per image.
        """
        from sae_nb.figures import heatmaps, named_ticks

        true, given = np.array(self._truth(truth)), np.array(self.nearest(part))
        rows = tuple(dict.fromkeys(true.tolist()))
        shares = [[np.mean(given[true == row] == name) for name in self.names] for row in rows]
        drawn = heatmaps(
            {part: np.array(shares)},
            ends=(0.0, 1.0),
            hover="%{y} given to %{x}: %{z:.2f}",
            bar="share",
            height=420,
        )
        drawn.update_xaxes(named_ticks(self.names))
        return drawn.update_yaxes(named_ticks(rows, autorange="reversed"))

    def _truth(self, truth: Any) -> list[str]:
        labels = [str(label) for label in _listed(truth, name="truth")]
        same_length(labels, len(self.texture), name="truth", per="image")
        return labels


class MantelTest(Finding):
    """The correlation of two matrices of distances, and what it is for permuted artists."""

    HEADLINE = "r {observed:.3f} of {null.len} permutations, level {level:.3g}"

    observed: float
    """Pearson's r over pairs."""

    null: Float[np.ndarray, " n_permutations"]
    """The same, artists permuted."""

    level: float
    """p that was asked for."""

    @property
    def p(self) -> float:
        """Share of permutations, the observed order among them, with a correlation as high."""
        return float(permutation_p(self.null, self.observed, slack=1e-12))

    @property
    def floor(self) -> float:
        """Correlation that a share `level` of permutations exceeds."""
        return float(np.quantile(self.null, 1 - self.level, method="higher"))

    def figure(self) -> Any:
        """Draw the null distribution with the observed correlation."""
        from sae_nb.figures import null_distribution

        return null_distribution(self.null, self.observed, level=self.level, x="Mantel’s r")


# -------------------------------------------------------------------------------------------------
# Movements, and distances of pairs.


def _movements(height: int, width: int, step: float) -> Float[Tensor, "6 2 3"]:
    """Affine maps of the plane, each of `step` pixels root mean square, minus the identity.

    In the coordinates of `affine_grid`, in which an image reaches from −1 to 1. As vector fields they are
    orthogonal over the image.
    """
    half = torch.tensor([width / 2, height / 2])
    spread = [((torch.arange(n) + 0.5) * 2 / n - 1).square().mean().sqrt() for n in (width, height)]
    maps = torch.zeros(len(GENERATORS), 2, 3)
    for i, (axis, column) in enumerate([(0, 2), (1, 2), (0, 0), (0, 1), (1, 0), (1, 1)]):
        scale = 1.0 if column == 2 else float(spread[column])
        maps[i, axis, column] = step / (float(half[axis]) * scale)
    return maps


def _moved(images: Tensor, movement: Float[Tensor, "2 3"]) -> Tensor:
    from torch.nn import functional

    theta = (torch.eye(2, 3) + movement).to(images).expand(len(images), 2, 3)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _gram_distance(a: Float[np.ndarray, "d d"], b: Float[np.ndarray, "d d"]) -> float:
    whole = np.linalg.norm(a) + np.linalg.norm(b)
    return float(np.linalg.norm(a - b) / whole) if whole > 0 else 0.0


def grassmann(a: Float[np.ndarray, "n k"], b: Float[np.ndarray, "n k"]) -> float:
    """Return distance of two spaces by orthonormal bases: √Σθ² of their principal angles, over its
    largest value.

    Only as many angles as there is room for can be right ones.
    """
    angles = np.arccos(np.clip(np.linalg.svd(a.T @ b, compute_uv=False), -1, 1))
    n, k = a.shape
    return float(np.linalg.norm(angles) / (np.pi / 2 * np.sqrt(min(k, n - k))))


def _pairs(parts: Any, distance: Any) -> Pairs:
    """Every pair once; zeros on the diagonal."""
    listed = list(parts)
    apart = np.zeros((len(listed), len(listed)))
    for i in range(len(listed)):
        for j in range(i):
            apart[i, j] = apart[j, i] = distance(listed[i], listed[j])
    return apart


def _distances(other: Any, n: int) -> Pairs:
    """A matrix of distances, or families as one."""
    if isinstance(other, Tensor):
        other = check_data(other, name="other", what="distances or families").detach().cpu()
    given = np.asarray(other)
    if given.ndim == 2 and given.dtype.kind in "fiub":
        if given.shape != (n, n) or not np.isfinite(given).all() or not np.allclose(given, given.T):
            raise ValueError(
                f"`other` must be a symmetric matrix of finite distances of {n} artists, got shape "
                f"{given.shape}. Average a matrix with its transpose where it is not symmetric."
            )
        found = given.astype(np.float64)
    else:
        families = _listed(other, name="other")
        same_length(families, n, name="other", per="artist")
        names = np.array([str(one) for one in families])
        found = (names[:, None] != names[None]).astype(np.float64)
    if n < 4 or np.ptp(found[np.triu_indices(n, 1)]) == 0:
        raise ValueError(
            f"`other` must differ between pairs of at least 4 artists, got {n} artists and one value for all "
            "pairs. Give at least two families, or distances that differ."
        )
    return found


def _listed(labels: Any, name: str = "artists") -> list[Any]:
    """Labels as a list."""
    if isinstance(labels, Tensor | np.ndarray):
        return labels.tolist() if labels.ndim == 1 else [labels]
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise TypeError(
            f"`{name}` must be a list of labels, got {labels!r:.40}. Give one for each."
        )
    return list(labels)
