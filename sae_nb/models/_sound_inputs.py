"""Sounds in every usual form, checked and prepared for models of waveforms and of spectrograms.

Clips of different length are padded on the right and masked, where the model takes a mask; where it takes
none, only clips of one length share a batch. A row never comes from padding.
"""

from __future__ import annotations

import io
import itertools
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int16, UInt8
from torch import Tensor, nn

from sae_nb.activations._modality import AUDIO
from sae_nb.checks import warn_caller
from sae_nb.models import _facts as facts
from sae_nb.models._inputs import (
    Batch,
    Batches,
    Samples,
    batched,
    chained,
    described,
    empty,
    has_numbers,
    is_many,
    plain_index,
)
from sae_nb.models._spectrograms import LogMelSizes, spectrogram_faces
from sae_nb.models._two_streams import pairs_of, with_targets

if TYPE_CHECKING:
    from transformers import PretrainedConfig, SequenceFeatureExtractor

    from sae_nb.checks import Inputs
    from sae_nb.models._interface import Reads


@dataclass(frozen=True, kw_only=True)
class SoundPreprocess:
    """The preparation of sounds for one model, as its folder states it."""

    sample_rate: float
    """Values per second that the model reads."""

    normalise: bool = False
    """Whether each clip is brought to mean 0 and variance 1."""

    extractor: SequenceFeatureExtractor | None = None
    """Maker of spectrograms, of transformers; None: the model reads waveforms."""

    @classmethod
    def of(cls, module: nn.Module, extractor: object = None) -> SoundPreprocess:
        """Return the preparation for a module, by its feature extractor if there is one."""
        folds = facts.folded_frames(module) is not None
        usual = CLAP_RATE if folds else USUAL_RATE
        rate = getattr(extractor, "sampling_rate", None) or facts.sample_rate(module) or usual
        if folds:
            made = _folded_extractor(module, rate) if extractor is None else extractor
            return cls(sample_rate=float(rate), extractor=made)
        if not facts.reads_spectrograms(module):
            normalise = bool(getattr(extractor, "do_normalize", False))
            return cls(sample_rate=float(rate), normalise=normalise)
        made = _extractor(module, rate) if extractor is None else extractor
        return cls(sample_rate=float(rate), extractor=made)


USUAL_RATE = 16_000
"""Of speech models whose folder states none."""

CLAP_RATE = 48_000
"""Of CLAP's checkpoints."""

_BANDS = 48  # of the spectrogram by which a clip is shown
_WIDEST = 480  # pixels


def _extractor(module: nn.Module, rate: float) -> SequenceFeatureExtractor:
    """Make the spectrograms that a module's configuration asks for, with the family's usual settings."""
    import transformers

    config: PretrainedConfig = getattr(module, "config", None)
    bins = int(config.num_mel_bins)
    if hasattr(config, "max_source_positions"):
        made = transformers.WhisperFeatureExtractor(
            feature_size=bins, sampling_rate=int(rate), hop_length=facts.HOP, chunk_length=1
        )
        # Whole seconds are all that it takes; a small model may read less.
        made.n_samples = facts.longest_clip(module)
        made.nb_max_frames = made.n_samples // facts.HOP
        return made
    return transformers.ASTFeatureExtractor(
        sampling_rate=int(rate), num_mel_bins=bins, max_length=int(config.max_length)
    )


def _folded_extractor(module: nn.Module, rate: float) -> SequenceFeatureExtractor:
    """Make the spectrograms of CLAP, whose fixed length a shorter clip fills by repeating."""
    import transformers

    bins = int(module.config.num_mel_bins)  # type: ignore[union-attr, arg-type]
    return transformers.ClapFeatureExtractor(feature_size=bins, sampling_rate=int(rate))


class Clip(NamedTuple):
    """One sound, and the rate that came with it."""

    values: Float[Tensor, " time"]
    rate: float | None = None


class Spectrogram(NamedTuple):
    """One sound that is a spectrogram already, as the model reads it."""

    values: Float[Tensor, "..."]


