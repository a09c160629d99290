"""Sounds behind examples: the part that is played, as 8-bit samples and as a file.

For builders of panels and pages that show examples of sounds.
"""

from __future__ import annotations

import io
import wave
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int16

from sae_nb.activations import Context

UNKNOWN_RATE = 16_000
"""Samples per second of sounds whose model does not state them: that of most models of speech."""

PLAYED = 16_000
"""Samples of a sound that are sent to a page: more of it is played around the place of the example alone."""


class Clip(NamedTuple):
    """The part of a sound that is played for an example."""

    values: Int16[np.ndarray, " length"]
    """16-bit samples."""
    rate: int
    """Samples per second."""
    first: int
    """Number of its first sample in the whole sound."""
    span: tuple[float, float]
    """Where it begins and ends in the sound's image, as shares of its width."""


def clip_at(context: Context, sample: int, position: int, most: int = PLAYED) -> Clip | None:
    """Return what is played of a sample, at most `most` values around a position.

    None if samples are not sounds. The image of a short sound is as wide as that of the longest.
    """
    if context.sounds is None:
        return None
    whole = context.sounds.sample(sample)
    rate = round(context.sample_rate or UNKNOWN_RATE)
    if not len(whole):
        return Clip(np.zeros(1, np.int16), rate, 0, (0.0, 1.0))
    seconds = context.seconds_at(torch.tensor([position]))
    columns = (context.patch_grid or (1, 1))[1]
    width = (context.seconds_per_step or 0) * rate * columns or len(whole)
    moment = 0.0 if seconds is None else float(seconds.nan_to_num())
    start = min(max(round(moment * rate) - most // 2, 0), max(len(whole) - most, 0))
    part = whole[start : start + most].numpy()
    return Clip(part, rate, start, (start / width, min((start + len(part)) / width, 1.0)))


def eight_bits(values: Int16[np.ndarray, " length"]) -> bytes:
    """Return a sound as 8-bit samples, as loud as they allow: twelve of a second are 100 kB."""
    sound = np.asarray(values, np.float32)
    loud = 128 + np.round(127 * sound / np.abs(sound).max(initial=1.0))
    return loud.astype(np.uint8).tobytes()


def wave_file(samples: bytes, rate: int) -> bytes:
    """Return 8-bit samples as a WAV file with one channel."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 1, rate, len(samples), "NONE", ""))
        file.writeframes(samples)
    return buffer.getvalue()
