"""Exercises of notebook 02: an SAE in plain torch, part by part, then trained, judged and broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from sae_nb.architectures import TopK
from sae_nb.evaluation import explained_variance
from sae_nb_lessons.exercises._answers import (
    Form,
    WrongForm,
    describe,
    function,
    number,
    tensor,
    words,
)
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._limits import TRAINING
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose
from sae_nb_lessons.studies import (
    OwnSAE,
    hidden_rows,
    on_features,
    own_sae,
)
from sae_nb_lessons.studies._own_sae import (
    N_ATOMS,
    N_ON,
    TURN,
    encode,
    Parameters,
    Train,
    random_cosine,
    raw_cosine,
    replacements,
    unit_rows,
)

EXACT = 1e-6
LENGTHS_OFF, FOUND, GOAL, K = 0.01, 0.95, 0.95, 20
SHORT = 300
"""Steps of the loop when it is checked."""

L1 = 0.01
SCALE = 0.1
"""Of the rows on which atoms die: no code on them reaches 1."""

JUMP = 0.5
"""Length of a change that no step of Adam makes in an atom at the asked rate: it was replaced."""


def parameters(n_atoms: int | None = None, d: int | None = None) -> Form:
    """Ask for the tensors E, a, D, b of an SAE."""
    sizes = f" of {n_atoms} atoms and width {d}" if n_atoms else ""
    says = f"four tensors E (n, d), a (n,), D (n, d), b (d,){sizes}"

    def convert(answer: Any) -> Parameters:
        if not isinstance(answer, tuple | list) or len(answer) != 4:
            raise WrongForm(f"expected {says}, got {describe(answer)}")
        E, a, D, b = (
            tensor(*shape).read(part).float()
            for part, shape in zip(answer, (("n", "d"), ("n",), ("n", "d"), ("d",)), strict=True)
        )
        if E.shape != D.shape or (len(a), len(b)) != tuple(D.shape):
            shapes = ", ".join(str(tuple(part.shape)) for part in (E, a, D, b))
            raise WrongForm(f"expected {says}, got the shapes {shapes}")
        if n_atoms is not None and D.shape != (n_atoms, d):
            raise WrongForm(f"expected {says}, got D of shape {tuple(D.shape)}")
        return E, a, D, b

    return Form(says=says, convert=convert)


# --- 02.1: the encoder ----------------------------------------------------------------------------


def _encoder_slips() -> tuple[Slip, ...]:
    def made(change: str, x: Tensor, E: Tensor, a: Tensor, b: Tensor, k: int) -> Tensor:
        u = (x if change == "centre" else x + b if change == "plus" else x - b) @ E.T
        u = u if change == "offset" else u - a if change == "minus" else u + a
        if change in ("more", "fewer"):
            k += 1 if change == "more" else -1
        if change == "late":  # chosen without the offset
            chosen = ((x - b) @ E.T).topk(k, dim=1).indices
            return torch.zeros_like(u).scatter(1, chosen, u.gather(1, chosen).relu())
        if change == "three":
            k = 3
        if change == "columns":
            values, rows = u.topk(min(k, len(x)), dim=0)
            return torch.zeros_like(u).scatter(0, rows, values.relu())
        by = u.abs() if change == "size" else -u if change == "smallest" else u
        atoms = by.topk(k, dim=1).indices
        kept = u.gather(1, atoms)
        if change == "mask":
            return torch.zeros_like(u).scatter(1, atoms, 1.0)
        if change == "signed":
            return torch.zeros_like(u).scatter(1, atoms, kept)
        if change == "all":
            return u.relu()
        if change == "batch":
            least = u.flatten().topk(k * len(x)).values.min()
            return torch.where(u >= least, u, 0.0).relu()
        return torch.zeros_like(u).scatter(1, atoms, kept.relu())

    told = {
        "centre": ("The bias b is not subtracted from x first.", "`x - b` comes before the product."),
        "plus": ("You add b to x; the encoder subtracts it.", "The decoder adds b, so the encoder begins with `x - b`."),
        "offset": ("The encoder's own offset a is missing.", "One number per atom, added after the product."),
        "minus": ("You subtract a; it is added.", "u = (x − b)Eᵀ + a."),
        "three": ("Yours keeps three atoms, whatever k is.", "`topk(k, dim=1)`."),
        "columns": ("You choose k rows for each atom. Each row chooses k atoms.", "`dim=1` runs over atoms, `dim=0` over rows."),
        "late": ("You choose the k atoms before adding a.", "a belongs to the pre-codes: add it, then choose."),
        "signed": ("Some of your codes are negative: a row with fewer than k positive pre-codes keeps fewer.", "`.relu()` of what was kept."),
        "all": ("You keep every positive pre-code, not k of them: that is a ReLU SAE.", "`u.topk(k, dim=1)` gives values and indices."),
        "batch": ("You keep k per row on average, over all rows together. That is BatchTopK.", "Each row chooses its own: `dim=1`."),
        "more": ("You keep k + 1 in each row.", "`topk(k)` is k of them, the first included."),
        "fewer": ("You keep k − 1 in each row.", "`topk(k)` is k of them; a slice `[:k - 1]` is one fewer."),
        "size": ("You choose the largest by size, so strongly negative ones take places.", "`u.topk(k, dim=1)`, without `abs`."),
        "smallest": ("You keep the k smallest.", "`topk` gives the largest as it is."),
        "mask": ("You return which atoms are on, and not how strongly.", "Put the values back at their indices: `scatter(1, indices, values)`."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, change)) for change, texts in told.items())


def _given(seed: int, n: int = 6, d: int = 5, n_atoms: int = 12) -> tuple[Tensor, ...]:
    draws = torch.Generator().manual_seed(seed)
    x, E = torch.randn(n, d, generator=draws), torch.randn(n_atoms, d, generator=draws)
    a, b = torch.randn(n_atoms, generator=draws) - 1, torch.randn(d, generator=draws)
    return x, E, a, b


def _toolkit_codes(x: Tensor, E: Tensor, a: Tensor, b: Tensor, k: int) -> Tensor:
    """Return what `sn.TopK` with the same numbers encodes."""
    sae = TopK(x.shape[1], len(E), k, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sae.encoder.weight.copy_(E)
        sae.encoder.bias.copy_(a)
        sae.pre_bias.copy_(b)
        return sae.encode(x).to_dense()


def _judge_encoder(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {
        f"{len(x)} rows and k = {k}": (x, E, a, b, k)
        for (x, E, a, b), k in ((_given(0), 3), (_given(1, n=4), 8))
    }
    x, E, *rest = next(iter(cases.values()))
    return diagnose(mine, _toolkit_codes, cases, _encoder_slips(), atol=EXACT) or _no_slope(
        mine(x, E.requires_grad_(), *rest)
    )


def _attached(form: Form) -> Form:
    """Ask for the same, and keep a tensor as it is, with the graph that its gradient runs through."""

    def convert(answer: Any) -> Any:
        value = form.read(answer)
        return answer if isinstance(answer, Tensor) else value

    return Form(says=form.says, convert=convert)


def _no_slope(answer: Any) -> Mistake | None:
    """Return what is wrong with a result that cannot be trained through."""
    if isinstance(answer, Tensor) and answer.requires_grad:
        return None
    return Mistake(
        "The numbers are right, and no gradient can pass through them: the loop of 02.5 could not train.",
        "Stay in torch: no `torch.no_grad()`, `.detach()`, `.item()`, `float(…)` or numpy.",
    )


# --- 02.2: the loss -------------------------------------------------------------------------------


def _left(x: Tensor, x_hat: Tensor) -> float:
    return 1 - explained_variance(x, x_hat)


_LOSS_SLIPS = (
    Slip("This is the mean squared error: in which unit is it?", "Divide by how much there was to explain: Σ‖x − mean‖².", lambda x, y: (x - y).square().mean()),
    Slip("This is a sum of squares: twice the rows, twice the loss.", "Divide by how much there was to explain: Σ‖x − mean‖².", lambda x, y: (x - y).square().sum()),
    Slip("You divide by Σ‖x‖², so a bias alone would look like a good SAE.", "Subtract the mean of the rows first: `x - x.mean(dim=0)`.", lambda x, y: (x - y).square().sum() / x.square().sum()),
    Slip("You subtract one mean over all numbers; each of the d has its own.", "`x.mean(dim=0)`.", lambda x, y: (x - y).square().sum() / (x - x.mean()).square().sum()),
    Slip("You subtract each row's own mean.", "The mean is over rows: `dim=0`.", lambda x, y: (x - y).square().sum() / (x - x.mean(dim=1, keepdim=True)).square().sum()),
    Slip("This is R², what is explained: a loss must fall.", "1 minus that.", lambda x, y: 1 - (x - y).square().sum() / (x - x.mean(dim=0)).square().sum()),
    Slip("You take a mean of each row's own ratio: quiet rows then count as much as loud ones.", "Sum above and below, then divide once.", lambda x, y: ((x - y).square().sum(1) / (x - x.mean(0)).square().sum(1)).mean()),
    Slip("`x.var` divides by one less than the number of rows.", "`x.var(dim=0, unbiased=False)`, or the sums.", lambda x, y: (x - y).square().mean() / x.var(dim=0).mean()),
    Slip("You divide lengths, not squares: that is the root.", "`.square().sum()`, without a root.", lambda x, y: (x - y).norm() / (x - x.mean(dim=0)).norm()),
    Slip("You use sizes, not squares.", "`.square()` in the place of `.abs()`.", lambda x, y: (x - y).abs().sum() / (x - x.mean(dim=0)).abs().sum()),
    Slip("You divide by the spread of the reconstruction, which is smaller than the truth's.", "The denominator holds x alone.", lambda x, y: (x - y).square().sum() / (y - y.mean(dim=0)).square().sum()),
)  # fmt: skip


def _judge_loss(mine: Callable[..., Any]) -> Mistake | str | None:
    cases = {}
    for seed, n in ((0, 6), (1, 9)):
        x, *_ = _given(seed, n=n)
        x = 2 * x + torch.arange(5)
        x_hat = 0.7 * x + 0.1 * x.flip(0)
        cases[f"{n} rows"] = (x, x_hat)
    wrong = diagnose(mine, _left, cases, _LOSS_SLIPS, atol=EXACT)
    return wrong or _no_slope(mine(x, x_hat.requires_grad_()))


# --- 02.3: unit norm ------------------------------------------------------------------------------

_UNIT_SLIPS = (
    Slip("You divide by the columns' lengths; an atom is a row.", "`dim=1`.", lambda D: D / D.norm(dim=0)),
    Slip("Without `keepdim` the lengths are a row, and divide the columns.", "`D.norm(dim=1, keepdim=True)`", lambda D: D / D.norm(dim=1)),
    Slip("You divide all by one length, that of the whole matrix.", "One length per row: `dim=1`.", lambda D: D / D.norm()),
    Slip("You divide by the squared lengths.", "A root: `D.norm(dim=1, keepdim=True)`.", lambda D: D / D.square().sum(1, keepdim=True)),
    Slip("You divide by the sum of sizes, so Σ|d| is 1 and the length is not.", "`norm` is the root of the sum of squares.", lambda D: D / D.abs().sum(1, keepdim=True)),
    Slip("You divide by the largest entry.", "By the length: `D.norm(dim=1, keepdim=True)`.", lambda D: D / D.abs().amax(1, keepdim=True)),
    Slip("You subtract each atom's mean and divide by its spread: another direction.", "An atom keeps its direction: only divide.", lambda D: (D - D.mean(1, keepdim=True)) / D.std(1, keepdim=True)),
    Slip("You return the lengths.", "Divide the rows by them.", lambda D: D.norm(dim=1)),
    Slip("You only shorten long atoms; short ones stay short.", "Every row gets length 1.", lambda D: D / D.norm(dim=1, keepdim=True).clamp(min=1)),
    Slip("All entries have become a sign.", "Divide by the length of the row.", lambda D: D.sign()),
    Slip("That is what came in.", "Divide each row by its length.", lambda D: D),
)  # fmt: skip


def _judge_unit(mine: Callable[..., Tensor]) -> Mistake | str | None:
    _, square, *_ = _given(0, n_atoms=5)
    _, wide, *_ = _given(1, d=4, n_atoms=7)
    cases = {
        "five atoms of width 5": (square,),
        "seven atoms of width 4": (3 * wide,),
        "five atoms shorter than 1": (0.1 * square,),
    }
    return diagnose(mine, unit_rows, cases, _UNIT_SLIPS)  # a small number may guard the division


# --- 02.4: where dead atoms go --------------------------------------------------------------------


def _of(rows: Tensor, by: Tensor, n: int, *, unit: bool = True, largest: bool = True) -> Tensor:
    found = rows[by.topk(n, largest=largest).indices]
    return unit_rows(found) if unit else found


_DEAD_SLIPS = (
    Slip("These are the inputs themselves. What the live atoms explain already needs no other atom.", "What is left: `x - x_hat`.", lambda x, y, n: _of(x, (x - y).norm(dim=1), n)),
    Slip("The worst rebuilt rows are right, their lengths are not 1.", "`unit_rows` of what you have.", lambda x, y, n: _of(x - y, (x - y).norm(dim=1), n, unit=False)),
    Slip("You take the rows that are rebuilt best.", "The largest residuals: `topk`.", lambda x, y, n: _of(x - y, (x - y).norm(dim=1), n, largest=False)),
    Slip("These are the right rows, the worst last.", "`topk` has the largest first; `argsort(descending=True)[:n]` too.", lambda x, y, n: _of(x - y, (x - y).norm(dim=1), n).flip(0)),
    Slip("You sort columns by their lengths; a row is one input.", "`left.norm(dim=1)`.", lambda x, y, n: _of(x - y, (x - y).norm(dim=0), n)),
    Slip("You divide by the lengths first: then all residuals are equally long.", "Choose first, then `unit_rows`.", lambda x, y, n: _of(unit_rows(x - y), unit_rows(x - y).norm(dim=1), n)),
    Slip("You take the longest inputs, not the worst rebuilt.", "Sort by the length of `x - x_hat`.", lambda x, y, n: _of(x - y, x.norm(dim=1), n)),
    Slip("They point away from what is left: the sign is turned.", "`x - x_hat`, not `x_hat - x`.", lambda x, y, n: _of(y - x, (x - y).norm(dim=1), n)),
    Slip("You rank rows by Σ|x − x̂|, not by length.", "`left.norm(dim=1)` is the root of the sum of squares.", lambda x, y, n: _of(x - y, (x - y).abs().sum(dim=1), n)),
    Slip("You return the reconstructions.", "What they lack: `x - x_hat`.", lambda x, y, n: _of(y, (x - y).norm(dim=1), n)),
    Slip("You take the first n rows.", "Those with the largest residual: `left.norm(dim=1).topk(n).indices`.", lambda x, y, n: unit_rows((x - y)[:n])),
    Slip("You take the last n rows.", "Those with the largest residual: `left.norm(dim=1).topk(n).indices`.", lambda x, y, n: unit_rows((x - y)[-n:])),
    Slip("All n are the same residual: dead atoms that return alike compete for one place.", "n different rows.", lambda x, y, n: _of(x - y, (x - y).norm(dim=1), 1).repeat(n, 1)),
    Slip("You return the lengths of residuals.", "The rows that have them.", lambda x, y, n: (x - y).norm(dim=1).topk(n).values),
)  # fmt: skip


def _judge_dead(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for seed, n in ((2, 3), (3, 2), (11, 4)):
        x, other, *_ = _given(seed, n=8, n_atoms=8)
        cases[f"8 rows, {n} dead atoms"] = (x, 0.5 * x + 0.4 * other, n)
    return diagnose(mine, replacements, cases, _DEAD_SLIPS, atol=EXACT)


# --- 02.5: the loop -------------------------------------------------------------------------------


@dataclass
class _Watch:
    """What an optimiser held before each of its steps: all that can be seen of a loop from outside."""

    kinds: list[str] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    held: list[list[Tensor]] = field(default_factory=list)
    slopes: list[list[Tensor]] = field(default_factory=list)

    def __call__(self, optimiser: Optimizer, *_: Any) -> None:
        groups = optimiser.param_groups
        given = [one for group in groups for one in group["params"] if one.grad is not None]
        decays = any(group.get("weight_decay") for group in groups)
        self.kinds.append(type(optimiser).__name__ + " with weight decay" * decays)
        self.rates.append(float(groups[0]["lr"]))
        self.held.append([one.detach().clone() for one in given])
        self.slopes.append([one.grad.clone() for one in given])

    def run(self, train: Train, *given: Any) -> Parameters:
        """Train, watched."""
        handle = register_optimizer_step_pre_hook(self)
        try:
            return train(*given)
        finally:
            handle.remove()

    def first(self, ndim: int, length: int) -> list[Tensor]:
        """Return the tensors of a size before the first step."""
        return [one for one in self.held[0] if one.ndim == ndim and len(one) == length]


def _judge_loop(train: Train) -> Mistake | str | None:
    x, watch = hidden_rows(0)[:6000], _Watch()

    def run(steps: int, seed: int = 0, k: int = N_ON) -> Parameters:
        torch.rand(1)  # one who draws from torch's own state gets other numbers each time
        return train(x.clone(), N_ATOMS, k, steps, seed)

    try:
        first = run(1)
    except WrongForm as raised:
        return _of_leaves(raised)
    done = watch.run(train, x.clone(), N_ATOMS, N_ON, SHORT, 0)
    shape = tuple(done[2].shape)
    if shape != (N_ATOMS, 10):
        return Mistake(
            f"For {N_ATOMS} atoms of width 10, D has the shape {shape}.", "`n_atoms` rows."
        )
    return (
        _moved(first, done)
        or _order(done)
        or _lengths(done[2])
        or _reproduced(run)
        or (_steps(train, x, watch) if watch.held else None)
        or _returned(train)
        or _quality(x, done)
    )


def _of_leaves(raised: WrongForm) -> Mistake:
    """Return what two errors of torch mean that every first loop meets; raise any other as it is."""
    if "non-leaf" in str(raised):
        return Mistake(
            "Adam was given a tensor that was computed from others, not one that begins a computation.",
            "`requires_grad_()` comes last: `D = unit_rows(…).requires_grad_()`, `E = D.detach().clone().requires_grad_()`.",
        )
    if "a leaf Variable" in str(raised):
        return Mistake(
            "A tensor that is trained was changed by hand while torch recorded.",
            "`with torch.no_grad():` around `D.copy_(unit_rows(D))` and the replacements.",
        )
    raise raised


def _order(done: Parameters) -> Mistake | None:
    """Return the mistake of one who gives D first: then E, and not D, has rows of length 1."""
    if _lengths(done[2]) is None or _lengths(done[0]) is not None:
        return None
    return Mistake("E and D are exchanged in what you return.", "The order is E, a, D, b.")


def _lengths(D: Tensor) -> Mistake | None:
    lengths = D.norm(dim=1)
    if (lengths - 1).abs().max() <= LENGTHS_OFF:
        return None
    return Mistake(
        f"Your atoms end with lengths from {lengths.min():.2f} to {lengths.max():.2f}, not 1.",
        "Each step of the optimiser changes lengths. After it: `with torch.no_grad(): D.copy_(unit_rows(D))`.",
    )


def _moved(first: Parameters, done: Parameters) -> Mistake | None:
    still = [
        name
        for name, before, after in zip("EaDb", first, done, strict=True)
        if torch.allclose(before, after, atol=1e-6)
    ]
    if len(still) == 4:
        return Mistake(
            f"After {SHORT} steps all is as after one.",
            "Does the loop run `steps` times, and does it call `loss.backward()` and `optimiser.step()`?",
        )
    if still:
        return Mistake(
            f"After {SHORT} steps {' and '.join(still)} {'is' if len(still) == 1 else 'are'} as after one: never trained.",
            "What is trained needs `requires_grad_()`, and a place in the optimiser's list.",
        )
    return None


def _reproduced(run: Callable[..., Parameters]) -> Mistake | None:
    once = run(20)[2]
    if not torch.allclose(run(20)[2], once, atol=1e-4):
        return Mistake(
            "Two runs with the same seed give different atoms.",
            "Draw everything from `torch.Generator().manual_seed(seed)`: the first atoms and the batches.",
        )
    if torch.allclose(run(20, seed=1)[2], once, atol=1e-4):
        return Mistake(
            "Seeds 0 and 1 give the same atoms: `seed` is not used.", "`manual_seed(seed)`."
        )
    if torch.allclose(run(20, k=1)[2], once, atol=1e-4):
        return Mistake(
            f"k = 1 and k = {N_ON} give the same atoms: `k` is not used.", "Pass it to `encode`."
        )
    return None


def _steps(train: Train, x: Tensor, watch: _Watch) -> Mistake | None:
    """Return what is wrong with where a loop begins, how often it steps, and by what."""
    if len(watch.held) != SHORT:
        return Mistake(
            f"For `steps` = {SHORT} your optimiser steps {len(watch.held)} times.",
            "`for step in range(steps)`, one `optimiser.step()` in each.",
        )
    if watch.kinds[0] != "Adam":
        return Mistake(
            f"Your optimiser is {watch.kinds[0]}, and Adam is asked: what else it does to E, a and b is in no loss.",
            "`torch.optim.Adam([E, a, D, b], lr=0.08 / d**0.5)`.",
        )
    rate = TURN / x.shape[1] ** 0.5
    if abs(watch.rates[0] - rate) > 0.01 * rate:
        return Mistake(
            f"Your learning rate is {watch.rates[0]:.3g}, and 0.08/√10 is {rate:.3g}.",
            "`lr=0.08 / d**0.5`, with d the width of x.",
        )
    if not any((b - x.mean(dim=0)).abs().max() < 1e-4 for b in watch.first(1, 10)):
        return Mistake("b does not begin at the mean of the rows.", "`x.mean(dim=0)`.")
    if not any(a.abs().max() == 0 for a in watch.first(1, N_ATOMS)):
        return Mistake("a does not begin at 0.", "`torch.zeros(n_atoms, requires_grad=True)`.")
    matrices = watch.first(2, N_ATOMS)
    if not torch.allclose(matrices[0], matrices[-1], atol=1e-5):
        return Mistake("E does not begin as a copy of D.", "`E = D.detach().clone()`.")
    for step, held in enumerate(watch.held):
        off = [(one.norm(dim=1) - 1).abs().max() for one in held if one.ndim == 2]
        if min(off) > LENGTHS_OFF:
            return Mistake(
                f"At step {step} the atoms have lengths off by {min(off):.2f}: you set them to 1 too late.",
                "`D.copy_(unit_rows(D))` belongs inside the loop, after each `optimiser.step()`.",
            )
    return _of_the_loss(train)


def _of_the_loss(train: Train) -> Mistake | None:
    """Return what is wrong with the loss and with what is drawn, by the slopes of 20 steps on two rows.

    With two different rows of which a batch holds c and n − c, the slope of `loss_of` is n / ((n − c) ‖u − w‖²) times
    one row's plus n / (c ‖u − w‖²) times the other's: both weights follow, and from them unit and n.
    """
    ends, watch = 1 + torch.randn(2, 10, generator=torch.Generator().manual_seed(5)), _Watch()
    watch.run(train, ends.repeat(1000, 1), N_ATOMS, N_ON, 20, 0)
    apart, shares = float((ends[0] - ends[1]).square().sum()), []
    for step in range(1, len(watch.held)):  # at step 0 nothing tells E and D apart
        slope, rows, others = _slopes(watch, step, ends)
        weights, off = _in_span(slope, rows)
        if off > LENGTHS_OFF:
            return _of_another_loss(slope, rows, others)
        if abs(float((1 / weights).sum()) / apart - 1) > LENGTHS_OFF:
            return Mistake(
                "The slope of your loss has the right direction and another length than that of `loss_of`: your loss has a unit.",
                "`loss_of(rows, x_hat).backward()`, on the rows of this step.",
            )
        shares.append(float(weights[0] / weights.sum()))
    counts = [512 * share for share in shares]
    if len({round(one, 1) for one in counts}) == 1:
        return Mistake(
            "On two rows, every step of yours has as many of each: nothing is drawn.",
            "`rows = x[torch.randint(len(x), (512,), generator=draws)]`.",
        )
    if any(abs(one - round(one)) > 0.1 for one in counts) or all(
        round(one) % 2 == 0 for one in counts
    ):
        return Mistake(
            "Your batches do not have 512 rows.",
            "`rows = x[torch.randint(len(x), (512,), generator=draws)]`.",
        )
    return None


def _of_another_loss(slope: Tensor, rows: Tensor, others: Mapping[str, Tensor]) -> Mistake:
    """Return which loss has such a slope."""
    told = {
        "bias": ("You rebuild without b.", "`z @ D + b`: the encoder took b away."),
        "codes": ("Your loss has one more term, which holds the sum of codes down.", "`loss_of(rows, x_hat)` alone; TopK needs no price."),
    }  # fmt: skip
    for name, texts in told.items():
        basis = others[name] if name == "bias" else torch.cat([rows, others[name]], dim=1)
        if _in_span(slope, basis)[1] < LENGTHS_OFF:
            return Mistake(*texts)
    return Mistake(
        "On two rows the slope of your loss is not that of `loss_of(rows, z @ D + b)`.",
        "`optimiser.zero_grad()`, `loss_of(rows, x_hat).backward()`, `optimiser.step()`, on the rows of this step.",
    )


def _slopes(watch: _Watch, step: int, ends: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Return a step's slope, those of each row's squared error as columns, and those of two other losses."""
    held = [one.clone().requires_grad_() for one in watch.held[step]]
    matrices = sorted((one for one in held if one.ndim == 2), key=_off_unit)
    (D, E), (a,), (b,) = matrices, *([o for o in held if o.shape == (n,)] for n in (N_ATOMS, 10))
    z = encode(ends, E, a, b, N_ON)
    losses = {
        "rows": (ends - z @ D - b).square().sum(dim=1),
        "bias": (ends - z @ D).square().sum(dim=1),
        "codes": z.sum(dim=1),
    }
    columns = {}
    for name, two in losses.items():
        slopes = (
            torch.autograd.grad(one, held, retain_graph=True, materialize_grads=True) for one in two
        )
        columns[name] = torch.stack([torch.cat([s.flatten() for s in some]) for some in slopes], 1)
    slope = torch.cat([one.flatten() for one in watch.slopes[step]])
    return slope, columns.pop("rows"), columns


