"""One training run of a small language model: its settings, its loss, and the card it ends with.

loss = −mean ln p(next token), over every position of every row
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Int
from torch import Tensor, nn

from sae_nb.checks import Count, Positive, Share, Weight, checked
from sae_nb_studies.recipes._common import Recipe, filled
from sae_nb_studies.recipes._training_run import Run

_LONG_EVERY = 4  # every fourth step has rows four times as long, so that the whole context is used


@dataclass(frozen=True, kw_only=True)
class LanguageShape:
    """Size of the model: a Llama, so that its blocks are read like those of bigger ones."""

    n_tokens: int = 1024
    """Size of the vocabulary; embedding and output share their matrix."""

    d_model: int = 128
    n_blocks: int = 4
    n_heads: int = 4
    d_hidden: int = 352
    context_length: int = 512
    """Width, depth and heads; width inside the gated MLP; tokens it can read."""


@checked
@dataclass(frozen=True, kw_only=True)
class LanguageRecipe(Recipe):
    """Training settings of the bundled language model."""

    shape: LanguageShape = field(default_factory=LanguageShape)
    steps: Count = 7_200
    rows: Count = 8
    """Rows of a step. Small batches win: a short run is limited by its number of updates."""

    row_length: Count = 128
    """Tokens per row; every fourth step has a quarter of the rows, four times as long."""

    dropout: Share = 0.1
    """Share of numbers set to zero in the embedding and in what each branch adds."""

    adam_learning_rate: Positive = 3e-3
    weight_decay: Weight = 0.1
    warmup_steps: Count = 100
    decay_steps: Count = 2_400
    log_every: Count = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        if _LONG_EVERY * self.row_length > self.shape.context_length:
            raise ValueError(
                f"`row_length` must be at most a quarter of context_length="
                f"{self.shape.context_length}, got {self.row_length}."
            )

    def rows_at(self, step: int) -> tuple[int, int]:
        """Return rows and tokens per row of one step."""
        if step % _LONG_EVERY < _LONG_EVERY - 1:
            return self.rows, self.row_length
        return max(1, self.rows // _LONG_EVERY), self.row_length * _LONG_EVERY


def new_language_model(recipe: LanguageRecipe) -> nn.Module:
    """Build an untrained model from a seed, with dropout that acts in training mode only."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = recipe.shape
    config = LlamaConfig(
        vocab_size=shape.n_tokens,
        hidden_size=shape.d_model,
        intermediate_size=shape.d_hidden,
        num_hidden_layers=shape.n_blocks,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_heads,
        max_position_embeddings=shape.context_length,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model: nn.Module = LlamaForCausalLM(config)

    # Llama has no dropout of its own but in attention.
    def drop(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        return F.dropout(output, recipe.dropout, training=module.training)

    for name, module in model.named_modules():
        if name.endswith(("embed_tokens", "o_proj", "down_proj")):
            module.register_forward_hook(drop)
    return model


class LanguageTraining(Run):
    """A small language model in training."""

    def __init__(self, recipe: LanguageRecipe, data: str) -> None:
        super().__init__(recipe, data)
        self.model = new_language_model(recipe)
        self._optimise_blocks(".layers.")

    def _loss(self, ids: Int[Tensor, "rows length"]) -> Tensor:
        logits = self.model(input_ids=ids[:, :-1], use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


@torch.no_grad()
def nats_per_token(
    model: nn.Module, texts: Sequence[Sequence[int]], boundary: int, *, batch: int = 16
) -> float:
    """Return mean −ln p over the tokens of some texts and the boundary that ends each."""
    model.eval()
    ordered = sorted(texts, key=len)
    total, count = 0.0, 0
    for start in range(0, len(ordered), batch):
        group = ordered[start : start + batch]
        longest = max(map(len, group)) + 2
        ids = torch.full((len(group), longest), -100)
        for row, text in enumerate(group):
            ids[row, : len(text) + 2] = torch.tensor([boundary, *text, boundary])
        logits = model(input_ids=ids[:, :-1].clamp(min=0), use_cache=False).logits.float()
        target = ids[:, 1:].flatten()
        total += float(F.cross_entropy(logits.flatten(0, 1), target, reduction="sum"))
        count += int((target >= 0).sum())
    return total / count


# -------------------------------------------------------------------------------------------------
# The card for people, from the facts the recipe noted.

# What the shipped model's folder held; another folder, another card.
_ABOUT_EXTRA = (
    "extra is the folder of texts (for the bundled model public-domain ones: plays of Shakespeare, "
    "inaugural and state-of-the-union addresses). "
)
# Where tests/models/trigram.py has written them in.
_BESIDE_TRIGRAMS = (
    " beside those of an interpolated Kneser–Ney trigram fitted on all training text, on CPython's "
    "alone, on stories alone:"
)
_LICENCE = "that of this project. Texts of CPython: Python Software Foundation License."


def card_text(card: dict[str, Any]) -> str:
    """Return a model card, from the card's facts."""
    shape = card["recipe"]["shape"]
    about = (
        f"A Llama of {card['parameters']} parameters ({shape['n_blocks']} blocks of width "
        f"{shape['d_model']}, context {shape['context_length']}, byte-level BPE of "
        f"{shape['n_tokens']} tokens, embedding and output tied), trained by this project as a live "
        "model for lessons, not for writing in earnest."
    )
    judged = f"Held-out nats per token ({card['held_out']['weights']}; each text read by itself)"
    judged += _BESIDE_TRIGRAMS if "trigram" in card["held_out"] else ":"
    bullets = "\n".join(_bullets(card))
    parts = [f"# {card['name']}", filled(about), filled(judged), _table(card), bullets]
    return "\n\n".join(parts) + "\n"


def _table(card: dict[str, Any]) -> str:
    held_out = card["held_out"]
    nats, trigram = held_out["nats_per_token"], held_out.get("trigram", {})
    lines = [
        ["held out", "tokens", card["name"], *(f"trigram, {fitted_on}" for fitted_on in trigram)],
        ["---"] * (3 + len(trigram)),
    ]
    for name, value in nats.items():
        baselines = (f"{table[name]:.3f}" for table in trigram.values())
        lines.append([name, str(held_out["tokens"][name]), f"{value:.3f}", *baselines])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _bullets(card: dict[str, Any]) -> list[str]:
    recipe, length = card["recipe"], card["recipe"]["row_length"]
    data = ", ".join(f"{name} {n / 1e6:.2f} M characters" for name, n in card["data"].items())
    extra = _ABOUT_EXTRA if "extra" in card["data"] else ""
    texts = [
        f"**Data**: {data}; {card['stories_told']} stories told once each, of which rows are cut. "
        f"Prose and docstrings ship with CPython {card['python']}; {extra}Paragraphs that share a "
        "sentence were removed before anything was held out.",
        f"**Training**: {card['step']} steps, {card['tokens_seen']} tokens in rows of {length} and "
        f"{4 * length}, dropout {recipe['dropout']}, seed {card['seed']}, loss of the last batch "
        f"{card['last_training_loss']}; {card['minutes']} minutes, CPU threads: {card['threads']}; "
        f"torch {card['torch']}, {card['date']}.",
        f"**Optimisers**: Muon ({recipe['muon_learning_rate']}) for the matrices inside the blocks, "
        f"AdamW ({recipe['adam_learning_rate']}) for the rest; weight decay "
        f"{recipe['weight_decay']}, {recipe['warmup_steps']} steps of warm-up, linear decay over the "
        f"last {recipe['decay_steps']}.",
        f"**Licence**: {_LICENCE}",
    ]
    return [*(filled(text, "- ") for text in texts), f"- **Command**: `{card['command']}`"]
