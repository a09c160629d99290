"""A small looped transformer that adds: two blocks run again and again, and carries travel one place a block.

h ← block_2(block_1(h)), n_loops times; a token's attention sees itself and the place below it alone, so
that a carry that comes from c places below is known after c blocks at the earliest. A gate gives after
each loop the log-odds that the answer at a place is right already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Float, Int
from torch import Tensor, nn

from sae_nb.checks import Count, checked
from sae_nb.models._vision_transformer import CONFIG_FILE, filled, read_settings, write_own

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LOOPED_TYPE = "looped_adder"

PAD, UNKNOWN = "<pad>", "<unk>"
FIRST_PAIR = 2
"""Id of the pair 0+0: before it are padding and the unknown word."""


@checked
@dataclass(frozen=True, kw_only=True)
class LoopedAdderConfig:
    """Sizes of a looped adder; values are those of ``tiny-looped``."""

    hidden_size: Count = 48
    """Width of the residual stream. Ours."""

    n_shared: Count = 2
    n_loops: Count = 6
    """Blocks, and number of times that all of them are run."""

    num_attention_heads: Count = 4
    """Attention heads; divides `hidden_size`."""

    mlp_ratio: Count = 2
    """Hidden width of the MLP in units of `hidden_size`."""

    max_position_embeddings: Count = 16
    """Places of a sum at most; nothing but the length of what is drawn depends on it."""

    vocab_size: Count = FIRST_PAIR + 100
    n_digits: Count = 10
    """Tokens: two words of the tokenizer and the pairs of digits; answers."""

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"`num_attention_heads` must divide hidden_size={self.hidden_size}, got "
                f"{self.num_attention_heads}."
            )


class PlaceAttention(nn.Module):
    """Attention of each place to itself and to the place below, with a bias for either."""

    def __init__(self, config: LoopedAdderConfig) -> None:
        super().__init__()
        d, self.n_heads = config.hidden_size, config.num_attention_heads
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.near = nn.Parameter(torch.zeros(self.n_heads, 2))

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        batch, time, d = x.shape
        qkv = self.qkv(x).view(batch, time, 3, self.n_heads, d // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        distance = torch.arange(time, device=x.device)
        distance = distance[:, None] - distance
        bias = self.near[:, distance.clamp(0, 1)].masked_fill(
            (distance < 0) | (distance > 1), -torch.inf
        )
        if hidden is not None:  # padding, seen by itself alone
            bias = bias.masked_fill(hidden[:, None, None] & (distance != 0), -torch.inf)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q))
        return cast(Tensor, self.out(mixed.transpose(1, 2).reshape(batch, time, d)))


class PlaceMlp(nn.Module):
    """Two layers with a GELU between, per place."""

    def __init__(self, config: LoopedAdderConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.up, self.down = nn.Linear(d, config.mlp_ratio * d), nn.Linear(config.mlp_ratio * d, d)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.down(F.gelu(self.up(x))))


class LoopedBlock(nn.Module):
    """A pre-norm block; its output is the residual stream."""

    def __init__(self, config: LoopedAdderConfig) -> None:
        super().__init__()
        self.norm_1, self.attn = nn.LayerNorm(config.hidden_size), PlaceAttention(config)
        self.norm_2, self.mlp = nn.LayerNorm(config.hidden_size), PlaceMlp(config)

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.norm_1(x), hidden)
        return cast(Tensor, x + self.mlp(self.norm_2(x)))


class LoopedAdder(nn.Module):
    """Looped transformer that reads pairs of digits, the lowest place first, and answers with those of the sum.

    Parameters
    ----------
    config
        Sizes; None: those of ``tiny-looped``.
    generator
        Of the initial weights; None: torch's global one.

    Example
    -------
    >>> adder = LoopedAdder(generator=torch.Generator().manual_seed(0))
    >>> adder(pair_ids([478], [596], places=4)).shape
    torch.Size([1, 4, 10])
    """

    FIRST = FIRST_PAIR
    """Id of the pair 0+0; that of a+b is 10 a + b more."""

    def __init__(
        self,
        config: LoopedAdderConfig | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config = config or LoopedAdderConfig()
        # torch.nn draws weights of its own, thrown away below: they must not move the user's seed.
        with torch.random.fork_rng(devices=[]):
            self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
            self.blocks = nn.ModuleList(LoopedBlock(config) for _ in range(config.n_shared))
            self.exit_gate = nn.Linear(config.hidden_size, 1)
            self.norm = nn.LayerNorm(config.hidden_size)
            self.head = nn.Linear(config.hidden_size, config.n_digits)
        _initialise(self, generator)

    def forward(
        self,
        input_ids: Int[Tensor, "batch places"],
        attention_mask: Int[Tensor, "batch places"] | None = None,
    ) -> Float[Tensor, "batch places digits"]:
        """Return logits of the sum's digit at every place."""
        return cast(Tensor, self.head(self.norm(self.loops(input_ids, attention_mask)[-1][0])))

    def loops(
        self, input_ids: Int[Tensor, "batch places"], attention_mask: Tensor | None = None
    ) -> list[tuple[Float[Tensor, "batch places d"], Float[Tensor, "batch places"]]]:
        """Return of every loop the states after it, and what the gate gives, which stops nothing."""
        x, hidden = self.embed(input_ids), None if attention_mask is None else attention_mask == 0
        found = []
        for _ in range(self.config.n_loops):
            for block in self.blocks:
                x = block(x, hidden)
            found.append((x, self.exit_gate(x)[..., 0]))
        return found

    def save(self, folder: str | Path, *, dtype: torch.dtype = torch.float16) -> None:
        """Write ``model.safetensors`` and ``config.json``."""
        write_own(self, Path(folder), {"model": LOOPED_TYPE, **asdict(self.config)}, dtype)

    @classmethod
    def from_folder(cls, folder: str | Path) -> LoopedAdder:
        """Read a folder written by `save`."""
        folder = Path(folder)
        config = read_settings(folder / CONFIG_FILE, LOOPED_TYPE, LoopedAdderConfig)
        return filled(cls(config, generator=torch.Generator()), folder)


