"""Promises of the sound model: its spectrogram, its tokens in time, its files."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn
from sae_nb.models._sound_transformer import SoundTransformer, SoundTransformerConfig
from sae_nb.models._spectrograms import FLOOR, mel_bank

SMALL = {"d_model": 16, "n_heads": 2, "n_blocks": 2}
SIZES = SoundTransformerConfig().spectrogram


def small(seed: int = 0) -> SoundTransformer:
    config = SoundTransformerConfig(**SMALL)
    return SoundTransformer(config, generator=torch.Generator().manual_seed(seed)).eval()


def tone(hertz: float, begin: float = 0.0, end: float = 1.0) -> torch.Tensor:
    """A sine of amplitude 0.1 between two times, seconds."""
    time = torch.arange(8000) / 8000
    inside = (time >= begin) & (time < end)
    return (0.1 * torch.sin(2 * torch.pi * hertz * time) * inside)[None]


def test_the_spectrogram_is_the_mel_power_of_windowed_spectra():
    """Equal to a plain transform of one window, filter by filter."""
    wave, column = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0)) / 10, 37
    middle = column * SIZES.hop + SIZES.hop // 2
    part = wave[0, middle - SIZES.window // 2 : middle + SIZES.window // 2]
    power = torch.fft.rfft(part * torch.hann_window(SIZES.window), n=SIZES.n_fft).abs() ** 2
    expected = (mel_bank(SIZES) @ power + FLOOR).log10()
    found = SIZES(wave)
    assert found.shape == (1, 64, 100)
    assert torch.allclose(found[0, :, column], expected, atol=1e-4)


@pytest.mark.parametrize("hertz", [300.0, 1000.0, 3000.0])
def test_a_tone_is_loudest_in_the_band_of_its_frequency(hertz):
    """The band whose middle, equally spaced in mel, lies nearest."""
    low, high = (2595 * torch.log10(torch.tensor(1 + f / 700)) for f in (60.0, 4000.0))
    middles = 700 * (10 ** (torch.linspace(float(low), float(high), 66)[1:-1] / 2595) - 1)
    loudest = SIZES(tone(hertz))[0, :, 50].argmax()
    assert abs(int(loudest) - int((middles - hertz).abs().argmin())) <= 1


def test_a_sound_moves_the_tokens_of_its_time():
    """A tone from 0.3 s to 0.4 s changes the columns that its windows reach and no others."""
    model = small()
    moved = (model.embed(tone(800, 0.3, 0.4)) - model.embed(torch.zeros(1, 8000))).abs()
    moved = model.by_place(moved)[0].amax(dim=(0, 2)) > 1e-6
    assert moved.nonzero().flatten().tolist() == list(range(5, 9))
    assert not moved[:5].any()


def test_heads_answer_per_sound_and_per_stretch():
    """Shapes by name, and the first is the model's answer."""
    model, sounds = small(), sn.data.sounds(3, seed=1)
    heads = model.forward_heads(sounds.waveforms)
    shapes = {name: tuple(logits.shape) for name, logits in heads.items()}
    sizes = {"pitch": 12, "timbre": 6, "envelope": 4, "place": 4, "noise": 4, "sounding": 20}
    assert shapes == {name: (3, size) for name, size in sizes.items()}
    assert torch.equal(model(sounds.waveforms), heads["pitch"])


def test_files_come_back(tmp_path):
    """Settings and weights, to half precision; the global generator stays."""
    model = small()
    model.save(tmp_path)
    before = torch.get_rng_state()
    again = SoundTransformer.from_folder(tmp_path)
    assert torch.equal(before, torch.get_rng_state())
    assert again.config == model.config
    for (name, a), (_, b) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-3), name
    live = sn.load_model(tmp_path)
    assert live.kind == "audio"
    assert (live.prefix_tokens, live.patch_grid) == (1, (4, 20))
    with pytest.raises(ValueError, match="must describe a 'vision_transformer'"):
        from sae_nb.models._vision_transformer import VisionTransformer

        VisionTransformer.from_folder(tmp_path)


def test_rows_know_their_time_and_their_sound(tmp_path):
    """81 rows a sound, named by band and time; what was heard and seen is kept, also on disk."""
    model, heard = sn.wrap(small()), sn.data.sounds(3, seed=1)
    acts = sn.capture(model, heard, "resid_post.1", store=tmp_path / "store", progress=False)
    acts.save(tmp_path / "saved")
    for one in (acts, sn.load_activations(tmp_path / "saved")):
        assert len(one) == 3 * 81
        assert one.tokens[:2] == ["cls", "band 0, 0.00 s"]
        assert one.tokens[1 + 3 * 20 + 7] == "band 3, 0.35 s"
        assert float(one.seconds[1 + 3 * 20 + 7]) == pytest.approx(0.35)
        for i in range(3):
            played = one.context.sounds.sample(i)
            assert played.dtype == torch.int16
            assert torch.allclose(played / 32_767, heard.waveforms[i], atol=1e-4)
        assert one.context.pictures.shape == (3, 3, 64, 100)
        assert one.context.sample_rate == 8000
    both = sn.concatenate([acts, sn.load_activations(tmp_path / "saved")])
    assert torch.equal(both.context.sounds.sample(4), acts.context.sounds.sample(1))


@pytest.mark.slow
def test_a_report_runs_the_sounds_that_rows_came_from():
    """Without inputs, from what activations keep of them."""
    model, heard = sn.wrap(small()), sn.data.sounds(6, seed=1)
    acts = sn.capture(model, heard, "resid_post.1", progress=False)
    sae = sn.TopK(16, 32, 4, generator=torch.Generator().manual_seed(0))
    kept, given = (
        sn.evaluate(sae, acts, model=model, inputs=inputs, labels=heard.pitch, n_bootstrap=10)
        for inputs in (None, heard)
    )
    assert kept["kl"].value == pytest.approx(given["kl"].value, abs=1e-2)
