"""Promises of the rendered sounds: independent factors, tones that are what their labels name."""

from __future__ import annotations

import pytest
import torch

from sae_nb.data import sounds

FACTORS = {"pitch": 12, "timbre": 6, "envelope": 4, "place": 4, "noise": 4}
LENGTH = 0.22
"""Seconds that every tone lasts at least."""

PINNED = {
    "pitch": [7, 10, 7, 5],
    "timbre": [1, 0, 2, 5],
    "noise": [3, 3, 2, 2],
    "power": [0.0245, 0.0444, 0.0469, 0.0533],
}


@pytest.fixture(scope="module")
def many() -> object:
    return sounds(1_500, seed=3)


@pytest.fixture(scope="module")
def spectra(many) -> torch.Tensor:
    begin = (many.onset * many.sample_rate).long() + 40
    rows = begin[:, None] + torch.arange(int(LENGTH * many.sample_rate) - 80)
    tone = many.waveforms.gather(1, rows) * torch.hann_window(rows.shape[1])
    return torch.fft.rfft(tone, n=8_000).abs()


def near(spectra: torch.Tensor, hertz: torch.Tensor) -> torch.Tensor:
    """Return the largest amplitude within 3 Hz of a frequency of each clip."""
    at = hertz.round().long()[:, None] + torch.arange(-3, 4)
    return spectra.gather(1, at).amax(dim=1)


def test_a_clip_depends_on_seed_and_number_alone():
    """Asking for more, or from the middle, or again, gives the same clips; global randomness stays."""
    before = torch.get_rng_state()
    whole, part, few = sounds(140, seed=1), sounds(71, seed=1, start=61), sounds(5, seed=1)
    for name in ("waveforms", "pitch", "noise", "onset", "sounding"):
        expected = getattr(whole, name)
        assert torch.equal(getattr(part, name), expected[61:132])
        assert torch.equal(getattr(few, name), expected[:5])
    assert not torch.equal(few.waveforms, sounds(5, seed=2).waveforms)
    assert torch.equal(before, torch.get_rng_state())


def test_the_first_clips_stay_what_they_are():
    first = sounds(4, seed=0)
    assert first.pitch.tolist() == PINNED["pitch"]
    assert first.timbre.tolist() == PINNED["timbre"]
    assert first.noise.tolist() == PINNED["noise"]
    power = first.waveforms.square().mean(dim=1).sqrt()
    assert torch.allclose(power, torch.tensor(PINNED["power"]), atol=1e-4)


@pytest.mark.parametrize("name", FACTORS)
def test_every_value_of_a_factor_is_as_likely(many, name):
    """Counts stay within five standard deviations of even, and every value has a name."""
    counts = torch.bincount(getattr(many, name), minlength=FACTORS[name]).double()
    share = 1 / FACTORS[name]
    spread = (len(many) * share * (1 - share)) ** 0.5
    assert len(counts) == FACTORS[name] == len(getattr(many, f"{name}_names"))
    assert float((counts - len(many) * share).abs().max()) < 5 * spread


@pytest.mark.parametrize(
    ("a", "b"),
    [("pitch", "timbre"), ("envelope", "place"), ("noise", "octave"), ("place", "noise")],
)
def test_factors_are_independent(many, a, b):
    """The χ² statistic of two factors' counts is what independence gives."""
    x, y = getattr(many, a), getattr(many, b)
    n_y = int(y.max()) + 1
    counts = torch.bincount(x * n_y + y, minlength=(int(x.max()) + 1) * n_y).view(-1, n_y).double()
    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    expected = counts.sum(1, keepdim=True) * counts.sum(0) / counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    assert abs(statistic - freedom) < 5 * (2 * freedom) ** 0.5


