"""torch's Adam, as a training on the CPU uses it."""

from __future__ import annotations

from inspect import unwrap
from typing import Any

import torch


class Adam(torch.optim.Adam):
    """torch's Adam, whose methods do not import torch.compile: that takes a second of a first step."""

    add_param_group: Any = unwrap(torch.optim.Adam.add_param_group)
    step: Any = torch.no_grad()(unwrap(torch.optim.Adam.step))
    step.hooked = True  # or torch wraps it in a name for its profiler, which takes as long as moving the atoms
