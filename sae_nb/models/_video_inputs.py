"""Videos, checked and prepared for models whose places are tubelets: time × row × column.

A video is shown as a film strip, one frame of each step in time below the other. A video of a data set is
refused if it does not fit; a single one is converted (`fit_video`), and every conversion is stated.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageSequence
from torch import Tensor

from sae_nb.data._images import IMAGE_SUFFIXES, visible_files
from sae_nb.models import _facts as facts
from sae_nb.models._image_inputs import LARGEST, UNREADABLE, fit_size, rgb_of
from sae_nb.models._inputs import (
    Batch,
    Batches,
    Samples,
    batched,
    chained,
    chunks,
    described,
    empty,
    has_numbers,
    is_many,
    numbers_of,
    plain_index,
)
from sae_nb.models._preprocessing import Preprocess, as_bytes, as_floats
from sae_nb.models._token_layout import pair

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models._interface import Reads

_TOLERANCE = 1e-3  # how far outside [0, 1] rounding may have moved a float video


@dataclass(frozen=True, eq=False)
class Film:
    """Frames of a video, frames per second where known, and whether they are what the model reads already."""

    frames: Tensor
    rate: float | None = None
    ready: bool = False


def video_batches(model: Reads, inputs: Inputs, *, batch_size: int) -> Batches:
    """Return batches of videos."""
    samples = video_samples(model, inputs)
    parts = chunks(samples.items, batch_size)
    return batched(samples, parts, partial(_batch, model), preprocess=repr(model.preprocess))


def video_samples(model: Reads, inputs: Inputs, rate: float | None = None) -> Samples:
    """Return the videos in `inputs` as films of shape (frames, 3, H, W), bytes or floats in [0, 1]."""
    if isinstance(inputs, Film):
        return Samples(iter([inputs]), 1)
    if isinstance(inputs, tuple) and len(inputs) == 2 and _is_number(inputs[1]):
        return video_samples(model, inputs[0], _checked_rate(inputs[1]))
    if isinstance(inputs, Mapping):
        return _mapping(model, inputs, rate)
    if isinstance(inputs, str | Path | bytes | Image.Image) or _are_frames(inputs):
        film = opened_video(inputs)
        frames = _checked(model, film.frames, prepared=False)
        return Samples(iter([Film(frames[0], rate or film.rate)]), 1)
    if isinstance(inputs, Tensor | np.ndarray):
        if not has_numbers(inputs):
            raise _not_video(model, inputs)
        videos = _checked(model, numbers_of(inputs), prepared=False)
        return Samples((Film(one, rate) for one in videos), len(videos))
    if isinstance(inputs, list | tuple):
        if not inputs:
            raise empty("video")
        return Samples.joined([video_samples(model, one, rate) for one in inputs])
    if not is_many(inputs):
        raise _not_video(model, inputs)
    return chained(inputs, 5, lambda item: video_samples(model, item, rate), name="video")


def _mapping(model: Reads, inputs: Mapping[str, Any], rate: float | None) -> Samples:
    known = next((inputs[name] for name in ("fps", "frame_rate") if name in inputs), rate)
    known = None if known is None else _checked_rate(known)
    for name in ("pixel_values", "pixel_values_videos"):
        if name in inputs:
            values = _checked(model, torch.as_tensor(inputs[name]), prepared=True)
            return Samples((Film(one, known, ready=True) for one in values), len(values))
    if "video" in inputs:
        return video_samples(model, inputs["video"], known)
    raise _not_video(model, inputs)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _checked_rate(rate: object) -> float:
    if not (_is_number(rate) and np.isfinite(rate) and rate > 0):
        raise ValueError(
            f"The frames per second of videos must be a positive number, got {rate!r}. Pass (videos, 25.0), or "
            "videos alone."
        )
    return float(rate)


def _are_frames(inputs: Inputs) -> TypeGuard[Sequence[Image.Image]]:
    if not isinstance(inputs, list | tuple) or not inputs:
        return False
    return all(isinstance(one, Image.Image) for one in inputs)


def opened_video(given: str | Path | bytes | Image.Image | Sequence[Image.Image]) -> Film:
    """Return the frames of a file that moves (GIF, PNG, WebP), of a folder of frames, or of PIL images."""
    if isinstance(given, str | Path):
        path = Path(given).expanduser()
        if path.is_dir():
            return Film(_stacked([_image(one) for one in _in_order(path)]))
        if not path.is_file():
            raise FileNotFoundError(
                f"A video must be a file or folder that exists, got {str(path)!r}. Check the path."
            )
        return _moving(path, repr(path.name))
    if isinstance(given, bytes):
        return _moving(io.BytesIO(given), "the file")
    if isinstance(given, Image.Image):
        return _frames_of(given)
    return Film(_stacked([rgb_of(one, []) for one in given]))


def _in_order(folder: Path) -> list[Path]:
    files = sorted(visible_files(folder, IMAGE_SUFFIXES))
    if not files:
        raise ValueError(
            f"A folder of frames must hold at least one image, got {str(folder)!r} with none of "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}. Check the path."
        )
    return files


def _image(path: Path) -> Image.Image:
    try:
        with Image.open(path) as opened:
            return rgb_of(opened, [])
    except UNREADABLE as error:
        raise ValueError(
            f"{path.name} must be an image Pillow can read, but {error}. Leave it out."
        ) from error


def _moving(file: Path | io.BytesIO, name: str) -> Film:
    try:
        with Image.open(file) as opened:
            return _frames_of(opened)
    except UNREADABLE as error:
        if isinstance(error, ValueError) and "A video must" in str(error):
            raise
        raise ValueError(
            f"A video must be a GIF, WebP or PNG file that moves, or a folder of frames, but {name} cannot be "
            "read. Of another kind of file pass its frames as an array of shape (frames, 3, H, W)."
        ) from error


def _frames_of(moving: Image.Image) -> Film:
    n = getattr(moving, "n_frames", 1)
    if n * moving.width * moving.height > LARGEST:
        raise ValueError(
            f"A video must have at most {LARGEST} pixels in all, got {n} frames of "
            f"{moving.width}×{moving.height}. Scale it down first."
        )
    frames, durations = [], []
    for frame in ImageSequence.Iterator(moving):
        frames.append(rgb_of(frame, []))
        durations.append(frame.info.get("duration") or 0)  # milliseconds
    spent = sum(durations)
    return Film(_stacked(frames), 1000 * len(frames) / spent if spent else None)


def _stacked(frames: Sequence[Image.Image]) -> UInt8[Tensor, "frames 3 height width"]:
    sizes = sorted({frame.size for frame in frames})
    if len(sizes) > 1:
        raise ValueError(
            f"A video must have frames of one size, got {sizes[0][0]}×{sizes[0][1]} and "
            f"{sizes[-1][0]}×{sizes[-1][1]}. Resize them to one size first."
        )
    arrays = [np.array(frame) for frame in frames]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def _checked(model: Reads, videos: Tensor, *, prepared: bool, fits: bool = True) -> Tensor:
    """Return videos of shape (n, frames, 3, H, W) if the model can read them, or once they are made to fit."""
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
    if fits and wanted is not None and videos.shape[1] != wanted:
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
    if fits and size is not None and tuple(videos.shape[3:]) != size and not resizes:
        raise ValueError(
            f"Videos must have {size[0]}×{size[1]} pixels for {model.name}, got "
            f"{videos.shape[3]}×{videos.shape[4]}. Resize them, or wrap the model with preprocess=."
        )
    return videos.detach().cpu()


def _not_video(model: Reads, inputs: Inputs) -> TypeError:
    return TypeError(
        f"`inputs` must be videos for {model.name}, got {described(inputs)}. Pass bytes, or floats in [0, 1], "
        "of shape (n, frames, 3, H, W), with their frames per second (videos, 25.0), or a GIF file."
    )


def _batch(model: Reads, chunk: list[Film], first: int) -> Batch:
    ready = [_ready(model, one) for one in chunk]
    values = torch.stack([values for values, _ in ready]).to(model.dtype)
    names = facts.forward_names(model.module) & {"pixel_values", "pixel_values_videos"}
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
        sample_rate=_rate_of(model, chunk),
        n_values=values.shape[1],
    )
    shown = [strip(frames, model.frames) for _, frames in ready]
    return replace(batch, pictures=torch.stack(shown)).to(model.device)


def _rate_of(model: Reads, films: Sequence[Film]) -> float | None:
    """Return the frames per second of videos, or the model's; None where they are not known."""
    rates = {one.rate or model.sample_rate for one in films}
    if len(rates) > 1:
        known = ", ".join(
            "none" if rate is None else f"{rate:.4g}" for rate in sorted(rates, key=str)
        )
        raise ValueError(
            f"Videos of one batch must have one number of frames per second, got {known}. Capture each by "
            "itself, or pass (videos, rate)."
        )
    return rates.pop()


