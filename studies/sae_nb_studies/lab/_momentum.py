"""Momentum attention: queries and keys that also know how they changed, which puts induction into one layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from itertools import chain
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn

from sae_nb.checks import Count, Seed, Weight, as_tensor, at_least, check_memory, checked
from sae_nb.findings import Finding
from sae_nb_studies._muon import Muon
from sae_nb_studies.data.tasks import NOT_ASKED, TASKS, Rows

TASK = TASKS["tiny-induction"]

Data = Literal["stretches", "pairs"]

N_PAIRS = 6
"""Different pairs of letters in a row of "pairs"; each comes about twice."""

EMBEDDED = 0.15
"""Size of the numbers with which letters and positions begin, as in tiny-induction."""

MUON_RATE, ADAM_RATE, DECAY = 0.02, 0.01, 0.1
"""Peak step sizes and decoupled decay, as in tiny-induction."""

WARMUP, FALLING = 50, 0.35
"""Steps of linear rise at the beginning, share of steps of linear fall at the end."""

N_FREQUENCIES = 129
_HELD_OUT, _TRAINED = 1, 0  # streams of a seed's rows


@checked
@dataclass(frozen=True, eq=False)
class Momentum:
    """Attention whose queries and keys get γ times their change: q̂_t = q_t + γ(q_t − q_{t−1}), k̂ the same.

    A position then also knows its predecessor: −γ(1 + γ) q_t·k_{t'−1} is part of q̂_t·k̂_t'. An induction
    head asks "after which letter like mine?", which takes a second layer otherwise, as some head has to
    write the previous letter first. Read along time, the change is a filter with the response
    H(ω) = 1 + γ(1 − e^{−iω}): what stays passes as it is, what alternates is multiplied by 1 + 2γ.

    Parameters
    ----------
    gamma
        γ ≥ 0; 0 is plain attention.
    n_blocks
        Layers of attention, without MLPs.
    n_heads
        Of each.
    d_model
        Width, a multiple of 2 `n_heads`.

    Raises
    ------
    ValueError: If `n_heads` does not divide `d_model`.

    Source
    ------
    After "Momentum Attention", arXiv 2602.04902: the change, its filter and the claim that one layer is
    enough are its. Ours: positions are learned and added, where theirs are rotations before the change;
    model, letters and optimisers are those of the bundled tiny-induction.

    Example
    -------
    >>> x = torch.tensor([[1.0], [1.0], [3.0]])
    >>> Momentum(gamma=2).apply(x).flatten().tolist()
    [1.0, 1.0, 7.0]
    >>> Momentum(gamma=2).response(torch.tensor([0.0, torch.pi])).abs().round().tolist()
    [1.0, 5.0]
    >>> model = Momentum(gamma=1, n_blocks=1).fit(steps=3)  # some hundred for induction
    >>> 0 <= model.accuracy(20) <= 1
    True
    """

    gamma: Weight = 1.0
    _: KW_ONLY
    n_blocks: Count = 1
    n_heads: Count = 4
    d_model: Count = 64

    def __post_init__(self) -> None:
        if self.d_model % (2 * self.n_heads):
            raise ValueError(
                f"`d_model` must be a multiple of 2 `n_heads` = {2 * self.n_heads}, got {self.d_model}."
            )

    def apply(self, x: Float[Tensor, "*batch time d"]) -> Float[Tensor, "*batch time d"]:
        """Return x_t + γ(x_t − x_{t−1}) along time; the first has no predecessor and stays."""
        x = as_tensor(x)
        if x.ndim < 2 or not x.is_floating_point() or x.layout != torch.strided:
            raise ValueError(
                f"`x` must hold real numbers of shape (…, time, d), dense, got {x.dtype} {tuple(x.shape)}."
            )
        return _sheared(x, self.gamma)

    def response(self, frequencies: Float[Tensor, " n"]) -> Complex[Tensor, " n"]:
        """Return H(ω) = 1 + γ(1 − e^{−iω}) at some frequencies, in radians per position."""
        omega = as_tensor(frequencies, name="frequencies")
        if omega.layout != torch.strided:
            raise TypeError(f"`frequencies` must be dense, got layout {omega.layout}.")
        wide = omega.to(
            torch.promote_types(omega.dtype, torch.float32)
        )  # halves have no complex numbers
        return 1 + self.gamma * (1 - torch.exp(-1j * wide))

    def figure(self) -> Any:
        """Draw how strongly each frequency passes, |H(ω)|; dotted: plain attention."""
        from sae_nb.figures import framed, line, theme

        omega = torch.linspace(0, math.pi, N_FREQUENCIES)
        at = (omega / (2 * math.pi)).tolist()
        gain = self.response(omega).abs().tolist()
        traces = [
            line(
                f"γ = {self.gamma:g}", at, gain, colour=theme.PALETTE[0], hover="%{x:.2f}: %{y:.2f}"
            ),
            line("γ = 0", [0, 0.5], [1, 1], colour=theme.GREY, dash="dot"),
        ]
        return framed(traces, x="cycles per position", y="gain", height=300)

    @checked
    def fit(
        self,
        data: Data = "stretches",
        *,
        steps: Count = 1000,
        batch_size: Count = 64,
        seed: Seed = 0,
    ) -> MomentumModel:
        """Train a model of such layers on rows of letters whose answer came after an earlier copy.

        Parameters
        ----------
        data
            "stretches": different letters in stretches that come again, as of tiny-induction; "pairs":
            six pairs of letters, drawn again and again, asked for the second of a pair that came
            before. In stretches every answer has come exactly once, which is a hint; in pairs only the
            first letter determines it.
        steps
            Of Muon for the matrices of attention and AdamW for the rest; a thousand of one layer take about
            12 s on one core.
        batch_size
            Rows of each, redrawn.
        seed
            Draws first weights and rows.

        Returns
        -------
        MomentumModel
            With the loss of every step.
        """
        check_memory(8 * steps, f"The losses of {steps} steps", "Take fewer.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _Network(self)
        generator = np.random.default_rng((seed, _TRAINED))
        losses = _train(network, steps, lambda: _drawn(data, batch_size, generator))
        return MomentumModel(settings=self, data=data, network=network.eval(), losses=losses)


class MomentumModel(Finding):
    """A small attention-only model of letters; made by `Momentum.fit`."""

    settings: Momentum
    data: Data
    network: nn.Module
    losses: Float[Tensor, " steps"]
    """Cross-entropy of every step, in nats, where a letter is asked for."""

    @checked
    def rows(self, n: Count, seed: Seed = 0) -> tuple[Int[Tensor, "n time"], Int[Tensor, "n time"]]:
        """Return rows that it was not trained on, and the letter asked for after each position (−100:
        none is).
        """
        generator = np.random.default_rng((seed, _HELD_OUT))
        drawn = _drawn(self.data, n, generator)
        return drawn.ids.to(self._device), drawn.targets.to(self._device)

    @torch.no_grad()
    @checked
    def logits(self, ids: Int[Tensor, "n time"]) -> Float[Tensor, "n time letters"]:
        """Return what it expects after every position.

        Raises
        ------
        TypeError, ValueError: If `ids` are not ids of letters, or the rows are too long.
        """
        found: Tensor = self.network(_checked_ids(ids).to(self._device))
        return found

    @checked
    def accuracy(self, n: int = 1000, seed: Seed = 0) -> float:
        """Return share of right letters where one is asked for, over rows that were not trained on."""
        ids, targets = self.rows(n, seed)
        asked = targets != NOT_ASKED
        return float((self.logits(ids).argmax(dim=-1) == targets)[asked].float().mean())

    @torch.no_grad()
    @checked
    def patterns(self, ids: Int[Tensor, "n time"]) -> Float[Tensor, "n_blocks n n_heads time time"]:
        """Return attention of every head, from each position (row) to each before it (column)."""
        network: Any = self.network
        return torch.stack(network.patterns(_checked_ids(ids).to(self._device)))

    @checked
    def scores(self, n: int = 200, seed: Seed = 0) -> Float[Tensor, "n_blocks n_heads"]:
        """Return how much of an induction head each one is: its attention to the letter after the
        earlier copy.

        Mean over the positions where a letter is asked for.
        """
        ids, targets = self.rows(n, seed)
        row, now = (targets != NOT_ASKED).nonzero(as_tuple=True)
        there = (ids[row] == targets[row, now, None]).int().argmax(dim=1)  # its first copy
        return self.patterns(ids)[:, row, :, now, there].mean(dim=0)

    @checked
    def figure(self, row: Annotated[int, at_least(0)] = 0, block: int = 0) -> Any:
        """Draw where each head of a layer looks, on one row that was not trained on; open circles: the answer.

        Parameters
        ----------
        row
            Index of the row drawn by seed 0.
        block
            Index of the layer.

        Raises
        ------
        IndexError: If there is no such layer. TypeError, ValueError: If `row` is not a number from 0.
        """
        from sae_nb.figures import heatmaps, named_ticks

        if not 0 <= block < self.settings.n_blocks:
            raise IndexError(
                f"`block` must be between 0 and {self.settings.n_blocks - 1}, got {block}."
            )
        ids, targets = (given[row:] for given in self.rows(row + 1))
        shown = self.patterns(ids)[block, 0].cpu().numpy()
        titles = [f"head {i}" for i in range(len(shown))]
        answers = _answers(ids[0].cpu(), targets[0].cpu())
        figure = heatmaps(
            dict(zip(titles, shown, strict=True)),
            ends=(0.0, 1.0),
            hover="from %{y} to %{x}: %{z:.2f}",
            bar="attention",
            over={title: [answers] for title in titles},
            height=90 + 14 * len(ids[0]),
        )
        letters = [TASK.vocabulary[i] for i in ids[0].tolist()]
        ticks = named_ticks(letters, tickangle=0, autorange="reversed")
        return figure.update_yaxes(ticks).update_xaxes(tickvals=[])

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def headline(self) -> str:
        """Layers, heads, momentum, steps."""
        s = self.settings
        layers = "1 layer" if s.n_blocks == 1 else f"{s.n_blocks} layers"
        return f"{layers} of {s.n_heads} heads, γ = {s.gamma:g}, {len(self.losses)} steps"


class _Attention(nn.Module):
    """One layer: x + W_o Σ softmax(q̂·k̂ / √d) v of the normalised x, causal."""

    def __init__(self, settings: Momentum) -> None:
        super().__init__()
        d = settings.d_model
        self.n_heads, self.gamma = settings.n_heads, settings.gamma
        self.norm = nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)

    def forward(self, x: Float[Tensor, "n time d"]) -> Float[Tensor, "n time d"]:
        q, k, v = self._parts(x)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        added: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return x + added

    def pattern(self, x: Float[Tensor, "n time d"]) -> Float[Tensor, "n n_heads time time"]:
        """Return the weights that `forward` mixes by."""
        q, k, _ = self._parts(x)
        raw = q @ k.mT / math.sqrt(q.shape[-1])
        later = torch.ones_like(raw, dtype=torch.bool).triu(1)
        return raw.masked_fill(later, -math.inf).softmax(dim=-1)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = self.qkv(self.norm(x)).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind()
        return _sheared(q, self.gamma), _sheared(k, self.gamma), v


class _Network(nn.Module):
    """Letters and positions, layers of attention, logits."""

    def __init__(self, settings: Momentum) -> None:
        super().__init__()
        d, n = settings.d_model, len(TASK.vocabulary)
        self.letters = nn.Parameter(EMBEDDED * torch.randn(n, d))
        rates = 1e-4 ** torch.linspace(0, 1, d // 2)
        angles = torch.arange(TASK.length)[:, None] * rates
        self.positions = nn.Parameter(EMBEDDED * torch.cat([angles.sin(), angles.cos()], dim=1))
        self.blocks = nn.ModuleList(_Attention(settings) for _ in range(settings.n_blocks))
        self.norm, self.unembed = nn.LayerNorm(d), nn.Linear(d, n, bias=False)
        nn.init.normal_(self.unembed.weight, std=0.02)

    def forward(self, ids: Int[Tensor, "n time"]) -> Float[Tensor, "n time letters"]:
        x = self.letters[ids] + self.positions[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.unembed(self.norm(x))
        return logits

    def patterns(self, ids: Int[Tensor, "n time"]) -> list[Tensor]:
        """Return attention of every layer."""
        x, found = self.letters[ids] + self.positions[: ids.shape[1]], []
        for block in self.blocks:
            layer: Any = block
            found.append(layer.pattern(x))
            x = layer(x)
        return found


def _sheared(x: Float[Tensor, "*batch time d"], gamma: float) -> Float[Tensor, "*batch time d"]:
    before = torch.cat([x[..., :1, :], x[..., :-1, :]], dim=-2)
    return x + gamma * (x - before)


def _train(network: _Network, steps: int, draw: Callable[[], Rows]) -> Float[Tensor, " steps"]:
    """Muon for the matrices inside, AdamW for the rest, as tiny-induction was trained."""
    inside = [p for p in network.blocks.parameters() if p.ndim == 2]
    known = {id(p) for p in inside}
    rest = [p for p in network.parameters() if id(p) not in known]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.ndim >= 2]},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimisers = (
        Muon(inside, lr=MUON_RATE, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups, lr=ADAM_RATE, weight_decay=DECAY, betas=(0.9, 0.99)),
    )
    losses = torch.zeros(steps)
    for step in range(steps):
        share = min(1, (step + 1) / WARMUP, (steps - step) / (FALLING * steps))
        for optimiser, peak in zip(optimisers, (MUON_RATE, ADAM_RATE), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = share * peak
        rows = draw()
        device = network.letters.device
        logits = network(rows.ids.to(device)).flatten(0, 1)
        loss = F.cross_entropy(logits, rows.targets.to(device).flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(chain(inside, rest), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        losses[step] = loss.detach()
    return losses


def _drawn(data: Data, n: int, generator: np.random.Generator) -> Rows:
    """So many rows by a generator."""
    check_memory(64 * n * TASK.length, f"{n} rows", "Ask for fewer.")
    if data == "stretches":
        return TASK.draw(n, generator, False)
    first = len(TASK.vocabulary) - len(TASK.words)
    letters = generator.random((n, len(TASK.words))).argsort(axis=1)[:, : 2 * N_PAIRS] + first
    length = (TASK.length - 1) // 2
    chosen = generator.integers(0, N_PAIRS, (n, length))
    earlier = np.tril(chosen[:, :, None] == chosen[:, None, :], -1).any(axis=2)
    pairs = np.take_along_axis(letters.reshape(n, N_PAIRS, 2), chosen[:, :, None], axis=1)
    ids, targets = np.zeros((2, n, 1 + 2 * length), int)
    ids[:, 1:] = pairs.reshape(n, -1)
    targets[:] = NOT_ASKED
    targets[:, 1::2] = np.where(earlier, pairs[:, :, 1], NOT_ASKED)
    return Rows(torch.from_numpy(ids), torch.from_numpy(targets))


def _checked_ids(ids: object) -> Int[Tensor, "n time"]:
    rows = as_tensor(ids, name="ids")
    n, longest = len(TASK.vocabulary), TASK.length
    if rows.dtype not in (torch.int64, torch.int32) or rows.ndim != 2 or not rows.numel():
        raise ValueError(
            f"`ids` must be whole numbers of shape (n, time), got {rows.dtype} {tuple(rows.shape)}. "
            "Use what `rows(n)` returns."
        )
    if rows.shape[1] > longest or int(rows.min()) < 0 or int(rows.max()) >= n:
        raise ValueError(
            f"`ids` must be between 0 and {n - 1}, at most {longest} a row, got {int(rows.min())} to "
            f"{int(rows.max())} in rows of {rows.shape[1]}."
        )
    return rows


def _answers(ids: Int[Tensor, " time"], targets: Int[Tensor, " time"]) -> Any:
    """Open circles where an induction head looks: the first copy of the letter asked for."""
    from sae_nb.figures import line, theme

    now = (targets != NOT_ASKED).nonzero()[:, 0].tolist()
    there = [ids.tolist().index(int(targets[t])) for t in now]
    return line(
        "answer",
        there,
        now,
        colour=theme.PALETTE[1],
        symbol="circle-open",
        size=7,
        width=0,
        showlegend=False,
        hoverinfo="skip",
    )
