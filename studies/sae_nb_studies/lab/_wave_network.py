"""WaveNetwork: a recurrent network of local couplings that learns to make waves, and reads a task off them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sae_nb.checks import (
    Between,
    Count,
    Seed,
    at_least,
    check_integers,
    check_memory,
    checked,
    same_length,
)
from sae_nb.findings import Finding
from sae_nb_studies.lab._waves import NEIGHBOURS, check_below, checked_shapes

Heard = Literal["spectrum", "last", "mean", "max", "nothing"]
Start = Literal["waves", "random"]

ENCODER_LAYERS = 3
"""Convolutions of 3 × 3 that read the image: a point begins with what is in a window of 7 × 7."""

CLIP = 1.0
"""Largest norm of a gradient through all steps."""


@checked
@dataclass(frozen=True, eq=False)
class WaveNetwork:
    """Coupled oscillators on a grid, of which every point names the class of the shape that it lies in.

    A convolution reads the image once, in windows of 7 × 7, and gives each point its first height h, stiffness
    ω and damping α, a few channels each. Then time runs, and a point sees its eight neighbours alone:

    v ← v + dt (tanh(W ∗ h) − ω h − α v),  h ← h + dt v.

    W is learned, through all steps. It may begin as the wave equation, as in the paper, or at random. Each
    point's class is read by a small network from its own height over time.

    Parameters
    ----------
    n_classes
        Classes.
    channels
        Oscillators at each point.
    n_steps
        Of time, `dt` each.
    start
        W at first: the Laplacian of each channel ("waves"), or as torch draws convolutions ("random").
    readout
        Read at each point: size at every frequency ("spectrum"), height at the end ("last"), on average
        ("mean") or at most ("max"); "nothing": h, ω and α before any time has passed, which makes it a
        feed-forward network that sees 7 × 7.
    hidden
        Units of the reading network.

    Source
    ------
    Jacobs, Budzinski, Muller, Ba & Keller, "Traveling waves integrate spatial information through time", arXiv
    2502.06034, after KempnerInstitute/traveling-waves-integrate (cornn_model2.py, readouts.py). Ours: one
    encoder for h, ω and α, still edges, and sizes.

    Example
    -------
    >>> shapes = torch.zeros(4, 12, 12, dtype=torch.bool)
    >>> shapes[:2, 3:6, 3:6] = shapes[2:, 2:10, 2:10] = True
    >>> model = WaveNetwork(2, n_steps=6).fit(shapes, torch.tensor([0, 0, 1, 1]), steps=2)
    >>> tuple(model.states(shapes).shape)
    (4, 6, 6, 12, 12)
    """

    n_classes: Annotated[int, at_least(2)]
    _: KW_ONLY
    channels: Count = 6
    n_steps: Annotated[int, at_least(2)] = 32
    dt: Annotated[float, Between(0, 1, "(]")] = 0.5
    start: Start = "waves"
    readout: Heard = "spectrum"
    hidden: Count = 32

    @checked
    def fit(
        self,
        shapes: Bool[Tensor, "n height width"],
        labels: Int[Tensor, " n"],
        *,
        steps: Count = 300,
        batch_size: Count = 8,
        learning_rate: Annotated[float, Between(0, 1, "()")] = 4e-3,
        seed: Seed = 0,
    ) -> WaveModel:
        """Train by the cross-entropy of every point inside of a shape, through all steps of time.

        Parameters
        ----------
        shapes
            True inside; each must have a point inside and one outside.
        labels
            Class of each shape, from 0.
        steps
            Of Adam, its rate rising and falling in one cycle.
        batch_size
            Shapes of each, redrawn.
        learning_rate
            At the height of the cycle.
        seed
            Draws first weights and batches.

        Raises
        ------
        TypeError, ValueError: If shapes and labels do not fit together or a label is not a class.
        MemoryError: If all times of one batch do not fit.
        """
        masks = checked_shapes(shapes)
        _check_labels(labels, len(masks), self.n_classes)
        points = batch_size * masks[0].numel()
        needed = 4 * points * self.channels * self.n_steps * 8
        check_memory(needed, "All times of a batch", "Use fewer steps of time.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _Network(self).to(masks.device)
        generator = torch.Generator().manual_seed(seed)
        optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps)
        losses = torch.zeros(steps)
        for step in range(steps):
            rows = torch.randint(len(masks), (batch_size,), generator=generator).to(masks.device)
            loss = F.cross_entropy(
                network(masks[rows]), of_points(masks[rows], labels.to(rows)[rows])
            )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimiser.step()
            cycle.step()
            losses[step] = loss.detach()
        return WaveModel(settings=self, network=network.eval().requires_grad_(False), losses=losses)


class WaveModel(Finding):
    """A trained network of oscillators; made by `WaveNetwork.fit`."""

    settings: WaveNetwork
    network: nn.Module
    losses: Float[Tensor, " steps"]
    """Cross-entropy of every step, in nats, mean over points."""

    @torch.no_grad()
    @checked
    def states(
        self, shapes: Bool[Tensor, "n height width"]
    ) -> Float[Tensor, "n n_steps channels height width"]:
        """Return the height of every oscillator after every step."""
        network: Any = self.network
        return torch.stack(network.heights(*network.begin(checked_shapes(shapes))), dim=1)

    @torch.no_grad()
    @checked
    def logits(self, shapes: Bool[Tensor, "n height width"]) -> Float[Tensor, "points n_classes"]:
        """Return each point's logits of the classes, shape by shape, row by row."""
        found: Tensor = self.network(checked_shapes(shapes))
        return found

    @checked
    def accuracy(self, shapes: Bool[Tensor, "n height width"], labels: Int[Tensor, " n"]) -> float:
        """Return the share of points inside that name the class of their shape.

        Raises
        ------
        TypeError, ValueError: If shapes and labels do not fit together or a label is not a class.
        """
        _check_labels(labels, len(shapes), self.settings.n_classes)
        right = self.logits(shapes).argmax(dim=1) == of_points(shapes, labels.to(torch.long))
        return float(right.double().mean())

    @checked
    def figure(
        self,
        shapes: Bool[Tensor, "n height width"],
        shape: int = 0,
        *,
        channel: int = 0,
        moments: tuple[int, ...] = (0, 4, 9, 19),
    ) -> Any:
        """Draw the height of one channel's oscillators at some steps: the waves that were learned.

        Raises
        ------
        IndexError: If there is no such shape, channel or step. ValueError: If there is no step.
        """
        from sae_nb.figures import heatmaps

        check_below(shape, len(shapes), "shape")
        check_below(channel, self.settings.channels, "channel")
        chosen = check_integers(moments, name="moments")
        if not chosen:
            raise ValueError("`moments` must name one step or more, got none.")
        for moment in chosen:
            check_below(moment, self.settings.n_steps, "moments")
        heights = self.states(shapes[shape : shape + 1])[0, :, channel]
        frames = {f"step {t + 1}": heights[t].cpu().numpy() for t in chosen}
        most = max(float(abs(frame).max()) for frame in frames.values())
        hover = "%{x}, %{y}: %{z:.2f}"
        return heatmaps(
            frames, ends=(-most, most), hover=hover, bar="height", signed=True, height=240
        )

    @property
    def headline(self) -> str:
        """Readout, steps, start and the last error."""
        s = self.settings
        last = float(self.losses[-max(len(self.losses) // 20, 1) :].mean())
        return (
            f"{s.readout} of {s.channels} oscillators a point, {s.n_steps} steps of {s.dt:g}, start {s.start}: "
            f"cross-entropy {last:.3f} after {len(self.losses)} steps"
        )


def of_points(shapes: Bool[Tensor, "n height width"], labels: Int[Tensor, " n"]) -> Tensor:
    """Return the label of its shape for every point inside."""
    return labels.repeat_interleave(shapes.flatten(1).sum(dim=1))


def _check_labels(labels: Int[Tensor, " n"], n: int, n_classes: int) -> None:
    same_length(labels, n, name="labels", per="shape")
    if int(labels.min()) < 0 or int(labels.max()) >= n_classes:
        raise ValueError(
            f"`labels` must be between 0 and {n_classes - 1}, got {int(labels.min())} to {int(labels.max())}."
        )


class _Network(nn.Module):
    """One look at the image, time, and a reading of each point."""

    def __init__(self, settings: WaveNetwork) -> None:
        super().__init__()
        self.settings, c = settings, settings.channels
        layers: list[nn.Module] = []
        for i in range(ENCODER_LAYERS):
            last = i == ENCODER_LAYERS - 1
            layers.append(nn.Conv2d(2 * c if i else 1, 3 * c if last else 2 * c, 3, padding=1))
            layers += [] if last else [nn.ReLU()]
        self.encoder = nn.Sequential(*layers)
        self.coupling = nn.Conv2d(c, c, 3, padding=1, bias=False)
        if settings.start == "waves":
            same = torch.eye(c)[:, :, None, None]
            self.coupling.weight.data = same * NEIGHBOURS
        kept = {"spectrum": settings.n_steps // 2 + 1, "nothing": 3}.get(settings.readout, 1)
        self.reader = nn.Sequential(
            nn.Linear(kept * c, settings.hidden),
            nn.ReLU(),
            nn.Linear(settings.hidden, settings.n_classes),
        )

    def forward(self, shapes: Bool[Tensor, "n height width"]) -> Float[Tensor, "points n_classes"]:
        begun = self.begin(shapes)
        if self.settings.readout == "nothing":
            seen = torch.cat(begun, dim=1).movedim(1, -1)[shapes]
        else:
            seen = self.read(torch.stack(self.heights(*begun), dim=-1).movedim(1, -2)[shapes])
        logits: Tensor = self.reader(seen)
        return logits

    def begin(self, shapes: Bool[Tensor, "n height width"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return first height, stiffness and damping."""
        height, stiff, damped = self.encoder(shapes.float()[:, None]).chunk(3, dim=1)
        return height.tanh(), stiff.relu(), damped.relu()

    def heights(self, h: Tensor, stiff: Tensor, damped: Tensor) -> list[Tensor]:
        """Return the heights after every step."""
        v, found, dt = torch.zeros_like(h), [], self.settings.dt
        for _ in range(self.settings.n_steps):
            v = v + dt * (self.coupling(h).tanh() - stiff * h - damped * v)
            h = h + dt * v
            found.append(h)
        return found

    def read(self, times: Float[Tensor, "points c n_steps"]) -> Float[Tensor, "points k"]:
        """Return features of each point's own time."""
        readout = self.settings.readout
        if readout == "spectrum":
            return torch.fft.rfft(times, dim=-1).abs().flatten(1)
        if readout == "last":
            return times[..., -1]
        return times.mean(dim=-1) if readout == "mean" else times.amax(dim=-1)
