"""A small transformer on patches of log-mel spectrograms; the spectrogram is computed inside.

x = log₁₀(mel power + floor), a_0 = embed(x),  b = a_l + attn(norm_1(a_l)),  a_{l+1} = b + mlp(norm_2(b)).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.checks import Count, Positive, checked
from sae_nb.models._spectrograms import LogMelSizes
from sae_nb.models._vision_transformer import (
    CONFIG_FILE,
    Block,
    filled,
    initialise,
    read_settings,
    write_own,
)

SOUND_MODEL_TYPE = "sound_transformer"


@checked
@dataclass(frozen=True, kw_only=True)
class SoundTransformerConfig:
    """Sizes of a sound transformer; values are those of ``tiny-audio``."""

    sample_rate: Count = 8_000
    """Samples per second of the waveforms, and samples of a clip: one second."""

    n_fft: Count = 512
    window: Count = 400
    hop: Count = 80
    """Samples of a Fourier transform, of the Hann window within it (50 ms), and between two frames (10 ms)."""

    n_mels: Count = 64
    lowest: Positive = 60.0
    """Mel bands, equally wide in mel from here, Hz, to half the sample rate."""

    patch_mels: Count = 16
    patch_frames: Count = 5
    """Height and width of a patch: mel bands, frames."""

    d_model: Count = 64
    n_blocks: Count = 6
    n_heads: Count = 4
    mlp_ratio: Count = 2
    """Width of the residual stream; depth; attention heads; hidden width of an MLP in units of `d_model`."""

    heads: tuple[tuple[str, int], ...] = (
        ("pitch", 12),
        ("timbre", 6),
        ("envelope", 4),
        ("place", 4),
        ("noise", 4),
    )
    """Heads on cls, with their numbers of classes; the first is the model's answer."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", tuple((str(name), int(n)) for name, n in self.heads))
        if self.n_mels % self.patch_mels or self.n_frames % self.patch_frames:
            raise ValueError(
                f"Patches must tile {self.n_mels} mel bands × {self.n_frames} frames, got patches of "
                f"{self.patch_mels} × {self.patch_frames}. Choose divisors."
            )
        if self.d_model % self.n_heads:
            raise ValueError(f"`n_heads` must divide d_model={self.d_model}, got {self.n_heads}.")

    @property
    def n_prefix_tokens(self) -> int:
        """Tokens before the first patch: cls."""
        return 1

    @property
    def n_frames(self) -> int:
        """Frames of a clip."""
        return self.sample_rate // self.hop

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Rows of patches, the highest frequencies first, and columns, the earliest first."""
        return self.n_mels // self.patch_mels, self.n_frames // self.patch_frames

    @property
    def spectrogram(self) -> LogMelSizes:
        """Sizes of the spectrogram."""
        return LogMelSizes(
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            window=self.window,
            hop=self.hop,
            n_mels=self.n_mels,
            lowest=self.lowest,
        )


class LogMel(nn.Module):
    """Waveform → log-mel spectrogram, centred and scaled by constants."""

    CENTRE: ClassVar[float] = -2.15
    SCALE: ClassVar[float] = 1.05
    """Mean and spread of log₁₀(power + floor) over `sn.data.sounds`, rounded."""

    def __init__(self, sizes: LogMelSizes) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, waveforms: Tensor) -> Tensor:
        return (self.sizes(waveforms) - self.CENTRE) / self.SCALE


class SoundEmbedding(nn.Module):
    """Waveform → token states: cls, then patches of the spectrogram row by row."""

    def __init__(self, config: SoundTransformerConfig) -> None:
        super().__init__()
        size = (config.patch_mels, config.patch_frames)
        rows, columns = config.patch_grid
        self.spectrogram = LogMel(config.spectrogram)
        self.patch = nn.Conv2d(1, config.d_model, kernel_size=size, stride=size)
        self.prefix = nn.Parameter(torch.zeros(1, config.d_model))
        self.position = nn.Parameter(torch.zeros(rows * columns, config.d_model))

    def forward(self, waveforms: Tensor) -> Tensor:
        shown = self.spectrogram(waveforms).flip(1)[:, None].to(self.position.dtype)
        patches = self.patch(shown).flatten(2).transpose(1, 2)
        prefix = self.prefix.expand(patches.shape[0], -1, -1)
        return torch.cat((prefix, patches + self.position), dim=1)


class SoundTransformer(nn.Module):
    """Pre-norm transformer on spectrogram patches, with a head per factor of `sn.data.sounds`.

    Tokens are cls, then the patches row by row, the highest frequencies first. ``embed``, every
    ``blocks[i]`` and ``norm`` put out the residual stream; ``blocks[i].attn`` and ``blocks[i].mlp`` put
    out what is added to it.
    """

    modality = "audio"

    @property
    def sample_rate(self) -> int:
        """Values per second of a clip."""
        return self.config.sample_rate

    @property
    def clip_length(self) -> int:
        """Values of a clip: one second."""
        return self.config.sample_rate

    @property
    def column_seconds(self) -> float:
        """Time that a column of patches covers."""
        return self.config.patch_frames * self.config.hop / self.config.sample_rate

    def __init__(
        self,
        config: SoundTransformerConfig | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or SoundTransformerConfig()
        # torch.nn draws weights of its own, thrown away below: they must not move the user's seed.
        with torch.random.fork_rng(devices=[]):
            self.embed = SoundEmbedding(config)
            self.blocks = nn.ModuleList(Block(config, 0.0) for _ in range(config.n_blocks))
            self.norm = nn.LayerNorm(config.d_model)
            self.classify = nn.ModuleDict(
                {name: nn.Linear(config.d_model, n) for name, n in config.heads}
            )
            self.sounding = nn.Linear(config.d_model, 1)
        initialise(self, config, generator)

    def forward(
        self, waveforms: Float[Tensor, "batch samples"]
    ) -> Float[Tensor, "batch n_pitches"]:
        """Return logits of the first head: the pitch class."""
        first = self.config.heads[0][0]
        return cast(Tensor, self.classify[first](self.final_states(waveforms)[:, 0]))

    def forward_heads(self, waveforms: Float[Tensor, "batch samples"]) -> dict[str, Tensor]:
        """Return logits of every head: one row per clip; ``sounding`` per stretch of time."""
        return self.heads_of(self.final_states(waveforms))

    def final_states(
        self, waveforms: Float[Tensor, "batch samples"]
    ) -> Float[Tensor, "batch tokens d_model"]:
        """Return token states after the last block and the final LayerNorm."""
        n = self.config.sample_rate
        if waveforms.ndim != 2 or waveforms.shape[1] != n:
            raise ValueError(
                f"`waveforms` must have shape (batch, {n}), one second each at {n} samples per second, "
                f"got {tuple(waveforms.shape)}. Resample the sounds, and cut or pad them to a second."
            )
        x = self.embed(waveforms)
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.norm(x))

    def heads_of(self, states: Float[Tensor, "batch tokens d_model"]) -> dict[str, Tensor]:
        """Return logits of every head from the final token states."""
        columns = self.by_place(states).mean(dim=1)
        heads = {name: head(states[:, 0]) for name, head in self.classify.items()}
        return {**heads, "sounding": self.sounding(columns).squeeze(-1)}

    def by_place(
        self, states: Float[Tensor, "batch tokens d_model"]
    ) -> Float[Tensor, "batch rows columns d_model"]:
        """Return the states of the patches by row and column."""
        return states[:, 1:].reshape(len(states), *self.config.patch_grid, -1)

    def save(self, folder: str | Path, *, dtype: torch.dtype = torch.float16) -> None:
        """Write ``model.safetensors`` and ``config.json``."""
        settings: dict[str, Any] = {"model": SOUND_MODEL_TYPE, **asdict(self.config)}
        write_own(self, Path(folder), settings, dtype)

    @classmethod
    def from_folder(cls, folder: str | Path) -> SoundTransformer:
        """Read a folder written by `save`."""
        folder = Path(folder)
        config = read_settings(folder / CONFIG_FILE, SOUND_MODEL_TYPE, SoundTransformerConfig)
        return filled(cls(config, generator=torch.Generator()), folder)
