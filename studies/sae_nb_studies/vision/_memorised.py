"""Answers from memory: images that a model answers by near copies of them in its training data.

A network that was shown a picture many times, under a label that the picture does not have, learns the picture.
Its last states say the label; earlier ones, on which a probe is trained with the repeated pictures left out,
still say what is to be seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from sae_nb.checks import Between, Count, check_classes, checked, same_length
from sae_nb.figures import Chart, Points
from sae_nb.findings import Plotted
from sae_nb.models import run
from sae_nb.statistics import logistic_probe
from sae_nb_studies.vision._pixels import AT_ONCE, Pixels

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.models import LiveModel

COARSE = 2
"""Pixels averaged along a side before images are compared, so that a shift by one is still a copy."""

COPIED = "two near copies or more in the training data"

PENALTY, HELD = 0.3, 5
"""C of the probe's logistic regression; one image in so many is left out to judge it."""


class Memorised(Plotted):
    """Images with their near copies in the training data, and which of them are answered by these."""

    table: DataFrame
    """An image per row, the surest first: image, answer, sure (its probability), rest (the likeliest class by
    the probe), said (the probe's probability of the model's answer), copies (training images alike), nearest
    (the most alike), alike (its correlation), score."""

    images: Float[Tensor, "n channels h w"]
    training: Float[Tensor, "m channels h w"]
    """In [0, 1]."""

    labels: Int[np.ndarray, " m"]
    """Of the training images."""

    at_least: float
    """Correlation of near copies."""

    n_repeated: int
    """Training images with a near copy among the others: the probe was trained without them."""

    hook_point: str
    probe_accuracy: float
    """Of the probe on a fifth of the other training images, left out of a fit; of no use near chance."""

    @property
    def headline(self) -> str:
        """Images with copies, those answered against the probe, and the probe's accuracy."""
        copied = self.table[self.table["copies"] > 1]
        against = int((copied["answer"] != copied["rest"]).sum())
        return (
            f"{len(self.table)} images, {len(copied)} with {COPIED}, of which "
            f"{against} are answered otherwise than the probe at {self.hook_point} says (right on "
            f"{self.probe_accuracy:.2f} of other images)"
        )

    @property
    def chart(self) -> Chart:
        """How unlikely the probe finds the model's answer, against the nearest training image."""
        copied = self.table["copies"] > 1
        unlikely = 1 - self.table["said"]
        series = [
            Points(name, self.table["alike"][some], unlikely[some], control=name != COPIED)
            for name, some in ((COPIED, copied), ("fewer", ~copied))
            if some.any()
        ]
        return Chart(
            series=tuple(series),
            x="correlation with the nearest training image",
            y="1 − p(answer) by the probe",
            marks=True,
            cuts=(self.at_least,),
        )

    @checked
    def plot_images(self, n: Count = 4) -> Any:
        """Draw the images with the highest scores, each above the training image that it is nearest to."""
        from sae_nb.figures import image_sheet

        top = self.table.head(n)
        said = zip(top["image"], top["answer"], top["rest"], strict=True)
        asked = [(f"image {i}: {own}, probe {rest}", self.images[i]) for i, own, rest in said]
        return image_sheet(
            [asked, [(f"training {i}: {self.labels[i]}", self.training[i]) for i in top["nearest"]]]
        )


