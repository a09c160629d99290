"""Wrong values for an argument, drawn from its rules and from what its annotation says it takes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sae_nb.checks import LARGEST, Between, Each, OneOf, Rule

LONG_NAME = "x" * 300
Maker = Callable[[Any], Any]
"""The argument's valid value → a wrong one, made anew for each call."""

NOTHING_LIKE_IT: dict[str, Maker] = {
    "None": lambda _: None,
    "an object": lambda _: object(),
    "a class": lambda _: dict,
    "the number 3": lambda _: 3,
    "a text": lambda _: "nonsense",
    "an empty text": lambda _: "",
    "an empty list": lambda _: [],
    "an empty dict": lambda _: {},
    "a list of objects": lambda _: [object()],
    "a layer": lambda _: nn.Linear(2, 2),
    "an int tensor": lambda _: torch.arange(3),
}
WHOLE: dict[str, Maker] = {
    "True": lambda _: True,
    "2.5": lambda _: 2.5,
    "a number as text": lambda _: "3",
    "-1": lambda _: -1,
    "0": lambda _: 0,
    "10**12": lambda _: 10**12,
    "2**70": lambda _: 2**70,
    "-(2**70)": lambda _: -(2**70),
    "nan": lambda _: float("nan"),
    "inf": lambda _: float("inf"),
    "numpy's integer": lambda valid: np.int64(valid if isinstance(valid, int) else 1),
    "numpy's -5": lambda _: np.int64(-5),
    "numpy's bool": lambda _: np.bool_(True),
    "numpy's float": lambda _: np.float32(2.5),
    "a complex number": lambda _: 1j,
    "a list of it": lambda valid: [valid],
}
REAL: dict[str, Maker] = WHOLE | {
    "-1.5": lambda _: -1.5,
    "1e300": lambda _: 1e300,
    "numpy's nan": lambda _: np.float64("nan"),
    "numpy's double": lambda valid: np.float64(valid if isinstance(valid, float) else 0.5),
    "-inf": lambda _: float("-inf"),
}
FLAG: dict[str, Maker] = {
    "'False'": lambda _: "False",
    "2": lambda _: 2,
    "numpy's True": lambda _: np.bool_(True),
    "2.5": lambda _: 2.5,
}
TEXT: dict[str, Maker] = {
    "300 letters": lambda _: LONG_NAME,
    "NUL": lambda _: "a\0b",
    "slashes": lambda _: "../a/b//c",
    "bytes": lambda _: b"abc",
    "a list of it": lambda valid: [valid],
    "a lone surrogate": lambda _: "\ud800",
}
FILE: dict[str, Maker] = TEXT | {
    "a file": lambda _: "a_file",
    "within a file": lambda _: "a_file/within",
    "a folder": lambda _: "a_folder",
    "absent": lambda _: "absent/and/deep",
    "a folder's path object": lambda _: Path("a_folder"),
    "a path with NUL": lambda _: Path("a\0b"),
    "a long path": lambda _: Path(LONG_NAME) / "x",
}
SEQUENCE: dict[str, Maker] = {
    "one text": lambda _: "abc",
    "a list of None": lambda _: [None],
    "a list of texts": lambda _: ["a", "b"],
    "a list of floats": lambda _: [0.5, 2.5],
    "a list of negative numbers": lambda _: [-1, -2],
    "a list of huge numbers": lambda _: [10**12, 2**70],
    "a list of nan": lambda _: [float("nan")],
    "a list of lists": lambda _: [[1], [2]],
    "a set": lambda _: {1, 2},
    "a generator": lambda _: (number for number in (1, 2)),
    "numpy's integers": lambda _: np.array([1, 2]),
    "an array of objects": lambda _: np.array([None, "a"], dtype=object),
}
MAPPING: dict[str, Maker] = {
    "a dict of objects": lambda _: {"a": object()},
    "a dict by object": lambda _: {object(): "a"},
    "a dict of lists": lambda _: {0: [1, 2]},
    "pairs": lambda _: [("a", 1)],
}
GENERATOR: dict[str, Maker] = {
    "numpy's generator": lambda _: np.random.default_rng(0),
    "a seed": lambda _: 0,
}
DEVICE: dict[str, Maker] = {
    "no device": lambda _: "gpu",
    "cuda:99": lambda _: "cuda:99",
    "meta": lambda _: "meta",
    "-1": lambda _: -1,
}
DTYPE: dict[str, Maker] = {
    "float": lambda _: float,
    "numpy's float32": lambda _: np.float32,
    "int64": lambda _: torch.int64,
    "complex64": lambda _: torch.complex64,
    "bool": lambda _: torch.bool,
}
FUNCTION: dict[str, Maker] = {
    "a function of nothing": lambda _: lambda: None,
    "a list of numbers": lambda _: [3],
}


def _changed(change: Callable[[torch.Tensor], Any]) -> Maker:
    def make(valid: Any) -> Any:
        x = valid.x if hasattr(valid, "sample") else valid
        x = torch.from_numpy(x) if isinstance(x, np.ndarray) else x
        return change(x.clone() if isinstance(x, torch.Tensor) else torch.randn(6, 8))

    return make


