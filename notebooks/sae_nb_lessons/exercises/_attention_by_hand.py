"""Exercises of notebook 31: where a head looks and what it writes, by hand, and its two matrices over tokens."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from sae_nb_lessons.exercises._answers import function, number, tensor
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake, Slip, diagnose
from sae_nb_lessons.studies.by_hand import (
    HeadWeights,
    LayerRun,
    asked_through,
    head_weights,
    layer_run,
    own_largest,
)

EARLIER, READER, BESIDE = (0, 2), (1, 3), (0, 0)
"""Of tiny-induction: the head that copies the token before, one that looks behind a copy, and a control."""

TEXTS = ("q k e f z q k e", "m a t h m")


@cache
def _induction() -> Any:
    import sae_nb as sn

    return sn.load_model("tiny-induction")


@cache
def _heads() -> dict[str, tuple[HeadWeights, LayerRun, int]]:
    """Return two heads on two texts of different lengths, and what the model itself calculates there."""
    return {
        f"head {layer}.{head} on “{text}”": (
            head_weights(_induction(), layer, head),
            layer_run(_induction(), text, layer),
            head,
        )
        for text, (layer, head) in zip(TEXTS, (READER, EARLIER), strict=True)
    }


# --- 31.1: where it looks -------------------------------------------------------------------------


def _pattern_slips() -> tuple[Slip, ...]:
    def made(change: str, x: Tensor, W_Q: Tensor, b_Q: Tensor, W_K: Tensor, b_K: Tensor) -> Tensor:
        on = change != "bias"
        q, k = x @ W_Q + on * b_Q, x @ W_K + on * b_K
        scale = {"scale": 1.0, "width": len(W_Q) ** 0.5, "no root": q.shape[1]}
        s = (k @ q.T if change == "swap" else q @ k.T) / scale.get(change, q.shape[1] ** 0.5)
        past = torch.ones_like(s).tril().bool()
        if change == "scores":
            return s
        if change == "open":
            return s.softmax(dim=1)
        if change == "late":
            return s.softmax(dim=1) * past
        if change == "zeros":
            return (s * past).softmax(dim=1)
        if change == "future":
            past = past.T
        s = s.masked_fill(~past, -torch.inf)
        return s.softmax(dim=0 if change == "axis" else 1)

    said = {
        "scale": ("Your scores are not divided by √d_head.", "`q.shape[1] ** 0.5`, before the softmax."),
        "width": ("You divide by the root of the stream's width; a head has d_head numbers.", "d_head is the number of columns of W_Q."),
        "no root": ("You divide by d_head, not by its root.", "The product of d_head terms grows as √d_head."),
        "bias": ("Both biases are missing.", "`x @ W_Q + b_Q`, and so for the keys."),
        "swap": ("Queries and keys are exchanged: row t must be what position t asks.", "`q @ k.T`."),
        "scores": ("These are scores, not attention: no softmax was taken.", "Mask, then `.softmax(dim=1)`."),
        "open": ("A position sees those after it.", "Scores of later positions become −inf before the softmax."),
        "late": ("You mask after the softmax, so that rows do not sum to 1.", "Mask the scores, with −inf."),
        "zeros": ("A score of 0 still gets attention: e⁰ is 1.", "Mask with −inf, not with 0."),
        "future": ("Each position sees only itself and those after it.", "`torch.ones_like(s).tril()` is what may be seen."),
        "axis": ("Your columns sum to 1; a row is where one position looks.", "`.softmax(dim=1)`."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, change)) for change, texts in said.items())


def _judge_pattern(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {name: (run.x, *w[:4]) for name, (w, run, _) in _heads().items()}
    own = {len(run.x): run.pattern[head] for _, run, head in _heads().values()}
    return diagnose(mine, lambda x, *_: own[len(x)], cases, _pattern_slips())


# --- 31.2: what it writes -------------------------------------------------------------------------


def _writing_slips() -> tuple[Slip, ...]:
    def made(change: str, x: Tensor, A: Tensor, W_V: Tensor, b_V: Tensor, W_O: Tensor) -> Tensor:
        v = x @ W_V + (change != "bias") * b_V
        if change == "turned":
            A = A.T
        elif change == "hard":
            A = torch.nn.functional.one_hot(A.argmax(dim=1), len(A)).to(A)
        elif change == "even":
            A = torch.ones_like(A).tril() / torch.arange(1, len(A) + 1)[:, None]
        elif change == "twice":
            A = A @ A
        elif change == "softmax":
            A = A.softmax(dim=1)
        elif change == "still":
            A = torch.eye(len(A), dtype=A.dtype)
        z = A @ v
        if change == "inner":
            return z
        if change == "scaled":
            z = z / W_V.shape[1] ** 0.5
        return z @ W_O + (change == "stream") * x

    said = {
        "bias": ("The values' bias is missing.", "`x @ W_V + b_V`."),
        "turned": ("The pattern is transposed: row t holds where position t looks.", "`pattern @ v`, not `pattern.T @ v`."),
        "hard": ("You take the value of the place with the most attention alone.", "The head writes the mean of all values, weighted by attention."),
        "even": ("You take the mean of all values so far, whatever the attention.", "Weight them: `pattern @ v`."),
        "twice": ("The pattern is applied twice.", "Mix the values once."),
        "softmax": ("The pattern is attention already; you take a softmax of it again.", "Use it as it is."),
        "still": ("Each position writes its own value: the pattern is not used.", "`pattern @ v` brings values from where the head looks."),
        "inner": ("This has the width of the head: it was not yet put into the stream.", "W_O (d_head, d) comes last."),
        "scaled": ("You divide by √d_head; that belongs to scores, not to values.", "Leave it out."),
        "stream": ("You add the stream itself; asked is what this head adds to it.", "Leave x out."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, change)) for change, texts in said.items())


def _judge_written(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {name: (run.x, run.pattern[head], *w[4:]) for name, (w, run, head) in _heads().items()}
    own = {len(run.x): run.written[head] for _, run, head in _heads().values()}
    return diagnose(mine, lambda x, *_: own[len(x)], cases, _writing_slips())


# --- 31.3: the QK circuit -------------------------------------------------------------------------


def _qk(given: Tensor, W_V: Tensor, W_O: Tensor, W_Q: Tensor, W_K: Tensor) -> Tensor:
    before = given @ W_V @ W_O
    return (given @ W_Q) @ (before @ W_K).T / W_Q.shape[1] ** 0.5


def _qk_slips() -> tuple[Slip, ...]:
    def made(
        change: str, given: Tensor, W_V: Tensor, W_O: Tensor, W_Q: Tensor, W_K: Tensor
    ) -> Tensor:
        right = _qk(given, W_V, W_O, W_Q, W_K)
        root, before = W_Q.shape[1] ** 0.5, given @ W_V @ W_O
        ways: dict[str, Callable[[], Tensor]] = {
            "scale": lambda: right * root,
            "width": lambda: right * root / len(W_Q) ** 0.5,
            "turned": lambda: right.T,
            "direct": lambda: given @ W_Q @ (given @ W_K).T / root,
            "queries": lambda: before @ W_Q @ (given @ W_K).T / root,
            "both": lambda: before @ W_Q @ (before @ W_K).T / root,
            "added": lambda: given @ W_Q @ ((given + before) @ W_K).T / root,
            "values": lambda: given @ W_Q @ (given @ W_V @ W_Q.T @ W_K).T / root,
            "softmax": lambda: right.softmax(dim=1),
            "weights": lambda: W_Q @ W_K.T / root,
        }
        return ways[change]()

    said = {
        "scale": ("Your scores are not divided by √d_head.", "As in 31.1."),
        "width": ("You divide by the root of the stream's width; d_head is the number of columns of W_Q.", "As in 31.1."),
        "turned": ("Your matrix is transposed: rows are the letter that asks.", "`q @ k.T` has the queries in rows."),
        "direct": ("Your keys read the letter itself; they must read what the first head wrote about the one before.", "`letters @ W_V @ W_O` comes before W_K."),
        "queries": ("The first head's message reached the queries; the letter that asks reads itself, and the key hears the message.", "Put `W_V @ W_O` in front of W_K."),
        "both": ("Queries and keys both hear the first head; only the key does here.", "The query is `letters @ W_Q`."),
        "added": ("You keep the key's own letter in the sum; asked is the first head's message alone.", "Leave `letters` itself out of the key."),
        "values": ("The first head's value is put back by the wrong matrix; it writes by its own W_O.", "`letters @ W_V @ W_O`."),
        "softmax": ("These are shares; asked are scores, before any softmax.", "Leave the softmax out."),
        "weights": ("This is a matrix over the stream; put letters on both sides of it.", "Letters in rows and columns: (26, 26)."),
    }  # fmt: skip
    return tuple(Slip(*texts, partial(made, change)) for change, texts in said.items())


def _judge_qk(mine: Callable[..., Tensor]) -> Mistake | str | None:
    cases = {}
    for name, n, d, inner, seed in (("5 letters", 5, 6, 3, 0), ("7 letters", 7, 9, 4, 1)):
        draws = torch.Generator().manual_seed(seed)
        shapes = ((n, d), (d, inner), (inner, d), (d, inner), (d, inner))
        cases[name] = tuple(torch.randn(one, generator=draws).double() for one in shapes)
    return diagnose(mine, _qk, cases, _qk_slips())


def found_through_another() -> float:
    """Return the share of letters that head 1.3 would find if head 0.0 wrote which letter came before."""
    return own_largest(asked_through(_induction(), READER[1], BESIDE[1]))


# --- 31.5: copying --------------------------------------------------------------------------------


def copying_score(matrix: Tensor) -> Tensor:
    """Return the sum of a matrix's eigenvalues over the sum of their sizes (arXiv 2209.11895)."""
    values = torch.linalg.eigvals(matrix)
    return values.real.sum() / values.abs().sum()


