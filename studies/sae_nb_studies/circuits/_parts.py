"""Parameter decomposition: matrices as sums of rank-one parts, of which any one input needs few.

W = Σ_c v_c u_cᵀ for each chosen matrix (y = x W). Part c matters on an input by g_c in [0, 1], which a small
network of its own gives; it sees v_cᵀ x. Parts and networks are trained together: with every part multiplied
by a number drawn from [g_c, 1], the answers must stay; the sum of all g^p is to be small; parts add up to W.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, kl_div, log_softmax

from sae_nb.background import checkpoint
from sae_nb.checks import Count, Positive, Seed, Weight, at_least, check_finite, checked, shown
from sae_nb.evaluation import match_atoms
from sae_nb.findings import Finding
from sae_nb.progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd

Divergence = Literal["mse", "kl"]

ALIVE_FROM = 0.1
"""Importance that a part must exceed on some input to count [code]."""

HIDDEN, LEAK = 16, 0.01
"""GELUs of each part's network, and the slope by which a hard sigmoid still learns beyond its ends [code]."""

WARM_UP, WARM_RATE, WARM_DECAY = 200, 0.01, 0.1
"""Steps in which parts learn to add up before anything else, their rate and weight decay [code]."""

FIRST_P = 2.0
"""Power of the importance at first; it falls to `p` in the first half of the steps. Ours: at 1 from the start,
one part held two true ones more often.
"""

CHECKED_ROWS = 4096
"""Inputs at most on which parts are counted and compared."""

N_RANDOM = 20
"""Draws of random parts: the floor of a match."""


class PartMatch(Finding):
    """Parts of a matrix next to those that are true of it; made by `WeightParts.match`."""

    HEADLINE = (
        "{layer}: {n_alive} parts alive for {cosines.len} true ones, mean cosine {value:.3f} (random parts of "
        "the same sum {random:.3f}, singular vectors {singular:.3f})"
    )

    layer: str
    n_alive: int
    matched: Int[np.ndarray, " n_true"]
    """The part of each true one, none twice; −1 where there are too few."""

    cosines: Float[np.ndarray, " n_true"]
    """Of whole matrices, with sign; 0 for one that is left over."""

    random: float
    """Mean cosine of as many random rank-one parts with the same sum, over draws: the floor."""

    singular: float
    """Mean cosine of the parts of the singular value decomposition, at most as many as the matrix has ranks."""

    @property
    def value(self) -> float:
        """Mean cosine."""
        return float(self.cosines.mean())