class Features(NamedTuple):
    """One sound as the extractor of its model made it, frames that are padding left out."""

    values: Float[Tensor, "frames features"]


def sound_batches(model: Reads, inputs: Inputs, *, batch_size: int) -> Batches:
    """Return batches of sounds; of an encoder–decoder, with what its decoder reads."""
    if model.streams:
        pairs = pairs_of(inputs)
        read = _batches_of_sounds(model, pairs.sources, batch_size)
        return with_targets(model, read, pairs)
    return _batches_of_sounds(model, inputs, batch_size)


def _batches_of_sounds(model: Reads, inputs: Inputs, batch_size: int) -> Batches:
    samples = sound_samples(model, inputs)
    items: Iterator[Any] = samples.items
    longest = None
    if samples.n_samples is not None:  # in memory: the faces of all share one scale of time
        held = list(items)
        longest = max((len(one.values) for one in held if isinstance(one, Clip)), default=None)
        items = iter(held)

    return batched(
        samples,
        _chunks(model, items, batch_size),
        lambda chunk, first: _batch(model, chunk, first, longest),
        sample_rate=sound_rate(model),
        padding="right, masked",
    )


def sound_rate(model: Reads) -> float:
    """Return the sample rate that a model reads."""
    rate = getattr(model.preprocess, "sample_rate", None) or model.sample_rate
    return float(rate or USUAL_RATE)


