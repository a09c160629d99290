"""Log-mel spectrograms of waveforms, in torch alone; and the faces of sounds that are drawn from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float, UInt8
from torch import Tensor

FLOOR = 1e-3
"""Added to the power of a mel band before the logarithm: about a waveform's noise of 0.002."""

LOUDEST = 2.5
"""log₁₀ of the power that a face draws white: a tone of amplitude 0.2 in the window of 50 ms. Ours."""


@dataclass(frozen=True, kw_only=True)
class LogMelSizes:
    """Sizes of a log-mel spectrogram: log₁₀(mel power + floor), a column every `hop` samples.

    Columns are centred in their stretch of `hop` samples, with silence around the sound.
    """

    sample_rate: int
    n_fft: int
    window: int
    hop: int
    n_mels: int
    lowest: float

    def __call__(self, waveforms: Float[Tensor, "n length"]) -> Float[Tensor, "n n_mels frames"]:
        """Return log₁₀(mel power + floor)."""
        margin = (self.n_fft - self.hop) // 2
        parts = F.pad(waveforms.float(), (margin, margin)).unfold(1, self.n_fft, self.hop)
        edge = (self.n_fft - self.window) // 2
        taper = torch.hann_window(self.window, device=waveforms.device)
        spectrum = torch.fft.rfft(parts[..., edge : edge + self.window] * taper, n=self.n_fft)
        bank = mel_bank(self).to(waveforms.device)
        return (spectrum.abs().square() @ bank.T + FLOOR).log10().transpose(1, 2)


@lru_cache(maxsize=8)
def mel_bank(sizes: LogMelSizes) -> Float[Tensor, "n_mels n_bins"]:
    """Return triangular filters between points equally far apart in mel, 2595 log₁₀(1 + f / 700).

    The scale of S. S. Stevens, J. Volkmann and E. B. Newman, "A scale for the measurement of the
    psychological magnitude pitch" (1937), in the form of D. O'Shaughnessy, "Speech Communication" (1987).
    """
    ends = torch.tensor([sizes.lowest, sizes.sample_rate / 2], dtype=torch.float64)
    low, high = (2595 * torch.log10(1 + ends / 700)).tolist()
    points = 700 * (10 ** (torch.linspace(low, high, sizes.n_mels + 2).double() / 2595) - 1)
    hertz = torch.linspace(0, sizes.sample_rate / 2, sizes.n_fft // 2 + 1, dtype=torch.float64)
    up = (hertz - points[:-2, None]) / (points[1:-1] - points[:-2])[:, None]
    down = (points[2:, None] - hertz) / (points[2:] - points[1:-1])[:, None]
    return torch.minimum(up, down).clamp_min(0).float()


def spectrogram_faces(
    waveforms: Float[Tensor, "n length"], sizes: LogMelSizes
) -> UInt8[Tensor, "n 3 n_mels frames"]:
    """Return spectrograms in greys, high frequencies above, silence black: heat in colour lies over them."""
    quiet = torch.tensor(FLOOR).log10()
    level = ((sizes(waveforms) - quiet) / (LOUDEST - quiet)).clamp(0, 1).flip(1)
    grey = (255 * level).round().to(torch.uint8)
    return grey[:, None].expand(-1, 3, -1, -1).contiguous()
