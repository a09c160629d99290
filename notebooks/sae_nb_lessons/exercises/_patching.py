"""Exercises of notebook 07: the loop of patching, its control, its estimate, and where a head acts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from sae_nb_lessons.exercises._answers import function, number, tensor, whole_numbers
from sae_nb_lessons.exercises._kit import Answer, tasks

CLOSE = 1e-3
HEAD = (0, 2)
"""The head of tiny-induction that copies the token before."""

ACTS_AT = {3, 7}
"""Positions of the successors in `sn.data.prompt_pairs("induction")`."""

Measure = Callable[[Tensor], Tensor]
Patch = Callable[[nn.Module, Sequence[nn.Module], Tensor, Tensor, Measure], Tensor]


class _Block(nn.Module):
    """Mixes the past into each position, then bends it."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.mix, self.bend = nn.Linear(d, d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        before = x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[None, :, None]
        return x + torch.tanh(self.mix(before)) + torch.tanh(self.bend(x))


class _Toy(nn.Module):
    """A causal network of three blocks that reads six tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 8), nn.Linear(8, 7)
        self.blocks = nn.ModuleList(_Block(8) for _ in range(3))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def _toy() -> tuple[_Toy, Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        made = _Toy().eval().requires_grad_(False)
    return made, torch.tensor([[0, 3, 1, 5, 2, 4]]), torch.tensor([[0, 6, 1, 5, 3, 4]])


def _difference(logits: Tensor) -> Tensor:
    return logits[0, -1, 2] - logits[0, -1, 5]


def patch_map(
    module: nn.Module,
    blocks: Sequence[nn.Module],
    clean: Tensor,
    corrupted: Tensor,
    measure: Measure,
    *,
    everywhere: bool = False,
) -> Tensor:
    """Return the share that each block's clean state brings back, (blocks, positions)."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, state: Tensor) -> None:
        kept.append(state.clone())

    handles = [block.register_forward_hook(keep) for block in blocks]
    with torch.no_grad():
        end = measure(module(clean))
        for handle in handles:
            handle.remove()
        start = measure(module(corrupted))
        shares = torch.zeros(len(blocks), clean.shape[1], dtype=torch.double)
        for i, block in enumerate(blocks):
            for position in range(clean.shape[1]):
                at = slice(None) if everywhere else position

                def put(_: nn.Module, __: Any, state: Tensor, i: int = i, at: Any = at) -> Tensor:
                    state = state.clone()
                    state[:, at] = kept[i][:, at]
                    return state

                handle = block.register_forward_hook(put)
                shares[i, position] = (measure(module(corrupted)) - start) / (end - start)
                handle.remove()
    return shares


def _start_and_span() -> tuple[float, float]:
    """Return the corrupted run's number, and how far the clean one's is from it."""
    made, clean, corrupted = _toy()
    with torch.no_grad():
        start = float(_difference(made(corrupted)))
        return start, float(_difference(made(clean))) - start


