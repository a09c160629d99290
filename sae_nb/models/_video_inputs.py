"""Videos, checked and prepared for models whose places are tubelets: time × row × column.

A video is shown as a film strip, one frame of each step in time below the other, so that the cells of the
strip are its tubelets in their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from sae_nb.models import _facts as facts
from sae_nb.models._inputs import (
    Batch,
    Batches,
    Samples,
    chained,
    chunks,
    described,
    empty,
    has_numbers,
    is_many,
    pair,
    plain_index,
)
from sae_nb.models._preprocessing import as_bytes, as_floats

if TYPE_CHECKING:
    from sae_nb.models._live_model import LiveModel

_TOLERANCE = 1e-3  # how far outside [0, 1] rounding may have moved a float video


class Prepared(NamedTuple):
    """A video that is already what the model reads."""

    values: Float[Tensor, "frames 3 height width"]


def video_batches(model: LiveModel, inputs: Any, *, batch_size: int) -> Batches:
    """Return batches of videos."""
    samples = video_samples(model, inputs)

    def batches() -> Iterator[Batch]:
        first = 0
        for chunk in chunks(samples.items, batch_size):
            yield _batch(model, chunk, first)
            first += len(chunk)

    policy = {"preprocess": repr(model.preprocess)}
    return Batches(batches(), n_samples=samples.n_samples, policy=policy)


def video_samples(model: LiveModel, inputs: Any) -> Samples:
    """Return the videos in `inputs`: tensors of shape (frames, 3, H, W), bytes or floats in [0, 1]."""
    if isinstance(inputs, Mapping):
        for name in ("pixel_values", "pixel_values_videos"):
            if name in inputs:
                values = _checked(model, torch.as_tensor(inputs[name]), prepared=True)
                return Samples(iter([Prepared(one) for one in values]), len(values))
        raise _not_video(model, inputs)
    if isinstance(inputs, Tensor | np.ndarray):
        if not has_numbers(inputs):
            raise _not_video(model, inputs)
        videos = _checked(model, torch.as_tensor(inputs), prepared=False)
        return Samples(iter(videos), len(videos))
    if isinstance(inputs, list | tuple):
        if not inputs:
            raise empty("video")
        if all(isinstance(one, Prepared) for one in inputs):
            return Samples(iter(inputs), len(inputs))
        return Samples.joined([video_samples(model, one) for one in inputs])
    if not is_many(inputs):
        raise _not_video(model, inputs)
    return chained(inputs, 5, lambda item: video_samples(model, item), name="video")


def _checked(model: LiveModel, videos: Tensor, *, prepared: bool) -> Tensor:
    """Return videos of shape (n, frames, 3, H, W) if the model can read them."""
    shape = tuple(videos.shape)
    videos = videos[None] if videos.ndim == 4 else videos
    if videos.ndim != 5 or not (videos.is_floating_point() or videos.dtype == torch.uint8):
        raise _not_video(model, videos)
    if videos.numel() == 0:
        raise empty("video")
    if videos.shape[2] != 3 and videos.shape[-1] == 3:
        raise ValueError(
            f"Videos must have 3 channels after the frames, (n, frames, 3, H, W), got {shape}. Use "
            "videos.movedim(-1, -3)."
        )
    if videos.shape[2] != 3:
        raise ValueError(
            f"Videos must have 3 channels, (n, frames, 3, H, W), got {shape}. Repeat a grey channel with "
            "expand."
        )
    wanted = facts.video_frames(model.module)
    if wanted is not None and videos.shape[1] != wanted:
        raise ValueError(
            f"Videos must have {wanted} frames for {model.name}, got {videos.shape[1]}. Choose {wanted} of "
            f"them, evenly: video[torch.linspace(0, {videos.shape[1] - 1}, {wanted}).long()]."
        )
    if videos.is_floating_point() and not bool(torch.isfinite(videos).all()):
        raise ValueError(f"Videos must be finite, got NaN or infinity in {described(videos)}.")
    low, high = float(videos.min()), float(videos.max())
    if (
        videos.is_floating_point()
        and not prepared
        and not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE)
    ):
        raise ValueError(
            f"Float videos must lie in [0, 1], got values from {low:.4g} to {high:.4g}. Divide bytes by 255; "
            'pass pixels that are already normalised as {"pixel_values": …}.'
        )
    size = pair(facts.video_size(model.module))
    resizes = model.preprocess is not None and not prepared
    if size is not None and tuple(videos.shape[3:]) != size and not resizes:
        raise ValueError(
            f"Videos must have {size[0]}×{size[1]} pixels for {model.name}, got "
            f"{videos.shape[3]}×{videos.shape[4]}. Resize them, or wrap the model with preprocess=."
        )
    return videos.detach().cpu()


def _not_video(model: LiveModel, inputs: Any) -> TypeError:
    return TypeError(
        f"`inputs` must be videos for {model.name}, got {described(inputs)}. Pass bytes, or floats in [0, 1], "
        "of shape (n, frames, 3, H, W)."
    )


def _batch(model: LiveModel, chunk: Sequence[Any], first: int) -> Batch:
    values = torch.stack([_pixels(model, one) for one in chunk])
    names = facts.forward_names(model.module) & {"pixel_values", "pixel_values_videos"}
    values = values.to(model.dtype)
    grid = model.patch_grid
    n_tokens = None if grid is None else model.prefix_tokens + grid[0] * grid[1]
    sample, position = plain_index(first, len(chunk), n_tokens)
    batch = Batch(
        args=() if names else (values,),
        kwargs=dict.fromkeys(sorted(names)[:1], values),
        n=len(chunk),
        first_sample=first,
        sample=sample,
        position=position,
    )
    if model.time_last:  # no strip has its cells in that order
        return batch.to(model.device)
    shown = [strip(one.values if isinstance(one, Prepared) else one, model.frames) for one in chunk]
    return replace(batch, pictures=torch.stack(shown)).to(model.device)


def _pixels(model: LiveModel, video: Tensor | Prepared) -> Float[Tensor, "frames 3 height width"]:
    if isinstance(video, Prepared):
        return video.values
    floats = as_floats(video)
    return floats if model.preprocess is None else model.preprocess(floats)


def strip(video: Tensor, frames: int | None = None) -> UInt8[Tensor, "3 height width"]:
    """Return a video as a film strip: the first frame of each step in time, one below the other."""
    kept = video[:: max(1, len(video) // (frames or len(video)))]
    if kept.is_floating_point():
        low, high = kept.min(), kept.max()
        if low < -_TOLERANCE or high > 1 + _TOLERANCE:  # normalised: its own range
            kept = (kept - low) / (high - low)
        kept = as_bytes(kept.clamp(0, 1))
    return kept.transpose(0, 1).flatten(1, 2).contiguous()