def _copying_slips() -> tuple[Slip, ...]:
    eig, single = torch.linalg.eigvals, torch.linalg.svdvals
    return (
        Slip("This is a sum; divide it by the sum of the sizes |λ|.", "Sizes of complex numbers: `.abs()`.", torch.trace),
        Slip("You divide by the number of eigenvalues, so the score depends on how large the matrix is.", "Divide by the sum of |λ|.", lambda m: eig(m).real.mean()),
        Slip("You divide by singular values; these are not the sizes of eigenvalues.", "`values.abs().sum()`.", lambda m: torch.trace(m) / single(m).sum()),
        Slip("The sizes |λ| leave out the imaginary parts.", "`values.abs()` on the complex values.", lambda m: eig(m).real.sum() / eig(m).real.abs().sum()),
        Slip("You add sizes of the real parts, so nothing can be negative.", "In the numerator the sign counts.", lambda m: eig(m).real.abs().sum() / eig(m).abs().sum()),
        Slip("This is the share of positive eigenvalues; large ones must count for more.", "Sum of λ over sum of |λ|.", lambda m: (eig(m).real > 0).double().mean()),
        Slip("`eigvalsh` is for symmetric matrices: it reads one triangle of yours.", "`torch.linalg.eigvals`.", lambda m: torch.linalg.eigvalsh(m).sum() / torch.linalg.eigvalsh(m).abs().sum()),
        Slip("These are the eigenvalues of the symmetric part alone.", "Of the matrix itself.", lambda m: (torch.trace(m) / torch.linalg.eigvalsh((m + m.T) / 2).abs().sum())),
        Slip("You compare the diagonal with all entries; that depends on the basis, eigenvalues do not.", "`torch.linalg.eigvals(matrix)`.", lambda m: torch.trace(m) / m.abs().sum()),
        Slip("This is the share of rows whose own letter is the largest, another score of copying.", "Asked is the one of eigenvalues.", own_largest),
        Slip("The real part of the largest eigenvalue stands for all of them.", "Sum over all.", lambda m: (lambda v: v[v.abs().argmax()].real / v.abs().max())(eig(m))),
    )  # fmt: skip


