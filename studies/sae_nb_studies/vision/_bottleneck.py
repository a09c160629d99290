"""Concept bottlenecks: linear heads that read named concepts off a model, and where in the image each is read.

Concepts that always come together have one label between them, so their heads may look anywhere: the
share of a head's saliency inside the region of its concept shows where it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from sae_nb.checks import Resamples, Seed, as_tensor, check_data, checked, same_length
from sae_nb.figures import Chart, Points
from sae_nb.findings import Plotted
from sae_nb.models import image_batch, noting_states, patches_of, wrap
from sae_nb.statistics import bootstrap_counts, logistic_probe, percentile_interval
from sae_nb_studies.vision._attribution import Method, attribution, edges_of
from sae_nb_studies.vision._pixels import AT_ONCE, Pixels, read_by

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.models import HookPoint, LiveModel

HELD_OUT = 4
"""One image of so many is left out, to judge the heads."""

_STRENGTH = 0.1  # 1 / the weight of the penalty on weights of standardised channels


class ConceptBottleneck(Plotted):
    """Linear heads of named concepts at one hook point; made by `concept_bottleneck`."""

    names: tuple[str, ...]
    directions: Float[Tensor, "n_concepts d_in"]
    """The weights of each head, in the units of the activations: what `sn.geometry.containment` takes."""

    table: pd.DataFrame
    """One row per concept: `share` of the images that have it, `accuracy` on images left out, `simpler` (that
    of the commoner answer), the concept that it goes `with` most closely, and their `phi` (correlation)."""

    task: pd.DataFrame | None
    """Accuracy of the labels on images left out: through the concepts, straight from the activations, and of
    the commonest label; None without labels."""

    model: LiveModel
    """Reads images and answers with a logit per concept: for `attribution` and every other call on a model."""

    hook_point: str

    @checked(leave=("regions",))
    def look(
        self,
        images: Any,
        regions: Mapping[str, Bool[Tensor, "n rows columns"]],
        method: Method = "occlusion",
        *,
        n_bootstrap: Resamples = 1000,
        seed: Seed = 0,
    ) -> ConceptPlaces:
        """Return where the heads look: the share of each map of saliency inside the region of its concept.

        Parameters
        ----------
        images
            As the model reads them, of one size.
        regions
            By concept: of every image a mask by pixels or by patches, (n, rows, columns). Images in which it is
            empty or everything do not count for it.
        method
            As for `attribution`.
        n_bootstrap, seed
            Resamples of images for intervals; of everything drawn.

        Raises
        ------
        TypeError, ValueError: If there are no regions, one is of no concept or of other images, or `method` is
            none.
        """
        pixels = Pixels.of(self.model, images)
        masks = self._checked_regions(regions, len(pixels.x))
        shares = []
        for name, mask in masks.items():
            outcome = self.names.index(name)
            found = attribution(self.model, images, method, outcome=outcome, seed=seed)
            size = (found.maps.shape[1], found.maps.shape[2])
            part = adaptive_avg_pool2d(mask.float(), size)
            edges = adaptive_avg_pool2d(edges_of(found.images), size)
            shares.append([_share_inside(m, part) for m in (found.maps, part * 0 + 1, edges)])
        inside, area, simple = np.stack(shares, axis=1)
        return ConceptPlaces(
            names=tuple(masks),
            inside=inside,
            area=area,
            edges=simple,
            method=method,
            n_bootstrap=n_bootstrap,
            seed=seed,
        )

    def _checked_regions(self, regions: Any, n: int) -> dict[str, Tensor]:
        """Masks by concept."""
        if not isinstance(regions, Mapping) or not regions:
            raise TypeError(
                "`regions` must be masks by concept, {name: (n, rows, columns)}, got "
                f'{type(regions).__name__}. Of scenes, {{"digit": scenes.mask}}.'
            )
        found = {}
        for name, given in regions.items():
            if name not in self.names:
                raise ValueError(
                    f"`regions` must be of concepts, got {name!r}. There are "
                    f"{', '.join(map(repr, self.names))}."
                )
            mask = as_tensor(given, name=f"regions[{name!r}]").detach().cpu().bool()
            if mask.ndim != 3 or len(mask) != n or not mask.numel():
                raise ValueError(
                    f"`regions[{name!r}]` must be a mask of {n} images, ({n}, rows, columns), got "
                    f"{tuple(mask.shape)}."
                )
            found[name] = mask
        return found

    @property
    def chart(self) -> Chart:
        """The accuracy of every head, and that of the commoner answer."""
        series = (
            Points("heads", self.names, self.table["accuracy"]),
            Points("commoner answer", self.names, self.table["simpler"], control=True),
        )
        return Chart(series=series, y="accuracy", marks=True, xaxis={"type": "category"})

    @property
    def headline(self) -> str:
        """Concepts, accuracy, and that of the commoner answers."""
        accuracy, simpler = (self.table[name].mean() for name in ("accuracy", "simpler"))
        return (
            f"{len(self.names)} concepts at {self.hook_point}, accuracy {accuracy:.2f}; of "
            f"the commoner answers {simpler:.2f}"
        )


class ConceptPlaces(Plotted):
    """The places that the heads of concepts look at; made by `ConceptBottleneck.look`."""

    names: tuple[str, ...]
    inside: Float[np.ndarray, "n_concepts n"]
    """Share of the saliency that lies in the region, NaN where there is none."""

    area: Float[np.ndarray, "n_concepts n"]
    """The same of a map that is even: the share of the image that the region covers."""

    edges: Float[np.ndarray, "n_concepts n"]
    """The same of how much neighbouring pixels differ, which knows no model."""

    method: Method
    n_bootstrap: int
    seed: int

    @property
    def table(self) -> pd.DataFrame:
        """One row per concept: `inside`, its 95 % interval over images, `area`, `simpler` (edges), `images`."""
        import pandas as pd

        rows = [self._row(*parts) for parts in zip(self.inside, self.area, self.edges, strict=True)]
        columns = ["inside", "low", "high", "area", "simpler", "images"]
        return pd.DataFrame(rows, columns=columns, index=pd.Index(self.names, name="concept"))

    def _row(
        self, inside: np.ndarray, area: np.ndarray, edges: np.ndarray
    ) -> tuple[float, float, float, float, float, int]:
        known = np.isfinite(inside)
        n = int(known.sum())
        if not n:
            return (np.nan, np.nan, np.nan, np.nan, np.nan, 0)
        drawn = bootstrap_counts(n, self.n_bootstrap, self.seed) @ inside[known] / n
        low, high = percentile_interval(drawn)
        means = [float(part[known].mean()) for part in (inside, area, edges)]
        return means[0], low, high, means[1], means[2], n

    @property
    def chart(self) -> Chart:
        """The share inside for every concept, with what an even map and edges have."""
        table = self.table
        series = (
            Points("head", self.names, table["inside"]),
            Points("even map", self.names, table["area"], control=True),
            Points("edges", self.names, table["simpler"], control=True),
        )
        title = "share of the saliency in its region"
        return Chart(series=series, y=title, marks=True, xaxis={"type": "category"})

    @property
    def headline(self) -> str:
        """The share in each region, and of an even map."""
        table = self.table
        said = ", ".join(
            f"{name} {row.inside:.2f} (even {row.area:.2f})" for name, row in table.iterrows()
        )
        return f"{self.method}, share in the region: {said}"


def _share_inside(
    saliency: Float[Tensor, "n rows columns"], part: Float[Tensor, "n rows columns"]
) -> Float[np.ndarray, " n"]:
    """NaN of a map that is zero, and where the region is empty or everything."""
    size = saliency.abs().double()
    total, covered = size.sum(dim=(1, 2)), part.mean(dim=(1, 2))
    within = (size * part).sum(dim=(1, 2))
    held = (total > 0) & (covered > 0) & (covered < 1)
    return torch.where(held, within / total, torch.nan).numpy()


@checked(leave=("concepts", "labels"))
def concept_bottleneck(
    model: LiveModel,
    images: Any,
    concepts: Mapping[str, Bool[Tensor, " n"]],
    hook_point: str,
    *,
    labels: Any = None,
    seed: Seed = 0,
) -> ConceptBottleneck:
    """Learn a linear head for each concept, and, from what they say, the labels.

    Heads are logistic regressions on the mean activation of an image's patches (of a place alone where there
    are no patches); class and register tokens are left out. The model stays as it is.

    Parameters
    ----------
    images
        Of one size, as the model reads them; some hundreds. One of four is left out, to judge.
    concepts
        By name, whether each image has it.
    hook_point
        Hook point that the heads read.
    labels
        A class of each image, predicted from the heads' probabilities alone.
    seed
        Images that are left out.

    Returns
    -------
    ConceptBottleneck
        `.table`, `.directions`, `.model`, and `.look(images, regions)`.

    Raises
    ------
    TypeError, ValueError: If there are no concepts, they are not one value per image, one of them is everywhere
        or nowhere, or the model reads text.

    Source
    ------
    Concept bottleneck models, arXiv 2007.04612; where they look depends on which concepts come together,
    arXiv 2402.00912. Theirs train the network with the heads; ours read a network that is there.

    Example
    -------
    >>> import sae_nb as sn
    >>> scenes = sn.data.scenes(60)
    >>> found = concept_bottleneck(
    ...     sn.load_model("tiny-vit"), scenes.images, {"disc": scenes.distractor == 1}, "resid_post.6")
    >>> found.directions.shape, found.model.class_names
    (torch.Size([1, 64]), ('disc',))
    """
    pixels = Pixels.of(model, images)
    point = model.hook_point(hook_point)
    n = len(pixels.x)
    truths = _checked_concepts(concepts, n)
    first = np.random.default_rng(seed).permutation(n) % HELD_OUT > 0
    for name, truth in truths.items():
        if len(np.unique(truth[first])) < 2:
            raise ValueError(
                f"`concepts[{name!r}]` must be in some of the {int(first.sum())} images that are learned from "
                "and missing in others, and is not. Pass more images, or leave it out."
            )
    classes = None
    if labels is not None:
        given = check_data(as_tensor(labels, name="labels"), name="labels", what="classes")
        if given.ndim != 1 or given.is_complex() or not bool(torch.isfinite(given).all()):
            raise ValueError(
                f"`labels` must be one finite class per image, got {given.dtype} of shape "
                f"{tuple(given.shape)}. Number them."
            )
        classes = given.numpy(force=True)
        same_length(classes, n, name="labels", per="image")
        if len(np.unique(classes[first])) < 2:
            raise ValueError("`labels` must hold two classes at least, got one. Leave them out.")
    heads = _Heads(model, point)
    states = heads.states(pixels)
    fits = [_fitted(states[first], truth[first]) for truth in truths.values()]
    heads.learn(np.stack([weight for weight, _ in fits]), np.array([bias for _, bias in fits]))
    logits = np.stack([states @ weight + bias for weight, bias in fits], axis=1)
    names = tuple(truths)
    live = wrap(
        heads.eval(),
        preprocess=model.preprocess,
        prefix_tokens=model.prefix_tokens,
        patch_grid=model.patch_grid,
        class_names=names,
        name=f"concepts of {model.name} at {point}",
    )
    return ConceptBottleneck(
        names=names,
        directions=heads.head.weight.detach().cpu().clone(),
        table=_table(np.stack(list(truths.values())), logits > 0, ~first, names),
        task=None if classes is None else _task(states, logits, classes, first),
        model=live,
        hook_point=str(point),
    )


def _checked_concepts(concepts: Any, n: int) -> dict[str, Bool[np.ndarray, " n"]]:
    """Whether each image has each concept."""
    if not isinstance(concepts, Mapping) or not concepts:
        raise TypeError(
            f"`concepts` must be truth values by name, {{name: (n,)}}, got {type(concepts).__name__}. Of "
            'scenes, {"disc": scenes.distractor == 1}.'
        )
    found = {}
    for name, given in concepts.items():
        values = as_tensor(given, name=f"concepts[{name!r}]").detach().cpu()
        if values.ndim != 1 or len(values) != n or not bool(((values == 0) | (values == 1)).all()):
            raise ValueError(
                f"`concepts[{name!r}]` must be a truth value for each of {n} images, got "
                f"{str(values.dtype).removeprefix('torch.')} of shape {tuple(values.shape)}. Compare, as in "
                "digit == 3."
            )
        found[str(name)] = values.bool().numpy()
    return found


class _Heads(nn.Module):
    """A model up to a hook point, the mean of its patches, and a linear map: images to logits of concepts."""

    head: nn.Linear

    def __init__(self, model: LiveModel, point: HookPoint) -> None:
        super().__init__()
        self.body, self.point = model.module, point
        self._model = (model,)  # in a tuple: no submodule, and its module is one already

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.pooled(pixel_values)
        return self.head(x.to(self.head.weight.dtype))

    def pooled(self, pixel_values: Tensor) -> Float[Tensor, "n d_in"]:
        """Return mean over the patches at the hook point."""
        (model,) = self._model
        batch = image_batch(model, pixel_values)
        with noting_states(self.body, self.point) as seen:
            self.body(*batch.args, **batch.kwargs)
        if not seen:
            raise ValueError(
                f"`hook_point` must be one that {model.name} passes, and {self.point} was not."
            )
        return patches_of(seen[0], model).mean(dim=1)

    def states(self, pixels: Pixels) -> Float[np.ndarray, "n d_in"]:
        """Return the inputs of the heads for some images."""
        (model,) = self._model
        with model.lock, torch.no_grad():
            parts = [
                self.pooled(read_by(pixels.batch(some)).to(model.device)).cpu()
                for some in torch.split(pixels.x, AT_ONCE)
            ]
        return torch.cat(parts).double().numpy()

    def learn(
        self, weight: Float[np.ndarray, "n_concepts d_in"], bias: Float[np.ndarray, " n_concepts"]
    ) -> None:
        """Take over the weights."""
        (model,) = self._model
        self.head = nn.Linear(weight.shape[1], len(weight)).to(model.device)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight))
            self.head.bias.copy_(torch.from_numpy(bias))


def _fitted(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and offset of a logistic regression on standardised channels, in the units of x."""
    found = logistic_probe(x, y, inverse_penalty=_STRENGTH, max_iter=300, quiet=True)
    return found.weight[0], float(found.bias[0])


