"""A small pre-norm vision transformer whose every depth step can be hooked, also when tied.

a_0 = embed(image),  b = a_l + attn(norm_1(a_l)),  a_{l+1} = b + mlp(norm_2(b)).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.checks import Between, Count, at_least, checked
from sae_nb.files._atomic import read_json, write_json
from sae_nb.files._tensors import read_tensors, write_tensors

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
MODEL_TYPE = "vision_transformer"


@checked
@dataclass(frozen=True, kw_only=True)
class VisionTransformerConfig:
    """Sizes of a vision transformer; values are those of ``tiny-vit``."""

    image_size: Count = 32
    patch_size: Count = 4
    """Height and width of an image and of a patch, pixels; the first is a multiple of the second."""

    d_model: Count = 64
    """Width of the residual stream. Ours: fits an hour of two CPU cores."""

    n_blocks: Count = 12
    """Depth steps, counted as applied."""

    n_heads: Count = 4
    """Attention heads; divides `d_model`."""

    mlp_ratio: Count = 2
    """Hidden width of the MLP in units of `d_model`."""

    n_registers: Annotated[int, at_least(0)] = 4
    """Spare tokens after cls. "Vision Transformers Need Registers", arXiv 2309.16588."""

    residual_drop: Annotated[float, Between(0, 1, "[)")] = 0.2
    """Chance that the last block's branches are left out per image in training; linear from 0."""

    shared_blocks: tuple[int, ...] | None = None
    """Number of times each distinct block is applied, e.g. (4, 4, 4); None: every block is its own."""

    n_digits: Count = 10
    n_textures: Count = 8
    """Classes of the first head, and of the texture head."""

    def __post_init__(self) -> None:
        if self.shared_blocks is not None:
            object.__setattr__(self, "shared_blocks", tuple(self.shared_blocks))
            if sum(self.shared_blocks) != self.n_blocks or min(self.shared_blocks) < 1:
                raise ValueError(
                    f"`shared_blocks` must be counts ≥ 1 that add up to n_blocks={self.n_blocks},"
                    f" got {self.shared_blocks}."
                )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"`patch_size` must divide image_size={self.image_size}, got {self.patch_size}."
            )
        if self.d_model % self.n_heads:
            raise ValueError(f"`n_heads` must divide d_model={self.d_model}, got {self.n_heads}.")

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        side = self.image_size // self.patch_size
        return side, side

    @property
    def n_prefix_tokens(self) -> int:
        """Tokens before the first patch: cls and the registers."""
        return 1 + self.n_registers

    @property
    def n_tokens(self) -> int:
        """Tokens in all: cls, registers, patches row by row."""
        return self.n_prefix_tokens + self.patch_grid[0] * self.patch_grid[1]


class _Sizes(Protocol):
    """Sizes that blocks and initial weights need, of any model of tokens on a grid."""

    @property
    def d_model(self) -> int: ...
    @property
    def n_heads(self) -> int: ...
    @property
    def mlp_ratio(self) -> int: ...
    @property
    def n_blocks(self) -> int: ...
    @property
    def patch_grid(self) -> tuple[int, int]: ...


class Embedding(nn.Module):
    """Image in [0, 1] → token states: cls, registers, then patches row by row."""

    def __init__(self, config: VisionTransformerConfig) -> None:
        super().__init__()
        d, p = config.d_model, config.patch_size
        self.patch = nn.Conv2d(3, d, kernel_size=p, stride=p)
        self.prefix = nn.Parameter(torch.zeros(config.n_prefix_tokens, d))
        self.position = nn.Parameter(torch.zeros(config.n_tokens - config.n_prefix_tokens, d))

    def forward(self, pixel_values: Tensor) -> Tensor:
        # Normalisation lives here, so that users and panels only ever handle images in [0, 1].
        patches = self.patch((pixel_values - 0.5) / 0.5).flatten(2).transpose(1, 2)
        prefix = self.prefix.expand(patches.shape[0], -1, -1)
        return torch.cat((prefix, patches + self.position), dim=1)


