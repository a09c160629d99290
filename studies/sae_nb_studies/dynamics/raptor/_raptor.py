"""Raptor: a deep network approximated by k shared blocks, each applied several times in a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float
from torch import Tensor, nn

from sae_nb.checks import Seed, checked
from sae_nb.dynamics import check_cuts
from sae_nb.files import read_json, read_manifest, read_tensors, write_folder
from sae_nb.models import VisionTransformer
from sae_nb.steering import splice

if TYPE_CHECKING:
    from sae_nb.models import LiveModel


# (τ₁, τ₂, τ₃) = 1 + MLP(t);  y = x + τ₁ ⊙ Attention(LN₁ x);  x′ = τ₃ ⊙ (y + τ₂ ⊙ MLP(LN₂ y)).
# Post-norm:  y = LN₁(x + τ₁ ⊙ Attention(x));  x′ = τ₃ ⊙ LN₂(y + τ₂ ⊙ MLP(y)).


GAIN_WIDTH = 16
GAIN_SPREAD = 1e-4
"""Standard deviation of the gains' last layer at the start, so that they begin at 1."""


@checked
@dataclass(frozen=True, kw_only=True)
class BlockSizes:
    """Sizes of a block; those of the teacher's blocks, so that one application costs one layer."""

    d_model: int
    """Width of the residual stream."""

    n_heads: int
    """Attention heads; divides `d_model`."""

    hidden: int
    """Width of the MLP."""

    layer_scale: float | None = None
    """Start of a learned scale per channel on both branches; None: there is none."""

    post_norm: bool = False
    """A norm follows each sum, as in the first transformers, instead of opening each branch."""

    def __post_init__(self) -> None:
        for name in ("d_model", "n_heads", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"`n_heads` must divide d_model={self.d_model}, got {self.n_heads}. Choose a divisor."
            )