def _chunks(model: Reads, items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    """Yield the samples of a batch each: as many as asked for, of one length where no mask is read."""
    masked = facts.masks_frames(model.module) and not _has_own_features(model.module)
    chunk: list[Any] = []
    for item in items:
        alike = not chunk or masked or chunk[0].values.shape == item.values.shape
        if len(chunk) == size or not alike or (chunk and type(chunk[0]) is not type(item)):
            yield chunk
            chunk = []
        chunk.append(item)
    if chunk:
        yield chunk


def sound_samples(model: Reads, inputs: Inputs, convert: list[str] | None = None) -> Samples:
    """Return the sounds in `inputs`: arrays of one axis, with their sample rate where they bring one.

    `convert`: Where notes go on what is done to one sound that does not fit; None: it is refused.
    """
    if isinstance(inputs, bytearray | memoryview):
        inputs = bytes(inputs)
    if isinstance(inputs, str | Path | bytes):
        values, hertz = read_wave(inputs)
        if convert is None and values.shape[1] != 1:
            raise ValueError(
                f"Sounds must be mono, got {described(inputs)} with {values.shape[1]} channels. Use their "
                "mean."
            )
        return Samples(iter([_checked(model, values.squeeze(1), hertz, 0, convert)]), 1)
    if isinstance(inputs, Mapping):
        return _mapping(model, inputs, convert)
    rate = getattr(inputs, "sample_rate", None)
    given: Any = getattr(inputs, "waveforms", inputs)
    if convert is not None and given is not inputs and getattr(given, "shape", ())[:1] != (1,):
        raise _several(given)
    has_rate = isinstance(inputs, tuple) and len(inputs) == 2 and isinstance(inputs[1], int | float)
    if has_rate:
        given, rate = given[0], float(given[1])
    if isinstance(given, Sequence) and given and all(isinstance(x, int | float) for x in given):
        given = torch.tensor(given, dtype=torch.float32)
    if isinstance(given, Tensor | np.ndarray) and has_numbers(given):
        return _array(model, torch.as_tensor(given), rate, convert)
    if has_rate or isinstance(inputs, Tensor | np.ndarray | Batch):
        raise _not_sound(model, inputs)
    if isinstance(inputs, list | tuple):
        if not inputs:
            raise empty("clip")
        if len(inputs) > 1 and all(
            isinstance(one, Clip | Spectrogram | Features) for one in inputs
        ):
            return Samples(iter(inputs), len(inputs))
        return Samples.joined([sound_samples(model, one, convert) for one in inputs])
    if not is_many(inputs):
        raise _not_sound(model, inputs)
    return chained(inputs, 2, lambda item: sound_samples(model, item, convert), name="clip")


def _mapping(model: Reads, inputs: Mapping[str, Any], convert: list[str] | None) -> Samples:
    for name in ("input_values", "input_features"):  # as transformers' extractors return them
        if name in inputs:
            mask = inputs.get("attention_mask")
            if name == "input_features" and _has_own_features(model.module):
                return _features(model, torch.as_tensor(inputs[name]), mask)
            return _prepared(model, torch.as_tensor(inputs[name]), mask)
    if isinstance(inputs.get("audio"), Mapping):  # as a row of a dataset has it
        inputs = inputs["audio"]
    values = inputs.get("array", inputs.get("waveform"))
    rate = inputs.get("sampling_rate", inputs.get("sample_rate"))
    if values is None:
        raise _not_sound(model, inputs)
    return _array(model, torch.as_tensor(values), None if rate is None else float(rate), convert)


def _has_own_features(module: nn.Module) -> bool:
    """Whether a model reads features that only its own extractor makes."""
    reads = facts.sound_argument(module) == "input_features"
    return reads and not facts.reads_spectrograms(module)


def _features(model: Reads, values: Tensor, mask: object) -> Samples:
    """Return what a model's own extractor made, (n, frames, features); each clip by its mask."""
    if facts.folded_frames(model.module) is not None:
        return _spectrograms(model, values[None] if values.ndim == 3 else values)
    rows = values[None] if values.ndim == 2 else values
    if rows.ndim != 3 or not rows.is_floating_point() or not bool(torch.isfinite(rows).all()):
        raise ValueError(
            f"`input_features` must be finite floats of shape (n, frames, features) for {model.name}, got "
            f"{described(values)}. Pass what its feature extractor returned."
        )
    keep = torch.ones(rows.shape[:2], dtype=torch.bool)
    if mask is not None and torch.as_tensor(mask).shape == keep.shape:
        keep = torch.as_tensor(mask).cpu() > 0
    clips = [Features(row[kept]) for row, kept in zip(rows.detach().cpu(), keep, strict=True)]
    return Samples(iter(clips), len(clips))


def _prepared(model: Reads, values: Tensor, mask: object) -> Samples:
    """Return what an extractor made; padding goes by its mask, on whichever side it is."""
    if facts.reads_spectrograms(model.module):
        rows = values[None] if values.ndim == 2 else values
        return _spectrograms(model, rows)
    rows = values[None] if values.ndim == 1 else values
    keep = torch.ones(rows.shape, dtype=torch.bool) if mask is None else torch.as_tensor(mask) > 0
    if keep.shape != rows.shape:
        raise ValueError(
            f"`attention_mask` must have the shape of `input_values`, {tuple(rows.shape)}, got "
            f"{tuple(keep.shape)}. Pass what the feature extractor returned."
        )
    clips = [_checked(model, row[kept], None, i) for i, (row, kept) in enumerate(zip(rows, keep))]
    return Samples(iter(clips), len(clips))


def _array(model: Reads, values: Tensor, rate: float | None, convert: list[str] | None) -> Samples:
    folds = facts.folded_frames(model.module) is not None
    if values.ndim == 4 if folds else values.ndim == 3 and facts.reads_spectrograms(model.module):
        return _spectrograms(model, values)
    if convert is None and values.ndim == 3 and values.shape[1] == 1:
        values = values[:, 0]  # (n, 1 channel, time), as convolutions have it
    several = values.ndim == 3 or (values.ndim == 2 and values.shape[1] <= 2 < values.shape[0])
    if convert is None and several:
        raise ValueError(
            f"Sounds must be mono, of shape (time,) or (n, time), got {tuple(values.shape)}, which looks "
            "like several channels. Use the mean over channels."
        )
    if values.ndim not in (1, 2) or values.is_complex() or values.dtype == torch.bool:
        raise _not_sound(model, values)
    if values.numel() == 0:
        raise empty("clip")
    rows = values[None] if values.ndim == 1 else values
    if convert is not None:  # one sound, (channels, time) or (time, channels)
        flat = values.ndim == 2 and len(values) <= 2 < values.shape[1]
        rows = (values.T if flat else values)[None]
        if rows.shape[2:] > (8,):
            raise _several(values)
    clips = [_checked(model, row, rate, i, convert) for i, row in enumerate(rows)]
    return Samples(iter(clips), len(clips))


def _spectrograms(model: Reads, values: Tensor) -> Samples:
    config = getattr(model.module, "config", None)
    bins = getattr(config, "num_mel_bins", None)
    n_axes = 3 if facts.folded_frames(model.module) is None else 4
    if values.ndim != n_axes or not values.is_floating_point() or bins not in values.shape[1:]:
        raise ValueError(
            f"Spectrograms must be floats with {bins} mel bands for {model.name}, got "
            f"{described(values)}. Pass waveforms, or what its feature extractor returned."
        )
    if not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"`inputs` must be finite, got NaN or infinity in {described(values)}. Leave those clips out."
        )
    return Samples(iter([Spectrogram(one) for one in values.detach().cpu()]), len(values))


