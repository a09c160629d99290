"""Training on explanations: a classifier whose gradient lies where people, or masks, say that the object is.

Of an image, g = max over colours of |∂ logit of its class / ∂ pixel|. Maps are compared after each is brought
to mean 0 and variance 1 and cut below 0, at full size, at half and at a quarter of it.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

from sae_nb.checks import Count, Positive, Seed, Weight, checked
from sae_nb.findings import Finding
from sae_nb.statistics import auroc

if TYPE_CHECKING:
    import pandas as pd

LEVELS = 3
"""Sizes at which maps are compared."""

AT_ONCE = 256


class MapAgreement(Finding):
    """Where a classifier's gradient lies, against masks of what it should look at; made by `map_agreement`."""

    HEADLINE = (
        "{maps.len} images, {accuracy:.1%} right; a pixel of the mask has a larger gradient than another with "
        "probability {value:.3f}"
    )

    maps: Float[np.ndarray, "n height width"]
    """g of each image."""

    masks: np.ndarray
    agreement: Float[np.ndarray, " n"]
    """AUC of each: the probability that a pixel of its mask has a larger g than one outside; 0.5 is chance."""

    right: np.ndarray
    """Whether the class is."""

    @property
    def accuracy(self) -> float:
        """Share of right classes."""
        return float(self.right.mean())

    @property
    def value(self) -> float:
        """Mean agreement."""
        return float(self.agreement.mean())

    @property
    def table(self) -> pd.DataFrame:
        """`agreement`, `right`, a row per image."""
        import pandas as pd

        return pd.DataFrame({"agreement": self.agreement, "right": self.right})

    @checked
    def plot(self, n: Count = 4) -> Any:
        """Draw the first maps, each over its mask."""
        from sae_nb.figures import heatmaps

        drawn = {}
        for i in range(min(n, len(self.maps))):
            gradient = self.maps[i] / max(float(self.maps[i].max()), 1e-12)
            drawn[f"{i}: {self.agreement[i]:.2f}"] = np.vstack([gradient, self.masks[i]])[::-1]
        frame: dict[str, Any] = {"y": "mask, and gradient above", "height": 380}
        return heatmaps(drawn, ends=(0.0, 1.0), hover="%{z:.2f}", bar="gradient", **frame)