def _ready(model: Reads, film: Film) -> tuple[Float[Tensor, "frames 3 h w"], Tensor]:
    """Return what the model reads of a video, and its frames as shown."""
    prepare = model.preprocess
    if film.ready or prepare is None:
        return (film.frames if film.ready else as_floats(film.frames)), film.frames
    if isinstance(prepare, Preprocess):
        framed = torch.stack([prepare.framed(frame) for frame in film.frames])
        return prepare.normalised(framed), framed
    return prepare(as_floats(film.frames)), film.frames


class FittedVideo(NamedTuple):
    """A video a model can read, what was done to get there, and its frames per second where they are known."""

    picture: UInt8[Tensor, "frames 3 height width"]
    notes: tuple[str, ...]
    rate: float | None = None


def fit_video(model: Reads, given: object) -> FittedVideo:
    """Return one video as bytes of the size and length the model reads, and a note on every conversion."""
    notes: list[str] = []
    film = _one(model, given)
    frames, rate = as_bytes(film.frames), film.rate
    wanted = facts.video_frames(model.module)
    if wanted is not None and len(frames) != wanted:
        n, more = len(frames), wanted > len(frames)
        notes.append(
            f"{n} frames read as {wanted}" if more else f"{wanted} of {n} frames taken, evenly"
        )
        chosen = torch.linspace(0, n - 1, wanted).round().long()
        if rate is not None:
            rate *= wanted / n if more else max(wanted - 1, 1) / (n - 1)
        frames = frames[chosen]
    prepare = model.preprocess
    size = prepare.required if isinstance(prepare, Preprocess) else None
    size = pair(facts.video_size(model.module)) if prepare is None else size
    if size is not None and tuple(frames.shape[2:]) != size:
        images = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames]
        frames = _stacked([fit_size(one, size, notes) for one in images])
    return FittedVideo(frames.contiguous(), tuple(dict.fromkeys(notes)), rate)


