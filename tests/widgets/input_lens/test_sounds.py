"""InputLens on sounds: recorded, uploaded or given, each shown as a spectrogram with heat that plays."""

from __future__ import annotations

import base64
import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t

import sae_nb as sn
from sae_nb.models import LiveModel

RATE = 8_000
NAME = "tiny-audio/resid_post.4"


@pytest.fixture(scope="module")
def audio() -> LiveModel:
    return sn.load_model("tiny-audio", device="cpu")


@pytest.fixture(scope="module")
def lens(audio: LiveModel) -> Any:
    """On the first of its examples, which the store of the SAE holds."""
    made = sw.InputLens(audio, sn.load_sae(NAME))
    made.wait()
    yield made
    made.close()


@pytest.fixture(scope="module")
def frames() -> sw.InputLens:
    """Of a model of waveforms of any length, with a frame every 20 values of 16 000 per second."""
    import transformers

    torch.manual_seed(0)
    config = transformers.HubertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        conv_dim=(16, 16), conv_kernel=(10, 4), conv_stride=(5, 4), num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4, feat_extract_norm="layer",
    )  # fmt: skip
    model = sn.wrap(transformers.HubertModel(config).eval())
    sae = sn.TopK(32, 48, k=4, generator=torch.Generator().manual_seed(0)).eval()
    return sw.InputLens(model, sae, "resid_post.1")


def wav(values: Any, rate: int, n_channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((n_channels, 2, rate, 0, "NONE", ""))
        file.writeframes(np.asarray(values).astype("<i2").tobytes())
    return buffer.getvalue()


def tone(n: int, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(n) / rate).astype(np.float32)


def heard(lens: sw.InputLens) -> sw.PictureGrid:
    return lens._view.grid  # type: ignore[attr-defined,no-any-return]


@pytest.mark.slow
def test_it_opens_on_a_sound_that_plays(lens: sw.InputLens) -> None:
    """A spectrogram with the heat of an atom that can be seen, its player, patches named by band and time."""
    lens.example = 0
    lens.wait()
    grid = heard(lens)
    assert grid.heat_shape == (4, 20)
    assert (grid.sound_lengths, grid.sound_rate) == ([RATE], RATE)
    assert grid.patch_names[21] == "band 1, 0.05 s"
    assert grid.heat_maps.max() > 0
    assert lens.summary.answers[0][1] in lens.model.class_names
    assert lens.atom in lens.summary.top(5, "attribution")


@pytest.mark.slow
def test_a_recording_becomes_the_input(lens: sw.InputLens) -> None:
    """As the browser sends it: 16 bits at a rate of its own, of which the loudest second is read."""
    recorder = lens.recorder
    assert (recorder.rate, recorder.most_seconds) == (RATE, 3.0)
    quiet = np.zeros(2 * 16_000)
    quiet[12_000:24_000] = 20_000 * tone(12_000, 16_000)
    recorder.recorded_rate = 16_000
    recorder.set_state({"samples": memoryview(quiet.astype("<i2").tobytes())})
    lens.wait()
    assert lens.sound.shape == (RATE,)
    assert lens.sources.name("first") == "recording"
    assert "resampled from 16000 to 8000" in lens.status
    assert "its loudest stretch" in lens.status
    spectrum = torch.fft.rfft(lens.sound).abs()
    assert abs(int(spectrum.argmax()) - 440) <= 2
    recorder.refusal = "The browser did not allow the microphone."
    assert lens.status == recorder.refusal
    assert lens.summary.sound is not None  # what was shown stays


def test_a_file_becomes_the_input(lens: sw.InputLens, tmp_path: Path) -> None:
    """By name, or uploaded, with what was done to it in the status line."""
    stereo = np.stack([8_000 * tone(RATE), np.zeros(RATE)], axis=1)
    (tmp_path / "clip.wav").write_bytes(wav(stereo, RATE, 2))
    lens.sound = tmp_path / "clip.wav"
    lens.wait()
    torch.testing.assert_close(
        lens.sound, torch.from_numpy(stereo.mean(1).round() / 2**15).float(), atol=2e-4, rtol=0
    )
    file = {"name": "short.wav", "content": memoryview(wav(9_000 * tone(6_000), RATE))}
    lens.sources.take_upload((file,))
    lens.wait()
    assert lens.sources.name("first") == "short.wav"
    lens.sources.take_upload(({"name": "a.wav", "content": b"RIFF"},))
    assert lens.problem
    assert "whole .wav" in lens.status


@pytest.mark.slow
def test_two_sounds_are_compared_on_one_scale_of_time(frames: sw.InputLens) -> None:
    generator = torch.Generator().manual_seed(1)
    frames.sound = torch.randn(4_000, generator=generator)
    frames.compare_sound = torch.randn(2_000, generator=generator)
    frames.wait()
    assert frames.comparing
    grid = heard(frames)
    assert grid.sound_lengths == [4_000, 2_000]
    assert grid.spans == [[0.0, 1.0], [0.0, 0.5]]
    assert np.isnan(grid.heat_maps[1][:, 110:]).all()
    assert np.isfinite(grid.heat_maps[1][:, :90]).all()
    assert grid.patch_names[3] == "frame 0.0037 s"
    assert frames.contrast is not None
    frames.comparing = False
    frames.wait()
    assert frames.compare_sound is None


@pytest.mark.slow
def test_a_page_of_a_sound_plays_it(lens: sw.InputLens, tmp_path: Path) -> None:
    """Without a kernel and a network; the recorder stays behind."""
    lens.example = 1
    lens.wait()
    lens.to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    file = page.split('<audio controls src="data:audio/wav;base64,')[1].partition('"')[0]
    with wave.open(io.BytesIO(base64.b64decode(file))) as read:
        assert (read.getnframes(), read.getframerate()) == (RATE, RATE)
    assert "sae-nb-mic" not in page.partition("<body")[2]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros(RATE), "silent"),
        (np.full(RATE, np.nan), "finite"),
        (b"nothing", "must be a whole .wav"),
    ],
)
def test_what_cannot_be_heard_is_refused(lens: sw.InputLens, bad: Any, words: str) -> None:
    before = lens.sound
    with pytest.raises(t.TraitError, match=words):
        lens.sound = bad
    assert lens.sound is before


def test_an_encoder_is_shown_and_a_decoder_named() -> None:
    """Rows of Whisper's encoder are frames of the sound; those of its decoder are tokens."""
    import transformers

    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        vocab_size=60, num_mel_bins=16, d_model=32, encoder_layers=2, encoder_attention_heads=2,
        decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=32, encoder_ffn_dim=32,
        max_source_positions=50, max_target_positions=20, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    model = sn.wrap(transformers.WhisperForConditionalGeneration(config).eval())
    sae = sn.TopK(32, 48, k=4, generator=torch.Generator().manual_seed(0)).eval()
    with pytest.raises(ValueError, match="Choose a hook point of the encoder"):
        sw.InputLens(model, sae, "decoder.resid_post.1")
    with pytest.raises(TypeError, match="which reads sounds and does not continue a text"):
        sw.GenerationLens(model, sae, "decoder.resid_post.1")
    made = sw.InputLens(model, sae, "encoder.resid_post.1")
    made.sound = tone(9_000, 16_000)
    assert made.summary.tokens[:2] == ("frame 0.00 s", "frame 0.02 s")
    assert heard(made).heat_shape == (1, 50)
    # A second of 16 kHz is 50 frames, of which 9 000 values fill 29.
    assert np.isfinite(heard(made).heat_maps[0]).sum() == 29