def _checked(
    model: Reads, values: Tensor, rate: float | None, number: int, convert: list[str] | None = None
) -> Clip:
    wanted = sound_rate(model)
    if convert is None and rate is not None and abs(rate - wanted) > 1e-6 * wanted:
        raise ValueError(
            f"Sounds must have {wanted:g} values per second for {model.name}, got {rate:g}. Resample them "
            f"first, such as scipy.signal.resample_poly(sound, {wanted:g}, {rate:g})."
        )
    values = values.detach().cpu()
    if values.numel() == 0:
        raise empty("value")
    whole = values.is_floating_point() and bool((values == values.round()).all())
    if whole and (largest := float(values.abs().max())) > 1:
        warn_caller(
            f"Sounds in floats reach from -1 to 1, and clip {number} has whole numbers up to {largest:g}: it "
            "is read as that loud. Divide 16-bit values by 32768, or pass them as torch.int16."
        )
    values = _as_floats(values)
    if not bool(torch.isfinite(values).all()):
        first = int((~torch.isfinite(values)).nonzero()[0, 0])
        raise ValueError(
            f"Sounds must be finite, but clip {number} holds NaN or infinity at value {first}. Leave it out, "
            "or cut that part."
        )
    if convert is not None:
        values, rate = _fitted(model, values, rate, convert), None
    least = facts.shortest_clip(model.module)
    if len(values) < least:
        raise ValueError(
            f"Sounds must have at least {least} values for {model.name}, which gives one frame, but clip "
            f"{number} has {len(values)}. Leave it out."
        )
    wanted_length = getattr(model.module, "clip_length", None)
    if wanted_length is not None and len(values) != wanted_length:
        raise ValueError(
            f"Sounds for {model.name} must have {wanted_length} values each, but clip {number} has "
            f"{len(values)}. Cut the longer ones."
        )
    if bool((values == values[0]).all()):
        raise ValueError(
            f"Sounds must not be silent, but all {len(values)} values of clip {number} are "
            f"{float(values[0]):g}. Leave it out."
        )
    return Clip(values.float(), rate)