def _with(x: torch.Tensor, number: float) -> torch.Tensor:
    x = x.float()
    x.view(-1)[0] = number
    return x


TENSOR: dict[str, Maker] = {
    "lists": _changed(torch.Tensor.tolist),
    "an array": _changed(lambda x: x.detach().numpy()),
    "an array of texts": lambda _: np.array([["a", "b"]]),
    "integers": _changed(lambda x: x.int()),
    "complex": _changed(lambda x: x.to(torch.complex64)),
    "booleans": _changed(lambda x: x > 0),
    "half": _changed(lambda x: x.half()),
    "double": _changed(lambda x: x.double()),
    "NaN": _changed(lambda x: _with(x, float("nan"))),
    "infinity": _changed(lambda x: _with(x, float("inf"))),
    "huge": _changed(lambda x: x.float() * 0 + 3e38),
    "negative": _changed(lambda x: -x.abs() - 1 if x.dtype != torch.bool else -x.int()),
    "zeros": _changed(torch.zeros_like),
    "no rows": _changed(lambda x: x[:0] if x.ndim else x),
    "fewer rows": _changed(lambda x: x[:-1] if x.ndim else x),
    "one row": _changed(lambda x: x[:1] if x.ndim else x),
    "narrower": _changed(lambda x: x[..., :-1] if x.ndim else x),
    "no columns": _changed(lambda x: x[..., :0] if x.ndim else x),
    "one axis more": _changed(lambda x: x[None]),
    "one axis less": _changed(lambda x: x[0] if x.ndim else x),
    "a number": _changed(lambda x: x.flatten()[0] if x.numel() else x),
    "one axis": _changed(torch.Tensor.flatten),
    "meta": _changed(lambda x: x.to("meta")),
    "sparse": _changed(lambda x: x.float().to_sparse()),
    "transposed": _changed(lambda x: x.transpose(0, -1) if x.ndim > 1 else x),
    "with gradients": _changed(lambda x: x.float().requires_grad_()),
}
KINDS: list[tuple[str, dict[str, Maker]]] = [
    (r"\bint\b", WHOLE),
    (r"\bfloat\b", REAL),
    (r"\bbool\b", FLAG),
    (r"\bstr\b|Literal|Name\b|Mode\b|Split\b|Kind\b|Unit\b|Method\b|Backend\b", TEXT),
    (r"\bPath|PathLike", FILE),
    (r"Sequence|Iterable|tuple|list|Where|Labels|labels|Any|Targets?\b|Steps\b", SEQUENCE),
    (r"Mapping|dict", MAPPING),
    (r"Generator", GENERATOR),
    (r"device", DEVICE),
    (r"dtype", DTYPE),
    (r"Callable|Callbacks|Make\b|Explain|Judge|Measure\b|Variant|Change", FUNCTION),
    (r"Tensor|ndarray|Rows|Activations|Data\b|Any|SparseCodes", TENSOR),
]


def outside(rule: Rule) -> list[Any]:
    """Values that a rule does not permit: of another kind, and just beyond its ends."""
    match rule:
        case Between(whole=True):
            high = LARGEST if rule.high == math.inf else int(rule.high)
            return [2.5, True, "3", int(rule.low) - 1, high + 1]
        case Between():
            low, high = rule.low, rule.high
            below = low if rule.ends[0] == "(" else low - abs(low) * 1e-9 - 1e-9
            beyond = high if rule.ends[1] == ")" else high + abs(high) * 1e-9
            return [
                "3",
                True,
                math.nan,
                below,
                *([] if (rule.ends[1], high) == ("]", math.inf) else [beyond]),
            ]
        case OneOf():
            return ["nonsense", object()]
        case Each():
            return [[value] for value in outside(rule.rule)]


def inside(rule: Rule) -> list[Any]:
    """Values that a rule permits, those at its ends among them."""
    match rule:
        case Between(whole=True):
            return [int(rule.low), LARGEST if rule.high == math.inf else int(rule.high)]
        case Between():
            low, high = max(rule.low, -1e300), min(rule.high, 1e300)
            ends = [low] * (rule.ends[0] == "[") + [high] * (rule.ends[1] == "]")
            return [*ends, (low + high) / 2]
        case OneOf():
            return list(rule.choices)
        case Each():
            return [[value] for value in inside(rule.rule)]


def _kinds(annotation: str, rules: Iterable[Rule]) -> Iterator[dict[str, Maker]]:
    """Kinds of wrong values by the words of the annotation, and by its rules, which are outside all of them."""
    for pattern, kind in KINDS:
        if re.search(pattern, annotation):
            yield kind
    for rule in rules:
        one = rule.rule if isinstance(rule, Each) else rule
        yield TEXT if isinstance(one, OneOf) else WHOLE if one.whole else REAL
        yield {f"outside, {i}": lambda _, value=v: value for i, v in enumerate(outside(rule))}


def wrong_values(annotation: str, rules: Iterable[Rule] = ()) -> dict[str, Maker]:
    """Return name and maker of each wrong value for an argument with that annotation and those rules."""
    values = dict(NOTHING_LIKE_IT)
    for kind in _kinds(annotation, rules):
        values |= kind
    return values
