"""Images as a model reads them, in one unit for models and display: 0 is black and 1 white."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.checks import check_count, check_integers, same_length
from sae_nb.models import Batch, Preprocess, image_batch

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

AT_ONCE = 128
"""Images in one pass: more are taken in several."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """Some images in [0, 1], and the way from there to the values that a model reads."""

    model: LiveModel
    x: Float[Tensor, "n channels height width"]
    low: Float[Tensor, "1 channels 1 1"]
    high: Float[Tensor, "1 channels 1 1"]
    """Input of the model for black and for white; if its preprocessing is a function of the user's own,
    the least and the greatest value of these images.
    """

    @classmethod
    def of(cls, model: LiveModel, images: Any) -> Pixels:
        """Return images of one size, prepared as the model prepares them."""
        if model.modality.is_text:
            raise ValueError(
                f"`model` must read images, {model.name} reads text. For texts see sn.evaluation.attribute."
            )
        if model.remote:
            raise ValueError(
                f"`model` must be here, and {model.name!r} runs remotely. Load it without remote=."
            )
        parts = [read_by(batch).detach() for batch in model.batches(images)]
        if len({part.shape[1:] for part in parts}) > 1 or parts[0].ndim != 4:
            raise ValueError(
                "`images` must have one size and shape (n, channels, height, width), got "
                f"{sorted({tuple(part.shape[1:]) for part in parts})}. Resize them to one."
            )
        values = torch.cat(parts).float()
        low, high = _ends(model, values)
        return cls(model=model, x=(values - low) / (high - low), low=low, high=high)

    def batch(self, x: Float[Tensor, "n channels height width"]) -> Batch:
        """Return the input of the model for images in [0, 1]; their gradient goes through."""
        values = (self.low + x * (self.high - self.low)).to(self.model.dtype)
        return image_batch(self.model, values)

    def answers(
        self, x: Float[Tensor, "n channels height width"], *, grad: bool = False
    ) -> Float[Tensor, "n outcomes"]:
        """Return logits for images in [0, 1]; `grad` keeps the way back to the images."""
        logits = self.model.main_output(self.model.forward(self.batch(x), grad=grad))
        if logits.ndim != 2:
            raise ValueError(
                f"`model` must answer with one row of logits per image, got shape {tuple(logits.shape)}. "
                "Wrap a classifier."
            )
        return logits.float()


def _ends(model: LiveModel, values: Float[Tensor, "n channels h w"]) -> tuple[Tensor, Tensor]:
    """Return the input of the model for black and for white."""
    channels = values.shape[1]
    black, white = torch.zeros(1, channels, 1, 1), torch.ones(1, channels, 1, 1)
    if isinstance(model.preprocess, Preprocess):
        black, white = (model.preprocess.normalised(end) for end in (black, white))
    elif model.preprocess is not None or values.amin() < 0 or values.amax() > 1:
        by_channel = values.transpose(0, 1).flatten(1)
        black = by_channel.amin(dim=1).view(1, -1, 1, 1)
        white = torch.maximum(by_channel.amax(dim=1).view(1, -1, 1, 1), black + 1e-6)
    return black.to(values), white.to(values)


def read_by(batch: Batch) -> Tensor:
    """Return the pixel values in a batch."""
    held = [value for value in (*batch.args, *batch.kwargs.values()) if isinstance(value, Tensor)]
    return held[0]


class PixelHead:
    """From pixels (n, m, channels, h·w), m variants of each image, to the logits (n, m) of one outcome each."""

    def __init__(self, pixels: Pixels, x: Tensor, outcome: int | Sequence[int] | None) -> None:
        self._pixels, self._size = pixels, x.shape[1:]
        self.answered = self.logits(x.flatten(2)[:, None])[:, 0]
        """Logits of every outcome for the images as they are."""

        self.outcomes = _outcomes(self.answered, outcome)
        """Logit that is read, per image."""

        self.clean = self.answered.gather(1, self.outcomes[:, None])[:, 0]

    def images(self, x: Float[Tensor, "n m channels pixels"]) -> Tensor:
        """Return variants in one row, as images."""
        return x.reshape(-1, *self._size)

    def logits(self, x: Float[Tensor, "n m channels pixels"]) -> Float[Tensor, "n m outcomes"]:
        """Return the logits of every outcome."""
        parts = [self._pixels.answers(some).cpu() for some in torch.split(self.images(x), AT_ONCE)]
        return torch.cat(parts).view(*x.shape[:2], -1)

    def __call__(self, x: Float[Tensor, "n m channels pixels"]) -> Float[Tensor, "n m"]:
        """Of each image's own outcome."""
        every = self.logits(x)
        return every.gather(2, self.outcomes[:, None, None].expand(-1, x.shape[1], 1))[..., 0]


def _outcomes(
    logits: Float[Tensor, "n outcomes"], outcome: int | Sequence[int] | None
) -> Int[Tensor, " n"]:
    """The likeliest outcome of each image, one for all, or one for each."""
    own = logits.argmax(dim=1)
    if outcome is None:
        return own
    last = logits.shape[1] - 1
    if not isinstance(outcome, Sequence | Tensor | np.ndarray) or getattr(outcome, "ndim", 1) == 0:
        return torch.full_like(own, check_count(outcome, name="outcome", at_least=0, at_most=last))
    each = check_integers(outcome, name="outcome")
    same_length(each, len(logits), name="outcome", per="image")
    for one in each:
        check_count(one, name="outcome", at_least=0, at_most=last)
    return torch.tensor(each).to(own)
