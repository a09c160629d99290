"""Triton's interpreter with the numpy of today: import it before the kernels, where it replaces a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from triton.runtime import interpreter

_theirs = interpreter._patch_lang_tensor


def _patched(tensor: Any, scope: Any) -> None:
    # Theirs makes an int of an array with one entry, which numpy 2.4 no longer does.
    _theirs(tensor, scope)
    scope.set_attr(tensor, "__index__", lambda self: int(np.asarray(self.handle.data).item()))


interpreter._patch_lang_tensor = _patched