class WeightParts(Finding):
    """Rank-one parts of a module's matrices, and on which inputs each matters; made by `decompose_weights`.

    In every layer the parts that are alive come first, the largest first.
    """

    layers: tuple[str, ...]
    reads: Mapping[str, Float[Tensor, "parts d_in"]]
    writes: Mapping[str, Float[Tensor, "parts d_out"]]
    """Part c is v_c u_cᵀ; of an embedding, d_in is its number of tokens."""

    n_alive: Mapping[str, int]
    """Parts whose importance exceeds 0.1 on some of the inputs given."""

    faithfulness: Mapping[str, float]
    """Share of the matrix that the sum of all parts leaves over: ‖W − Σ v uᵀ‖² / ‖W‖²."""

    losses: Float[np.ndarray, " starts"]
    """Loss of every start over the last tenth of the steps; the lowest was kept."""

    runs: _Runs
    """The module with its parts in place."""

    @property
    def headline(self) -> str:
        """Parts alive and what they leave over, per layer."""
        parts = (
            f"{name}: {self.n_alive[name]} of {len(read)} parts alive, {self.faithfulness[name]:.1e} left over"
            for name, read in self.reads.items()
        )
        return "; ".join(parts)

    @property
    def parts(self) -> dict[str, Float[Tensor, "parts d_in d_out"]]:
        """The parts as matrices, by layer."""
        return {n: self.reads[n][:, :, None] * self.writes[n][:, None] for n in self.layers}

    @checked
    def importance(self, inputs: Tensor) -> dict[str, Float[Tensor, "n ... parts"]]:
        """Return how much each part matters on each input, 0 to 1, by layer."""
        clean = self.runs.clean(_inputs(inputs))
        with torch.no_grad():
            return {
                site.name: site.gate(clean.seen[site.name][None])[0].clamp(0, 1)
                for site in self.runs.sites
            }

    @checked
    def match(
        self, true: Float[Tensor, "n_true d_in d_out"], layer: str | None = None
    ) -> PartMatch:
        """Pair parts that are alive with true ones, each once, so that the sum of cosines is largest.

        Parameters
        ----------
        layer
            None: the only one.

        Raises
        ------
        ValueError: If the layer is not one of those decomposed, or the true parts are of another shape.
        """
        name = self._one(layer)
        weight = self.runs.site(name).weight
        if true.shape[1:] != weight.shape or not len(true):
            raise ValueError(
                f"`true` must be matrices of shape {tuple(weight.shape)}, got {tuple(true.shape)}. "
                "Pass them as (parts, d_in, d_out)."
            )
        n_alive = self.n_alive[name]
        matched, cosines = _matched(true, self.parts[name][:n_alive])
        draws = (random_parts(weight, len(self.reads[name]), seed=seed) for seed in range(N_RANDOM))
        return PartMatch(
            layer=name,
            n_alive=n_alive,
            matched=matched,
            cosines=cosines,
            random=float(np.mean([_matched(true, one)[1].mean() for one in draws])),
            singular=float(_matched(true, singular_parts(weight))[1].mean()),
        )

    @checked
    def check(self, inputs: Tensor, *, seed: Seed = 0) -> pd.DataFrame:
        """Return how far the answers are off with parts weighted in some ways: `way`, `error`.

        "importance": each part by its own importance on the input. "of other inputs": by that of an input drawn
        at random, the control. "all parts", "no parts".
        """
        import pandas as pd

        x = _inputs(inputs)
        gates = self.importance(x)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        ways = {
            "importance": gates,
            "of other inputs": {name: g[order] for name, g in gates.items()},
            "all parts": {name: torch.ones_like(g) for name, g in gates.items()},
            "no parts": {name: torch.zeros_like(g) for name, g in gates.items()},
        }
        clean = self.runs.clean(x)
        with torch.no_grad():
            errors = [float(self.runs.error(clean, _one_start(g))) for g in ways.values()]
        return pd.DataFrame({"way": list(ways), "error": errors})

    @checked
    def figure(self, layer: str | None = None, n: Count = 6) -> Any:
        """Draw a matrix, and its parts that are alive, the largest `n`, on one scale of colours."""
        from sae_nb.figures import heatmaps

        name = self._one(layer)
        drawn = {"weights": self.runs.site(name).weight} | {
            f"part {i}": part
            for i, part in enumerate(self.parts[name][: min(n, self.n_alive[name])])
        }
        top = max(float(matrix.abs().max()) for matrix in drawn.values())
        return heatmaps(
            {title: matrix.numpy() for title, matrix in drawn.items()},
            ends=(-top, top),
            hover="input %{y}, output %{x}: %{z:.2f}",
            bar="weight",
            signed=True,
            y="input",
            height=260,
        )

    @checked
    def importance_figure(self, inputs: Tensor, n: Count = 12) -> Any:
        """Draw how much parts matter on each of some inputs, a row each; the first `n` parts of a layer."""
        from sae_nb.figures import heatmaps

        gates = {
            name: g[..., :n].flatten(0, -2).numpy() for name, g in self.importance(inputs).items()
        }
        return heatmaps(
            {f"part of {name}": g for name, g in gates.items()},
            ends=(0, 1),
            hover="input %{y}, part %{x}: importance %{z:.2f}",
            bar="importance",
            y="input",
            height=260,
        )

    def _one(self, layer: str | None) -> str:
        if layer is None and len(self.layers) == 1:
            return self.layers[0]
        if layer not in self.layers:
            raise ValueError(
                f"`layer` must be one of {list(self.layers)}, got {layer!r}. Name one."
            )
        return layer


