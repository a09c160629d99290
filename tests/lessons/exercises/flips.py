"""Solutions with one thing changed: an operator, an axis, a norm, a sign, a constant, a boundary, a name.

`python -m tests.lessons.exercises.flips 03.7` prints what the checker says to each.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sae_nb_lessons import exercise

from sae_nb_studies.reproductions import MeasuredClaim
from tests.lessons.exercises.answered import CELLS, answer, handed_in

EQUAL = {
    id: frozenset(one["lines"])
    for id, one in tomllib.loads(Path(__file__).with_name("equal.toml").read_text("utf-8")).items()
}
"""Exercise → changed lines with which the answer is still right; the file says why."""

OPERATORS: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.Mod: (ast.Add,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
}
METHODS: dict[str, str] = {
    **dict.fromkeys(("sum", "norm"), "mean"),
    **{a: b for pair in ("max min", "argmax argmin", "amax amin", "cos sin", "square abs", "any all", "cumsum cumprod",
        "cummin cummax", "softmax log_softmax", "sort msort", "rfft fft") for a, b in (pair.split(), pair.split()[::-1])},
    "expm1": "exp",
    "acos": "sin",
}  # fmt: skip
DROPPED = {
    "relu",
    "abs",
    "sqrt",
    "square",
    "clamp",
    "clone",
    "sort",
    "exp",
    "acos",
    "cos",
    "float",
    "flip",
}


def flips(source: str) -> Iterator[tuple[str, str]]:
    """The changed line and the changed source, once each."""
    tree, seen = ast.parse(source), set()
    before = ast.unparse(tree).split("\n")
    takes = [a.arg for d in tree.body if isinstance(d, ast.FunctionDef) for a in d.args.args]
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            places = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
            for place, node in places:
                for other in _others(node, takes) if isinstance(node, ast.expr) else ():
                    _put(parent, field, place, other)
                    text = ast.unparse(ast.fix_missing_locations(tree))
                    _put(parent, field, place, node)
                    after = [b for a, b in zip(before, text.split("\n")) if a != b]
                    if after and (key := after[0].strip()) not in seen:
                        seen.add(key)
                        yield key, text


def altered(value: Any) -> Iterator[tuple[str, Any]]:
    """Numbers, lists and tensors with a slip: a sign, a share for its rest, a square, a factor, an order.

    Of several tensors, and of a card's numbers over seeds, one at a time.
    """
    match value:
        case (torch.Tensor() as first, *_) if any(one.shape != first.shape for one in value):
            for i, part in enumerate(value):
                for name, slip in altered(part):
                    yield f"[{i}] {name}", (*value[:i], slip.to(part), *value[i + 1 :])
            return
        case MeasuredClaim(by_seed=by_seed):
            for part in ("claim", "floor", "control"):
                for name, slip in altered([one[part] for one in by_seed.values()]):
                    slipped = zip(by_seed.items(), slip.tolist(), strict=True)
                    new = {seed: one | {part: number} for (seed, one), number in slipped}
                    yield f"{part}: {name}", replace(value, by_seed=new)
            return
        case [torch.Tensor(), *_]:
            value = torch.stack(value)
        case dict():
            return
    x = torch.as_tensor(value, dtype=torch.float64)
    slips = {"-x": -x, "1 - x": 1 - x, "2 * x": 2 * x, "x / 2": x / 2, "x**2": x**2, "x + 1": x + 1,
        "x - 1": x - 1, "0 * x": 0 * x, "abs(x)": x.abs(), "100 * x": 100 * x, "x / 10": x / 10,
        "10 * x": 10 * x, "1.5 * x": 1.5 * x, "x**0.5": x**0.5, "1 / x": 1 / x}  # fmt: skip
    if x.ndim:
        slips |= {"x / x.sum()": x / x.sum(), "x.flip(0)": x.flip(0), "x.roll(1, 0)": x.roll(1, 0)}
    for name, slip in slips.items():
        if not torch.equal(slip, x):
            yield name, slip


def _put(parent: ast.AST, field: str, place: int | None, node: ast.AST) -> None:
    if place is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[place] = node


def _others(node: ast.expr, takes: list[str]) -> Iterator[ast.expr]:
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.Constant(value=float(value)):
            yield ast.Constant(2 * value if value > 0.01 else 0.5)
        case ast.Name(id=name, ctx=ast.Load()) if name in takes:
            yield from (ast.Name(other, ast.Load()) for other in takes if other != name)
            yield ast.Attribute(node, "mT", ast.Load())
            if name == "seed":
                yield ast.Constant(0)
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.BinOp(left, op, right):
            yield from (ast.BinOp(left, new(), right) for new in OPERATORS.get(type(op), ()))
            if isinstance(
                op,
                ast.Add | ast.Sub | ast.Mult | ast.Div | ast.Pow | ast.BitAnd | ast.BitOr | ast.Mod,
            ):
                yield from (left, right)
            if isinstance(op, ast.Sub | ast.Div | ast.MatMult):
                yield ast.BinOp(right, op, left)
                yield _call("abs", node)
            if isinstance(op, ast.Sub):
                yield ast.BinOp(node, ast.Pow(), ast.Constant(2))
        case ast.Compare(left, ops, comparators):
            for i, op in enumerate(ops):
                for new in OPERATORS.get(type(op), ()):
                    yield ast.Compare(left, [*ops[:i], new(), *ops[i + 1 :]], comparators)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(OPERATORS[type(op)][0](), values)
            yield from values
        case ast.IfExp(body=body, orelse=orelse):
            yield from (body, orelse)
        case ast.Attribute(value=value, attr="T"):
            yield value
        case ast.Attribute(attr="inf"):
            yield ast.Constant(1)
        case ast.Attribute(value=value, attr="D"):
            yield ast.Attribute(value, "E", ast.Load())
        case ast.Subscript(value=value, slice=ast.Slice() | ast.Tuple()):
            yield value
        case ast.Call(func=ast.Name(id="unit_rows" | "scrambled"), args=[given, *_]):
            yield given
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=args, keywords=keywords):
            yield _call(METHODS[name], *args, keywords=keywords)
        case ast.Call(func=ast.Attribute(value, attr) as func, args=args, keywords=keywords):
            for other in ("sum", "max") if attr == "mean" else (METHODS.get(attr),):
                if other:
                    yield ast.Call(ast.Attribute(value, other, func.ctx), args, keywords)
            if attr in DROPPED and not isinstance(value, ast.Name):
                yield value
            for i in range(len(keywords)):
                yield ast.Call(func, args, keywords[:i] + keywords[i + 1 :])
            added = {"norm": ("p", 1), "topk": ("largest", False)}.get(attr)
            if added:
                yield ast.Call(
                    func, args, [*keywords, ast.keyword(added[0], ast.Constant(added[1]))]
                )


def _call(name: str, *given: ast.expr, keywords: list[ast.keyword] | None = None) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(given), keywords or [])


def tried(id: str) -> dict[str, Callable[[], Any]]:
    """Slips of an answer that is no function, then changed lines → what hands them in."""
    right = answer(id)
    slips = {} if callable(right) or isinstance(right, str) else dict(altered(right))
    return {name: partial(copy, slip) for name, slip in slips.items()} | {
        line: partial(handed_in, source, id) for line, source in flips(CELLS[id, "check"])
    }


def judged(id: str, each: int = 1) -> Iterator[tuple[str, Any]]:
    """Every n-th flip, and what the checker says to the solution with it."""
    for flip, make in [*tried(id).items()][::each]:
        exercise(id).reset()
        try:
            made = make()
        except Exception as error:  # noqa: BLE001 - what cannot be run cannot be handed in
            yield flip, error
        else:
            yield flip, exercise(id).check(made)


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        print(asked)
        for changed, said in judged(asked):
            passed = getattr(said, "passed", False)
            mark = (
                "ACCEPTED"
                if passed and changed not in EQUAL.get(asked, ())
                else "equal"
                if passed
                else "-"
            )
            print(
                f"  {mark}  {changed}   {'' if passed else getattr(said, 'message', repr(said))[:110]}",
                flush=True,
            )
