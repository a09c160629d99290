"""Numbers that a call takes where they are left out."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any


def numbers_left_out(call: Callable[..., Any]) -> dict[str, float]:
    """Return the defaults of arguments that are numbers, by name."""
    taken = inspect.signature(call).parameters.items()
    numbers = {name: one.default for name, one in taken if type(one.default) in (int, float)}
    return {name: number for name, number in numbers.items() if not math.isnan(number)}