def _table(
    truth: Bool[np.ndarray, "n_concepts n"],
    says: Bool[np.ndarray, "n n_concepts"],
    left: Bool[np.ndarray, " n"],
    names: tuple[str, ...],
) -> pd.DataFrame:
    """Return how well each concept is read, and which other it comes with."""
    import pandas as pd

    with np.errstate(invalid="ignore"):
        phi = np.atleast_2d(np.corrcoef(truth.astype(float)))
    np.fill_diagonal(phi, 0)
    nearest = np.abs(phi).argmax(axis=1)
    alone = len(names) == 1
    share = truth[:, left].mean(axis=1)
    data = {
        "share": truth.mean(axis=1),
        "accuracy": (truth[:, left] == says[left].T).mean(axis=1),
        "simpler": np.maximum(share, 1 - share),
        "with": ["" if alone else names[i] for i in nearest],
        "phi": [np.nan if alone else float(phi[i, j]) for i, j in enumerate(nearest)],
    }
    return pd.DataFrame(data, index=pd.Index(names, name="concept"))


def _task(
    states: Float[np.ndarray, "n d_in"],
    logits: Float[np.ndarray, "n n_concepts"],
    classes: np.ndarray,
    first: Bool[np.ndarray, " n"],
) -> pd.DataFrame:
    """Accuracy of labels from probabilities of concepts, from activations, and of the commonest."""
    import pandas as pd

    accuracy = {}
    known = {"concepts": 1 / (1 + np.exp(-np.clip(logits, -50, 50))), "activations": states}
    for name, x in known.items():
        head = logistic_probe(x[first], classes[first], max_iter=300, quiet=True)
        accuracy[name] = float((head.predict(x[~first]) == classes[~first]).mean())
    values, counts = np.unique(classes[first], return_counts=True)
    accuracy["commonest label"] = float((classes[~first] == values[counts.argmax()]).mean())
    return pd.DataFrame({"accuracy": accuracy}).rename_axis("from")