def read_wave(given: str | Path | bytes) -> tuple[Float[Tensor, "time channels"], float]:
    """Return the values of a WAV file, or of its bytes, and its sample rate; whole numbers become [−1, 1)."""
    from scipy.io import wavfile

    named, place = "the file", io.BytesIO(given) if isinstance(given, bytes) else None
    if not isinstance(given, bytes):
        path, named = Path(given).expanduser(), repr(str(given))
        if not path.is_file():
            raise FileNotFoundError(
                f"A sound must be a file that exists, got {named}. Check the path."
            )
        if path.suffix.lower() != ".wav":
            raise ValueError(
                f"A sound file must be a .wav, got {named}. Read others yourself and pass (values, rate)."
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks with titles and dates
            rate, values = wavfile.read(path if place is None else place)
    except (ValueError, EOFError, struct.error) as error:
        raise ValueError(
            f"A sound file must be a whole .wav, but of {named}: {str(error).rstrip('.')}. Save it as 16-bit "
            "PCM."
        ) from error
    found = _as_floats(torch.from_numpy(values.copy()))
    return (found[:, None] if found.ndim == 1 else found), float(rate)


def _as_floats(values: Tensor) -> Float[Tensor, "..."]:
    """Return values as floats; whole numbers of n bits are divided by 2ⁿ⁻¹."""
    if values.is_floating_point():
        return values.float()
    half = 2 ** (torch.iinfo(values.dtype).bits - 1)
    return values.float() / half - (1 if values.dtype == torch.uint8 else 0)


# -------------------------------------------------------------------------------------------------
# One sound in whatever form, rate and length a person has it, made fit for a model.

LONGEST_SECONDS = 30
"""Of a sound that is made fit for a model without a length of its own: the window of Whisper."""


class FittedSound(NamedTuple):
    """A sound that a model can read, and what was done to get there."""

    sound: Float[Tensor, " time"]
    notes: tuple[str, ...]


def fit_sound(model: Reads, given: object) -> FittedSound:
    """Return one sound at the rate and of a length that a model reads, and a note on every conversion.

    Of a longer sound the loudest stretch is kept; silence is added only where clips must have one length.
    """
    if model.modality != AUDIO:
        raise TypeError(
            f"A sound must be given to a model of sounds, and {model.name} reads {model.modality.reads}. "
            f"Got {described(given)}."
        )
    notes: list[str] = []
    sound, *more = itertools.islice(sound_samples(model, given, notes).items, 2)
    if more or not isinstance(sound, Clip):
        raise _several(given)
    return FittedSound(sound.values, tuple(notes))


def _resampled(values: Float[Tensor, " time"], rate: float, wanted: float) -> Tensor:
    """Return a sound at another rate, band-limited (polyphase filter of scipy)."""
    from scipy.signal import resample_poly

    if rate <= 0:
        raise ValueError(f"A sample rate must be above 0, got {rate:g}.")
    ratio = Fraction(wanted / rate).limit_denominator(1000)
    if not ratio:
        raise ValueError(
            f"A sound must have at most {1000 * wanted:g} values per second, got {rate:g}."
        )
    found = resample_poly(values.numpy(), ratio.numerator, ratio.denominator)
    return torch.from_numpy(np.ascontiguousarray(found, dtype=np.float32))


def _fitted(
    model: Reads, values: Float[Tensor, "time ..."], given: float | None, notes: list[str]
) -> Float[Tensor, " time"]:
    """Return one sound at the rate and of a length that a model reads."""
    rate, exact = sound_rate(model), getattr(model.module, "clip_length", None)
    channels = values.reshape(len(values), -1)
    if channels.shape[1] > 1:
        notes.append(f"the mean of its {channels.shape[1]} channels")
    values = channels.mean(dim=1)
    if given is not None and abs(given - rate) > 1e-6 * rate:
        values = _resampled(values, given, rate)
        notes.append(f"resampled from {given:g} to {rate:g} values per second")
    most = exact or facts.longest_clip(model.module) or round(LONGEST_SECONDS * rate)
    if len(values) > most:
        power = torch.nn.functional.pad(values.double().square().cumsum(0), (1, 0))
        first = int((power[most:] - power[:-most]).argmax())
        times = f"{first / rate:.2f} to {(first + most) / rate:.2f} s of {len(values) / rate:.2f} s"
        notes.append(f"its loudest stretch, {times}")
        values = values[first : first + most]
    if exact is not None and len(values) < exact:
        missing = exact - len(values)
        notes.append(
            f"{missing / rate:.2f} s of silence after its end: {model.name} reads {exact / rate:g} s"
        )
        values = torch.nn.functional.pad(values, (0, missing))
    return values


def _several(given: Inputs) -> ValueError:
    return ValueError(
        "One sound must be given at a time, of shape (time,) or (time, channels), got "
        f"{described(given)}. Pass one row."
    )


def _not_sound(model: Reads, inputs: Inputs) -> TypeError:
    return TypeError(
        f"`inputs` must be sounds for the audio model {model.name}, got {described(inputs)}. Pass floats of "
        "shape (time,) or (n, time), a list of such arrays, (values, rate) or a .wav file."
    )


# -------------------------------------------------------------------------------------------------
# Batches.


def _batch(model: Reads, chunk: Sequence[Any], first: int, longest: int | None) -> Batch:
    if isinstance(chunk[0], Spectrogram | Features):
        return _batch_of(model, torch.stack([one.values for one in chunk]), first)
    lengths = torch.tensor([len(one.values) for one in chunk])
    if facts.folded_frames(model.module) is not None:
        return _of_folded(model, chunk, first)
    if _has_own_features(model.module):
        raise ValueError(
            f"{model.name} must get features of its own extractor, got waveforms, from which only those of "
            'Whisper, AST and CLAP are made. Pass what the extractor returned, {"input_features": …}.'
        )
    if facts.reads_spectrograms(model.module):
        return _of_spectrograms(model, chunk, first, lengths)
    rows = [one.values for one in chunk]
    if getattr(model.preprocess, "normalise", False):
        rows = [(row - row.mean()) / (row.var(unbiased=False) + 1e-7).sqrt() for row in rows]
    batch = _batch_of(model, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), first)
    batch = replace(batch, n_values=int(lengths.max()))
    if bool((lengths != lengths[0]).any()):
        keep = torch.arange(int(lengths.max())) < lengths[:, None]
        batch = replace(batch, kwargs=batch.kwargs | {"attention_mask": keep.long()})
        counts = [facts.n_frames(model.module, int(n)) or 0 for n in lengths]
        batch = _masked(batch, torch.arange(max(counts)) < torch.tensor(counts)[:, None])
    batch = replace(batch, sounds=tuple(played(one.values) for one in chunk))
    if longest is None:
        return batch
    sizes = getattr(getattr(model.module, "config", None), "spectrogram", None)
    if isinstance(sizes, LogMelSizes):
        faces = spectrogram_faces(torch.stack([one.values for one in chunk]), sizes)
    else:
        columns = facts.n_frames(model.module, longest)
        faces = torch.stack([face_of(one.values, longest, columns) for one in chunk])
    return replace(batch, pictures=faces, longest=longest)