@checked
def decompose_weights(
    module: nn.Module,
    inputs: Tensor,
    layers: Sequence[str] | None = None,
    *,
    n_components: Count = 20,
    coefficient: Weight = 3e-3,
    p: Positive = 1.0,
    divergence: Divergence = "mse",
    read: Callable[[Any], Tensor] | None = None,
    steps: Annotated[int, at_least(10)] = 2000,
    batch_size: Count = 256,
    learning_rate: Positive = 0.01,
    n_starts: Count = 3,
    seed: Seed = 0,
    progress: bool = False,
) -> WeightParts:
    """Decompose matrices of a module into rank-one parts, so that each input needs few of them.

    Loss: mean of (W − Σ v uᵀ)² over mean of W², for all matrices; divergence of the answers with all layers
    masked; the same with one layer masked at a time, on average; coefficient · Σ of the mean of g^p over all
    parts. The module itself is never changed.

    Parameters
    ----------
    module
        On the CPU, fp32; it is run in evaluation mode.
    inputs
        (n, …), what the module is called with; batches are drawn from them.
    layers
        Names of `Linear`, `Embedding` or GPT-2's `Conv1D` modules; None: all of them.
    n_components
        Parts per matrix, several times as many as are expected: parts that share a true one merge, but a true
        one without a part of its own stays without.
    coefficient, p
        Of the importance. Too little leaves many parts for one thing, too much switches off parts that matter.
    divergence
        "mse", or "kl" of logits.
    read
        Takes what is compared out of the module's output, (n, …). None: the output, or its `logits`.
    n_starts
        Trained side by side; the one with the lowest loss is kept.

    Raises
    ------
    ValueError: If there is no such layer, a matrix has more ranks than there are parts, or inputs or losses
        are not finite.

    Source
    ------
    Stochastic parameter decomposition: Bushnaq, Braun and Sharkey, arXiv 2506.20790, after Braun et al., arXiv
    2501.14926 (by attributions, not made here). [code], read in the authors' `goodfire-ai/spd`: losses, masks,
    leaky hard sigmoids, networks of 16 GELUs, start and warm-up of the parts, cosine rate; 20 parts,
    coefficient 3e-3 and p = 1 for five features in two dimensions (200, 1e-4 and 2 for 40 in 10). There 40,000
    steps of 4096 inputs (later 10,000) at a rate of 1e-3. [ours]: 2000 of 256 at 1e-2; several starts; matrices
    in units of their root mean square; p falls from 2 in the first half; whole parts matched one to one. The
    later variant with adversarial masks (VPD, 2026) [secondary] is not made here.

    Example
    -------
    >>> toy = nn.Sequential(nn.Linear(3, 3, bias=False), nn.ReLU())
    >>> x = torch.rand(512, 3) * (torch.rand(512, 3) < 0.2)
    >>> found = decompose_weights(toy, x, ["0"], n_components=9, steps=20, n_starts=1)
    >>> found.parts["0"].shape, found.importance(x)["0"].shape
    (torch.Size([9, 3, 3]), torch.Size([512, 9]))
    """
    x = _inputs(inputs)
    generator = torch.Generator().manual_seed(seed)
    sites = [
        _Site(name, layer, n_starts, n_components, generator)
        for name, layer in _layers(module, layers, n_components).items()
    ]
    runs = _Runs(module, sites, divergence, read)
    with torch.enable_grad():
        _add_up(sites)
        losses = _descend(
            runs, x, generator, coefficient, p, steps, batch_size, learning_rate, progress
        )
    best = int(losses.argmin())
    some = x[:CHECKED_ROWS]
    clean = runs.clean(some)
    n_alive = {site.name: site.settle(best, clean.seen[site.name]) for site in sites}
    return WeightParts(
        layers=tuple(site.name for site in sites),
        reads={site.name: site.read[0].detach().T for site in sites},
        writes={site.name: site.write[0].detach() * site.scale for site in sites},
        n_alive=n_alive,
        faithfulness={site.name: float(site.rest().detach().square().mean()) for site in sites},
        losses=losses.numpy(),
        runs=runs,
    )


def random_parts(
    weight: Float[Tensor, "d_in d_out"], n: int, *, seed: int = 0
) -> Float[Tensor, "n d_in d_out"]:
    """Return random rank-one parts whose sum is a matrix: drawn on its narrower side, solved for on the other.

    Raises
    ------
    ValueError: If they are fewer than the matrix has ranks.
    """
    if n < min(weight.shape):
        raise ValueError(
            f"`n` must be at least {min(weight.shape)}, the ranks of the matrix, got {n}. Pass more."
        )
    if weight.shape[0] < weight.shape[1]:
        return random_parts(weight.T, n, seed=seed).mT
    drawn = torch.randn(n, weight.shape[1], generator=torch.Generator().manual_seed(seed))
    solved = weight @ torch.linalg.pinv(drawn)
    return solved.T[:, :, None] * drawn[:, None]


