"""DUNL: overlapping events in spike counts and calcium traces, taken apart by kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Annotated, Any, ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.architectures import (
    ConvolutionOperator,
    DenseOperator,
    GroupProx,
    Penalty,
    SoftProx,
    SparseAutoencoder,
    fista,
)
from sae_nb.architectures.parts import Encodable, Link, Untrained, row_tiles
from sae_nb.atoms import AtomCatalogue
from sae_nb.checks import (
    Between,
    Count,
    Seed,
    Weight,
    as_tensor,
    between,
    check_data,
    check_matrix,
    checked,
)
from sae_nb.codes import SparseCodes
from sae_nb_studies.lab._deconvolution import Deconvolution, LinkName, level_of, link_of

Kernels = Float[Tensor, "n_kernels length"]
Recordings = Float[Tensor, "trials neurons n_samples"]
Events = Bool[Tensor, "trials neurons n_kernels places"]


CONSTANT = 0.1
"""Norm² of the constant as a share of the steepest direction of the kernels: so much shorter steps get at most,
and a baseline starts near where it belongs (ours)."""

FARTHEST = 1e6
"""Largest baseline, in units of η."""


@checked
@dataclass(eq=False, repr=False)
class DUNL(Untrained, SparseAutoencoder):
    """Deconvolutional unrolled neural learning: a recording as a few events, each followed by its kernel.

    η(t) = b + Σ_k Σ_τ z_kτ h_k(t − τ), and the recording has mean μ(η): η itself (calcium, photometry), e^η
    (counts), or 1 / (1 + e^−η) (shares of a bin's time steps with a spike). Codes minimise
    nll(x, η) + λ Σ|z| + γ Σ ‖z over neurons‖ by `n_steps` of FISTA, b with them; the kernels are learned
    through the last of these steps. A row of `dictionary` is a kernel of unit norm, and codes say for every
    place where it can start how strong it is there: `codes.shape` is (…, places, n_kernels).

    Parameters
    ----------
    n_kernels
        Kinds of event.
    length
        Of a kernel, in bins.
    link
        "gaussian", "poisson" or "binomial".
    sparsity
        λ ≥ 0. May change in training.
    group
        γ ≥ 0, for recordings (trials, neurons, bins) whose neurons share the times of events: what one time
        costs, however many of them respond. 0: each neuron by itself.
    k
        Most events per kernel in a trial (shared by neurons where γ > 0); None: no limit. It is held every
        `period` steps, from 2k at first down to k.
    nonnegative
        Whether codes must be ≥ 0. False for known events, where a sign is an answer.
    positive_kernels
        Whether kernels must be ≥ 0.
    n_steps
        Steps of the solver, the depth of the unrolled network. Poisson needs 100 or more.
    tail
        Last steps that carry a gradient; None: all (with k, all since it was last held).
    smoothness
        ≥ 0, what Σ (h(t + 1) − h(t))² of a kernel costs in learning.
    period
        Steps between two times that k is held.
    generator
        Draws the first kernels; None is torch's global generator.

    Source
    ------
    Tolooshams, Matias, Wu, Murthy, Masset and Ba, DUNL (btolooshams/dunl-compneuro: model.py,
    lossfunc.py). Ours: the step is computed from the spectrum of the kernels and not set by hand,
    momentum restarts when it points uphill and whenever k is held, and e^η continues as a straight line
    above the largest count.

    Example
    -------
    >>> from sae_nb.data import planted_events
    >>> planted = planted_events(48, seed=0)
    >>> dunl = DUNL(2, 16, sparsity=0.0, nonnegative=False, generator=torch.Generator().manual_seed(0))
    >>> found = dunl.fit(planted.x, planted.events, steps=60).deconvolve(planted.x, planted.events)
    >>> bool((found.compare(planted.kernels, planted.events).correlation > 0.97).all())
    True
    >>> found.codes.shape, dunl.dictionary.shape
    ((48, 135, 2), torch.Size([2, 16]))
    """

    operator: DenseOperator = field(init=False)
    live_numbers = ("sparsity",)
    no_training: ClassVar[str] = (
        "DUNL must learn from whole recordings, and `train` gives rows. Use dunl.fit(x)."
    )

    n_kernels: Count
    length: Count
    _: KW_ONLY
    link: LinkName = "gaussian"
    sparsity: Weight = 0.3
    group: Weight = 0.0
    k: Count | None = None
    nonnegative: bool = True
    positive_kernels: bool = False
    n_steps: Count = 30
    tail: Count | None = None
    smoothness: Weight = 0.0
    period: Count = 10
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        super().__init__(DenseOperator(self.length, self.n_kernels, generator=self.generator))
        self.pre_bias.requires_grad_(False)  # a recording's baseline is its own
        self.generator = None  # what it draws is drawn

    @checked(leave=("x", "events"))
    def fit(
        self,
        x: Encodable,
        events: Any = None,
        *,
        baseline: float | None = None,
        steps: Count = 300,
        learning_rate: Annotated[float, Between(0, 1, "(]")] = 2e-2,
        batch_size: Count | None = None,
        seed: Seed = 0,
    ) -> Self:
        """Learn the kernels in place, through the steps of the solver, by Adam.

        Where events are unknown, a kernel may lie anywhere in its window and move its events the other way;
        after a quarter and a half of the steps each is moved to the middle, so that none is cut off. Where
        codes have either sign, kernels are turned so that most are positive (both ours).

        Parameters
        ----------
        x
            Recordings, (trials, bins) or (trials, neurons, bins).
        events
            Where an event may be, of the shape of x with places instead of bins and the kernels before them:
            (trials, n_kernels, places) or (trials, neurons, n_kernels, places), places = bins − length + 1.
            None: anywhere.
        baseline
            b, in units of η. None: found with the codes, for each trial and neuron.
        steps
            Of Adam.
        learning_rate
            Of Adam.
        batch_size
            Trials per step; None: all.
        seed
            Draws batches.

        Raises
        ------
        TypeError, ValueError: If the recording is shorter than a kernel, not finite, or not of the link
            (negative counts, shares outside of [0, 1]), or events do not fit.
        """
        given = self._given(x, events, baseline)
        n = len(given.x)
        size = n if batch_size is None else min(n, batch_size)
        generator = torch.Generator().manual_seed(seed)
        adam = torch.optim.Adam([self.operator.weight], lr=learning_rate)
        centred = {steps // 4, steps // 2} if events is None else set()
        for step in range(steps):
            if step in centred:
                self._centre()
            rows = torch.randperm(n, generator=generator)[:size]
            adam.zero_grad()
            self._loss(given.rows(rows)).backward()  # type: ignore[no-untyped-call]
            self.before_optimiser_step()
            adam.step()
            self.after_optimiser_step()
        if not self.nonnegative:
            self._orient(given)
        self.initialised.fill_(True)
        return self

    @checked(leave=("x", "events"))
    @torch.no_grad()
    def deconvolve(
        self,
        x: Encodable,
        events: Any = None,
        *,
        baseline: float | None = None,
        k: Count | None = None,
    ) -> Deconvolution:
        """Find the events of recordings, with the kernels as they are.

        Parameters
        ----------
        x, events, baseline
            As in `fit`.
        k
            Most events per kernel in a trial; None is the model's own.
        """
        given = self._given(x, events, baseline)
        tiles = list(self._solved(given, self.k if k is None else k))
        codes = SparseCodes.concatenate(codes for codes, _ in tiles)
        lead = as_tensor(x).shape[:-1]
        return Deconvolution(
            kernels=self.dictionary,
            link=self.link,
            x=given.x.reshape(*lead, -1),
            codes=codes.reshape(*lead, given.x.shape[-1] - self.length + 1),
            baseline=torch.cat([level for _, level in tiles]).reshape(lead),
        )

    @checked(leave=("x",))
    def catalogue(self, x: Encodable) -> AtomCatalogue:
        """Return the kernels with the windows of recordings that they begin, which `AtomBrowser` shows.

        A row is a window as wide as a kernel; its sample is the trial (of a neuron), its position the
        bin. R² is of the whole recordings: in a window other events continue.

        Parameters
        ----------
        x
            Recordings, as in `fit`.

        Example
        -------
        >>> import sae_nb as sn
        >>> planted = sn.data.planted_events(3, seed=0)
        >>> catalogue = DUNL(2, 16, k=2).catalogue(planted.x)
        >>> catalogue.acts.shape, catalogue.n_atoms
        ((405, 16), 2)
        """
        found = self.deconvolve(x)
        recorded = found.x.reshape(-1, found.x.shape[-1]).cpu()
        left = (found.x - found.rate).square().sum()
        spread = (found.x - found.x.mean()).square().sum().clamp_min(1e-12)
        windows = recorded.unfold(1, self.length, 1)
        n, places = windows.shape[:2]
        acts = Activations.from_tensor(
            windows.reshape(-1, self.length),
            sample=torch.arange(n).repeat_interleave(places),
            position=torch.arange(places).repeat(n),
        )
        codes = found.codes.reshape(n * places)
        return AtomCatalogue(self, acts, codes=codes, r2_of_source=float(1 - left / spread))

    def encode(self, x: Encodable, k: int | None = None) -> SparseCodes:
        """Find the events of recordings, (…, bins): codes of shape (…, places, n_kernels)."""
        return self._encode(x, k)

    def _encode(self, x: Encodable, k: int | None) -> SparseCodes:
        return self.deconvolve(x, k=k).codes

    @torch.no_grad()
    def decode(self, codes: SparseCodes) -> Float[Tensor, "*lead n_samples"]:
        """Lay the kernels over each other where the codes say: η without its baseline."""
        if not isinstance(codes, SparseCodes):
            raise TypeError(
                f"`codes` must be SparseCodes, as `encode` returns them, got {type(codes).__name__}."
            )
        if codes.n_atoms != self.n_kernels:
            raise ValueError(
                f"`codes` must be of {self.n_kernels} kernels, got {codes.n_atoms}. Use this model's own."
            )
        placed = codes.to_dense().to(self.dtype).movedim(-1, -2)
        operator = ConvolutionOperator(self.dictionary, placed.shape[-1] + self.length - 1)
        return operator.forward(placed.reshape(-1, operator.n_atoms)).reshape(
            *placed.shape[:-2], -1
        )

    def forward(self, x: Encodable) -> Float[Tensor, "*lead n_samples"]:
        """Return the rate of every bin, μ(η)."""
        return self.deconvolve(x).rate

    @torch.no_grad()
    def after_optimiser_step(self) -> None:
        """Return the kernels to what is allowed: unit norm, and ≥ 0 if asked."""
        if self.positive_kernels:
            self.operator.weight.clamp_(min=0)
        self.operator.project_()

    def figure(self) -> Any:
        """Draw the kernels."""
        from sae_nb.figures import category_style, framed, line

        kernels = self.dictionary.cpu().numpy()
        bins = list(range(self.length))
        lines = [
            line(f"kernel {i}", bins, kernel, colour=category_style(i)[0], hover="%{x}: %{y:.3f}")
            for i, kernel in enumerate(kernels)
        ]
        return framed(lines, x="bins after the event", y="weight", height=280)

    @torch.no_grad()
    def _centre(self) -> None:
        """Move each kernel to the middle of its window, by the centre of its energy."""
        bins = torch.arange(self.length, device=self.device)
        energy = self.operator.weight.square()
        centre = (energy * bins).sum(dim=1) / energy.sum(dim=1).clamp_min(1e-12)
        later = bins + (centre - (self.length - 1) / 2).round().long()[:, None]
        inside = (later >= 0) & (later < self.length)
        moved = self.operator.weight.gather(1, later.clamp(0, self.length - 1)) * inside
        self.operator.weight.copy_(moved)
        self.operator.project_()

    @torch.no_grad()
    def _orient(self, given: _Given) -> None:
        """Turn kernels so that codes are positive on the whole, where either sign explains the same."""
        total = sum(codes.sum(axis=0) for codes, _ in self._solved(given, self.k))
        self.operator.weight.mul_(torch.where(torch.as_tensor(total) < 0, -1.0, 1.0)[:, None])

    # --- inference ----------------------------------------------------------------------------------

    def _loss(self, given: _Given) -> Float[Tensor, ""]:
        """Negative log-likelihood per bin at the codes, and what roughness of kernels costs."""
        total = given.x.new_zeros(())
        for codes, level in self._solved(given, self.k):
            operator = ConvolutionOperator(self.operator.weight, given.x.shape[-1])
            placed = codes.to_dense().reshape(-1, operator.n_places, self.n_kernels).movedim(-1, 1)
            eta = operator.forward(placed.flatten(1)) + level.reshape(-1, 1)
            total = total + given.link.nll(given.x.reshape(-1, given.x.shape[-1]), eta).sum()
        rough = self.operator.weight.diff(dim=1).square().sum()
        return total / given.x.numel() + self.smoothness * rough / self.n_kernels

    def _solved(self, given: _Given, k: int | None) -> Iterator[tuple[SparseCodes, Tensor]]:
        """Codes (trials · neurons · places, n_kernels) and baselines of some trials at a time."""
        kernels = self.operator.weight
        if self.group == 0:
            given = given.apart()
        operator = _Recording(kernels, given.x.shape[-1], given.x.shape[1])
        tiles = row_tiles(len(given.x), operator.n_atoms) if not torch.is_grad_enabled() else None
        for rows in tiles or [slice(0, len(given.x))]:
            tile = given.rows(rows)
            penalty = self._penalty(tile, operator)
            packed = self._steps(tile, operator, penalty, k)
            yield operator.unpacked(packed)

    def _penalty(self, given: _Given, operator: _Recording) -> _EventsPenalty:
        n, neurons = operator.one.n_atoms, operator.n_channels
        groups = torch.arange(n, device=given.x.device).repeat(neurons)
        return _EventsPenalty(
            soft=SoftProx(self.sparsity, nonnegative=self.nonnegative),
            group=GroupProx(groups, self.group) if self.group > 0 else None,
            n_channels=neurons,
            allowed=None if given.events is None else given.events.flatten(1).to(given.x.dtype),
            level=None if given.baseline is None else given.baseline / operator.unit,
        )

    def _steps(
        self, given: _Given, operator: _Recording, penalty: _EventsPenalty, k: int | None
    ) -> SparseCodes:
        """All steps; with a limit k, piece by piece, with the largest kept after each piece."""
        x, codes, done = given.x.flatten(1), operator.start(given), 0
        piece = self.n_steps if k is None else self.period
        wanted = torch.is_grad_enabled()
        while done < self.n_steps:
            n = min(piece, self.n_steps - done)
            done += n
            with torch.set_grad_enabled(wanted and done == self.n_steps):
                codes = fista(  # type: ignore[assignment]
                    operator,
                    x,
                    penalty,
                    n_steps=n,
                    tail=None if self.tail is None else min(self.tail, n),
                    link=given.link,
                    start=codes,
                )
            if k is not None:
                left = (self.n_steps - done) / self.n_steps
                codes = operator.largest(codes, round(k * (1 + left)))
        return codes

    # --- what is given ------------------------------------------------------------------------------

    def _given(self, x: Encodable, events: Any, baseline: float | None) -> _Given:
        recorded = self._checked_recording(x)
        link = link_of(self.link, recorded)
        level = None
        if baseline is not None:
            between(baseline, -FARTHEST, FARTHEST, name="baseline")
            level = recorded.new_full(recorded.shape[:2], baseline)
        return _Given(recorded, self._checked_events(events, recorded, x), level, self.link, link)

    def _checked_recording(self, x: Encodable) -> Recordings:
        rows = check_data(as_tensor(x, name="x"), name="x")
        if not rows.is_complex() and not rows.is_floating_point():
            rows = rows.to(self.dtype)  # counts are whole numbers
        check_matrix(rows, flatten=True)
        if not 2 <= rows.ndim <= 3:
            raise ValueError(
                f"`x` must have shape (trials, bins) or (trials, neurons, bins), got {tuple(rows.shape)}. One "
                "trial alone is x[None]."
            )
        if rows.shape[-1] < self.length:
            raise ValueError(
                f"`x` must be at least as long as a kernel, {self.length} bins, got {rows.shape[-1]}. Use "
                "shorter kernels or longer recordings."
            )
        low, high = (float(end) for end in rows.detach().aminmax())
        if self.link != "gaussian" and low < 0:
            raise ValueError(
                f"`x` must not be negative for link={self.link!r}, got {low:g}. Counts are at least 0; for "
                "traces use link='gaussian'."
            )
        if self.link == "binomial" and high > 1:
            raise ValueError(
                f"`x` must be in [0, 1] for link='binomial', shares of time steps with a spike, got {high:g}. "
                "Divide counts by the time steps of a bin, or use link='poisson'."
            )
        rows = rows.detach().to(self.device, self.dtype)
        return rows if rows.ndim == 3 else rows[:, None]

    def _checked_events(self, events: Any, recorded: Recordings, x: Encodable) -> Events | None:
        if events is None:
            return None
        mask = check_data(as_tensor(events, name="events"), name="events", what="truth values")
        lead, places = as_tensor(x).shape[:-1], recorded.shape[-1] - self.length + 1
        if mask.dtype != torch.bool:
            raise TypeError(f"`events` must hold truth values, got {mask.dtype}. Use events > 0.")
        if mask.shape != (*lead, self.n_kernels, places):
            raise ValueError(
                f"`events` must have shape {(*lead, self.n_kernels, places)}, for every kernel the places "
                f"where it may start, got {tuple(mask.shape)}."
            )
        return mask.to(self.device).reshape(*recorded.shape[:2], self.n_kernels, places)


@dataclass(frozen=True, eq=False)
class _Given:
    """Recordings and what is known of them."""

    x: Recordings
    events: Events | None
    baseline: Float[Tensor, "trials neurons"] | None
    link_name: LinkName
    link: Link

    def rows(self, rows: slice | Int[Tensor, " n"]) -> _Given:
        """Return some trials."""
        return self._each(lambda part: part[rows])

    def apart(self) -> _Given:
        """Return every neuron as a trial of its own."""
        return self._each(lambda part: part.flatten(0, 1)[:, None])

    def _each(self, change: Callable[[Tensor], Tensor]) -> _Given:
        events = None if self.events is None else change(self.events)
        baseline = None if self.baseline is None else change(self.baseline)
        return replace(self, x=change(self.x), events=events, baseline=baseline)


class _Recording:
    """Neurons side by side, each a convolution with the same kernels and a baseline of its own.

    A code is the events of every neuron, (neuron, kernel, place), and then the baselines in units of `unit`.
    The constant has norm² CONSTANT · max_ω Σ_k |ĥ_k(ω)|², and lives at ω = 0 alone: there it adds to the bound.
    """

    def __init__(self, kernels: Kernels, n_samples: int, n_channels: int) -> None:
        self.one = ConvolutionOperator(kernels, n_samples)
        self.n_channels = n_channels
        self.peak = self.one.lipschitz()
        self.unit = math.sqrt(CONSTANT * self.peak / n_samples)

    @property
    def n_events(self) -> int:
        """Entries of a code that are events."""
        return self.n_channels * self.one.n_atoms

    @property
    def n_atoms(self) -> int:
        """Entries of a code."""
        return self.n_events + self.n_channels

    @property
    def d_in(self) -> int:
        """Bins of all neurons."""
        return self.n_channels * self.one.n_samples

    def forward(self, z: Tensor) -> Tensor:
        """η of every neuron."""
        events, level = z[:, : self.n_events], z[:, self.n_events :]
        eta = self.one.forward(events.reshape(-1, self.one.n_atoms))
        return (eta + self.unit * level.reshape(-1, 1)).reshape(len(z), -1)

    def adjoint(self, r: Tensor) -> Tensor:
        """Return correlations with every kernel at every place, and with the constant."""
        each = r.reshape(-1, self.one.n_samples)
        events = self.one.adjoint(each).reshape(len(r), -1)
        level = self.unit * each.sum(dim=1).reshape(len(r), -1)
        return torch.cat([events, level], dim=1)

    def lipschitz(self) -> float:
        """Return the larger of max_ω Σ_k |ĥ_k(ω)|² and the joint value of kernels and constant at ω = 0."""
        at_zero = float(self.one.kernels.detach().sum(dim=1).square().sum())
        return max(self.peak, at_zero + self.unit**2 * self.one.n_samples)

    def energy(self) -> Tensor:
        """‖a_j‖² of each entry."""
        events = self.one.energy().repeat(self.n_channels)
        return torch.cat([events, events.new_full((self.n_channels,), CONSTANT * self.peak)])

    def atoms(self) -> Tensor:
        """Return the matrix, for small recordings."""
        kernels = self.one.kernels
        return self.forward(torch.eye(self.n_atoms, dtype=kernels.dtype, device=kernels.device))

    def start(self, given: _Given) -> SparseCodes:
        """Return no events, and a baseline at the mean of each neuron."""
        x = given.x
        level = given.baseline
        if level is None:
            level = level_of(given.link_name, x.mean(dim=2))
        atoms = torch.arange(self.n_events, self.n_atoms, device=x.device)
        n = len(x)
        rows = torch.arange(n, device=x.device).repeat_interleave(self.n_channels)
        values = (level / self.unit).flatten()
        return SparseCodes.from_entries(values, rows, atoms.repeat(n), (n, self.n_atoms))

    def largest(self, codes: SparseCodes, k: int) -> SparseCodes:
        """Return of each kernel the k places of a trial with the strongest events, over neurons together."""
        with torch.no_grad():
            dense = codes.to_dense()[:, : self.n_events]
            shape = (len(dense), self.n_channels, -1, self.one.n_places)
            power = dense.reshape(shape).square().sum(dim=1)
            places = power.topk(min(k, self.one.n_places), dim=2).indices
            kept = (
                torch.zeros_like(power, dtype=torch.bool).scatter(2, places, value=True).flatten(1)
            )
            rows, atoms = codes.support.rows, codes.atoms.long()
            chosen = kept[rows, atoms % self.one.n_atoms] | (atoms >= self.n_events)
        return codes.only(chosen)

    def unpacked(self, codes: SparseCodes) -> tuple[SparseCodes, Tensor]:
        """Return events as codes, a row for each neuron and place, and the baselines."""
        event = codes.atoms < self.n_events
        levels = codes.values.new_zeros(codes.n_rows, self.n_channels)
        rows, atoms = codes.support.rows, codes.atoms.long()
        at = (rows[~event], atoms[~event] - self.n_events)
        levels = levels.index_put(at, codes.values[~event] * self.unit)
        places, n_places = self.one.n_places, codes.n_rows * self.n_channels * self.one.n_places
        channel, within = atoms[event] // self.one.n_atoms, atoms[event] % self.one.n_atoms
        row = (rows[event] * self.n_channels + channel) * places + within % places
        shape = (n_places, len(self.one.kernels))
        return SparseCodes.from_entries(codes.values[event], row, within // places, shape), levels


@dataclass(frozen=True, eq=False)
class _EventsPenalty(Penalty):
    """λ Σ|z| + γ Σ‖z over neurons‖ of events where they are allowed; a baseline costs nothing, or is given."""

    soft: SoftProx
    group: GroupProx | None
    n_channels: int
    allowed: Float[Tensor, "rows n_events"] | None
    level: Float[Tensor, "rows neurons"] | None

    def dense(self, v: Tensor, step: float = 1.0) -> Tensor:
        """Shrink each event, then the events of one time together: exact in this order."""
        events, level = v[:, : -self.n_channels], v[:, -self.n_channels :]
        events = self.soft.dense(events, step)
        if self.allowed is not None:
            events = events * self.allowed
        if self.group is not None:
            events = self.group.dense(events, step)
        return torch.cat([events, level if self.level is None else self.level], dim=1)

    def of_rows(self, rows: slice) -> _EventsPenalty:
        """Return what is allowed and given in these rows."""
        allowed = None if self.allowed is None else self.allowed[rows]
        return replace(
            self, allowed=allowed, level=None if self.level is None else self.level[rows]
        )

    def objective(self, z: Tensor) -> Tensor:
        """Return the cost of the events."""
        events = z[:, : -self.n_channels]
        value = self.soft.objective(events)
        return value if self.group is None else value + self.group.objective(events)