def _off_unit(rows: Tensor) -> float:
    return float((rows.detach().norm(dim=1) - 1).abs().max())


def _in_span(slope: Tensor, basis: Tensor) -> tuple[Tensor, float]:
    """Return the weights of columns that come nearest to a slope, and what they leave, as a share of its length."""
    weights = torch.linalg.lstsq(basis.double(), slope.double()[:, None]).solution
    left = slope.double() - (basis.double() @ weights)[:, 0]
    return weights[:, 0], float(left.norm() / slope.double().norm())


def _returned(train: Train) -> Mistake | None:
    """Return what is wrong with the return of dead atoms, on rows that need four atoms of forty."""
    draws, watch = torch.Generator().manual_seed(3), _Watch()
    ends = torch.randn(4, 10, generator=draws)
    x = ends[torch.randint(4, (2000,), generator=draws)]
    x = SCALE * (x + 0.1 * torch.randn(2000, 10, generator=draws))
    done = watch.run(train, x, 40, 1, 420, 0)
    if not watch.held:
        return None
    held = [[one for one in step if one.shape == (40, 10)] for step in watch.held]
    held.append([done[2], done[0]])
    if (held[-2][0] - done[2]).norm() > (held[-2][0] - done[0]).norm():
        held[-1].reverse()  # the optimiser's list begins with E
    at = [
        {step for step in range(1, len(held)) if _longest(held[step][i] - held[step - 1][i]) > JUMP}
        for i in range(2)
    ]
    return _when_returned(at) or _who_returned(watch, held, x)


