"""The findings of DUNL in recordings: events, baselines and rates, and how they compare with the truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.architectures import ConvolutionOperator
from sae_nb.architectures.parts import BinomialLink, GaussianLink, Link, PoissonLink
from sae_nb.checks import at_least, check_integer, check_matrix, checked
from sae_nb.codes import SparseCodes
from sae_nb.findings import Finding

if TYPE_CHECKING:
    from pandas import DataFrame

LinkName = Literal["gaussian", "poisson", "binomial"]
LINKS: tuple[LinkName, ...] = get_args(LinkName)

QUIETEST = 1e-3
"""Smallest rate a baseline begins at (the smallest of all in btolooshams/dunl-compneuro)."""

MOST_DRAWN = 20_000
"""Events drawn, the strongest."""


def link_of(name: LinkName, x: Tensor) -> Link:
    """Return the link of that name for these data; for counts with a rate above all of them."""
    if name == "poisson":
        return PoissonLink(float(x.max()) + 1)
    return BinomialLink() if name == "binomial" else GaussianLink()


def level_of(name: LinkName, mean: Tensor) -> Tensor:
    """Return the baseline b with μ(b) at some mean."""
    if name == "gaussian":
        return mean
    return mean.clamp_min(QUIETEST).log() if name == "poisson" else mean.logit(QUIETEST)


class Deconvolution(Finding):
    """Recordings taken apart; made by `DUNL.deconvolve`. `lead` is (trials,) or (trials, neurons)."""

    kernels: Float[Tensor, "n_kernels length"]
    link: LinkName
    x: Float[Tensor, "*lead n_samples"]
    """The recordings."""

    codes: SparseCodes
    """Strength of each kernel at each place, of shape (*lead, places, n_kernels)."""

    baseline: Float[Tensor, " *lead"]
    """b of each recording, in units of η."""

    @property
    def contributions(self) -> Float[Tensor, "*lead n_kernels n_samples"]:
        """Contribution of each kernel's events to η.

        Raises
        ------
        MemoryError: If it does not fit.
        """
        placed = self.codes.to_dense().movedim(-1, -2)
        operator = ConvolutionOperator(self.kernels[:1], self.x.shape[-1])
        each = [
            ConvolutionOperator(kernel[None], operator.n_samples).forward(
                placed[..., i, :].reshape(-1, operator.n_places)
            )
            for i, kernel in enumerate(self.kernels)
        ]
        return torch.stack(each, dim=1).reshape(*self.x.shape[:-1], len(self.kernels), -1)

    @cached_property
    def rate(self) -> Float[Tensor, "*lead n_samples"]:
        """Expected recording of every bin, μ(η)."""
        placed = self.codes.to_dense().movedim(-1, -2)
        operator = ConvolutionOperator(self.kernels, self.x.shape[-1])
        eta = operator.forward(placed.reshape(-1, operator.n_atoms)) + self.baseline.reshape(-1, 1)
        return link_of(self.link, self.x).mean(eta).reshape(self.x.shape)

    @property
    def events(self) -> DataFrame:
        """One row per event: trial, neuron, kernel, bin (where the kernel starts), strength."""
        import pandas as pd

        recording, place = self._where()
        neurons = self.x.shape[1] if self.x.ndim == 3 else 1
        return pd.DataFrame(
            {
                "trial": recording // neurons,
                "neuron": recording % neurons,
                "kernel": self.codes.atoms.cpu().numpy(),
                "bin": place,
                "strength": self.codes.values.cpu().numpy(),
            }
        )

    def _where(self) -> tuple[Int[np.ndarray, " nnz"], Int[np.ndarray, " nnz"]]:
        """Recording and place of every event."""
        recording, place = np.divmod(
            self.codes.support.rows.cpu().numpy(), self.codes.leading_shape[-1]
        )
        return recording, place

    @checked
    def compare(
        self,
        kernels: Float[Tensor, "n_true length"],
        events: Bool[Tensor, "*lead n_true places"],
        *,
        within: Annotated[int, at_least(0)] = 2,
    ) -> Recovery:
        """Hold kernels and events against true ones.

        A kernel displaced inside its window moves its events the other way and explains the same, so kernels
        are matched one to one by their largest cross-correlation over shifts, and events moved by that shift.

        Parameters
        ----------
        kernels
            True kernels.
        events
            Where true ones start, if known.
        within
            Bins a found event may be off.

        Raises
        ------
        TypeError, ValueError: If kernels or events are not of the sizes of these.
        """
        truth = check_matrix(kernels, name="kernels", d_in=self.kernels.shape[1])
        lead, places = self.codes.leading_shape[:-1], self.codes.leading_shape[-1]
        if events.dtype != torch.bool:
            raise TypeError(f"`events` must hold truth values, got {events.dtype}. Use events > 0.")
        if events.shape != (*lead, len(truth), places) or len(truth) > len(self.kernels):
            raise ValueError(
                f"`events` must have shape {(*lead, len(truth), places)} for at most {len(self.kernels)} true "
                f"kernels, got {tuple(events.shape)}."
            )
        match, shift, correlation = _matched(truth, self.kernels)
        recording, place = self._where()
        of_kernel, wide = self.codes.atoms.cpu().numpy(), places + 4 * (truth.shape[1] + within)
        true = events.reshape(-1, len(truth), places).cpu().numpy()
        hits = near = n_true = n_found = 0
        for i, (j, moved) in enumerate(zip(match, shift, strict=True)):
            rows, starts = true[:, i].nonzero()
            ours = of_kernel == j
            told = np.sort(rows * wide + starts)
            found = np.sort(recording[ours] * wide + place[ours] + moved)
            hits, n_true = hits + _near(told, found, within), n_true + len(told)
            near, n_found = near + _near(found, told, within), n_found + len(found)
        return Recovery(
            match=torch.tensor(match),
            shift=torch.tensor(shift),
            correlation=torch.tensor(correlation),
            hit_rate=hits / max(n_true, 1),
            precision=near / max(n_found, 1),
        )

    def figure(self) -> Any:
        """Draw the events of all trials, one row each, coloured by kernel, larger where stronger."""
        from sae_nb.figures import category_style, framed

        table = self.events
        table = table.loc[table["strength"].abs().nlargest(MOST_DRAWN).index]
        neurons = self.x.shape[1] if self.x.ndim == 3 else 1
        strongest = float(table["strength"].abs().max()) if len(table) else 1.0
        traces = []
        for kernel in range(len(self.kernels)):
            ours = table[table["kernel"] == kernel]
            colour, _ = category_style(kernel)
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": f"kernel {kernel}",
                    "x": ours["bin"].to_numpy(),
                    "y": (ours["trial"] * neurons + ours["neuron"]).to_numpy(),
                    "marker": {
                        "color": colour,
                        "size": 3 + 7 * (ours["strength"].abs() / strongest).to_numpy(),
                    },
                    "customdata": ours["strength"].to_numpy(),
                    "hovertemplate": "bin %{x}: %{customdata:.2f}<extra>%{fullData.name}</extra>",
                }
            )
        rows = "trial" if neurons == 1 else "trial and neuron"
        return framed(traces, x="bin", y=rows, height=360)

    def explain(self, trial: int = 0, neuron: int = 0) -> Any:
        """Draw a recording with its rate, and next to it its parts: baseline, and kernel on kernel.

        Raises
        ------
        IndexError: If there is no such trial or neuron.
        """
        from sae_nb.figures import category_style, fade, line, side_by_side, theme

        trials, neurons = len(self.x), self.x.shape[1] if self.x.ndim == 3 else 1
        for name, value, end in (("trial", trial, trials), ("neuron", neuron, neurons)):
            if not 0 <= check_integer(value, name=name) < end:
                raise IndexError(f"`{name}` must be between 0 and {end - 1}, got {value}.")
        row = trial * neurons + neuron
        alone = self._alone(row)
        bins = list(range(self.x.shape[-1]))
        figure = side_by_side(
            ["bin", "bin"], y=["recorded", "η, kernel on kernel"], gap=0.17, height=320
        )
        figure.add_trace(line("recorded", bins, alone.x[0], colour=theme.GREY, width=1), 1, 1)
        figure.add_trace(
            line("rate", bins, alone.rate[0], colour=theme.PALETTE[0], width=2.5), 1, 1
        )
        stacked = float(alone.baseline[0]) * np.ones(len(bins))
        figure.add_trace(line("baseline", bins, stacked, colour=theme.GREY, dash="dot"), 1, 2)
        for kernel, added in enumerate(alone.contributions[0].cpu().numpy()):
            stacked = stacked + added
            colour, _ = category_style(kernel)
            drawn = line(f"+ kernel {kernel}", bins, stacked, colour=colour)
            figure.add_trace(drawn.update(fill="tonexty", fillcolor=fade(colour, 0.3)), 1, 2)
        return figure

    def _alone(self, row: int) -> Deconvolution:
        """One recording, on the CPU."""
        places = self.codes.leading_shape[-1]
        flat = self.codes.reshape(self.codes.n_rows)
        return Deconvolution(
            kernels=self.kernels.cpu(),
            link=self.link,
            x=self.x.reshape(-1, self.x.shape[-1])[row : row + 1].cpu(),
            codes=flat[row * places : (row + 1) * places].to("cpu").reshape(1, places),
            baseline=self.baseline.reshape(-1)[row : row + 1].cpu(),
        )

    @property
    def headline(self) -> str:
        """Sizes, link, events."""
        shape = " × ".join(map(str, self.x.shape))
        return f"{shape}, {self.link}, {self.codes.nnz} events of {len(self.kernels)} kernels"


@dataclass(frozen=True, kw_only=True, eq=False)
class Recovery:
    """The accuracy of the found kernels and events; made by `Deconvolution.compare`."""

    match: Int[Tensor, " n_true"]
    """The found kernel of each true one."""

    shift: Int[Tensor, " n_true"]
    """Bins it lies later in its window."""

    correlation: Float[Tensor, " n_true"]
    """|cross-correlation| at that shift."""

    hit_rate: float
    """Share of true events with a found one of their kernel near."""

    precision: float
    """Share of found events with a true one near."""


def _matched(
    truth: Float[Tensor, "n_true length"], found: Kernels
) -> tuple[list[int], list[int], list[float]]:
    """Partner, shift and |cross-correlation| of each true kernel, the sum of these as large as can be."""
    from scipy.optimize import linear_sum_assignment

    true, ours = (k.detach().double().cpu().numpy() for k in (truth, found))
    true, ours = (k / np.linalg.norm(k, axis=1, keepdims=True).clip(1e-12) for k in (true, ours))
    every = np.abs([[np.correlate(b, a, "full") for b in ours] for a in true])
    rows, columns = linear_sum_assignment(-every.max(axis=2))
    best = every[rows, columns]
    shift = best.argmax(axis=1) - (true.shape[1] - 1)
    return columns.tolist(), shift.tolist(), best.max(axis=1).tolist()


def _near(asked: Int[np.ndarray, " n"], among: Int[np.ndarray, " m"], within: int) -> int:
    """Return how many have another within some bins; both sorted."""
    if not len(among):
        return 0
    next_one = np.searchsorted(among, asked - within).clip(max=len(among) - 1)
    return int((np.abs(among[next_one] - asked) <= within).sum())


Kernels = Float[Tensor, "n_kernels length"]
