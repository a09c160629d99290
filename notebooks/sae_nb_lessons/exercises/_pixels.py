"""Exercises of notebook 26: occlusion by hand, and what an optimised image shows."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

Answering = Callable[[Tensor], Tensor]
"""Takes images (n, c, h, w), returns a number for each."""

# --- 26.1: occlusion ------------------------------------------------------------------------------


def occlusion(f: Answering, image: Tensor, size: int, fill: float) -> Tensor:
    """Return how much f falls where a square of the image is covered, one square at a time."""
    rows, columns = (side // size for side in image.shape[1:])
    covered = [_covered(image, r, c, size, fill) for r in range(rows) for c in range(columns)]
    return (f(image[None]) - f(torch.stack(covered))).view(rows, columns)


def _covered(image: Tensor, r: int, c: int, size: int, fill: float) -> Tensor:
    one = image.clone()
    one[:, r * size : (r + 1) * size, c * size : (c + 1) * size] = fill
    return one


def _slips() -> tuple[Slip, ...]:
    def made(change: str, f: Answering, image: Tensor, size: int, fill: float) -> Tensor:
        rows, columns = (side // size for side in image.shape[1:])
        used = {"black": 0.0, "mean": float(image.mean())}.get(change, fill)
        before, kept = f(image[None])[0], image.clone()
        out = torch.zeros(rows, columns)
        for r in range(rows):
            for c in range(columns):
                one = _covered(kept if change == "all" else image, r, c, size, used)
                if change == "all":
                    kept = one
                if change == "channel":
                    one = torch.cat([one[:1], image[1:]])
                if change == "only":
                    square = image - _covered(image, r, c, size, 0.0)
                    one = torch.where(square != 0, image, torch.full_like(image, fill))
                if change == "pixel":
                    one = image.clone()
                    one[:, r * size, c * size] = fill
                out[r, c] = before - f(one[None])[0]
        if change == "score":
            return before - out
        signs = {"rise": -out, "size": out.abs(), "turned": out.T, "share": out / before}
        return signs.get(change, out)

    told = {
        "rise": ("Your map has the other sign: what matters comes out negative.", "Before minus after."),
        "score": ("You return what f gives when the square is covered, not how much it falls.", "Subtract it from `f(image[None])[0]`."),
        "size": ("You take the size of the change: a square that speaks against the answer looks like one that speaks for it.", "Without `abs`."),
        "all": ("Squares that were covered before stay covered in yours.", "Begin each square with `image.clone()`."),
        "turned": ("Rows and columns are exchanged.", "The first index of `image[:, row, column]` after the channel is the row."),
        "black": ("You cover with 0, whatever `fill` is.", "Write `= fill`."),
        "mean": ("You cover with the image's mean, whatever `fill` is.", "Write `= fill`."),
        "channel": ("You cover the first channel alone.", "`covered[:, …] = fill` covers all of them."),
        "only": ("You keep the square and cover everything else.", "The other way round: all of the image but one square."),
        "pixel": ("You cover one pixel of each square.", "`r * size : (r + 1) * size` for the rows, the same for the columns."),
        "share": ("You divide by what f gave before.", "The fall itself is asked, in units of f."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, change)) for change, texts in told.items())


def _weighing(seed: int, c: int, h: int, w: int) -> Answering:
    draws = torch.Generator().manual_seed(seed)
    weight = torch.randn(c, h, w, generator=draws)
    return lambda images: (
        (images * weight).sum(dim=(1, 2, 3)) + 0.1 * images.square().sum(dim=(1, 2, 3))
    )


def _image(seed: int, c: int, h: int, w: int) -> Tensor:
    return 0.2 + torch.rand(c, h, w, generator=torch.Generator().manual_seed(seed))


_IMAGES = {
    "an image of 3 × 6 × 4, squares of 2": (_weighing(0, 3, 6, 4), _image(1, 3, 6, 4), 2, 0.5),
    "an image of 1 × 4 × 8, squares of 4": (_weighing(2, 1, 4, 8), _image(3, 1, 4, 8), 4, -1.0),
}


def _judge_occlusion(mine: Callable[..., Tensor]) -> Mistake | str | None:
    return diagnose(mine, occlusion, _IMAGES, _slips())


# --- 26.3: what an ideal image shows --------------------------------------------------------------


@cache
def texture_is_shown() -> float:
    """Return the share of images optimised for a texture in which the model reads it; mean over recorded seeds."""
    from sae_nb_studies.reproductions import recorded

    return recorded("vision_maximise").of("texture, maximised").mean


TASKS = tasks(
    "pixels",
    {
        "26.1": Answer(
            function(tensor("rows", "columns"), takes="f, an image (c, h, w), size and fill"),
            judge=_judge_occlusion,
        ),
        "26.3": Answer(number(0, 1), measure=texture_is_shown),
    },
)