def _who_returned(watch: _Watch, held: list[list[Tensor]], x: Tensor) -> Mistake | None:
    """Return what is wrong with the second return: who was quiet for a hundred steps returns, with a = 0, and no other."""
    offsets = [next(one for one in step if one.shape == (40,)) for step in watch.held]
    biases = [next(one for one in step if one.shape == (10,)) for step in watch.held]
    E = int(float(_off_unit(held[150][0])) < float(_off_unit(held[150][1])))
    fired = torch.zeros(40)
    for step in range(100, 200):
        fired += (encode(x, held[step][E], offsets[step], biases[step], 1) > 0).float().mean(dim=0)
    quiet = fired == 0
    moved = (held[200][E] - held[199][E]).norm(dim=1)
    if (
        (moved > JUMP) & (fired > 1)
    ).any():  # on a hundredth of the rows at each step: it was drawn
        return Mistake(
            "You replace atoms that fire.", "`fired += (z > 0).sum(dim=0)`, and dead is who has 0."
        )
    if (quiet & (moved <= 1e-3)).any():
        return Mistake(
            "An atom that fired once, early on, is never replaced, however long it is quiet.",
            "After every hundred steps the count begins anew: `fired.zero_()`.",
        )
    if offsets[200][quiet].any():
        return Mistake(
            "A replaced atom keeps its old offset, by which it was quiet.", "`a[dead] = 0.0`."
        )
    return None


