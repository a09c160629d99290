"""SoundRecorder: a button that records from the microphone, where the browser allows it."""

from __future__ import annotations

import numpy as np
import traitlets as t
from jaxtyping import Int16

from sae_nb.figures.shapes import Drawing
from sae_nb_widgets.components._base import Component
from sae_nb_widgets.components._scripts import script

LONGEST_SECONDS = 10.0
"""Of a recording: 320 kB at 16 kHz."""


class SoundRecorder(Component):
    """A button that records; the browser brings what it records to `rate`.

    The sound is there once recording ends, by the button or after `most_seconds`. A browser that has no
    microphone, or refuses it, sets `refusal`. Nothing leaves the page but the samples, to the kernel.

    Examples
    --------
    >>> recorder = SoundRecorder(rate=8_000)
    >>> recorder.observe(lambda change: print(len(recorder.sound), "samples"), "samples")
    >>> recorder.samples = np.arange(800, dtype=np.int16).tobytes()
    800 samples
    """

    _esm = script("sound_recorder")

    # What comes from a browser is a view of memory, which a trait of bytes would refuse.
    samples = t.Bytes(b"", help="The last recording, 16-bit samples.").tag(
        sync=True, from_json=lambda value, _: bytes(value)
    )
    recorded_rate = t.Int(0, help="Samples per second of it; 0: `rate`.").tag(sync=True)
    refusal = t.Unicode("", help="Why there is no recording, in words.").tag(sync=True)
    rate = t.Int(16_000, help="Samples per second wanted.").tag(sync=True)
    most_seconds = t.Float(LONGEST_SECONDS, help="When recording ends by itself.").tag(sync=True)

    @property
    def sound(self) -> Int16[np.ndarray, " length"]:
        """The last recording."""
        return np.frombuffer(self.samples, np.int16)

    @t.validate("samples")
    def _whole_samples(self, proposal: t.Bunch) -> bytes:
        given = bytes(proposal["value"])
        if len(given) % 2:
            raise t.TraitError(f"`samples` must be two bytes each, got {len(given)} bytes.")
        return given

    @t.validate("rate", "most_seconds")
    def _above_zero(self, proposal: t.Bunch) -> float:
        value, name = proposal["value"], proposal["trait"].name
        if not value > 0:
            raise t.TraitError(f"`{name}` must be above 0, got {value}.")
        return value

    def static_html(self) -> str:
        """Return nothing: a page without a kernel has nothing to record for."""
        return ""

    def drawing(self, width: float) -> Drawing:
        """Return an empty drawing."""
        return Drawing(width, 0)