def _batch_of(model: Reads, values: Tensor, first: int) -> Batch:
    """Return a batch of waveforms or spectrograms, as the module's forward takes them."""
    name = facts.sound_argument(model.module)
    values = values.to(model.dtype)
    sample, position = plain_index(first, len(values), None)
    named = {} if name is None else {name: values}
    if "is_longer" in facts.forward_names(
        model.module
    ):  # of CLAP: no clip is seen in several crops
        named["is_longer"] = torch.zeros(len(values), 1, dtype=torch.bool)
    return Batch(
        args=(values,) if name is None else (),
        kwargs=named,
        n=len(values),
        first_sample=first,
        sample=sample,
        position=position,
        sample_rate=sound_rate(model),
    )


def _masked(batch: Batch, keep: Bool[Tensor, "batch places"]) -> Batch:
    """Return a batch that knows which of its places are of a sound, and not of padding."""
    position = torch.arange(keep.shape[1]).expand(keep.shape)
    sample = batch.sample.expand(keep.shape)
    return replace(
        batch,
        keep=keep,
        sample=sample.masked_fill(~keep, -1),
        position=position.masked_fill(~keep, -1),
    )


def _of_spectrograms(model: Reads, chunk: Sequence[Clip], first: int, lengths: Tensor) -> Batch:
    """Return a batch of the spectrograms of clips, cut or filled up to what the model reads."""
    extractor, rate = model.preprocess.extractor, sound_rate(model)
    most = facts.longest_clip(model.module)
    if most is not None and int(lengths.max()) > most:
        warn_caller(
            f"{int((lengths > most).sum())} of the clips were longer than the {most / rate:g} s "
            f"{model.name} can read and were cut there."
        )
    made = extractor(
        [one.values.numpy()[:most] for one in chunk], sampling_rate=int(rate), return_tensors="pt"
    )
    values = next(iter(made.values()))
    batch = replace(_batch_of(model, values, first), n_values=most, longest=most)
    batch = replace(batch, sounds=tuple(played(one.values[:most]) for one in chunk))
    first_value = facts.first_values(model.module)  # of what each place is read
    if first_value is None or most is None:
        return batch
    keep = first_value < lengths[:, None]
    columns = keep.shape[1]
    if model.patch_grid is not None:
        prefix = torch.ones(len(chunk), model.prefix_tokens, dtype=torch.bool)
        keep = torch.cat([prefix, keep.repeat(1, model.patch_grid[0])], dim=1)
        faces = torch.stack([_face_of_bands(one) for one in values])
    else:
        faces = torch.stack([face_of(one.values[:most], most, columns) for one in chunk])
    return replace(_masked(batch, keep), pictures=faces)