def _when_returned(at: list[set[int]]) -> Mistake | None:
    """Judge after which steps of 420 the atoms of either matrix were replaced."""
    both = at[0] | at[1]
    if not both:
        return Mistake(
            "Atoms that never fire stay where they are: on rows that need 4 atoms of 40 none was replaced.",
            "Count who fires, `(z > 0).sum(dim=0)`; after every hundred steps, those with 0 get `replacements`.",
        )
    if at[0] != at[1]:
        return Mistake(
            "You replace dead atoms in one of D and E only: they are written in one direction and looked for in another.",
            "The same new rows go into both.",
        )
    if max(both) > 210:
        return Mistake(
            f"Of 420 steps your last replacement comes after step {max(both)}, and a new atom needs steps to find its "
            "offset.",
            "In the first half only: `step < steps / 2`.",
        )
    if not both <= {100, 200} or 100 not in both:
        return Mistake(
            f"Of 420 steps you replace atoms after {len(both)}, the first of them step {min(both)}: an atom that was "
            "not drawn for a few steps is not dead.",
            "Every hundred steps: `step % 100 == 99`.",
        )
    return None


def _longest(rows: Tensor) -> float:
    return float(rows.norm(dim=1).max())


def _quality(x: Tensor, done: Parameters) -> Mistake | str | None:
    E, a, D, b = done
    r2 = OwnSAE(E, a, D, b, N_ON).r2(x)
    if OwnSAE(D, a, E, b, N_ON).r2(x) > max(r2, 0.3) + 0.05:
        return Mistake("E and D are exchanged in what you return.", "The order is E, a, D, b.")
    if r2 < 0:
        return Mistake(
            f"R² is {r2:.2f}: worse than the mean of the rows.",
            "Does the loss fall? Step down its slope, not up, and `optimiser.zero_grad()` before each backward pass.",
        )
    found = float(on_features(0, D).mean())
    if found < FOUND:
        return (
            f"R² is {r2:.2f}, and atoms lie on the features with a cosine of {found:.3f}; {FOUND} are asked "
            f"after {SHORT} steps (64 rows of data as they are: {raw_cosine():.2f})."
        )
    return None