def singular_parts(weight: Float[Tensor, "d_in d_out"]) -> Float[Tensor, "n d_in d_out"]:
    """Return the parts of a matrix's singular value decomposition, the largest first."""
    u, s, vh = torch.linalg.svd(weight, full_matrices=False)
    return (u * s).T[:, :, None] * vh[:, None]


def _matched(
    true: Float[Tensor, "n_true d_in d_out"], parts: Float[Tensor, "n d_in d_out"]
) -> tuple[Int[np.ndarray, " n_true"], Float[np.ndarray, " n_true"]]:
    matched, cosines = np.full(len(true), -1), np.zeros(len(true))
    if len(parts):
        rows, columns, found = match_atoms(true.float().flatten(1), parts.flatten(1))
        matched[rows], cosines[rows] = columns, found
    return matched, cosines


def _inputs(inputs: Tensor) -> Tensor:
    if inputs.ndim < 1 or not len(inputs):
        raise ValueError(f"`inputs` must be at least one, got shape {tuple(inputs.shape)}.")
    if inputs.is_floating_point():
        check_finite(inputs, name="inputs")
    return inputs.detach()


def _layers(module: nn.Module, names: Sequence[str] | None, n: int) -> dict[str, nn.Module]:
    there = {name: part for name, part in module.named_modules() if _is_matrix(part)}
    wanted = list(there) if names is None else [names] if isinstance(names, str) else list(names)
    unknown = [name for name in wanted if name not in there]
    if unknown or not wanted or len(set(wanted)) < len(wanted):
        raise ValueError(
            f"`layers` must name linear layers or embeddings of the module, each once, got {shown(names)}. "
            f"There are {shown(list(there))}."
        )
    for name in wanted:
        ranks = min(there[name].weight.shape)
        if n < ranks:
            raise ValueError(
                f"`n_components` must be at least {ranks}, the ranks of {name!r}, got {n}. Pass more."
            )
    return {name: there[name] for name in wanted}


def _is_matrix(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear | nn.Embedding) or type(part).__name__ == "Conv1D"


def _one_start(gates: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: gate.flatten(0, -2)[None] for name, gate in gates.items()}


# -------------------------------------------------------------------------------------------------
# Parts of one matrix, and the module with parts in place. Several starts are the first axis.


