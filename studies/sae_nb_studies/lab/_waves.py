"""Waves: a grid that rings after a shape, so that every point comes to know the whole of it."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Bool, Float
from torch import Tensor

from sae_nb.checks import (
    Between,
    as_tensor,
    at_least,
    check_count,
    check_data,
    check_integer,
    check_integers,
    check_memory,
    checked,
)
from sae_nb.findings import Finding

Readout = Literal["spectrum", "last", "mean", "max"]
READOUTS: tuple[Readout, ...] = get_args(Readout)

FASTEST = math.sqrt(0.5)
"""Largest time step that is stable: 2 / √8, as 8 is the largest eigenvalue of the grid's Laplacian."""

FINER = 16
"""Times as many frequencies as there are steps, by padding, so that a peak lies between two of them."""

NEIGHBOURS = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
"""The five-point Laplacian."""


@checked
@dataclass(frozen=True, eq=False)
class Waves:
    """The wave equation on a grid, held at rest outside of a shape: a drum of that shape.

    v ← v + dt Lap(h) m,  h ← (h + dt v) m, with m the shape, h = m at first and v = 0. Each point sees its
    four neighbours alone, yet waves carry to it where the edges are: the frequencies at which it swings are
    those of the whole shape.

    Parameters
    ----------
    n_steps
        Of time.
    dt
        Length of one, at most √½, beyond which the grid blows up.

    Source
    ------
    After "Travelling waves integrate spatial information", arXiv 2502.06034, of which we had the abstract and
    KempnerInstitute/traveling-waves-integrate (cornn_model2.py, readouts.py). Theirs learns the couplings; here
    they are fixed, which is the physics that their title plays on.

    Example
    -------
    >>> drum = torch.zeros(1, 16, 16, dtype=torch.bool)
    >>> drum[0, 4:11, 4:11] = True  # a square of side 7
    >>> ringing = Waves(n_steps=100).run(drum)
    >>> abs(ringing.fundamental()[0] / square_fundamental(7) - 1) < 0.03
    tensor(True)
    """

    _: KW_ONLY
    n_steps: Annotated[int, at_least(2)] = 100
    dt: Annotated[
        float, Between(0, FASTEST, "(]", do="Beyond √½ the heights grow without end.")
    ] = 0.5

    def run(self, shapes: Bool[Tensor, "n height width"]) -> Ringing:
        """Let some drums ring.

        Parameters
        ----------
        shapes
            Where each drum is free to move; each must have a point, and an edge somewhere.

        Raises
        ------
        TypeError, ValueError: If they are not truth values of that shape, one is empty, or one has no
        edge. MemoryError: If all times of all points do not fit.
        """
        mask = checked_shapes(shapes)
        check_memory(8 * mask.numel() * self.n_steps, "All times of all points", "Use fewer steps.")
        m = mask.float()[:, None]
        kernel = NEIGHBOURS.to(m)[None, None]
        h, v, states = m.clone(), torch.zeros_like(m), []
        for _ in range(self.n_steps):
            v = v + self.dt * F.conv2d(h, kernel, padding=1) * m
            h = (h + self.dt * v) * m
            states.append(h[:, 0])
        return Ringing(settings=self, shapes=mask, states=torch.stack(states, dim=1))


def square_fundamental(side: int) -> float:
    """Return frequency of the slowest swing of a square drum of that many points a side, √8 sin(π /
    2(side + 1)).

    In radians per unit of time; eigenvalues of the five-point Laplacian with its edges held.

    Example
    -------
    >>> round(square_fundamental(5), 3)
    0.732
    """
    side = check_count(side, name="side")
    return math.sqrt(8) * math.sin(math.pi / (2 * (side + 1)))