class Attention(nn.Module):
    """Multi-head self-attention over all tokens."""

    def __init__(self, config: _Sizes) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model)
        self.out = nn.Linear(config.d_model, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        batch, n_tokens, d = x.shape
        qkv = self.qkv(x).view(batch, n_tokens, 3, self.n_heads, d // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return cast(Tensor, self.out(mixed.transpose(1, 2).reshape(batch, n_tokens, d)))


class Mlp(nn.Module):
    """Two layers with a GELU between, per token."""

    def __init__(self, config: _Sizes) -> None:
        super().__init__()
        hidden = config.mlp_ratio * config.d_model
        self.up = nn.Linear(config.d_model, hidden)
        self.down = nn.Linear(hidden, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.down(F.gelu(self.up(x))))


class Block(nn.Module):
    """One depth step; its output is the residual stream."""

    def __init__(self, config: _Sizes, residual_drop: float) -> None:
        super().__init__()
        self.residual_drop = residual_drop
        self.norm_1 = nn.LayerNorm(config.d_model)
        self.attn = Attention(config)
        self.norm_2 = nn.LayerNorm(config.d_model)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor) -> Tensor:
        x = self._add(x, self.norm_1, self.attn)
        return self._add(x, self.norm_2, self.mlp)

    def _add(self, x: Tensor, norm: nn.Module, branch: nn.Module) -> Tensor:
        n_kept = max(round(x.shape[0] * (1 - self.residual_drop)), 1)
        if not self.training or n_kept == x.shape[0]:
            return cast(Tensor, x + branch(norm(x)))
        # As in DINOv2: a fixed number of images is kept, the dropped ones cost nothing, and
        # scaling by the true fraction keeps the expected update that evaluation will make.
        kept = torch.randperm(x.shape[0], device=x.device)[:n_kept]
        update = branch(norm(x[kept])) * (x.shape[0] / n_kept)
        return x.index_add(0, kept, update)


class VisionTransformer(nn.Module):
    """Pre-norm vision transformer with digit, texture and foreground heads.

    Tokens are cls, then the registers, then the patches row by row. ``embed``, every ``blocks[i]``
    and ``norm`` put out the residual stream; ``blocks[i].attn`` and ``blocks[i].mlp`` put out what
    is added to it. A tied model still has one module per depth step, all the way down, so that a
    hook on step i fires for step i alone; only the Parameters are shared.
    """

    def __init__(
        self,
        config: VisionTransformerConfig | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or VisionTransformerConfig()
        last = max(config.n_blocks - 1, 1)
        # torch.nn draws weights of its own, thrown away below: they must not move the user's seed.
        with torch.random.fork_rng(devices=[]):
            self.embed = Embedding(config)
            self.blocks = nn.ModuleList(
                Block(config, config.residual_drop * step / last) for step in range(config.n_blocks)
            )
            self.norm = nn.LayerNorm(config.d_model)
            self.digit = nn.Linear(config.d_model, config.n_digits)
            self.texture = nn.Linear(config.d_model, config.n_textures)
            self.foreground = nn.Linear(config.d_model, 1)
        self._order = tuple(range(config.n_blocks))
        _tie(self.blocks, config.shared_blocks or ())
        initialise(self, config, generator)

    def forward(
        self, pixel_values: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch n_digits"]:
        """Return digit logits."""
        return cast(Tensor, self.digit(self.final_states(pixel_values)[:, 0]))

    def forward_heads(
        self, pixel_values: Float[Tensor, "batch 3 height width"]
    ) -> dict[str, Tensor]:
        """Return logits of every head: ``digit`` and ``texture`` per image, ``foreground`` per patch."""
        return self.heads_of(self.final_states(pixel_values))

    def final_states(
        self, pixel_values: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch tokens d_model"]:
        """Return token states after the last block and the final LayerNorm."""
        size = (3, self.config.image_size, self.config.image_size)
        if pixel_values.ndim != 4 or tuple(pixel_values.shape[1:]) != size:
            raise ValueError(
                f"`pixel_values` must have shape (batch, {size[0]}, {size[1]}, {size[2]}), got"
                f" {tuple(pixel_values.shape)}. Resize the images, colour channel first."
            )
        x = self.embed(pixel_values)
        for block in self.steps:
            x = block(x)
        return cast(Tensor, self.norm(x))

    @property
    def steps(self) -> list[Block]:
        """The block of every depth step."""
        return [cast(Block, self.blocks[i]) for i in self._order]

    def looped(self) -> VisionTransformer:
        """Return a tied network that holds each of its blocks once and runs it as often as it is shared.

        The same Parameters and the same answers; of a module per step there are 3 where there were 12. Made
        for evaluation: a block has the residual drop of its first step.

        Example
        -------
        >>> import sae_nb as sn
        >>> looped = sn.wrap(sn.load_model("tiny-vit-tied").module.looped())
        >>> looped.layers["module"].value_counts().tolist(), looped.n_layers
        ([4, 4, 4], 12)
        """
        counts = self.config.shared_blocks
        if counts is None:
            raise ValueError(
                f"`looped` needs blocks that are shared, got {self.config.n_blocks} of their own. Load "
                '"tiny-vit-tied".'
            )
        twin = VisionTransformer(self.config, generator=torch.Generator())
        for name, part in self.named_children():
            setattr(twin, name, part)
        starts = [sum(counts[:i]) for i in range(len(counts))]
        twin.blocks = nn.ModuleList(self.blocks[start] for start in starts)
        twin._order = tuple(i for i, count in enumerate(counts) for _ in range(count))
        return twin.eval()

    def heads_of(self, states: Float[Tensor, "batch tokens d_model"]) -> dict[str, Tensor]:
        """Return logits of every head from the final token states."""
        cls, patches = states[:, 0], states[:, self.config.n_prefix_tokens :]
        return {
            "digit": self.digit(cls),
            "texture": self.texture(cls),
            "foreground": self.foreground(patches).squeeze(-1),
        }

    def save(self, folder: str | Path, *, dtype: torch.dtype = torch.float16) -> None:
        """Write ``model.safetensors``, each shared tensor once, and ``config.json``."""
        write_own(self, Path(folder), {"model": MODEL_TYPE, **asdict(self.config)}, dtype)

    @classmethod
    def from_folder(cls, folder: str | Path) -> VisionTransformer:
        """Read a folder written by `save`."""
        folder = Path(folder)
        config = read_settings(folder / CONFIG_FILE, MODEL_TYPE, VisionTransformerConfig)
        # The weights come from the file: drawing them here would move the global generator.
        return filled(cls(config, generator=torch.Generator()), folder)


def _tie(blocks: nn.ModuleList, counts: tuple[int, ...]) -> None:
    """Let each group of steps share the Parameters of its first step, but no module."""
    step = 0
    for count in counts:
        first, others = blocks[step], blocks[step + 1 : step + count]
        for name, parameter in first.named_parameters():
            path, _, leaf = name.rpartition(".")
            for other in others:
                setattr(other.get_submodule(path), leaf, parameter)
        step += count


@torch.no_grad()
def initialise(model: nn.Module, config: _Sizes, generator: torch.Generator | None) -> None:
    """Draw weights of variance 1 / fan-in, smaller where a branch ends: depth keeps the stream's size."""
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
        elif name.endswith(("embed.prefix", "embed.position")):
            parameter.normal_(0, 0.02, generator=generator)
        else:
            scale = parameter[0].numel() ** -0.5
            if name.endswith(("attn.out.weight", "mlp.down.weight")):
                scale /= (2 * config.n_blocks) ** 0.5
            parameter.normal_(0, scale, generator=generator)
    model.get_parameter("embed.position").copy_(_waves(config))


def _waves(config: _Sizes) -> Tensor:
    """Two-dimensional sine and cosine waves, so that neighbouring patches start out similar."""
    rows, columns = config.patch_grid
    n = config.d_model // 4
    rates = torch.pi / 2 * 2 ** (-torch.linspace(0, 3, n))
    y = (torch.arange(rows)[:, None, None] * rates).expand(rows, columns, n)
    x = (torch.arange(columns)[None, :, None] * rates).expand(rows, columns, n)
    waves = torch.cat((y.sin(), y.cos(), x.sin(), x.cos()), dim=-1).flatten(0, 1)
    return 0.3 * F.pad(waves, (0, config.d_model - 4 * n))


Config = TypeVar("Config")


def read_settings(path: Path, model: str, settings: type[Config]) -> Config:
    """Read the settings of a model of one kind from its folder."""
    record: Any = read_json(path)
    if not isinstance(record, dict) or record.pop("model", None) != model:
        raise ValueError(
            f"{str(path)!r} must describe a {model!r}, and does not. Pass a folder written by `save` "
            "of such a model."
        )
    known = {field.name for field in fields(settings)}  # type: ignore[arg-type]
    if set(record) != known:
        raise ValueError(
            f"{str(path)!r} must hold the settings {sorted(known)}, got {sorted(record)}. It was"
            " written by another version; write it again with this one."
        )
    return settings(**record)


Own = TypeVar("Own", bound=nn.Module)


def write_own(model: nn.Module, folder: Path, settings: dict[str, Any], dtype: torch.dtype) -> None:
    """Write weights, each shared tensor once, and settings."""
    tensors = {name: p.detach().to(dtype) for name, p in model.named_parameters()}
    write_tensors(folder / WEIGHTS_FILE, tensors)
    write_json(folder / CONFIG_FILE, settings)


def filled(model: Own, folder: Path) -> Own:
    """Return the model with the weights of a folder."""
    tensors = read_tensors(folder / WEIGHTS_FILE)
    parameters = dict(model.named_parameters())
    _check_tensors(tensors, parameters, folder)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
    return model.eval()


def _check_tensors(
    tensors: dict[str, Tensor], wanted: dict[str, nn.Parameter], folder: Path
) -> None:
    if set(tensors) != set(wanted):
        odd = sorted(set(tensors) ^ set(wanted))
        raise ValueError(
            f"The weights in {str(folder)!r} must be those its config.json describes, but"
            f" {len(odd)} tensors are missing or unknown: {', '.join(odd[:4])}. Save it again."
        )
    for name, parameter in wanted.items():
        if tensors[name].shape != parameter.shape:
            raise ValueError(
                f"{name!r} in {str(folder)!r} must have shape {tuple(parameter.shape)} to match its"
                f" config.json, got {tuple(tensors[name].shape)}. Save the model again."
            )
        if not bool(tensors[name].isfinite().all()):
            raise ValueError(
                f"{name!r} in {str(folder)!r} must be finite, but holds NaN or infinity. Train the"
                " model again, or save it with dtype=torch.float32."
            )