def _judge_copying(mine: Callable[[Tensor], Any]) -> Mistake | str | None:
    cases = {}
    for name, n, seed, own in (
        ("a matrix of 5 letters", 5, 0, 0.7),
        ("one of 8 letters", 8, 3, 0.7),
        ("one of 6 letters that are taken away", 6, 1, -1.5),
    ):
        drawn = torch.randn(n, n, generator=torch.Generator().manual_seed(seed)).double()
        cases[name] = (drawn + own * torch.eye(n).double(),)
    return diagnose(mine, copying_score, cases, _copying_slips())


SHAPES = "W_Q (d, d_head), b_Q (d_head,), W_K (d, d_head) and b_K (d_head,)"
TASKS = tasks(
    "attention_by_hand",
    {
        "31.1": Answer(
            function(tensor("time", "source"), takes=f"x (time, d), {SHAPES}"), judge=_judge_pattern
        ),
        "31.2": Answer(
            function(
                tensor("time", "d"),
                takes="x (time, d), a pattern (time, time), W_V (d, d_head), b_V (d_head,) and W_O (d_head, d)",
            ),
            judge=_judge_written,
        ),
        "31.3": Answer(
            function(
                tensor("letters", "letters"),
                takes="letters (n, d), then W_V, W_O of the first head and W_Q, W_K of the second",
            ),
            judge=_judge_qk,
        ),
        "31.4": Answer(number(0, 1), measure=found_through_another),
        "31.5": Answer(function(number(), takes="a square matrix"), judge=_judge_copying),
    },
)