class _Site:
    """Parts of one layer and the networks of their importance; `S` starts at once.

    `write` is in units of the matrix's root mean square: its rate of learning, and what being unfaithful costs,
    are then the same for small and large matrices.
    """

    def __init__(
        self, name: str, layer: nn.Module, n_starts: int, n: int, generator: torch.Generator
    ) -> None:
        self.name, self.layer = name, layer
        self.embeds = isinstance(layer, nn.Embedding)
        weight = layer.weight.detach().float().cpu()  # type: ignore[operator]
        self.weight = weight.T.contiguous() if isinstance(layer, nn.Linear) else weight
        self.scale = float(weight.square().mean().sqrt().clamp(min=1e-12))
        bias = getattr(layer, "bias", None)
        self.bias = 0.0 if bias is None else bias.detach()
        d_in, d_out = self.weight.shape

        def drawn(*shape: int) -> Tensor:
            return torch.randn(n_starts, *shape, generator=generator)

        read = drawn(d_in, n)
        read /= read.norm(dim=1, keepdim=True)
        write = drawn(n, d_out)
        write /= write.norm(dim=2, keepdim=True)
        write *= torch.einsum("sco,io,sic->sc", write, self.weight / self.scale, read)[..., None]
        self.read, self.write = read, write
        self.into, self.offset = drawn(n, HIDDEN) * 2**0.5, torch.zeros(n_starts, n, HIDDEN)
        self.out, self.last = drawn(n, HIDDEN) / HIDDEN**0.5, torch.zeros(n_starts, n)
        for parameter in self.parameters:
            parameter.requires_grad_()

    @property
    def parameters(self) -> list[Tensor]:
        return [self.read, self.write, self.into, self.offset, self.out, self.last]

    def inner(self, x: Tensor) -> Float[Tensor, "S n parts"]:
        """v_cᵀ x, of rows or of token ids; one start's inputs serve all."""
        if self.embeds:
            ids = x.expand(len(self.read), *x.shape[1:])
            return torch.stack([v[i] for v, i in zip(self.read, ids, strict=True)])
        return x.flatten(1, -2) @ self.read if x.ndim > 3 else x @ self.read

    def gate(self, x: Tensor) -> Float[Tensor, "S ... parts"]:
        """Importance before its hard sigmoid."""
        h = self.inner(x)
        flat = h.flatten(1, -2)[..., None]
        hidden = gelu(flat * self.into[:, None] + self.offset[:, None])
        raw = (hidden * self.out[:, None]).sum(dim=-1) + self.last[:, None]
        shape = x.shape[1:] if self.embeds else x.shape[1:-1]
        return raw.reshape(len(raw), *shape, raw.shape[-1])

    def answer(self, x: Tensor, mask: Float[Tensor, "S n parts"]) -> Tensor:
        """What the layer gives with its parts masked; inputs of all starts follow one another."""
        n_starts = len(self.read)
        x = x.reshape(n_starts, -1) if self.embeds else x.reshape(n_starts, -1, x.shape[-1])
        return (self.inner(x) * mask) @ self.write * self.scale + self.bias

    def rest(self) -> Float[Tensor, "S d_in d_out"]:
        """What is left over of the matrix, in units of its root mean square."""
        return self.weight / self.scale - self.read @ self.write

    @torch.no_grad()
    def settle(self, best: int, seen: Tensor) -> int:
        """Keep one start, order its parts, and return how many are alive."""
        for name in ("read", "write", "into", "offset", "out", "last"):
            setattr(self, name, getattr(self, name)[best : best + 1].detach())
        size = self.read.norm(dim=1)[0] * self.write.norm(dim=2)[0]
        alive = self.gate(seen[None]).flatten(0, -2).amax(dim=0) > ALIVE_FROM
        order = (size + alive * 2 * size.max()).argsort(descending=True, stable=True)
        self.read = self.read[:, :, order]
        for name in ("write", "into", "offset", "out", "last"):
            setattr(self, name, getattr(self, name)[:, order])
        return int(alive.sum())


class _Clean:
    """Inputs, what each layer reads of them, and the module's own answers."""

    def __init__(self, x: Tensor, seen: dict[str, Tensor], answers: Tensor) -> None:
        self.x, self.seen, self.answers = x, seen, answers