# --- 02.6 and 02.7: on toys, and on a model -------------------------------------------------------


def _judge_toys(dictionaries: Tensor) -> Mistake | str | None:
    if dictionaries.shape[1] < 32:
        return Mistake(
            f"With {dictionaries.shape[1]} atoms at least {32 - dictionaries.shape[1]} features have none.",
            f"{N_ATOMS} are asked.",
        )
    if dictionaries.shape[1] > N_ATOMS:
        return Mistake(
            f"{dictionaries.shape[1]} atoms are too many: the more rows of data one takes as they are, the nearer one "
            "lies to each feature, and the less has to be learned.",
            f"{N_ATOMS} are asked.",
        )
    for seed, one in enumerate(dictionaries.float()):
        if not one.any(dim=1).all():
            return Mistake(
                f"{int((~one.any(dim=1)).sum())} atoms of dictionary {seed} are 0 and have no direction.",
                "`fit` returns E, a, D, b, and the dictionary is D.",
            )
        if _are_rows(one, hidden_rows(seed)):
            return Mistake(
                f"Dictionary {seed} is rows of `hidden[{seed}]` as they are: the floor, {raw_cosine():.2f}.",
                "Train: `fit` returns E, a, D, b, and the dictionary is D.",
            )
        cosines = on_features(seed, one)
        if cosines.mean() > 0.99:
            if (one.norm(dim=1) - 1).abs().max() <= LENGTHS_OFF:
                continue
            return Mistake(
                f"Rows of dictionary {seed} do not have length 1, and `fit` gives D that length: is this E?",
                "The dictionary is D, the third of the four tensors.",
            )
        others = [s for s in range(3) if s != seed and on_features(s, one).mean() > 0.99]
        if others:
            return Mistake(
                f"Dictionary {seed} lies on the features of toy {others[0]}.",
                f"Train it on `hidden[{seed}]`; each toy has put its features elsewhere.",
            )
        return Mistake(
            f"On toy {seed} the mean cosine is {cosines.mean():.3f} (rows of data {raw_cosine():.2f}, "
            f"random directions {random_cosine():.2f}), and "
            f"{int((cosines < 0.9).sum())} of 32 features have no atom within 0.9.",
            f"600 steps, k = {N_ON}, and the dictionary: the third of the four tensors that `fit` returns.",
        )
    return None


