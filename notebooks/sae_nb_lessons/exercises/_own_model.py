"""Exercises of notebook 10: rows by a hook of one's own, the budget, and the share of the loss that is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor, nn

from sae_nb_lessons.exercises._answers import Form, WrongForm, function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose
from sae_nb_lessons.studies import budget
from sae_nb_lessons.studies._own_model import weights

WIDTH, TOKENS = 6, 7
GIGA = 1e9

# --- 10.1: a capture ------------------------------------------------------------------------------


class _Block(nn.Module):
    """A block that puts out a tuple, as those of many language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return x + torch.tanh(self.mix(x.cumsum(dim=1))), None


class _Toy(nn.Module):
    """Three blocks over an embedding; the last may refuse to run."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.embed, self.refuses = nn.Embedding(9, WIDTH), False
        self.blocks = nn.ModuleList(_Block() for _ in range(3))
        draws = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for values in self.parameters():
                values.copy_(torch.randn(values.shape, generator=draws))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x, _ = block(x)
        if self.refuses:
            raise RuntimeError("out of memory")
        return x

    @property
    def hooks(self) -> int:
        """Hooks that are left on any module."""
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in self.modules())


def states(model: nn.Module, block: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a block reads and what it puts out, (tokens, width) each."""
    kept: list[tuple[Tensor, Tensor]] = []
    handle = block.register_forward_hook(
        lambda _module, args, output: kept.append((args[0][0].detach(), output[0][0].detach()))
    )
    try:
        with torch.no_grad():
            model(ids)
    finally:
        handle.remove()
    return kept[0]


def rows_of(model: nn.Module, block: nn.Module, ids: Tensor) -> Tensor:
    """Return a block's output for every token but the first, (tokens − 1, width)."""
    return states(model, block, ids)[1][1:]


_CAPTURE_SLIPS = tuple(
    Slip(said, hint, way)
    for said, hint, way in (
        (
            "These are the rows that the block reads.",
            "A forward hook is given (module, args, output): the third.",
            lambda m, b, ids: states(m, b, ids)[0][1:],
        ),
        (
            "The first token is still among them.",
            "Rows from token 1 on.",
            lambda m, b, ids: states(m, b, ids)[1],
        ),
        (
            "The last token is missing, not the first.",
            "Rows from token 1 on: `[1:]`.",
            lambda m, b, ids: states(m, b, ids)[1][:-1],
        ),
        (
            "These are rows of the model's last block, whatever block is given.",
            "The hook belongs on `block`.",
            lambda m, b, ids: m(ids)[0, 1:],  # noqa: ARG005
        ),
        (
            "This is the mean over tokens. An SAE is trained on one row per token.",
            "Keep the axis of tokens.",
            lambda m, b, ids: states(m, b, ids)[1][1:].mean(dim=0, keepdim=True),
        ),
        (
            "This is what the block adds: output less input.",
            "The stream after the block is its output, whole.",
            lambda m, b, ids: states(m, b, ids)[1][1:] - states(m, b, ids)[0][1:],
        ),
        (
            "The rows are divided by their length.",
            "Return them as they are: an SAE has to rebuild their length, too.",
            lambda m, b, ids: nn.functional.normalize(rows_of(m, b, ids), dim=1),
        ),
        (
            "The axes are exchanged: rows are tokens, columns the width.",
            "(tokens − 1, width).",
            lambda m, b, ids: rows_of(m, b, ids).T,
        ),
    )
)


def _judge_capture(mine: Callable[..., Tensor]) -> Mistake | str | None:
    ids = torch.arange(TOKENS)[None] % 5
    cases = {
        f"block {at} of 3, {TOKENS - cut} tokens": (_Toy(at), at, ids[:, cut:])
        for at, cut in ((0, 0), (1, 2))
    }

    def on(capture: Callable[..., Tensor], toy: _Toy, at: int, some: Tensor) -> Tensor:
        return capture(toy, toy.blocks[at], some)

    slips = [Slip(s.said, s.hint, partial(on, s.way)) for s in _CAPTURE_SLIPS]
    problem = diagnose(partial(on, mine), partial(on, rows_of), cases, slips)
    return problem or _left(mine, ids)