class Ringing(Finding):
    """The sound of some drums; made by `Waves.run`."""

    settings: Waves
    shapes: Bool[Tensor, "n height width"]
    states: Float[Tensor, "n n_steps height width"]
    """Height of every point after every step."""

    def fundamental(self) -> Float[Tensor, " n"]:
        """Return frequency of the strongest swing of each drum, over its points together; radians per
        unit of time.
        """
        n = FINER * self.settings.n_steps
        power = torch.fft.rfft(self.states, n=n, dim=1).abs().square().sum(dim=(2, 3))
        power[:, : FINER // 2] = 0  # what does not swing
        return 2 * math.pi * power.argmax(dim=1) / (n * self.settings.dt)

    @checked
    def features(self, readout: Readout = "spectrum") -> Float[Tensor, "points k"]:
        """Return the features of each point inside of a shape, shape by shape, row by row.

        Parameters
        ----------
        readout
            "spectrum": how strongly it swings at each frequency; "last", "mean", "max": its height at the end,
            on average, or at most.
        """
        times = self.states.movedim(1, -1)[self.shapes]
        if readout == "spectrum":
            return torch.fft.rfft(times, dim=-1).abs()
        if readout == "last":
            return times[:, -1:]
        found = times.mean(dim=-1) if readout == "mean" else times.amax(dim=-1)
        return found[:, None]

    def figure(self, shape: int = 0, moments: tuple[int, ...] = (0, 4, 9, 19)) -> Any:
        """Draw the height of every point of one drum at some steps.

        Raises
        ------
        IndexError: If there is no such drum or step. TypeError, ValueError: If `moments` are not whole
        numbers, or none.
        """
        from sae_nb.figures import heatmaps

        n, n_steps = self.states.shape[:2]
        check_below(shape, n, "shape")
        chosen = check_integers(moments, name="moments")
        if not chosen:
            raise ValueError("`moments` must name one step or more, got none.")
        for moment in chosen:
            check_below(moment, n_steps, "moments")
        frames = {f"step {t + 1}": self.states[shape, t].cpu().numpy() for t in chosen}
        most = max(float(np.abs(frame).max()) for frame in frames.values())
        return heatmaps(
            frames,
            ends=(-most, most),
            hover="%{x}, %{y}: %{z:.2f}",
            bar="height",
            signed=True,
            height=240,
        )

    def listen(self, shape: int, row: int, column: int) -> Any:
        """Draw the height of one point over time.

        Raises
        ------
        IndexError: If there is no such drum or point.
        """
        from sae_nb.figures import framed, line, theme

        n, n_steps, height, width = self.states.shape
        given = (("shape", shape, n), ("row", row, height), ("column", column, width))
        for name, value, end in given:
            check_below(value, end, name)
        at = self.states[shape, :, row, column].cpu().numpy()
        heard = line(
            f"point {row}, {column}", list(range(1, n_steps + 1)), at, colour=theme.PALETTE[0]
        )
        return framed([heard], x="step", y="height", height=300)

    @property
    def headline(self) -> str:
        """Drums and steps."""
        n, n_steps, height, width = self.states.shape
        return f"{n} drums on {height} × {width}, {n_steps} steps of {self.settings.dt}"


def check_below(value: object, end: int, name: str) -> None:
    """Refuse an index that is not below an end."""
    if not 0 <= check_integer(value, name=name) < end:
        raise IndexError(f"`{name}` must be between 0 and {end - 1}, got {value}.")


def checked_shapes(shapes: object) -> Bool[Tensor, "n height width"]:
    """Return shapes that each have a point inside and one outside."""
    mask = check_data(as_tensor(shapes, name="shapes"), name="shapes")
    if mask.dtype != torch.bool:
        raise TypeError(f"`shapes` must hold truth values, got {mask.dtype}. Use shapes > 0.")
    if mask.ndim != 3 or not mask.numel():
        raise ValueError(
            f"`shapes` must have shape (n, height, width), got {tuple(mask.shape)}. One alone is shapes[None]."
        )
    filled = mask.flatten(1)
    for wrong, what in (
        (~filled.any(dim=1), "a point inside"),
        (filled.all(dim=1), "a point outside: what has no edge has nothing to swing between"),
    ):
        if bool(wrong.any()):
            raise ValueError(
                f"`shapes` must each have {what}, got none in shape {int(wrong.nonzero()[0])}."
            )
    return mask