def _are_rows(dictionary: Tensor, rows: Tensor) -> bool:
    exact = torch.cdist(dictionary, rows, compute_mode="donot_use_mm_for_euclid_dist")
    return bool(exact.min(dim=1).values.max() < EXACT)


@cache
def _held_out() -> Tensor:
    import sae_nb as sn

    acts: Any = sn.capture(
        sn.load_model("tiny-vit"), sn.data.scenes(120, seed=77, split="test"), "resid_post.6",
        progress=False,
    )  # fmt: skip
    x: Tensor = acts.x
    return x


def _judge_vit(found: Parameters) -> Mistake | str | None:
    E, a, D, b = found
    if not a.any():
        return Mistake(
            "a is 0 for every atom, as at the start: it was not trained, or not returned.",
            "`requires_grad_()`, its place in the optimiser's list, and the second of the four tensors.",
        )
    x, sae = _held_out(), OwnSAE(E, a, D, b, K)
    r2 = sae.r2(x)
    if r2 >= GOAL:
        return None
    better = max(r2, 0.3) + 0.05
    if OwnSAE(D, a, E, b, K).r2(x) > better:
        return Mistake("E and D are exchanged in what you return.", "The order is E, a, D, b.")
    if (uneven := _lengths(D)) is not None:
        return uneven
    if (unit := _in_another_unit(sae, x, better)) is not None:
        return unit
    if OwnSAE(E, a, D, b, 2 * K).r2(x) > max(GOAL, r2 + 0.01):
        return Mistake(
            f"With {2 * K} atoms per row yours explains enough; it is judged with k = {K}.",
            f"Train with k = {K}.",
        )
    silent = int((sae.encode(x).sum(dim=0) == 0).sum())
    if silent > len(D) / 2:
        return Mistake(
            f"R² is {r2:.3f}, and {silent} of {len(D)} atoms never fire on new images.",
            "Bring dead atoms back every hundred steps (02.4), or train longer.",
        )
    return _unlike(E, D) or Mistake(
        f"On images it was not trained on, R² is {r2:.3f}; {GOAL} are asked.",
        "800 steps, on all rows of `x`.",
    )