class _Runs:
    """A module, run as it is or with some of its layers in parts."""

    def __init__(
        self,
        module: nn.Module,
        sites: list[_Site],
        divergence: Divergence,
        read: Callable[[Any], Tensor] | None,
    ) -> None:
        self.module, self.sites, self.divergence, self.read = module, sites, divergence, read

    def site(self, name: str) -> _Site:
        return next(site for site in self.sites if site.name == name)

    def clean(self, x: Tensor) -> _Clean:
        seen: dict[str, Tensor] = {}

        def noted(site: _Site) -> Callable[..., None]:
            def note(_: nn.Module, args: tuple[Tensor, ...], __: Tensor) -> None:
                seen[site.name] = args[0].detach()

            return note

        with torch.no_grad(), self._hooked({site: noted(site) for site in self.sites}):
            answers = self._read(self.module(x), len(x))
        return _Clean(x, {site.name: seen[site.name] for site in self.sites}, answers)

    def error(
        self, clean: _Clean, masks: Mapping[str, Float[Tensor, "S n parts"]]
    ) -> Float[Tensor, " S"]:
        """Divergence of the answers with these layers in masked parts, for every start."""
        n_starts = len(next(iter(masks.values())))

        def put(site: _Site) -> Callable[..., Tensor]:
            def exchange(_: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
                return site.answer(args[0], masks[site.name]).reshape(out.shape)

            return exchange

        with self._hooked({site: put(site) for site in self.sites if site.name in masks}):
            x = clean.x.repeat(n_starts, *[1] * (clean.x.ndim - 1))
            found = self._read(self.module(x), len(x))
        found = found.reshape(n_starts, *clean.answers.shape)
        if self.divergence == "mse":
            return (found - clean.answers).square().flatten(1).mean(dim=1)
        logs = log_softmax(clean.answers, dim=-1).expand_as(found)
        each = kl_div(log_softmax(found, dim=-1), logs, reduction="none", log_target=True)
        return each.sum(dim=-1).flatten(1).mean(dim=1)

    @contextmanager
    def _hooked(self, hooks: Mapping[_Site, Callable[..., Any]]) -> Iterator[None]:
        training = self.module.training
        handles = [site.layer.register_forward_hook(hook) for site, hook in hooks.items()]
        try:
            self.module.eval()
            yield
        finally:
            self.module.train(training)
            for handle in handles:
                handle.remove()

    def _read(self, output: Any, n: int) -> Tensor:
        found = self.read(output) if self.read else getattr(output, "logits", output)
        if not isinstance(found, Tensor) or found.shape[:1] != (n,):
            raise ValueError(
                f"`read` must take a tensor with a row per input out of the output, got {shown(found)}. "
                "Pass `read=lambda output: …`."
            )
        return found


class _Hard(torch.autograd.Function):
    """Hard sigmoid that, below 0, still learns to rise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,), (grad,) = ctx.saved_tensors, grads
        below = torch.where(grad > 0, LEAK * grad, 0.0)
        return torch.where(x <= 0, below, torch.where(x <= 1, grad, 0.0))


def _penalised(gate: Tensor) -> Tensor:
    """Hard sigmoid that, above 1, still learns to fall."""
    return torch.where(gate > 1, 1 + LEAK * (gate - 1), gate.clamp(0, 1))


def _unfaithful(sites: Sequence[_Site]) -> Float[Tensor, " S"]:
    """Squared error of the sums, relative to the matrices, over all their numbers."""
    total = sum(site.weight.numel() for site in sites)
    return torch.stack([site.rest().square().sum(dim=(1, 2)) for site in sites]).sum(dim=0) / total


def _add_up(sites: Sequence[_Site]) -> None:
    """Have parts add up before anything else is asked of them."""
    parameters = [parameter for site in sites for parameter in (site.read, site.write)]
    optimiser = torch.optim.AdamW(parameters, lr=WARM_RATE, weight_decay=WARM_DECAY)
    for _ in range(WARM_UP):
        _step(optimiser, parameters, _unfaithful(sites).sum())


def _step(optimiser: torch.optim.Optimizer, parameters: list[Tensor], loss: Tensor) -> None:
    """One step whose gradients never reach the module."""
    grads = torch.autograd.grad(loss, parameters)
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad
    optimiser.step()


def _descend(
    runs: _Runs,
    x: Tensor,
    generator: torch.Generator,
    coefficient: float,
    p: float,
    steps: int,
    batch_size: int,
    rate: float,
    progress: bool,
) -> Float[Tensor, " S"]:
    """Train all starts; return the loss of each over the last tenth of the steps."""
    sites = runs.sites
    parameters = [parameter for site in sites for parameter in site.parameters]
    optimiser = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    last: list[Tensor] = []
    with progress_bar(steps, "parts", "step", enabled=progress) as bar:
        for step in range(steps):
            checkpoint()
            rows = torch.randint(len(x), (batch_size,), generator=generator)
            power = p + (FIRST_P - p) * max(0.0, 1 - 2 * step / steps)
            loss = _loss(runs, runs.clean(x[rows]), generator, coefficient, power)
            _step(optimiser, parameters, loss.sum())
            schedule.step()
            if step >= steps - steps // 10:
                last.append(loss.detach())
            bar.update()
    found = torch.stack(last).mean(dim=0)
    check_finite(found, name="loss")
    return found


def _loss(
    runs: _Runs, clean: _Clean, generator: torch.Generator, coefficient: float, p: float
) -> Float[Tensor, " S"]:
    """Loss of every start on one batch."""
    raw = {site.name: site.gate(clean.seen[site.name][None]).flatten(1, -2) for site in runs.sites}
    gates = {name: _Hard.apply(gate) for name, gate in raw.items()}  # type: ignore[no-untyped-call]

    def masks() -> dict[str, Tensor]:
        return {
            name: g + (1 - g) * torch.rand(g.shape, generator=generator)
            for name, g in gates.items()
        }

    off = runs.error(clean, masks())
    if len(runs.sites) > 1:
        each = [runs.error(clean, {name: mask}) for name, mask in masks().items()]
        off = off + torch.stack(each).mean(dim=0)
    needed = [(_penalised(g) + 1e-12).pow(p).mean(dim=1).sum(dim=1) for g in raw.values()]
    return _unfaithful(runs.sites) + off + coefficient * torch.stack(needed).sum(dim=0)
