"""Exercises of notebook 07: the loop of patching, its control, its estimate, and where a head acts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from sae_nb_lessons.exercises._answers import WrongForm, function, number, tensor, whole_numbers
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

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
    """A causal network."""

    def __init__(self, n_blocks: int) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 8), nn.Linear(8, 7)
        self.blocks = nn.ModuleList(_Block(8) for _ in range(n_blocks))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def _toy(
    n_blocks: int, clean: list[int], corrupted: list[int]
) -> tuple[_Toy, list[nn.Module], Tensor, Tensor, Measure]:
    """Return what a loop is given: a network, its blocks, two texts, and the measure."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        made = _Toy(n_blocks).eval().requires_grad_(False)
    return made, list(made.blocks), torch.tensor([clean]), torch.tensor([corrupted]), _difference


def _toys() -> dict[str, tuple[_Toy, list[nn.Module], Tensor, Tensor, Measure]]:
    """Return two networks of different sizes with texts whose first tokens differ, so that each place counts."""
    return {
        "a network of 3 blocks and 4 tokens": _toy(3, [2, 3, 1, 4], [5, 6, 1, 4]),
        "a network of 2 blocks and 5 tokens": _toy(2, [0, 3, 1, 4, 2], [5, 3, 6, 4, 2]),
    }


def _difference(logits: Tensor) -> Tensor:
    return logits[0, -1, 2] - logits[0, -1, 5]


def patch_map(
    module: nn.Module,
    blocks: Sequence[nn.Module],
    clean: Tensor,
    corrupted: Tensor,
    measure: Measure,
    *,
    at: Callable[[int], Any] = lambda position: position,
    kept_of: Callable[[list[Tensor], int], Tensor] = lambda kept, i: kept[i],
) -> Tensor:
    """Return the share that each block's clean state brings back, (blocks, positions).

    `at` and `kept_of` are for mistakes: where a state is put, and which one.
    """
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

                def put(
                    _: nn.Module, __: Any, state: Tensor, i: int = i, t: int = position
                ) -> Tensor:
                    state = state.clone()
                    state[:, at(t)] = kept_of(kept, i)[:, at(t)]
                    return state

                handle = block.register_forward_hook(put)
                shares[i, position] = (measure(module(corrupted)) - start) / (end - start)
                handle.remove()
    return shares


def _as_numbers(turn: Callable[[Tensor, float, float], Tensor]) -> Patch:
    """Return the loop with shares turned into something else by the corrupted and the clean number."""

    def way(
        module: nn.Module, blocks: Any, clean: Tensor, corrupted: Tensor, measure: Measure
    ) -> Tensor:
        with torch.no_grad():
            start, end = float(measure(module(corrupted))), float(measure(module(clean)))
        return turn(patch_map(module, blocks, clean, corrupted, measure), start, end)

    return way


def _without(*positions: int) -> Patch:
    """Return the loop that leaves some positions out."""

    def way(*given: Any) -> Tensor:
        shares = patch_map(*given)
        shares[:, positions] = 0
        return shares

    return way


def _zero_but_last(kept: list[Tensor], i: int) -> Tensor:
    return kept[i] if i == len(kept) - 1 else torch.zeros_like(kept[i])


_LATE = (
    "Every hook uses the last value of a loop's variable.",
    "A hook looks its variable up when it is called, and by then the loop has ended: give it along, "
    "`def hook(module, inputs, output, i=i, t=t)`, or use `partial`.",
)
_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("Nothing comes back at any place: what you put there are the corrupted run's own states.", "Either the hooks that keep states were still on in the corrupted run and wrote over the clean ones (remove them after the clean run), or your hook changes a copy and does not return it.", _as_numbers(lambda s, _, __: 0 * s)),
        (*_LATE, partial(patch_map, at=lambda _: -1)),
        (*_LATE, partial(patch_map, kept_of=lambda kept, _: kept[-1])),
        (*_LATE, partial(patch_map, at=lambda _: -1, kept_of=lambda kept, _: kept[-1])),
        (*_LATE, partial(patch_map, kept_of=_zero_but_last)),
        ("The clean state is put at all positions at once.", "Put it at one: `output[:, t]`.", partial(patch_map, at=lambda _: slice(None))),
        ("The clean state is put at this position and at all before it.", "Put it at one: `output[:, t]`, not `output[:, : t + 1]`.", partial(patch_map, at=lambda t: slice(t + 1))),
        ("The clean state is put at this position and at all after it.", "Put it at one: `output[:, t]`, not `output[:, t:]`.", partial(patch_map, at=lambda t: slice(t, None))),
        ("The clean state is put one position too early.", "Column t is position t, counted from 0.", partial(patch_map, at=lambda t: t - 1)),
        ("You leave the first position out.", "All of them: `range(n)` begins at 0.", _without(0)),
        ("You leave the last position out.", "All of them: `range(n)` ends at n − 1.", _without(-1)),
        ("You leave the first and the last position out.", "All of them: `range(n)`, from 0 to n − 1.", _without(0, -1)),
        ("A block gets the clean state of the block before it.", "Block i gets what it returned itself.", partial(patch_map, kept_of=lambda kept, i: kept[i - 1])),
        ("These are differences, not shares.", "Divide them by measure(clean) − measure(corrupted).", _as_numbers(lambda s, start, end: s * (end - start))),
        ("These are the numbers that `measure` gives, not shares.", "How far is each on the way from measure(corrupted) to measure(clean)?", _as_numbers(lambda s, start, end: start + s * (end - start))),
        ("You divide by the right difference, but what you divide does not begin at 0.", "Subtract measure(corrupted) first.", _as_numbers(lambda s, start, end: s + start / (end - start))),
        ("You divide by measure(clean), as if the corrupted run measured 0.", "Divide by measure(clean) − measure(corrupted).", _as_numbers(lambda s, start, end: s * (end - start) / end)),
        ("These are shares that are left.", "Those that come back are 1 minus these.", _as_numbers(lambda s, _, __: 1 - s)),
        ("The sign is turned.", "Patched less corrupted, divided by clean less corrupted.", _as_numbers(lambda s, _, __: -s)),
        ("You put corrupted states into the clean run. That is noising, and asks which places are needed.", "Put clean states into the corrupted run.", lambda m, b, x, y, f: patch_map(m, b, y, x, f)),
        ("Rows and columns are exchanged.", "Blocks are rows, positions are columns.", lambda *given: patch_map(*given).T),
    )
)  # fmt: skip


def _judge_loop(mine: Patch) -> Mistake | str | None:
    given = next(iter(_toys().values()))
    ids = given[2].clone(), given[3].clone()
    try:
        answer = mine(*given)
    except WrongForm as raised:
        if "raised KeyError" not in str(raised):
            raise
        return Mistake(f"A state that you look up was never kept. {_LATE[0]}", _LATE[1])
    if not (torch.equal(given[2], ids[0]) and torch.equal(given[3], ids[1])):
        return "Your function changed the ids that it was given. Change states, in a hook."
    if answer.any() and any(block._forward_hooks for block in given[1]):
        return Mistake(
            "After your function a block still has a hook, which changes every later run.",
            "Keep each handle, and call `handle.remove()`: after the clean run, and after each place.",
        )
    return diagnose(mine, patch_map, _toys(), _SLIPS, atol=CLOSE)


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