def _in_another_unit(sae: OwnSAE, x: Tensor, better: float) -> Mistake | None:
    """Return the mistake of one who changed the rows before training: the check gives them as they are."""
    moved = OwnSAE(sae.E, sae.a, sae.D, x.mean(dim=0), sae.k)
    ways = {
        "You trained on rows that were divided by their spread.": sae.r2(x / x.std()),
        "You trained on rows that were standardised, column by column.": sae.r2(
            (x - x.mean(dim=0)) / x.std(dim=0)
        ),
        f"b is {float(sae.b.norm()):.3g} long, and the mean of the rows {float(moved.b.norm()):.3g}.": moved.r2(x),
    }  # fmt: skip
    said = max(ways, key=lambda name: ways[name])
    if ways[said] <= better:
        return None
    return Mistake(said, "`fit(x, 512, 20, 800, 0)`: rows as they are, and b begins at their mean.")


def _unlike(E: Tensor, D: Tensor) -> Mistake | None:
    """Return what is wrong with an encoder and a dictionary that are not of one training."""
    cosines = (unit_rows(E) @ D.T).nan_to_num()
    if cosines.diagonal().min() > 0.97:
        return Mistake(
            "Rows of E and of D still have the same directions. They begin so, and training parts them.",
            "Return all four as the loop has left them.",
        )
    if cosines.diagonal().mean() < -0.3:
        return Mistake("Atoms point the other way: the sign of D is turned.", "x̂ = zD + b.")
    if cosines.diagonal().mean() > 0.3:
        return None
    if cosines.max(dim=1).values.mean() > 0.5:  # 0.37 by chance
        return Mistake(
            "Rows of E and of D are in different orders.", "Row j of both is atom j: sort neither."
        )
    return Mistake(
        "Rows of E and of D have nothing to do with each other: one of the two was never trained.",
        "`E = D.detach().clone()` at the start, and all four in the optimiser's list.",
    )


