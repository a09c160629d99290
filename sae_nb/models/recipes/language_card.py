"""The card of the small language model for people, from the facts its recipe noted."""

from __future__ import annotations

import textwrap
from typing import Any

# What the shipped model's folder held; another folder, another card.
_ABOUT_EXTRA = (
    "extra is the folder of texts (for the bundled model public-domain ones: plays of Shakespeare, "
    "inaugural and state-of-the-union addresses). "
)
# Where benchmarks/trigram.py has written them in.
_BESIDE_TRIGRAMS = (
    " beside those of an interpolated Kneser–Ney trigram fitted on all training text, on CPython's "
    "alone, on stories alone:"
)
_LICENCE = "that of this project. Texts of CPython: Python Software Foundation License."


def card_text(card: dict[str, Any]) -> str:
    """A model card for people, from the card's facts.

    Parameters
    ----------
    card
        As ``tiny_gpt.export`` returns it.

    Returns
    -------
    str
        Markdown.
    """
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
    parts = [f"# {card['name']}", _filled(about), _filled(judged), _table(card), bullets]
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
    return [*(_filled(text, "- ") for text in texts), f"- **Command**: `{card['command']}`"]


def _filled(text: str, mark: str = "") -> str:
    indent = " " * len(mark)
    return textwrap.fill(
        text, 100, initial_indent=mark, subsequent_indent=indent, break_on_hyphens=False
    )