def _left(mine: Callable[..., Tensor], ids: Tensor) -> Mistake | None:
    """Return the mistake of a hook that stays on the model, or of a state that holds on to its graph."""
    toy = _Toy(0)
    toy.blocks[0].register_forward_hook(lambda *_: None)
    mine(toy, toy.blocks[0], ids)
    if not toy.hooks:
        return Mistake(
            "The block had a hook of someone else, and it is gone.",
            "`handle.remove()` takes off the hook that `register_forward_hook` returned, and no other.",
        )
    if toy.hooks > 1:
        return Mistake(
            "The rows are right, and the hook is still on the block: every later run keeps states as well.",
            "`handle.remove()` when the model has run.",
        )
    toy.refuses, raised = True, False
    try:
        mine(toy, toy.blocks[0], ids)
    except WrongForm:
        raised = True
    if toy.hooks > 1:
        return Mistake(
            "The model raised an error, and your hook is still on the block.",
            "`try: model(ids)` and `finally: handle.remove()`.",
        )
    if not raised:
        return Mistake(
            "The model raised an error, and yours returns as if nothing had been.",
            "`finally:` without `except`: the hook is removed, and the error goes on to whoever called.",
        )
    return None


# --- 10.2: the budget -----------------------------------------------------------------------------


_BUDGET_SLIPS = tuple(
    Slip(said, hint, way)
    for said, hint, way in (
        (
            "The rows are not in it.",
            "Four bytes for each of tokens × width numbers.",
            lambda t, w, a: budget(0, w, a),  # noqa: ARG005
        ),
        (
            "The SAE is not in it.",
            "20 bytes for each of its numbers.",
            lambda t, w, a: 4 * t * w / GIGA,  # noqa: ARG005
        ),
        (
            "You count the SAE's numbers once. In training there are five of each.",
            "20 bytes, not 4.",
            lambda t, w, a: (4 * t * w + 4 * weights(w, a)) / GIGA,
        ),
        (
            "You count the SAE's numbers four times: the copy of the best is missing, or a moment.",
            "Itself, gradient, two moments, a copy: 20 bytes.",
            lambda t, w, a: (4 * t * w + 16 * weights(w, a)) / GIGA,
        ),
        (
            "One of encoder and dictionary is missing.",
            "Both have atoms × width numbers.",
            lambda t, w, a: (4 * t * w + 20 * (a * w + a + w)) / GIGA,
        ),
        (
            "Offsets and bias are missing: atoms + width numbers more.",
            "2 · atoms · width + atoms + width.",
            lambda t, w, a: (4 * t * w + 40 * a * w) / GIGA,
        ),
        (
            "You count the rows five times as well. They are read, not trained.",
            "4 bytes for a number of a row, 20 for one of the SAE.",
            lambda t, w, a: (20 * t * w + 20 * weights(w, a)) / GIGA,
        ),
        (
            "You count in units of 2³⁰ bytes.",
            "A gigabyte is 10⁹ bytes here.",
            lambda t, w, a: budget(t, w, a) * GIGA / 2**30,
        ),
        (
            "You return bytes.",
            "Divide by 10⁹.",
            lambda t, w, a: budget(t, w, a) * GIGA,
        ),
        (
            "Your rows have two bytes per number: that is float16.",
            "float32 has four.",
            lambda t, w, a: budget(t, w, a) - 2 * t * w / GIGA,
        ),
    )
)
_BUDGETS = {
    "a million tokens of width 768, 16 384 atoms": (1_000_000, 768, 16_384),
    "two thousand tokens of width 400 000, 5000 atoms": (2_000, 400_000, 5_000),
    "ten tokens of width 1, 10⁹ atoms": (10, 1, 1_000_000_000),
    "one token of width 10⁹, one atom": (1, 1_000_000_000, 1),
}


def _judge_budget(mine: Callable[..., float]) -> Mistake | str | None:
    return diagnose(mine, budget, _BUDGETS, _BUDGET_SLIPS)


# --- 10.3 and 10.4: the share of the loss ---------------------------------------------------------


def kept(clean: float, spliced: float, zero: float) -> float:
    """Return the share of the way from zeros to the clean loss that is kept; NaN where there is no way."""
    return (zero - spliced) / (zero - clean) if zero != clean else math.nan