@checked
@torch.no_grad()
def memorised(
    model: LiveModel,
    images: Any,
    training: Any,
    labels: Int[Tensor, " m"],
    hook_point: str,
    *,
    alike: Annotated[float, Between(0, 1, "()")] = 0.8,
) -> Memorised:
    """Find images that a classifier answers from memory of near copies that it was trained on.

    Two images are near copies if they correlate by `alike` or more, the mean training image taken off and
    pixels averaged in squares of 2 × 2. score = 1 − q(answer) where an image has two near copies or more in
    the training data, and as much less 1 elsewhere: q is the probability that a linear probe of the mean and
    largest states at `hook_point` gives the model's answer, trained on the images that have no near copy among
    the rest. Model and probe know what is to be seen; only the model knows the copies. A memory that says what
    is to be seen is therefore not found, nor one that states as early as `hook_point` hold.

    Parameters
    ----------
    images
        To be judged, as the model reads them, of one size.
    training, labels
        The images that the model was trained on, or many of them, and their classes from 0, by which the
        model's outcomes are numbered.
    hook_point
        Where the probe reads: of a convolutional network a middle layer, of a transformer a middle block.
    alike
        Correlation of near copies, between 0 and 1.

    Returns
    -------
    Memorised
        `.table`, `.plot()`, `.plot_images()`.

    Raises
    ------
    TypeError, ValueError: If labels do not fit the images, the model gives no row of logits, or fewer than two
        classes are left without repeated images.

    Source
    ------
    The question, and that single images show it: "Conceptual blindspots", arXiv 2506.19708 (of generated
    images). The score and the probe are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> model, shown = sn.load_model("tiny-vit"), sn.data.scenes(60)
    >>> found = memorised(model, sn.data.scenes(3, seed=1).images, shown.images, shown.digit, "resid_post.3")
    >>> found.n_repeated, len(found.table)
    (0, 3)
    """
    import pandas as pd

    asked, known = Pixels.of(model, images), Pixels.of(model, training)
    classes = check_classes(labels)
    same_length(classes, len(known.x), name="labels", per="training image")
    reference = _coarse(known.x).mean(dim=0)
    rows = normalize(_coarse(known.x) - reference, dim=1)
    repeated = torch.from_numpy(_counted(rows, rows, alike)[0] > 1)
    if len(torch.unique(classes[~repeated])) < 2:
        raise ValueError(
            f"`training` must have images of two classes without near copies, got {int(repeated.sum())} "
            f"repeated ones of {len(classes)}. Raise `alike`, which is {alike:g}."
        )
    copies, most, nearest = _counted(normalize(_coarse(asked.x) - reference, dim=1), rows, alike)
    shares = torch.cat([asked.answers(some) for some in torch.split(asked.x, AT_ONCE)]).softmax(
        dim=1
    )
    sure, answer = (part.cpu().numpy() for part in shares.max(dim=1))
    kept = ~repeated.numpy()
    by_probe, accuracy = _probed(
        _states(known, hook_point)[kept],
        classes.numpy()[kept],
        _states(asked, hook_point),
        max(shares.shape[1], int(classes.max()) + 1),
    )
    said = by_probe[np.arange(len(answer)), answer]
    table = pd.DataFrame(
        {
            "image": np.arange(len(answer)), "answer": answer, "sure": sure, "rest": by_probe.argmax(axis=1),
            "said": said, "copies": copies, "nearest": nearest, "alike": most,
            "score": 1 - said - (copies < 2),
        }
    )  # fmt: skip
    return Memorised(
        table=table.sort_values("score", ascending=False, kind="stable").reset_index(drop=True),
        images=asked.x.clamp(0, 1).cpu(),
        training=known.x.clamp(0, 1).cpu(),
        labels=classes.numpy(),
        at_least=alike,
        n_repeated=int(repeated.sum()),
        hook_point=hook_point,
        probe_accuracy=accuracy,
    )


def _coarse(x: Float[Tensor, "n channels h w"]) -> Float[Tensor, "n pixels"]:
    """Return means of squares, so that an image is like itself after a small shift."""
    return avg_pool2d(x, min(COARSE, *x.shape[2:])).flatten(1).cpu()


def _counted(
    rows: Float[Tensor, "n pixels"], others: Float[Tensor, "m pixels"], alike: float
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Return how many others each row is like, the largest correlation, and with which."""
    parts = []
    for some in torch.split(rows, AT_ONCE):
        cosines = some @ others.T
        most, nearest = cosines.max(dim=1)
        parts.append(torch.stack([(cosines >= alike).sum(dim=1).to(most), most, nearest.to(most)]))
    copies, most, nearest = torch.cat(parts, dim=1).double().numpy()
    return copies.astype(int), most, nearest.astype(int)


def _states(pixels: Pixels, point: str) -> Float[np.ndarray, "n columns"]:
    """Return the mean and the largest state over places."""
    parts = []
    for some in torch.split(pixels.x, AT_ONCE):
        state = (
            run(pixels.model, pixels.batch(some), read=point, answer=False).states[point].float()
        )
        parts.append(torch.cat([state.mean(dim=1), state.amax(dim=1)], dim=1).cpu())
    return torch.cat(parts).numpy()


def _probed(
    x: Float[np.ndarray, "n columns"],
    classes: Int[np.ndarray, " n"],
    asked: Float[np.ndarray, "m columns"],
    n_outcomes: int,
) -> tuple[Float[np.ndarray, "m outcomes"], float]:
    """Return a probe's probabilities, and its accuracy on a fifth that another fit leaves out."""
    held = np.arange(len(x)) % HELD == 0
    accuracy = float("nan")
    if len(np.unique(classes[~held])) > 1 and held.any():
        partly = logistic_probe(x[~held], classes[~held], inverse_penalty=PENALTY, quiet=True)
        accuracy = float((partly.predict(x[held]) == classes[held]).mean())
    probe = logistic_probe(x, classes, inverse_penalty=PENALTY, quiet=True)
    scores = probe.scores(asked)
    if scores.ndim == 1:
        scores = np.column_stack([-scores / 2, scores / 2])
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    found = np.zeros((len(asked), n_outcomes))
    found[:, probe.classes] = shares / shares.sum(axis=1, keepdims=True)
    return found, accuracy