# --- 02.9: broken ---------------------------------------------------------------------------------


@cache
def strength_without_unit_norm() -> float:
    """Return Σz under ℓ1 without unit norm, as a share of Σz with it."""
    x = hidden_rows(0)
    held = own_sae(x, N_ATOMS, N_ON, l1=L1).strength(x)
    return own_sae(x, N_ATOMS, N_ON, l1=L1, unit_norm=False).strength(x) / held


_ANY = Form(says="a tensor", convert=lambda answer: torch.as_tensor(answer).detach().cpu())

TASKS = tasks(
    "own_sae",
    {
        "02.1": Answer(function(_attached(tensor("n", "n_atoms")), takes="x, E, a, b and k"), judge=_judge_encoder),
        "02.2": Answer(function(_attached(number()), takes="x and x_hat"), judge=_judge_loss),
        "02.3": Answer(function(_ANY, takes="a dictionary of shape (n, d)"), judge=_judge_unit),
        "02.4": Answer(function(_ANY, takes="x, x_hat and n"), judge=_judge_dead),
        "02.5": Answer(
            function(parameters(), takes="x, n_atoms, k, steps and seed", seconds=TRAINING),
            judge=_judge_loop,
        ),
        "02.6": Answer(tensor(3, "n", 10), judge=_judge_toys),
        "02.7": Answer(parameters(512, 64), judge=_judge_vit),
        "02.9": Answer(number(0, 3), measure=strength_without_unit_norm),
        "02.10": Answer(words(15)),
    },
)  # fmt: skip
