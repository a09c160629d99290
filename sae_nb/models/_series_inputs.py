"""Time series of sensors: (n, time, channels), each shown as traces under each other, one per channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import adaptive_max_pool1d, interpolate

from sae_nb.models import _facts as facts
from sae_nb.models._inputs import Batch, Batches, plain_batches

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from sae_nb.checks import Inputs
    from sae_nb.models._interface import Reads

_WIDTH = 480  # pixels
_ONE, _ALL, _LOWEST = 96, 192, 24  # of one trace, of all, of one of a few
_FINE = 4  # points per pixel, between which a line is straight
_LINE, _PAPER = 235, 20


def series_batches(model: Reads, inputs: Inputs, *, batch_size: int) -> Batches:
    """Return batches of time series, with their traces and the time between their values.

    Models that take `past_values` read (n, time[, channels]); others have channels second.
    """
    channels = getattr(getattr(model.module, "config", None), "num_input_channels", None) or 1
    if isinstance(inputs, Tensor) and inputs.ndim == 2 and channels > 1:
        inputs = inputs[None]
    found = plain_batches(model, inputs, batch_size=batch_size)

    def batches() -> Iterator[Batch]:
        for batch in found:
            values = _in_time(model, batch.kwargs.get("past_values", batch.first_tensor))
            yield replace(
                batch,
                pictures=torch.stack([trace_of(sample) for sample in values.cpu()]),
                n_values=values.shape[1],
                longest=values.shape[1],
                sample_rate=model.sample_rate,
            )

    policy = {} if model.sample_rate is None else {"sample_rate": model.sample_rate}
    return Batches(batches(), n_samples=found.n_samples, policy=policy)


def _in_time(model: Reads, values: Tensor) -> Float[Tensor, "batch time channels"]:
    if values.ndim not in (2, 3):
        raise ValueError(
            f"Time series for {model.name} must have shape (n, time, channels) or (n, time), got "
            f"{tuple(values.shape)}."
        )
    in_time = facts.reads_series(model.module)
    if values.ndim == 2:
        values = values[:, :, None]
    elif not in_time:
        values = values.transpose(1, 2)
    if not in_time:
        return values
    # What comes before the context serves as lags; what fills no patch is left out at the beginning.
    config: PretrainedConfig = getattr(model.module, "config", None)
    longest = int(getattr(config, "context_length", None) or values.shape[1])
    if values.shape[1] < longest and facts.fills_series(model.module):
        raise ValueError(
            f"Time series for {model.name}, which fills up shorter ones by zeros, must have at least {longest} "
            f"values, got {values.shape[1]}. Pass longer ones."
        )
    values = values[:, -longest:]
    stride = facts.series_stride(model.module)
    spare = 0 if stride is None else (values.shape[1] - int(config.patch_length)) % stride
    return values[:, spare:]


def trace_of(values: Float[Tensor, "..."]) -> UInt8[Tensor, "3 height width"]:
    """Return (time, channels) or (time,) as an image: a bright line per channel, over its own height."""
    traces = (values if values.ndim == 2 else values[:, None]).float().T
    channels, n = traces.shape
    tall = max(2, min(max(_LOWEST, _ONE // channels), _ALL // channels))
    thick, edge = (2, 2) if tall >= _LOWEST // 2 else (1, 0)
    low, high = traces.amin(dim=1, keepdim=True), traces.amax(dim=1, keepdim=True)
    level = torch.where(high > low, (traces - low) / (high - low).clamp_min(1e-12), 0.5)
    if 1 < n < _FINE * _WIDTH:
        level = interpolate(level[None], _FINE * _WIDTH, mode="linear", align_corners=True)[0]
    top, bottom = adaptive_max_pool1d(level, _WIDTH), -adaptive_max_pool1d(-level, _WIDTH)
    # A line has no gaps: each column of pixels begins where the one before ends.
    begins, ends = bottom[:, :-1].clone(), top[:, :-1].clone()
    bottom[:, 1:] = bottom[:, 1:].minimum(ends)
    top[:, 1:] = top[:, 1:].maximum(begins)
    room = tall - thick - 2 * edge
    upper = ((1 - top) * room + edge).floor()[:, None]
    lower = ((1 - bottom) * room + edge + thick).floor()[:, None]
    rows = torch.arange(tall)[:, None]
    image = torch.where((rows >= upper) & (rows < lower), _LINE, _PAPER).to(torch.uint8)
    return image.flatten(0, 1).expand(3, -1, -1).clone()