def _judge_loop(mine: Patch) -> str | None:
    made, clean, corrupted = _toy()
    blocks = list(made.blocks)
    given = clean.clone(), corrupted.clone()
    answer = mine(made, blocks, *given, _difference)
    if any(block._forward_hooks for block in blocks):
        return (
            "After your function a block still has a hook, which changes every later run: keep each handle, and "
            "`handle.remove()` it."
        )
    if not (torch.equal(given[0], clean) and torch.equal(given[1], corrupted)):
        return "Your function changed the ids that it was given. Change states, in a hook."
    expected = patch_map(made, blocks, clean, corrupted, _difference)
    if answer.shape != expected.shape:
        return (
            f"Of {len(blocks)} blocks and {clean.shape[1]} positions yours returns the shape "
            f"{tuple(answer.shape)}, and it is {tuple(expected.shape)}."
        )
    start, span = _start_and_span()
    mistakes = {
        "The clean state is put at all positions at once; put it at one, `output[:, t]`.": patch_map(
            made, blocks, clean, corrupted, _difference, everywhere=True
        ),
        "These are differences; divide them by measure(clean) − measure(corrupted).": expected * span,
        "These are the numbers that `measure` gives, not shares: how far is each on the way from measure(corrupted) "
        "to measure(clean)?": start + expected * span,
        "You divide by the right difference, of a number that begins at 0: subtract measure(corrupted) first.": (
            expected + start / span
        ),
        "You put corrupted states into the clean run. That is noising, and asks which places are needed; "
        "here clean states go into the corrupted run.": patch_map(
            made, blocks, corrupted, clean, _difference
        ),
        "These are shares that are left, 1 minus those that come back.": 1 - expected,
    }  # fmt: skip
    if not torch.allclose(answer, expected, atol=CLOSE):
        for said, wrong in mistakes.items():
            if torch.allclose(answer, wrong, atol=CLOSE):
                return said
        off = (answer - expected).abs()
        i, t = divmod(int(off.argmax()), off.shape[1])
        return (
            f"On a small network yours gives {answer[i, t]:.3f} for block {i} at position {t}, and it is "
            f"{expected[i, t]:.3f}."
        )
    return _on_a_real_model(mine)


def _on_a_real_model(mine: Patch) -> str | None:
    """Hold a loop against `sn.circuits.patch` on tiny-induction: a state before block 1 is what block 0 returns."""
    import sae_nb as sn

    model = sn.load_model("tiny-induction")
    pairs = sn.data.prompt_pairs("induction", 1, seed=1, model=model)
    clean, corrupted = (
        torch.tensor([model.tokenizer(text)["input_ids"]])
        for text in (pairs.clean[0], pairs.corrupted[0])
    )
    one, other = (
        model.tokenizer(a, add_special_tokens=False)["input_ids"][0] for a in pairs.answers[0]
    )
    found: Any = sn.circuits.patch(
        model, pairs.clean[0], pairs.corrupted[0], pairs.answers[0], progress=False
    )
    with model.lock:
        answer = mine(
            _Logits(model.module), [model.module.get_submodule("transformer.h.0")], clean, corrupted,
            lambda logits: logits[0, -1, one] - logits[0, -1, other],
        )  # fmt: skip
    if not torch.allclose(answer[0], torch.from_numpy(found.effect[1]).double(), atol=CLOSE):
        return "On a small network yours is right, and on tiny-induction it is not what `sn.circuits.patch` finds."
    return None


class _Logits(nn.Module):
    """A Hugging Face language model that returns its logits alone."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.module(ids).logits
        return logits


@cache
def _heads() -> Any:
    import sae_nb as sn

    model = sn.load_model("tiny-induction")
    pairs = sn.data.prompt_pairs("induction", 8, seed=0, model=model)
    return sn.circuits.patch(
        model, list(pairs.clean), list(pairs.corrupted), pairs.answers, "heads", progress=False
    )


def brought_by_another_text() -> float:
    """Return the share that head 0.2 brings with another pair's states."""
    return float(_heads().control[HEAD])


def estimated_share() -> float:
    """Return what attribution gives for head 0.2."""
    return float(_heads().estimated[HEAD])


def _judge_positions(answer: list[int]) -> str | None:
    if set(answer) == ACTS_AT:
        return None
    if set(answer) == {one - 1 for one in ACTS_AT}:
        return "At these the letters changed places. Head 0.2 acts where its token before is one of them."
    if 11 in answer:
        return "At the last position heads of block 1 act, not head 0.2."
    return f"Of {sorted(answer)} at least one has no effect by head 0.2; the list next to the map is sorted."


TASKS = tasks(
    "patching",
    {
        "07.1": Answer(
            function(
                tensor("blocks", "positions"),
                takes="a module, blocks, two tensors of ids and a measure",
            ),
            judge=_judge_loop,
        ),
        "07.2": Answer(number(-2, 2), measure=brought_by_another_text),
        "07.3": Answer(number(-2, 2), measure=estimated_share),
        "07.4": Answer(whole_numbers(2), judge=_judge_positions),
    },
)