def _of_folded(model: Reads, chunk: Sequence[Clip], first: int) -> Batch:
    """Return a batch of CLAP's spectrograms: clips are repeated up to its length, longer ones cut."""
    extractor, rate = model.preprocess.extractor, sound_rate(model)
    frames = facts.folded_frames(model.module) or 1
    most = min(int(extractor.nb_max_samples), (frames - 1) * int(extractor.hop_length))
    longer = sum(len(one.values) > most for one in chunk)
    if longer:
        warn_caller(
            f"{longer} of the clips were longer than the {most / rate:g} s {model.name} can read and were cut "
            "there."
        )
    clips = [one.values[:most] for one in chunk]
    made = extractor(
        [one.numpy() for one in clips],
        sampling_rate=int(rate),
        max_length=most,
        truncation="rand_trunc",
        padding="repeatpad",
        return_tensors="pt",
    )
    batch = _batch_of(model, made["input_features"], first)
    faces = torch.stack([face_of(one, most) for one in clips])
    return replace(batch, sounds=tuple(map(played, clips)), pictures=faces)


# -------------------------------------------------------------------------------------------------
# Faces.

_FULL = 32_767  # largest value of 16 bits


def played(values: Float[Tensor, " time"]) -> Int16[Tensor, " time"]:
    """Return a clip as it is played; one that leaves [−1, 1] is scaled into it."""
    largest = float(values.abs().max().clamp_min(1))
    return (values.float() * (_FULL / largest)).round().to(torch.int16)


def face_of(
    values: Float[Tensor, " time"], longest: int | None = None, columns: int | None = None
) -> UInt8[Tensor, "3 height width"]:
    """Return a clip's spectrogram (Hann window, 60 dB) as an image, low tones below, as wide as the longest."""
    longest = longest or len(values)
    width = _WIDEST if columns is None else columns * max(1, _WIDEST // columns)
    whole = torch.nn.functional.pad(values, (0, longest - len(values)))
    n_fft = 256 if longest >= 512 else 64
    found = torch.stft(
        whole,
        n_fft,
        hop_length=max(1, longest // width),
        window=torch.hann_window(n_fft),
        return_complex=True,
        pad_mode="constant",
    ).abs()
    level = 20 * (found / found.max().clamp_min(1e-12)).clamp_min(1e-3).log10() / 60 + 1
    size = (2 * _BANDS, width)
    shown = torch.nn.functional.interpolate(level.flip(0)[None, None], size, mode="area")[0, 0]
    return (shown * 255).round().to(torch.uint8).expand(3, -1, -1).clone()


def _face_of_bands(values: Float[Tensor, "time bands"]) -> UInt8[Tensor, "3 bands time"]:
    """Return a spectrogram as an image in the order of its patches: low tones at the top."""
    low, high = values.min(), values.max()
    shown = (255 * (values - low) / (high - low).clamp_min(1e-12)).round().to(torch.uint8)
    return shown.T.expand(3, -1, -1).clone()