@checked(leave=("model", "images", "labels", "masks"))
def map_agreement(
    model: nn.Module,
    images: Float[Tensor, "n channels height width"],
    labels: Int[Tensor, " n"],
    masks: Tensor,
) -> MapAgreement:
    """Measure how well a classifier's gradient finds the pixels that masks mark.

    Parameters
    ----------
    model
        Images to logits (n, classes).
    masks
        (n, height, width), true or 1 at pixels of the object: some in each image, and not all.

    Raises
    ------
    ValueError: If shapes do not fit, or a mask marks nothing or all.

    Source
    ------
    Human alignment as in Fel, Rodriguez, Linsley and Serre, "Harmonizing the object recognition strategies of
    deep neural networks with humans", arXiv 2211.04533; AUC against a mask is ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> from torch import nn
    >>> drawn = sn.data.scenes(8, seed=0)
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    >>> map_agreement(model, drawn.images, drawn.digit, drawn.mask).maps.shape
    (8, 32, 32)
    """
    marked = torch.as_tensor(masks).float()
    _check(images, labels, marked)
    share = marked.flatten(1).mean(dim=1)
    if not ((share > 0) & (share < 1)).all():
        raise ValueError(
            "`masks` must mark some pixels of each image and not all. Leave such images out."
        )
    found, right = [], []
    for first in range(0, len(images), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        with torch.enable_grad():
            logits, slopes = gradient_maps(model, images[some], labels[some])
        found.append(slopes.detach())
        right.append(logits.argmax(dim=1) == labels[some])
    maps: Float[np.ndarray, "n height width"] = torch.cat(found).double().numpy()
    at = marked.bool().numpy()
    return MapAgreement(
        maps=maps,
        masks=marked.numpy(),
        agreement=np.array(
            [float(auroc(one.ravel(), on.ravel())[0]) for one, on in zip(maps, at, strict=True)]
        ),
        right=torch.cat(right).numpy(),
    )


@checked(leave=("model", "images", "labels", "maps"))
def harmonise(
    model: nn.Module,
    images: Float[Tensor, "n channels height width"],
    labels: Int[Tensor, " n"],
    maps: Tensor,
    *,
    weight: Weight = 0.5,
    steps: Count = 200,
    batch_size: Count = 64,
    learning_rate: Positive = 2e-3,
    seed: Seed = 0,
) -> nn.Module:
    """Train a copy of a classifier on, so that its gradient agrees with maps of what matters.

    The loss is cross-entropy plus `weight` times the mean squared difference of the gradient's maps and the
    given ones, at three sizes. Begin from a trained model: from fresh weights the second part comes first, and
    classes are not learned.

    Parameters
    ----------
    maps
        (n, height, width): people's maps, or masks.
    weight
        0: trained on without maps.
    learning_rate
        At its peak, of AdamW.

    Raises
    ------
    ValueError: If shapes do not fit.

    Source
    ------
    Fel, Rodriguez, Linsley and Serre, arXiv 2211.04533: gradient maps standardised, cut at 0 and compared over
    a pyramid of sizes. The pyramid by averages of four pixels and the sizes are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> from torch import nn
    >>> drawn = sn.data.scenes(64, seed=0)
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    >>> trained = harmonise(model, drawn.images, drawn.digit, drawn.mask, steps=2)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"`model` must be a torch module, got {type(model).__name__}.")
    wanted = torch.as_tensor(maps).float()
    _check(images, labels, wanted)
    model = deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps)
    draws = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        for _ in range(steps):
            rows = torch.randint(len(images), (batch_size,), generator=draws)
            if weight:
                logits, found = gradient_maps(model, images[rows], labels[rows], learn=True)
                loss = cross_entropy(logits, labels[rows]) + weight * _apart(found, wanted[rows])
            else:
                loss = cross_entropy(model(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return model


def gradient_maps(
    model: nn.Module, images: Tensor, labels: Tensor, *, learn: bool = False
) -> tuple[Float[Tensor, "n classes"], Float[Tensor, "n height width"]]:
    """Return the logits, and |∂ logit of the label / ∂ pixel|, the largest over colours."""
    x = images.clone().requires_grad_()
    logits = model(x)
    own = logits.gather(1, labels.long()[:, None]).sum()
    (slopes,) = torch.autograd.grad(own, x, create_graph=learn, retain_graph=learn)
    return logits, slopes.abs().amax(dim=1)


def _apart(found: Tensor, wanted: Tensor) -> Float[Tensor, ""]:
    """Return the mean squared difference of standardised maps, summed over sizes."""
    total = found.new_zeros(())
    for _ in range(LEVELS):
        total = total + (_standardised(found) - _standardised(wanted)).square().mean()
        found, wanted = (avg_pool2d(one[:, None], 2)[:, 0] for one in (found, wanted))
    return total


def _standardised(maps: Float[Tensor, "n height width"]) -> Float[Tensor, "n height width"]:
    flat = maps.flatten(1)
    mean, spread = flat.mean(dim=1)[:, None, None], flat.std(dim=1)[:, None, None]
    return ((maps - mean) / (spread + 1e-6)).relu()


def _check(images: Tensor, labels: Tensor, maps: Tensor) -> None:
    if (
        images.ndim != 4
        or maps.shape != (len(images), *images.shape[2:])
        or labels.shape != maps.shape[:1]
    ):
        raise ValueError(
            "`images` must be (n, channels, height, width), with a label and a map (height, width) of "
            f"each, got {tuple(images.shape)}, {tuple(labels.shape)} and {tuple(maps.shape)}."
        )
