"""torch's Adam, as a training on the CPU uses it."""

from __future__ import annotations

from inspect import unwrap
from typing import Any

import torch


class Adam(torch.optim.Adam):
    """torch's Adam, whose methods do not import torch.compile: that takes a second of a first step."""

    add_param_group: Any = unwrap(torch.optim.Adam.add_param_group)
    zero_grad: Any = unwrap(torch.optim.Adam.zero_grad)
    step: Any = torch.no_grad()(unwrap(torch.optim.Adam.step))