def test_a_pure_tone_has_the_frequency_of_its_pitch(many, spectra):
    """The strongest frequency is within 20 cents of equal temperament, A₄ = 440 Hz."""
    calm = (many.timbre == many.timbre_names.index("pure")) & (many.envelope >= 2)
    found = spectra[calm, 200:].argmax(dim=1) + 200.0
    octave = many.octave[calm] - 4
    named = 440 * 2 ** ((many.pitch[calm] - 9) / 12 + octave)
    cents = 1200 * torch.log2(found / named)
    assert float(cents.abs().median()) < 10
    assert float(cents.abs().quantile(0.95)) < 25


def test_timbres_have_their_partials(many, spectra):
    """Odd ones alone, all, octaves alone, a bar's: the second to the fourth partial tell them apart."""
    steady = (many.envelope >= 2) & (many.noise == 0)
    first = near(spectra, many.frequency)

    def relative(name: str, ratio: float) -> float:
        rows = steady & (many.timbre == many.timbre_names.index(name))
        return float((near(spectra, ratio * many.frequency) / first)[rows].median())

    assert relative("pure", 2) < 0.02
    assert relative("hollow", 2) < 0.02
    assert abs(relative("hollow", 3) - 1 / 3) < 0.03
    assert abs(relative("bright", 2) - 1 / 2) < 0.04
    assert relative("organ", 3) < 0.02
    assert abs(relative("organ", 2) - 2**-0.5) < 0.05
    assert relative("metal", 2.756) > 0.5
    assert relative("metal", 2) < 0.05
    assert relative("nasal", 2) > 1


def test_the_tone_lies_in_its_quarter(many):
    assert float((many.onset + many.duration).max()) < 1
    assert torch.equal((many.onset / 0.236).long(), many.place)
    starts = many.sounding.float().argmax(dim=1) / 20
    assert float((starts - many.onset).abs().max()) <= 0.05
    seconds = many.sounding.sum(dim=1) / 20
    assert float((seconds - many.duration).abs().max()) <= 0.05
    quiet = many[many.noise == 0]
    loudest = quiet.waveforms.view(-1, 100, 80).square().mean(dim=2).argmax(dim=1) / 100
    assert bool((loudest > quiet.onset - 0.01).all())
    assert bool((loudest < quiet.onset + quiet.duration).all())


def test_envelopes_and_noises_are_what_they_are_called(many):
    """Struck tones die away, swelling ones grow; hiss is high, rumble low, clicks are peaks."""
    rate, tone = many.sample_rate, []
    for row, begin in enumerate((many.onset * rate).long().tolist()):
        tone.append(
            many.waveforms[row, begin : begin + int(LENGTH * rate)].view(2, -1).square().mean(1)
        )
    later = torch.stack(tone)
    growth, calm = later[:, 1] / later[:, 0], many.noise == 0
    assert float(growth[calm & (many.envelope == 0)].max()) < 0.2
    assert float(growth[calm & (many.envelope == 1)].min()) > 2
    assert abs(float(growth[calm & (many.envelope == 2)].median()) - 1) < 0.1
    # The half second furthest from the tone has noise alone.
    early = torch.where(
        (many.place >= 2)[:, None], many.waveforms[:, :3600], many.waveforms[:, 4400:]
    )
    power = torch.fft.rfft(early).abs().square()
    low, high = power[:, : 300 * 36 // 80].sum(dim=1), power[:, 1500 * 36 // 80 :].sum(dim=1)
    peaks = early.abs().amax(dim=1) / early.square().mean(dim=1).sqrt()
    hiss, rumble, clicks = (many.noise_names.index(name) for name in ("hiss", "rumble", "clicks"))
    assert float((high > low)[many.noise == hiss].float().mean()) == 1
    assert float((low > high)[many.noise == rumble].float().mean()) == 1
    loudest = early.square().mean(dim=1)
    assert float(loudest[many.noise == hiss].min()) > 5 * float(loudest[many.noise == 0].max())
    assert float(peaks[many.noise == clicks].median()) > 2 * float(
        peaks[many.noise == hiss].median()
    )
