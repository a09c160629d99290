"""Sounds of one second in which every factor of variation is known and labelled.

y(t) = g · e(t − t₀) · Σ_h a_h sin(2π r_h f (t − t₀) + φ_h) + noise(t),
f = 440 Hz · 2^((pitch − 9) / 12 + octave − 4 + cents / 1200), all factors independent.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_nb.checks import Seed, at_least, check_count, check_memory, checked
from sae_nb.data._records import Record

SAMPLE_RATE = 8_000
"""Samples per second, and per clip."""

STRETCHES = 20
"""Parts of a clip for which `sounding` is known: 50 ms each."""

PITCHES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
TIMBRES = ("pure", "hollow", "bright", "organ", "nasal", "metal")
ENVELOPES = ("struck", "swelling", "steady", "trembling")
QUARTERS = ("first quarter", "second quarter", "third quarter", "last quarter")
NOISES = ("none", "hiss", "rumble", "clicks")

_BLOCK = 64  # clips drawn from one random generator, and rendered at once
_LOWEST_OCTAVE, _N_OCTAVES = 4, 2
_LONGEST = 0.26  # seconds
_STEP, _JITTER = 0.236, 0.03  # seconds between the earliest onsets of two quarters, and after them
_HIGHEST = 3_800.0  # Hz: partials above are left out, so that none is folded back
_FLOOR = 1e-3  # standard deviation of the noise that every clip has
_BYTES = 3 * 4 * SAMPLE_RATE  # per clip, pieces and their union

_HARMONICS = np.arange(1.0, 16.0)
_FREE_BAR = np.array([1.0, 2.756, 5.404, 8.933])
"""Frequency ratios of a thin bar with free ends: N. H. Fletcher and T. D. Rossing, "The Physics of Musical
Instruments", §2.16."""


@dataclass(frozen=True, repr=False)
class Sounds(Record):
    """Rendered clips and the value of every factor that made them.

    Parameters
    ----------
    waveforms
        One second each at 8000 samples per second, between −1 and 1.
    pitch, timbre, envelope, place, noise
        One label per clip: indices into `pitch_names` (pitch classes), `timbre_names`, `envelope_names`,
        `place_names` (the quarter of the second in which the tone lies) and `noise_names`.
    octave
        4 (C₄ = 262 Hz to B₄ = 494 Hz) or 5 (twice that).
    frequency
        Fundamental of the tone, Hz.
    onset, duration
        Of the tone, seconds.
    sounding
        Stretches of 50 ms of which at least half is covered by the tone.

    Example
    -------
    >>> heard = sounds(3, seed=0)
    >>> len(heard), len(heard[1:]), heard.pitch_names[9], heard.sample_rate
    (3, 2, 'A', 8000)
    """

    waveforms: Float[Tensor, "n 8000"]
    pitch: Int[Tensor, " n"]
    timbre: Int[Tensor, " n"]
    envelope: Int[Tensor, " n"]
    place: Int[Tensor, " n"]
    noise: Int[Tensor, " n"]
    octave: Int[Tensor, " n"]
    frequency: Float[Tensor, " n"]
    onset: Float[Tensor, " n"]
    duration: Float[Tensor, " n"]
    sounding: Bool[Tensor, "n 20"]

    pitch_names: ClassVar[tuple[str, ...]] = PITCHES
    timbre_names: ClassVar[tuple[str, ...]] = TIMBRES
    envelope_names: ClassVar[tuple[str, ...]] = ENVELOPES
    place_names: ClassVar[tuple[str, ...]] = QUARTERS
    noise_names: ClassVar[tuple[str, ...]] = NOISES
    sample_rate: ClassVar[int] = SAMPLE_RATE


