"""Exercises of notebook 30: a score, a removal, what a head is told by, and the pair that makes it look."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, one_of, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose

TEXT = "q k e f z q k e"
HEAD, READER = (0, 2), (1, 3)
"""Of tiny-induction: the head that copies the token before, and one that looks behind a copy."""

CLEAN, CORRUPTED, ANSWERS = TEXT, "q k e f z k e q", ("f", "z")
Score = Callable[[Tensor, int], Tensor]


def induction_score(pattern: Tensor, n: int) -> Tensor:
    """Return mean attention on what followed the first copy, (heads,)."""
    q = torch.arange(n + 1, 2 * n + 1)
    return pattern[:, q, q - (n - 1)].mean(dim=1)


def _drawn(n: int, seed: int) -> Tensor:
    """A causal pattern of three heads in which no two diagonals are alike."""
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(3, 2 * n + 1, 2 * n + 1, generator=generator, dtype=torch.double)
    past = torch.ones(2 * n + 1, 2 * n + 1, dtype=torch.bool).tril()
    return scores.masked_fill(~past, -torch.inf).softmax(dim=-1)


def _looks(back: int, start: int = 1) -> Score:
    """Return mean attention of the second copies on what stands n − `back` places before them."""

    def score(pattern: Tensor, n: int) -> Tensor:
        q = torch.arange(n + start, 2 * n + start)
        return pattern[:, q, q - (n - back)].mean(dim=1)

    return score


def _first_copies(pattern: Tensor, n: int) -> Tensor:
    q = torch.arange(1, n + 1)
    return pattern[:, q, (q - (n - 1)).clamp(min=0)].mean(dim=1)


def _largest(pattern: Tensor, n: int) -> Tensor:
    q = torch.arange(n + 1, 2 * n + 1)
    return pattern[:, q, q - (n - 1)].amax(dim=1)


_SLIPS = tuple(
    Slip(*one)
    for one in (
        ("You look at the earlier copy itself.", "An induction head looks at what came *after* it, one further.", _looks(0)),
        ("You look one place too far.", "What followed the copy stands n − 1 places back, not n − 2.", _looks(2)),
        ("You look two places too far back, at what came before the copy.", "What followed the copy stands n − 1 places back.", _looks(-1)),
        ("These are the first n positions; there the tokens have not come before.", "Take the second n.", _first_copies),
        ("The start token moves everything by one.", "The second copies begin at position n + 1, not at n.", _looks(1, start=0)),
        ("Query and key are exchanged.", "`pattern[h, q, s]` is from q to s.", lambda a, n: induction_score(a.transpose(1, 2), n)),
        ("This is a sum over positions.", "The score is their mean.", lambda a, n: n * induction_score(a, n)),
        ("This is the largest attention over positions.", "The score is their mean.", _largest),
        ("You divide by all positions.", "The mean is over the second n alone.", lambda a, n: n / (2 * n + 1) * induction_score(a, n)),
        ("This is attention on the token before, which any previous-token head has.", "What followed the earlier copy stands n − 1 places back.", lambda a, n: a.diagonal(-1, 1, 2)[:, -n:].mean(dim=1)),
    )
)  # fmt: skip


def _judge_score(mine: Score) -> Mistake | str | None:
    cases = {
        f"a drawn pattern of three heads and n = {n}": (_drawn(n, seed), n)
        for n, seed in ((6, 0), (9, 1))
    }
    return diagnose(mine, induction_score, cases, _SLIPS)


@cache
def _induction() -> Any:
    import sae_nb as sn

    return sn.load_model("tiny-induction")


def left_without_head() -> float:
    """Return the probability of f when head 0.2 writes its mean."""
    import sae_nb as sn

    model = _induction()
    f = model.tokenizer.get_vocab()["f"]
    found = sn.circuits.head_contributions(
        model, TEXT, target=lambda z: z.softmax(-1)[f], method="ablation", heads=[HEAD]
    )
    return found.answer - float(found.values[HEAD])


def heard_by() -> str:
    """Return the input of layer 1 through which head 0.2 moves the answer most."""
    import sae_nb as sn

    found = sn.circuits.path_patch(_induction(), CLEAN, CORRUPTED, ANSWERS, sender=HEAD)
    return str(found.table.groupby("by").effect.sum().idxmax())


def _judge_heard(answer: str) -> str | None:
    if answer == heard_by():
        return None
    if answer == "queries":
        return "The query of the last e says which token it is; head 0.2 wrote there that k stands before it."
    return "The value is handed on after the head has looked; without head 0.2 it never gets there."


@cache
def left_without_pair() -> float:
    """Return what is left of head 1.3's attention without the largest pair of atoms."""
    import sae_nb as sn

    model = _induction()
    found = sn.circuits.qk(model, first_block_sae(model), TEXT, READER[0], READER[1], n_random=2)
    return found.without


def first_block_sae(model: Any) -> Any:
    """Train the SAE of the lesson: 128 atoms of the stream behind the first block."""
    import sae_nb as sn

    rows = [f"{text} {text}" for text in letters(400)]
    acts = sn.capture(model, rows, "resid_post.0", progress=False)
    sae = sn.TopK(acts.d_in, n_atoms=128, k=4, generator=torch.Generator().manual_seed(0))
    sn.train(sae, acts, steps=600, batch_size=512, learning_rate=3e-3, seed=0, progress=False)
    return sae


def letters(n: int) -> list[str]:
    """Return n rows of eight different letters."""
    generator = torch.Generator().manual_seed(0)
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    return [
        " ".join(alphabet[i] for i in torch.randperm(26, generator=generator)[:8]) for _ in range(n)
    ]


TASKS = tasks(
    "heads",
    {
        "30.1": Answer(
            function(tensor("heads"), takes="a pattern (heads, 2n + 1, 2n + 1) and n"),
            judge=_judge_score,
        ),
        "30.2": Answer(number(0, 1), measure=left_without_head),
        "30.3": Answer(one_of("queries", "keys", "values"), judge=_judge_heard),
        "30.4": Answer(number(0, 1), measure=left_without_pair),
    },
)