_KEPT_SLIPS = tuple(
    Slip(said, hint, way)
    for said, hint, way in (
        (
            "You return the share that is lost.",
            "1 minus it.",
            lambda c, s, z: (s - c) / (z - c),
        ),
        (
            "You divide by the loss with zeros. The way back to the clean loss is shorter.",
            "The bar has zero − clean below.",
            lambda c, s, z: (z - s) / z,  # noqa: ARG005
        ),
        (
            "You return the ratio of two losses; nothing in it knows what zeros do.",
            "1 is clean, 0 is zeros: both stand below the bar.",
            lambda c, s, z: c / s,  # noqa: ARG005
        ),
        (
            "You return a difference of losses, which has a unit.",
            "Divide by the way from zeros to clean.",
            lambda c, s, z: z - s,  # noqa: ARG005
        ),
        (
            "You return the rise of the loss, which has a unit.",
            "How far from zeros is it, as a share of the way?",
            lambda c, s, z: s - c,  # noqa: ARG005
        ),
        (
            "The sign is turned.",
            "zero − spliced, divided by zero − clean.",
            lambda c, s, z: -kept(c, s, z),
        ),
        (
            "You divide by the clean loss. The way from zeros to it is zero − clean.",
            "The bar has zero − clean below.",
            lambda c, s, z: (z - s) / c,
        ),
        (
            "You take the size of zero − clean; where zeros are the better, the sign turns.",
            "Leave `abs` out.",
            lambda c, s, z: (z - s) / abs(z - c),
        ),
        (
            "You cut off at 0. A splice that is worse than zeros is below 0, and should be seen.",
            "Leave it as it is.",
            lambda c, s, z: max(0.0, kept(c, s, z)),
        ),
        (
            "You cut off at 1. A loss below the clean one is above 1, and should be seen.",
            "Leave it as it is.",
            lambda c, s, z: min(1.0, kept(c, s, z)),
        ),
    )
)
_LOSSES = {
    "losses 2, 3 and 6": (2.0, 3.0, 6.0),
    "losses 2, 9 and 6, where the splice is worse than zeros": (2.0, 9.0, 6.0),
    "losses 2, 1.5 and 6, where it is better than the model": (2.0, 1.5, 6.0),
    "losses 6, 5 and 2, where zeros are better than the model": (6.0, 5.0, 2.0),
    "losses 2, 2 and 6, where the splice loses nothing": (2.0, 2.0, 6.0),
}


def _judge_kept(mine: Callable[..., float]) -> Mistake | str | None:
    if problem := diagnose(mine, kept, _LOSSES, _KEPT_SLIPS):
        return problem
    if not math.isnan(mine(2.0, 3.0, 2.0)):
        return Mistake(
            "Where zeros cost nothing (losses 2, 3 and 2), yours returns a number.",
            'Return `float("nan")` if zero equals clean.',
        )
    return None


def _number_or_nan(answer: object) -> float:
    value = float(answer)  # type: ignore[arg-type]
    return value if math.isnan(value) else number().read(answer)


@cache
def kept_by_random() -> float:
    """Return the share of tiny-gpt's loss that random directions keep at the L0 of the bundled SAE of block 3."""
    import sae_nb as sn

    model, sae = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/resid_post.3")
    texts = list(sn.data.stories(30, seed=28).texts)
    acts = sn.capture(model, texts, str(sae.hook_point), context_length=64, progress=False)
    return float(sn.evaluate(sae, acts, model, texts, progress=False)["ce_recovered"].control or 0)


TASKS = tasks(
    "own_model",
    {
        "10.1": Answer(
            function(tensor(None, None), takes="a model, a block and ids"), judge=_judge_capture
        ),
        "10.2": Answer(function(number(), takes="tokens, width and atoms"), judge=_judge_budget),
        "10.3": Answer(
            function(
                Form(says="a number, or NaN", convert=_number_or_nan),
                takes="clean, spliced and zero",
            ),
            judge=_judge_kept,
        ),
        "10.4": Answer(number(0, 1), measure=kept_by_random),
    },
)
