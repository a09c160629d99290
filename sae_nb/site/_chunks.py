"""Chunks: data as small scripts, so that a page reads them from a web server and from a disk alike.

A page opened from a disk may not fetch files, but may run scripts next to it. A chunk calls
`saeNb.give(name, data)`, and its data are JSON.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

DIGITS = 7
"""Significant ones of a number: more than float32 holds, and equal to Python's to 1e-6 of its size."""


def plain(value: Any) -> Any:
    """Return a value as JSON has it: arrays as lists, numbers short, None for what is not finite.

    >>> plain({"z": np.array([0.1, np.nan, 2.0], np.float32)})
    {'z': [0.1, None, 2]}
    """
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return _short(value)
    return value


def _short(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 2**53 else short


def write_chunk(folder: Path, name: str, data: Any) -> int:
    """Write the chunk of that name under a folder that is being made; return its bytes."""
    content = json.dumps(plain(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # As a plain key it would set the object's prototype; within a string quotes are escaped.
    content = content.replace('"__proto__":', '["__proto__"]:')
    script = f"saeNb.give({json.dumps(name)},{content});\n".encode("utf-8", "replace")
    path = folder / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(script)
    return len(script)