@torch.no_grad()
def _initialise(model: LoopedAdder, generator: torch.Generator | None) -> None:
    """Variance 1 / fan-in; what ends a branch is scaled down by the number of times that it is added."""
    added = 2 * model.config.n_shared * model.config.n_loops
    for name, parameter in model.named_parameters():
        if name.endswith("near"):
            parameter.zero_()
        elif parameter.ndim == 1:
            parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
        elif name.startswith("embed"):
            parameter.normal_(0, 1.0, generator=generator)
        else:
            scale = parameter.shape[1] ** -0.5
            last = name.endswith(("attn.out.weight", "mlp.down.weight"))
            parameter.normal_(0, scale / added**0.5 if last else scale, generator=generator)


# -------------------------------------------------------------------------------------------------
# Sums as tokens, and as texts that people can type.


@checked
def pair_ids(
    a: Sequence[int] | Int[Tensor, " n"], b: Sequence[int] | Int[Tensor, " n"], places: Count
) -> Int[Tensor, "n places"]:
    """Return the tokens of sums a + b: one per place, the lowest first, of the two digits there.

    Example
    -------
    >>> pair_ids([12], [34], places=3)
    tensor([[26, 15,  2]])
    """
    first, second = (torch.as_tensor(numbers, dtype=torch.long).reshape(-1) for numbers in (a, b))
    if first.shape != second.shape or not len(first):
        raise ValueError(
            f"`a` and `b` must be of equal length, at least 1, got {len(first)} and {len(second)}."
        )
    total = first + second
    if int(torch.minimum(first, second).min()) < 0 or int(total.max()) >= 10**places:
        raise ValueError(
            f"`a` and `b` must be at least 0 with sums below 10^{places}, got a sum of {int(total.max())}. "
            "Pass more places."
        )
    power = 10 ** torch.arange(places)
    digits = [(numbers[:, None] // power) % 10 for numbers in (first, second)]
    return FIRST_PAIR + 10 * digits[0] + digits[1]


def pair_tokenizer(config: LoopedAdderConfig | None = None) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a looped adder: a word for every pair of digits, "8+6 7+9 4+5" for 478 + 596."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {PAD: 0, UNKNOWN: 1}
    words |= {f"{i}+{j}": FIRST_PAIR + 10 * i + j for i in range(10) for j in range(10)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=(config or LoopedAdderConfig()).max_position_embeddings,
    )
