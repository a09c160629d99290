"""A surrogate of a reaction-diffusion system, steered by the atom that reads the kill rate.

Gray and Scott's u' = D_u ∇²u − uv² + F(1 − u), v' = D_v ∇²v + uv² − (F + k)v on 32 × 32 periodic cells, solved
by explicit steps; F = .04, k between .058 (v fills the field) and .066 (few spots). Each run changes its k
halfway, so k must be read from how the fields change, not from the fields themselves. A small convolutional
network predicts the next frame from two; atoms are found in its middle layer, and steered at each of 25 steps
of its own rollout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize, pixel_shuffle, pixel_unshuffle

import sae_nb as sn
from sae_nb.models import LiveModel
from sae_nb.steering import random_direction
from sae_nb_studies.reproductions._simpler import best, fitted, read
from sae_nb_studies.uses._text_dimension import column_correlations

SHORT = {"runs": 8, "steps": 15, "sae_steps": 40, "rollout": 3, "starts": 2, "burn": 200}
SIZE, EVERY, FRAMES = 32, 20, 22
FEED, KILL = 0.04, (0.058, 0.066)
DIFFUSION = (0.16, 0.08)
N_ATOMS, ACTIVE, WIDTH = 64, 6, 32
STRENGTHS = (-0.3, -0.15, 0.0, 0.15, 0.3)
MIDDLE = "middle"


def run(
    seed: int,
    *,
    runs: int = 64,
    steps: int = 600,
    sae_steps: int = 600,
    rollout: int = 25,
    starts: int = 5,
    burn: int = 1200,
) -> dict[str, float]:
    """Train the surrogate and every dictionary; steer with each, from fresh states.

    `runs` of the solver to learn from, `steps` of the surrogate, `rollout`: its steps under steering,
    from `starts` fresh states; `burn`: steps of the solver before k changes.
    """
    seen, fresh = (simulated(n, s, burn) for n, s in ((runs, seed), (runs // 2, 1000 + seed)))
    model = surrogate(seen, steps, seed)
    numbers = skill(model, fresh)
    train, test = (middle_rows(model, frames) for frames in (seen, fresh))
    methods = fitted(train.rows, N_ATOMS, ACTIVE, steps=sae_steps, seed=seed)
    begin = beginnings(fresh, starts)
    field = np.corrcoef(test.mean_v, test.kill)[0, 1]
    numbers["r, mean v"] = float(abs(field))
    numbers["fall of v, solver"] = true_fall(begin[0], rollout)
    norm = float(train.rows.norm(dim=1).median())
    directions = {}
    for name, method in methods.items():
        seen_codes, fresh_codes = read(method, train.rows), read(method, test.rows)
        atom, r = best(seen_codes.of_samples(train.sample), train.kill)
        found = column_correlations(fresh_codes.of_samples(test.sample)[:, [atom]], test.kill)
        numbers |= {f"r, {name}": float(abs(found[0])), f"R2, {name}": fresh_codes.r2}
        unit = normalize(method.dictionary[atom].detach(), dim=0)
        directions[name] = unit * np.sign(r)
    high = torch.from_numpy(train.kill > np.median(train.kill))[train.sample]
    difference = train.rows[high].mean(dim=0) - train.rows[~high].mean(dim=0)
    directions["means"] = normalize(difference, dim=0)
    directions["chance"] = random_direction(WIDTH, seed)
    for name, direction in directions.items():
        numbers |= dose(model, begin, direction * norm, rollout, name)
    for rival in ("PCA", "NMF"):
        for what in ("r", "fall of v"):
            numbers[f"{what}, SAE ahead of {rival}"] = (
                numbers[f"{what}, SAE"] - numbers[f"{what}, {rival}"]
            )
    return numbers


# -------------------------------------------------------------------------------------------------
# The solver.


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """Pairs of frames, the frame that follows (each (n, 2, 32, 32), of u and v), and the k in force."""

    before: Tensor
    now: Tensor
    after: Tensor
    kill: np.ndarray


def simulated(n: int, seed: int, burn: int) -> Frames:
    """Simulate `n` runs from four squares of v: `burn` steps with one k, then the frames with another."""
    draws = np.random.default_rng(seed)
    u, v = squares(n, draws)
    first, kill = draws.uniform(*KILL, (2, n))
    u, v = solved(u, v, first, burn)
    frames = []
    for _ in range(FRAMES):
        u, v = solved(u, v, kill, EVERY)
        frames.append(np.stack([u, v], axis=1))
    states = torch.from_numpy(np.stack(frames))
    parts = [part.flatten(0, 1) for part in (states[:-2], states[1:-1], states[2:])]
    return Frames(before=parts[0], now=parts[1], after=parts[2], kill=np.tile(kill, FRAMES - 2))


def squares(n: int, draws: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return fields of u = 1 and v = 0 except in four squares of 6 × 6 cells, with a little noise."""
    u, v = np.ones((n, SIZE, SIZE), np.float32), np.zeros((n, SIZE, SIZE), np.float32)
    for i in range(n):
        for row, column in draws.integers(0, SIZE - 6, (4, 2)):
            u[i, row : row + 6, column : column + 6] = 0.5
            v[i, row : row + 6, column : column + 6] = 0.25
    noise = draws.normal(0, 0.02, (2, *u.shape)).astype(np.float32)
    return u + noise[0], np.abs(v + noise[1])


