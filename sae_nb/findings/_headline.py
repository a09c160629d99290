"""The line that a finding prints: a template in which the finding's own numbers are filled in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from types import BuiltinMethodType, MethodType
from typing import Any


class Shown:
    """A value as a template writes it; `{r2.mean:.3f}` is the mean of `r2` in three decimals.

    Methods without arguments are called; `.len` is the length, `.nanmean` the mean of what is known, and
    `.counts` how often each value is there. Several values are joined by commas, a mapping as "name value".
    """

    def __init__(self, value: Any) -> None:
        self._value = value() if isinstance(value, MethodType | BuiltinMethodType) else value

    def __getattr__(self, name: str) -> Shown:
        if name == "len":
            return Shown(len(self._value))
        if name == "nanmean":
            known = [float(x) for x in self._value if not math.isnan(x)]
            return Shown(sum(known) / len(known) if known else math.nan)
        if name == "counts":
            return Shown([f"{n} {value}" for value, n in Counter(self._value).items()])
        return Shown(getattr(self._value, name))

    def __getitem__(self, key: int | str) -> Shown:
        last = isinstance(key, str) and key.startswith("-")  # `format` takes it for a name
        return Shown(self._value[int(key) if last else key])

    def __format__(self, spec: str) -> str:
        value = self._value
        if isinstance(value, Mapping):
            pairs = (
                (name if isinstance(name, str) else f"{name}:", one) for name, one in value.items()
            )
            return ", ".join(f"{name} {Shown(one):{spec}}" for name, one in pairs)
        if getattr(value, "shape", None) == ():  # a number of torch or numpy
            value = value.item()
        if hasattr(value, "__len__") and not isinstance(value, str):
            return ", ".join(format(Shown(one), spec) for one in value)
        return str(value) if value is None else format(value, spec)


class Filling(Mapping[str, Shown]):
    """The attributes of an object, as a template asks for them."""

    def __init__(self, of: Any) -> None:
        self._of = of

    def __getitem__(self, name: str) -> Shown:
        return Shown(getattr(self._of, name))

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self._of))

    def __len__(self) -> int:
        return len(vars(self._of))