def _one(model: Reads, given: object) -> Film:
    """Return one video of any length and size."""
    if isinstance(given, Film):
        return given
    if isinstance(given, tuple) and len(given) == 2 and _is_number(given[1]):
        return replace(_one(model, given[0]), rate=_checked_rate(given[1]))
    if isinstance(given, str | Path | bytes | Image.Image) or _are_frames(given):
        return opened_video(given)
    if not (isinstance(given, Tensor | np.ndarray) and has_numbers(given)):
        raise _not_video(model, given)
    frames = numbers_of(given)
    while frames.ndim > 4 and len(frames) == 1:
        frames = frames[0]
    if frames.ndim == 4 and frames.shape[-1] == 3 and frames.shape[1] != 3:
        frames = frames.movedim(-1, 1)
    if frames.ndim != 4:
        raise ValueError(
            f"One video must be given at a time, of shape (frames, 3, H, W), got {tuple(frames.shape)}. Pass "
            "one of them."
        )
    return Film(_checked(model, frames, prepared=False, fits=False)[0])


def strip(video: Tensor, frames: int | None = None) -> UInt8[Tensor, "3 height width"]:
    """Return a video as a film strip: the first frame of each step in time, one below the other."""
    kept = video[:: max(1, len(video) // (frames or len(video)))]
    if kept.is_floating_point():
        low, high = kept.min(), kept.max()
        if low < -_TOLERANCE or high > 1 + _TOLERANCE:  # normalised: its own range
            kept = (kept - low) / (high - low)
        kept = as_bytes(kept.clamp(0, 1))
    return kept.transpose(0, 1).flatten(1, 2).contiguous()