def solved(
    u: np.ndarray, v: np.ndarray, kill: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Advance both fields by explicit steps of length 1."""
    loss = (FEED + kill)[:, None, None].astype(np.float32)
    for _ in range(steps):
        reaction = u * v * v
        u = u + DIFFUSION[0] * laplacian(u) - reaction + FEED * (1 - u)
        v = v + DIFFUSION[1] * laplacian(v) + reaction - loss * v
    return u, v


def laplacian(x: np.ndarray) -> np.ndarray:
    """Return the five-point Laplacian of a periodic field."""
    sides = [np.roll(x, step, axis) for step in (1, -1) for axis in (-1, -2)]
    return sum(sides) - 4 * x


# -------------------------------------------------------------------------------------------------
# The surrogate.


class Surrogate(nn.Module):
    """Predicts the next frame from four channels (u and v, before and now); 2 × 2 cells form one place.

    `middle` is a ReLU of shape (n, 32, 16, 16).
    """

    def __init__(self, scale: float) -> None:
        super().__init__()

        def convolution(width: int, out: int) -> nn.Conv2d:
            return nn.Conv2d(width, out, 3, padding=1, padding_mode="circular")

        self.scale = scale
        self.first = nn.Sequential(convolution(16, WIDTH), nn.ReLU(), convolution(WIDTH, WIDTH))
        self.middle = nn.ReLU()
        self.last = nn.Sequential(
            convolution(WIDTH, WIDTH), nn.ReLU(), convolution(WIDTH, WIDTH), nn.ReLU(),
            convolution(WIDTH, 8),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the frame (n, 2, 32, 32) that follows two frames (n, 4, 32, 32)."""
        change = (x[:, 2:] - x[:, :2]) / self.scale
        inside = pixel_unshuffle(torch.cat([x[:, 2:], change], dim=1), 2)
        out = pixel_shuffle(self.last(self.middle(self.first(inside))), 2)
        return x[:, 2:] + self.scale * out


def surrogate(frames: Frames, steps: int, seed: int) -> LiveModel:
    """Train to predict the next frame; a little noise on both frames keeps rollouts on course."""
    torch.manual_seed(seed)
    scale = float((frames.after - frames.now).std())
    module = Surrogate(scale)
    optimiser = torch.optim.Adam(module.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    x = torch.cat([frames.before, frames.now], dim=1)
    for _ in range(steps):
        chosen = torch.randint(len(x), (16,))
        noisy = x[chosen] + 0.1 * scale * torch.randn(16, 4, SIZE, SIZE)
        loss = mse_loss(module(noisy) / scale, frames.after[chosen] / scale)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return sn.wrap(module.eval(), name="gray-scott")


@torch.no_grad()
def skill(model: LiveModel, fresh: Frames) -> dict[str, float]:
    """Return R² of the next change, for the surrogate and for repeating the last change."""
    change = fresh.after - fresh.now
    made = model(torch.cat([fresh.before, fresh.now], dim=1)) - fresh.now
    going_on = fresh.now - fresh.before
    share = change.square().mean()
    return {
        f"change R2, {name}": 1 - float((change - part).square().mean() / share)
        for name, part in (("surrogate", made), ("going on", going_on))
    }


# -------------------------------------------------------------------------------------------------
# The surrogate's middle layer, and steering there.


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Rows of the middle layer with the sample of each; of each sample, k and the mean of v."""

    rows: Tensor
    sample: np.ndarray
    kill: np.ndarray
    mean_v: np.ndarray


def middle_rows(model: LiveModel, frames: Frames, most: int = 60) -> Rows:
    """Capture up to `most` samples, spread over runs and times."""
    chosen = np.linspace(0, len(frames.now) - 1, min(most, len(frames.now))).astype(int)
    x = torch.cat([frames.before, frames.now], dim=1)[chosen]
    acts = sn.capture(model, x, MIDDLE, progress=False)
    return Rows(
        rows=acts.x, sample=acts.sample.numpy(), kill=frames.kill[chosen],
        mean_v=frames.now[chosen, 1].mean(dim=(1, 2)).numpy(),
    )  # fmt: skip


def beginnings(fresh: Frames, n: int) -> tuple[Tensor, Tensor]:
    """Return pairs of frames, now and before, spread over fresh runs."""
    chosen = np.linspace(0, len(fresh.now) - 1, n).astype(int)
    return fresh.now[chosen], fresh.before[chosen]


def true_fall(now: Tensor, rollout: int) -> float:
    """Compute with the solver how far mean v falls from the least to the largest k in a rollout's time."""
    u, v = now[:, 0].numpy(), now[:, 1].numpy()
    means = [solved(u, v, np.full(len(u), kill), rollout * EVERY)[1].mean() for kill in KILL]
    return float(means[0] - means[1])


def dose(
    model: LiveModel, begin: tuple[Tensor, Tensor], step: Tensor, rollout: int, name: str
) -> dict[str, float]:
    """Measure how mean v responds to the strength: Spearman's ρ, range, and spots at both ends."""
    ends = []
    for strength in STRENGTHS:
        with sn.steer(model, MIDDLE, direction=step, by=strength, backend="hooks"):
            ends.append(rolled(model, *begin, rollout))
    mean_v = np.array([[float(v.mean()) for v in end] for end in ends])
    rho = [spearmanr(STRENGTHS, mean_v[:, i]).statistic for i in range(mean_v.shape[1])]
    spots = [np.mean([ndimage.label(v > 0.2)[1] for v in ends[i]]) for i in (0, -1)]
    return {
        f"rho, {name}": float(np.nan_to_num(rho).mean()),
        f"monotone, {name}": float(np.mean([np.all(np.diff(column) < 0) for column in mean_v.T])),
        f"fall of v, {name}": float((mean_v[0] - mean_v[-1]).mean()),
        f"spots at the low end, {name}": float(spots[0]),
        f"spots at the high end, {name}": float(spots[1]),
    }


@torch.no_grad()
def rolled(model: LiveModel, now: Tensor, before: Tensor, steps: int) -> np.ndarray:
    """Return the field v after `steps` of the surrogate on its own frames, (n, 32, 32)."""
    for _ in range(steps):
        before, now = now, model(torch.cat([before, now], dim=1)).clamp(0, 1.2)
    return now[:, 1].numpy()