@checked
class RaptorBlock(nn.Module):
    """A block that is applied several times, and is given the number of the step.

    Source
    ------
    KempnerInstitute/raptor, raptor/block.py (arXiv 2512.19941). The authors' MLP is SwiGLU of hidden
    width 4d and their LayerScale starts at 1e-5; ours is the teacher's GELU MLP, and LayerScale is
    off, because a few hundred steps would be spent on growing it. Blocks with post-norm are ours.

    Example
    -------
    >>> block = RaptorBlock(BlockSizes(d_model=8, n_heads=2, hidden=16))
    >>> block(torch.zeros(3, 5, 8), step=1).shape
    torch.Size([3, 5, 8])
    """

    def __init__(self, sizes: BlockSizes, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        d, self.sizes = sizes.d_model, sizes
        # torch.nn draws weights of its own, thrown away below: they must not move the user's seed.
        with torch.random.fork_rng(devices=[]):
            self.norm_1, self.norm_2 = nn.LayerNorm(d), nn.LayerNorm(d)
            self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.up, self.down = nn.Linear(d, sizes.hidden), nn.Linear(sizes.hidden, d)
            self.gain_in, self.gain_out = nn.Linear(1, GAIN_WIDTH), nn.Linear(GAIN_WIDTH, 3 * d)
        start = sizes.layer_scale
        self.scale_1 = None if start is None else nn.Parameter(torch.full((d,), start))
        self.scale_2 = None if start is None else nn.Parameter(torch.full((d,), start))
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator | None) -> None:
        for layer in (self.qkv, self.out, self.up, self.down, self.gain_in):
            layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)
            layer.bias.zero_()
        # A branch begins small, as in a network of many blocks: the stream starts near the identity.
        for layer in (self.out, self.down):
            layer.weight.mul_(0.2)
        for parameter in (self.gain_out.weight, self.gain_out.bias):
            parameter.normal_(0, GAIN_SPREAD, generator=generator)

    def gains(self, step: int) -> Float[Tensor, "3 d"]:
        """Return gains τ₁, τ₂, τ₃ of one step, per channel.

        Parameters
        ----------
        step
            Counted from 1 over the whole depth, as it is; not scaled.
        """
        t = torch.full((1,), float(step), device=self.out.weight.device)
        raw = self.gain_out(F.silu(self.gain_in(t.to(self.out.weight.dtype))))
        return cast(Tensor, 1 + raw.view(3, -1))

    def forward(self, x: Float[Tensor, "n tokens d"], step: int) -> Float[Tensor, "n tokens d"]:
        """Take the states one layer further, the application for layer `step` of 1 … L."""
        first, second, whole = self.gains(step)
        if self.sizes.post_norm:
            x = self.norm_1(x + first * self._attention(x))
            return cast(Tensor, whole * self.norm_2(x + second * self._mlp(x)))
        x = x + first * self._attention(self.norm_1(x))
        return cast(Tensor, whole * (x + second * self._mlp(self.norm_2(x))))

    def _mlp(self, x: Tensor) -> Tensor:
        x = self.down(F.gelu(self.up(x)))
        return x if self.scale_2 is None else self.scale_2 * x

    def _attention(self, x: Tensor) -> Tensor:
        n, tokens, d = x.shape
        heads = self.sizes.n_heads
        q, k, v = self.qkv(x).view(n, tokens, 3, heads, d // heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)
        x = self.out(mixed.transpose(1, 2).reshape(n, tokens, d))
        return x if self.scale_1 is None else self.scale_1 * x


KIND = "raptor"
_MLP_NAMES = ("mlp", "ffn", "feed_forward", "intermediate", "fc1", "linear1")


@checked
class Raptor(nn.Module):
    """k blocks in the place of L layers: block j is applied c_j − c_{j−1} times.

    Embedding, final norm and heads stay the teacher's: `replacing` puts a Raptor between them.

    Parameters
    ----------
    sizes
        Of a block; `from_model` reads them from the teacher.
    cuts
        0 = c_0 < … < c_k = L: block j is used for layers c_{j−1} + 1 … c_j.

    Source
    ------
    "Block-Recurrent Dynamics in Vision Transformers", arXiv 2512.19941; KempnerInstitute/raptor.

    Example
    -------
    >>> raptor = Raptor(BlockSizes(d_model=8, n_heads=2, hidden=16), cuts=(0, 2, 5))
    >>> raptor.k, raptor.n_layers, raptor.roll_out(torch.zeros(3, 4, 8)).shape
    (2, 5, torch.Size([3, 6, 4, 8]))
    """

    def __init__(self, sizes: BlockSizes, cuts: Sequence[int], *, seed: Seed = 0) -> None:
        super().__init__()
        self.sizes, self.cuts = sizes, check_cuts(cuts)
        generator = torch.Generator().manual_seed(seed)
        self.blocks = nn.ModuleList(
            RaptorBlock(sizes, generator=generator) for _ in range(len(self.cuts) - 1)
        )
        self._block_of = [j for j in range(self.k) for _ in range(self.cuts[j], self.cuts[j + 1])]

    @classmethod
    @checked
    def from_model(
        cls,
        model: LiveModel,
        cuts: Sequence[int],
        *,
        layer_scale: float | None = None,
        seed: Seed = 0,
    ) -> Raptor:
        """Make an untrained Raptor for a vision transformer, with blocks of its sizes.

        Parameters
        ----------
        model
            The teacher, from `load_model` or `wrap`.
        cuts
            Phases, as `segment_phases(…).cuts` gives them; the last must be the teacher's depth.
        layer_scale
            Start of a learned scale on both branches; the authors take 1e-5.

        Raises
        ------
        ValueError: If the model is not a vision transformer, or the cuts do not fit its depth.
        """
        sizes = replace(sizes_of(model), layer_scale=layer_scale)
        return cls(sizes, check_cuts(cuts, n_layers=_depth(model)), seed=seed)

    @property
    def k(self) -> int:
        """Distinct blocks."""
        return len(self.cuts) - 1

    @property
    def n_layers(self) -> int:
        """Layers L it approximates; also how often a block is applied in all."""
        return self.cuts[-1]

    @checked
    def step(self, x: Float[Tensor, "n tokens d"], layer: int) -> Float[Tensor, "n tokens d"]:
        """Take states of layer `layer` − 1 to layer `layer`.

        Raises
        ------
        ValueError: If the states have another width, or there is no such layer.
        """
        self._check(x, "x", layer - 1)
        if not 1 <= layer <= self.n_layers:
            raise ValueError(f"`layer` must be one of 1 … {self.n_layers}, got {layer}.")
        return cast(Tensor, self.blocks[self._block_of[layer - 1]](x, layer))

    @checked
    def roll_out(
        self, embeddings: Float[Tensor, "n tokens d"], upto: int | None = None, *, start: int = 0
    ) -> Float[Tensor, "n layers tokens d"]:
        """Run on from the embeddings (or a later layer) on its own predictions.

        Gives states of layers `start` … `upto` (the last one when None), the first as given.

        Raises
        ------
        ValueError: If the states have another width or the layers are out of range.
        """
        last = self.n_layers if upto is None else upto
        self._check(embeddings, "embeddings", start)
        if not 0 <= start <= last <= self.n_layers:
            raise ValueError(
                f"`start` and `upto` must be layers 0 ≤ start ≤ upto ≤ {self.n_layers}, got {start}"
                f" and {last}."
            )
        states = [embeddings]
        for layer in range(start + 1, last + 1):
            states.append(self.step(states[-1], layer))
        return torch.stack(states, dim=1)

    def _check(self, x: Tensor, name: str, layer: int) -> None:
        if x.ndim != 3 or x.shape[-1] != self.sizes.d_model:
            raise ValueError(
                f"`{name}` must have shape (n, T, {self.sizes.d_model}), got"
                f" {tuple(x.shape)}. Pass states[:, {layer}] of the teacher."
            )

    @contextmanager
    def replacing(self, model: LiveModel) -> Iterator[LiveModel]:
        """Replace the model's answers inside the block by those of this Raptor under the teacher's heads.

        It may be shallower than the model: its last state goes where the last block's would.

        Raises
        ------
        ValueError: If the model is not a vision transformer, or of another width.

        Example
        -------
        >>> from sae_nb.data import scenes
        >>> from sae_nb.models import load_model
        >>> model, images = load_model("tiny-vit"), scenes(2, seed=0)
        >>> with Raptor.from_model(model, (0, 6, 12)).replacing(model):
        ...     model(images).shape
        torch.Size([2, 10])
        """
        depth, width = _depth(model), sizes_of(model).d_model
        if width != self.sizes.d_model:
            raise ValueError(
                f"`model` must have states of width {self.sizes.d_model} for this Raptor, got {width}"
                f" in {model.name}. Train one on this model's states."
            )
        entered: list[Tensor] = []

        def enter(x: Tensor) -> Tensor:
            entered.append(x.to(next(self.parameters()).dtype))
            return x

        @torch.no_grad()
        def write(x: Tensor) -> Tensor:
            return self.roll_out(entered.pop())[:, -1].to(x.dtype)

        last = f"resid_post.{depth - 1}"
        with (
            splice(model, "resid_pre.0", enter, backend="hooks"),
            splice(model, last, write, backend="hooks"),
        ):
            yield model

    @checked
    def save(self, folder: str | Path) -> None:
        """Write weights, sizes and cuts to a folder, whole or not at all."""
        config = {"cuts": self.cuts, **vars(self.sizes)}
        tensors = {"raptor.safetensors": self.state_dict()}
        write_folder(folder, KIND, json={"config.json": config}, tensors=tensors)

    @classmethod
    @checked
    def load(cls, folder: str | Path) -> Raptor:
        """Read a folder written by `save`.

        Raises
        ------
        FileNotFoundError, ValueError: If it is not there, damaged, or of another kind.
        """
        read_manifest(folder, KIND)
        config: dict[str, Any] = dict(read_json(Path(folder) / "config.json"))
        raptor = cls(cuts=config.pop("cuts"), sizes=BlockSizes(**config))
        raptor.load_state_dict(read_tensors(Path(folder) / "raptor.safetensors"))
        return raptor.eval()

    def extra_repr(self) -> str:
        """Return the cuts, as torch prints a module."""
        return f"cuts={self.cuts}"


@checked
def sizes_of(model: LiveModel) -> BlockSizes:
    """Read the sizes of a vision transformer's blocks, and whether a norm follows their sums.

    Any module works, once in `wrap`, if its blocks have attention and it does not read text.

    Raises
    ------
    ValueError: If the model is not one.
    """
    structure = model.structure
    if structure is None:
        raise ValueError(
            f"`model` must have repeated blocks, and none were found in {model.name}. A Raptor is"
            " made of layers that are alike."
        )
    if model.modality.is_text:
        raise ValueError(
            f"`model` must be a vision transformer, got {model.name}, which reads language. A"
            " Raptor's attention looks at all tokens, not only at earlier ones."
        )
    if structure.attention is None:
        raise ValueError(
            f"`model` must have blocks with attention, and none was found in those of {model.name}."
            " A Raptor approximates a transformer."
        )
    width = model.width(f"resid_post.{structure.n_blocks - 1}")
    block = model.get_module(structure.paths[0])
    d = width or next(p for p in block.parameters() if p.ndim == 1).shape[0]
    config = getattr(model.module, "config", None)
    return BlockSizes(
        d_model=d,
        n_heads=_heads(config, block, d),
        hidden=_hidden(config, block, d),
        # torch.nn.TransformerEncoderLayer says it of itself.
        post_norm=structure.additive is False or getattr(block, "norm_first", True) is False,
    )


def _depth(model: LiveModel) -> int:
    sizes_of(model)
    return cast(int, cast(Any, model.structure).n_blocks)


def _heads(config: Any, block: nn.Module, d: int) -> int:
    for holder, name in ((config, "n_heads"), (config, "num_attention_heads")):
        if isinstance(getattr(holder, name, None), int):
            return int(getattr(holder, name))
    for part in block.modules():
        for name in ("num_heads", "n_heads"):
            if isinstance(getattr(part, name, None), int):
                return int(getattr(part, name))
    return next(n for n in (d // 64, d // 32, d // 16, 1) if n and d % n == 0)


def _hidden(config: Any, block: nn.Module, d: int) -> int:
    """Return the width of the MLP: the output of its first linear map, else the value in the configuration."""
    for name in _MLP_NAMES:
        part = getattr(block, name, None)
        linear = [] if part is None else [m for m in part.modules() if isinstance(m, nn.Linear)]
        wide = [m.out_features for m in linear if m.in_features == d]
        if wide:
            return int(wide[0])
    declared = getattr(config, "intermediate_size", None)
    return int(declared) if isinstance(declared, int) else 4 * d


# Parts of a Raptor's block, and the same parts of a block of `models.VisionTransformer`.
_SAME = {
    "norm_1": "norm_1",
    "qkv": "attn.qkv",
    "out": "attn.out",
    "norm_2": "norm_2",
    "up": "mlp.up",
    "down": "mlp.down",
}


@checked
def start_from_teacher(raptor: Raptor, model: LiveModel) -> Raptor:
    """Copy the middle layer of each phase into its block, in place, and leave every gain at 1.

    A network whose layers really are shared is then reproduced exactly, untrained. The authors begin at
    random weights; so does `Raptor.from_model`, and so do all our figures unless they say otherwise.

    Parameters
    ----------
    raptor
        From `Raptor.from_model(model, …)`, without a layer scale.
    model
        One of our vision transformers: the bundled ones, or one trained by their recipe.

    Raises
    ------
    ValueError: If the model is of another make, or sizes differ.

    Source
    ------
    Ours.

    Example
    -------
    >>> from sae_nb.models import load_model
    >>> model = load_model("tiny-vit-tied")
    >>> raptor = start_from_teacher(Raptor.from_model(model, (0, 4, 8, 12)), model)
    >>> torch.equal(raptor.blocks[1].up.weight, model.module.blocks[7].mlp.up.weight)
    True
    """
    if not isinstance(model.module, VisionTransformer) or raptor.sizes.layer_scale is not None:
        raise ValueError(
            f"`model` must be a vision transformer of sae_nb's own make, got {model.name}, and the"
            " Raptor must have no layer scale. Begin at random weights: Raptor.from_model."
        )
    layers = model.module.steps
    if len(layers) != raptor.n_layers:
        raise ValueError(
            f"`raptor` must have the {len(layers)} layers of {model.name}, got cuts {raptor.cuts}."
        )
    for j, block in enumerate(raptor.blocks):
        _copy(block, layers[(raptor.cuts[j] + raptor.cuts[j + 1] - 1) // 2])
    return raptor


@torch.no_grad()
def _copy(block: nn.Module | RaptorBlock, layer: nn.Module) -> None:
    for ours, theirs in _SAME.items():
        block.get_submodule(ours).load_state_dict(layer.get_submodule(theirs).state_dict())
    last = block.get_submodule("gain_out")
    for parameter in last.parameters():
        parameter.zero_()