@checked(leave=("n",))
def sounds(n: int, seed: Seed = 0, *, start: Annotated[int, at_least(0)] = 0) -> Sounds:
    """Render clips of one second with one tone each, every factor labelled.

    Pitch class (12), timbre (6), envelope (4), the quarter of the second in which the tone lies (4) and
    background noise (4) are drawn independently and evenly, so no factor predicts another. Octave, tuning
    (within 15 cents), loudness and the phases of the partials vary as well, and every timbre has the same
    power. About 2000 clips per second and core.

    Parameters
    ----------
    seed
        ≥ 0. Clip i of a seed is always the same, however many are asked for.
    start
        Number of the first clip, to read one endless stream piece by piece.

    Raises
    ------
    MemoryError: If the clips would not fit.

    Source
    ------
    Synthesis by adding partials. The timbres are ours: one partial, odd ones, all (amplitude 1 / h),
    octaves, a formant at 1500 Hz, and the partials of a bar with free ends (Fletcher and Rossing, "The
    Physics of Musical Instruments", §2.16).

    Example
    -------
    >>> heard = sounds(4, seed=0)
    >>> heard.waveforms.shape, heard.sounding.shape
    (torch.Size([4, 8000]), torch.Size([4, 20]))
    >>> torch.equal(sounds(2, seed=0, start=2).waveforms, heard.waveforms[2:])
    True
    """
    n = check_count(n, name="n")
    check_memory(n * _BYTES, f"`sounds(n={n})`", "Ask for fewer at a time, moving `start` along.")
    parts = []
    for block in range(start // _BLOCK, -(-(start + n) // _BLOCK)):
        first, last = max(start - block * _BLOCK, 0), min(start + n - block * _BLOCK, _BLOCK)
        parts.append(_render(_draw(block, seed), slice(first, last)))
    names = [field.name for field in fields(Sounds)]
    return Sounds(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


_DRAWS = (
    "pitch", "timbre", "envelope", "place", "noise", "octave", "cents", "jitter", "duration",
    "loudness", "noise_level", "tremble",
)  # fmt: skip
_N_CLICKS = 12


@dataclass(frozen=True)
class _Drawn:
    """The random numbers of a block: a uniform per factor, phases of partials, noise, clicks."""

    factors: dict[str, np.ndarray]
    phases: np.ndarray
    white: np.ndarray
    clicks: np.ndarray


def _draw(block: int, seed: int) -> _Drawn:
    generator = np.random.default_rng([seed, block])
    columns = generator.random((_BLOCK, len(_DRAWS)))
    phases = generator.random((_BLOCK, len(_HARMONICS)))
    clicks = generator.random((_BLOCK, _N_CLICKS, 2))
    white = generator.standard_normal((_BLOCK, SAMPLE_RATE), dtype=np.float32)
    return _Drawn(dict(zip(_DRAWS, columns.T, strict=True)), phases, white, clicks)


def _render(drawn: _Drawn, rows: slice) -> Sounds:
    uniform = {name: column[rows] for name, column in drawn.factors.items()}
    names = {"pitch": PITCHES, "timbre": TIMBRES, "envelope": ENVELOPES, "place": QUARTERS}
    names["noise"] = NOISES
    label = {name: (uniform[name] * len(words)).astype(int) for name, words in names.items()}
    octave = _LOWEST_OCTAVE + (uniform["octave"] * _N_OCTAVES).astype(int)
    cents = 30 * (uniform["cents"] - 0.5)
    frequency = 440 * 2 ** ((label["pitch"] - 9) / 12 + octave - 4 + cents / 1200)
    onset = _STEP * label["place"] + _JITTER * uniform["jitter"]
    duration = _LONGEST - 0.04 * uniform["duration"]
    tone = _tone(frequency, label["timbre"], drawn.phases[rows])
    tone *= _envelope(label["envelope"], duration, uniform["tremble"])
    loudness = 0.08 * 2 ** uniform["loudness"]  # root mean square before the envelope
    level = loudness * 10 ** (-(14 + 8 * uniform["noise_level"]) / 20)
    heard = _FLOOR * drawn.white[rows]
    heard += level[:, None] * _noise(label["noise"], drawn.white[rows], drawn.clicks[rows])
    first = np.round(onset * SAMPLE_RATE).astype(int)
    for row, begin in enumerate(first):
        heard[row, begin : begin + tone.shape[1]] += loudness[row] * tone[row]
    edges = np.arange(STRETCHES + 1) / STRETCHES
    inside = np.clip((onset + duration)[:, None], edges[:-1], edges[1:])
    covered = STRETCHES * (inside - np.clip(onset[:, None], edges[:-1], edges[1:]))
    numbers = {name: torch.from_numpy(values) for name, values in label.items()}
    measured = {"frequency": frequency, "onset": onset, "duration": duration}
    return Sounds(
        waveforms=torch.from_numpy(heard.clip(-1, 1).astype(np.float32)),
        octave=torch.from_numpy(octave),
        sounding=torch.from_numpy(covered >= 0.5),
        **numbers,
        **{name: torch.from_numpy(v.astype(np.float32)) for name, v in measured.items()},
    )


def _tone(frequency: np.ndarray, timbre: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """Return Σ_h a_h sin(2π r_h f t + φ_h) of power 1."""
    hertz, weight = np.zeros_like(phases), np.zeros_like(phases)
    for number, name in enumerate(TIMBRES):
        mine = timbre == number
        ratio = _FREE_BAR if name == "metal" else _HARMONICS
        hertz[mine, : len(ratio)] = frequency[mine, None] * ratio
        weight[mine, : len(ratio)] = _weights(name, hertz[mine, : len(ratio)])
    weight *= hertz < _HIGHEST
    weight *= np.sqrt(2 / np.square(weight).sum(axis=1, keepdims=True))
    time = np.arange(round(_LONGEST * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros((len(frequency), len(time)), dtype=np.float32)
    for h in range(len(_HARMONICS)):
        rows = weight[:, h] > 0
        turns = (hertz[rows, h, None] * time + phases[rows, h, None]) % 1
        sound[rows] += weight[rows, h, None] * np.sin((2 * np.pi * turns).astype(np.float32))
    return sound


def _weights(timbre: str, hertz: np.ndarray) -> np.ndarray:
    """Return the amplitude of each partial of a timbre."""
    h = np.arange(1, hertz.shape[1] + 1)
    weight = {
        "pure": h == 1,
        "hollow": (h % 2 == 1) / h,
        "bright": 1 / h,
        "organ": np.isin(h, (1, 2, 4, 8)) / np.sqrt(h),
        "nasal": 0.1 / h + np.exp(-0.5 * ((hertz - 1500) / 300) ** 2),
        "metal": 1 / np.sqrt(h),
    }
    return np.broadcast_to(weight[timbre], hertz.shape)


def _envelope(envelope: np.ndarray, duration: np.ndarray, tremble: np.ndarray) -> np.ndarray:
    """Return the loudness of each tone along its time, at most 1, 0 outside."""
    time = np.arange(round(_LONGEST * SAMPLE_RATE)) / SAMPLE_RATE
    left = duration[:, None] - time
    share = time / duration[:, None]
    edges = (time / 0.005).clip(0, 1) * (left / 0.01).clip(0, 1)
    hertz = 13 + 3 * tremble[:, None]
    shapes = (
        np.exp(-6 * share),
        share**1.5,
        np.ones_like(share),
        0.55 + 0.45 * np.sin(2 * np.pi * hertz * time),
    )
    chosen = np.select([envelope[:, None] == i for i in range(len(shapes))], shapes)
    return np.asarray(edges * chosen, dtype=np.float32)


def _noise(kind: np.ndarray, white: np.ndarray, clicks: np.ndarray) -> np.ndarray:
    """Return noise of power 1: above 2 kHz, below 150 Hz, or twelve clicks of a few milliseconds."""
    hertz = np.fft.rfftfreq(SAMPLE_RATE, 1 / SAMPLE_RATE)
    gains = {
        NOISES.index("hiss"): 1 / (1 + (2_000 / hertz.clip(1)) ** 4),
        NOISES.index("rumble"): 1 / (1 + (hertz / 150) ** 4),
    }
    out = np.zeros_like(white)
    for number, gain in gains.items():
        mine = kind == number
        shaped = np.fft.irfft(np.fft.rfft(white[mine]) * gain, n=SAMPLE_RATE)
        out[mine] = shaped / np.sqrt(np.square(gain).mean())
    decay = np.exp(-np.arange(48) / 8.0)
    for row in np.flatnonzero(kind == NOISES.index("clicks")):
        for when, sign in clicks[row]:
            begin = int(when * (SAMPLE_RATE - len(decay)))
            out[row, begin : begin + len(decay)] += decay if sign < 0.5 else -decay
    power = _N_CLICKS * np.square(decay).sum() / SAMPLE_RATE
    out[kind == NOISES.index("clicks")] /= np.sqrt(power)
    return out
