"""Train the models whose circuits are known from nothing, on one CPU core; a killed run continues exactly.

    python -m sae_nb_studies.recipes.known_circuits --out DIR [--only NAME] [--resume] [--seed SEED]

DIR receives a folder per model with its tokenizer and card, and what is needed to continue.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from torch import Tensor, nn

from sae_nb.checks import Count, Positive, Weight, checked
from sae_nb.files import write_bytes, write_json
from sae_nb.interrupts import ended
from sae_nb_studies.data.tasks import NOT_ASKED, TASKS, Rows
from sae_nb_studies.models._small_gpt import new_tokenizer, small_gpt
from sae_nb_studies.recipes._common import Recipe, filled, write_language_model
from sae_nb_studies.recipes._training_run import Run

logger = logging.getLogger("sae_nb.recipes.known_circuits")

N_JUDGED = 1_000
_TRAIN_STREAM, _JUDGED_STREAM = 0, 1  # of a seed's rows


@checked
@dataclass(frozen=True, kw_only=True)
class CircuitRecipe(Recipe):
    """Training settings of one of the models."""

    name: str
    n_blocks: int
    n_neurons: int = 0
    """Of each block's MLP; 0: attention only."""

    d_model: int = 64
    n_heads: int = 4

    rows: Count
    """Of a step."""

    muon_learning_rate: Positive = 0.02
    adam_learning_rate: Positive = 0.01
    weight_decay: Weight = 0.1
    warmup_steps: Count = 50
    log_every: Count = 100


CIRCUIT_RECIPES = {
    recipe.name: recipe
    for recipe in (
        CircuitRecipe(name="tiny-induction", n_blocks=2, steps=400, rows=48, decay_steps=150),
        CircuitRecipe(
            name="tiny-modular",
            n_blocks=1,
            n_neurons=256,
            steps=700,
            rows=256,
            weight_decay=2.0,
            decay_steps=250,
        ),
        CircuitRecipe(
            name="tiny-brackets",
            n_blocks=2,
            n_neurons=32,
            steps=320,
            rows=96,
            weight_decay=0.5,
            decay_steps=150,
        ),
    )
}


def new_model(recipe: CircuitRecipe) -> nn.Module:
    """Build an untrained GPT-2 from a seed; without neurons, its MLPs add zero and are never trained."""
    trained: Any = small_gpt(
        TASKS[recipe.name],
        d_model=recipe.d_model,
        n_blocks=recipe.n_blocks,
        n_heads=recipe.n_heads,
        n_neurons=max(1, recipe.n_neurons),
        seed=recipe.seed,
    )
    for block in trained.transformer.h if not recipe.n_neurons else ():
        for part in (block.ln_2, block.mlp):
            part.requires_grad_(False)
        nn.init.zeros_(block.mlp.c_proj.weight)
        nn.init.zeros_(block.mlp.c_proj.bias)
    model: nn.Module = trained
    return model


class CircuitTraining(Run):
    """One of the models in training: loss = −mean ln p(next token), where it is asked for."""

    def __init__(self, recipe: CircuitRecipe) -> None:
        super().__init__(recipe, TASKS[recipe.name].data)
        self.model = new_model(recipe)
        self._optimise_blocks(".attn.")

    def _loss(self, rows: Rows) -> Tensor:
        logits = self.model(input_ids=rows.ids, use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1), rows.targets.flatten())


def rows_at(recipe: CircuitRecipe, step: int) -> Rows:
    """Return the rows of one step, the same whenever they are asked for."""
    generator = np.random.default_rng((recipe.seed, _TRAIN_STREAM, step))
    return TASKS[recipe.name].draw(recipe.rows, generator, False)


def judged_rows(recipe: CircuitRecipe, n: int = N_JUDGED) -> Rows:
    """Return rows that were not trained on."""
    generator = np.random.default_rng((recipe.seed, _JUDGED_STREAM))
    return TASKS[recipe.name].draw(n, generator, True)


@torch.no_grad()
def accuracy(model: Any, rows: Rows) -> float:
    """Return share of the tokens asked for that are the likeliest."""
    model.eval()
    asked = rows.targets != NOT_ASKED
    found = model(input_ids=rows.ids, use_cache=False).logits.argmax(dim=-1)
    return float((found == rows.targets)[asked].float().mean())


def train_circuit(recipe: CircuitRecipe, out: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train one model and write it, its tokenizer, card and checkpoint below a folder."""
    training, judged = CircuitTraining(recipe), judged_rows(recipe)

    def log() -> None:
        logger.info(
            "%s step %d/%d, loss %.4f, held out %.4f, %.2f min", recipe.name, training.step,
            recipe.steps, training.loss, accuracy(training.model, judged), training.seconds / 60,
        )  # fmt: skip

    checkpoint = out / f"{recipe.name}.checkpoint"
    training.train(lambda step: rows_at(recipe, step), checkpoint, log, resume=resume)
    return export(training, judged, out / recipe.name)


def export(training: CircuitTraining, judged: Rows, folder: Path) -> dict[str, Any]:
    """Save fp16 weights and tokenizer, read them back, judge what was read, and write its card."""
    tokenizer = new_tokenizer(TASKS[training.recipe.name])
    loaded = write_language_model(training.model, tokenizer, folder)
    card = _card(training, loaded, judged)
    write_json(folder / "card.json", card)
    write_bytes(folder / "card.md", card_text(card).encode())
    return card


def _card(training: CircuitTraining, loaded: nn.Module, judged: Rows) -> dict[str, Any]:
    r, task = training.recipe, TASKS[training.recipe.name]
    return {
        "name": r.name,
        "task": task.about,
        "data": task.data,
        "rows_seen": training.step * r.rows,
        "held_out": {
            "weights": "fp16 file as loaded",
            "rows": len(judged),
            "answers": int((judged.targets != NOT_ASKED).sum()),
            "accuracy": round(accuracy(loaded, judged), 4),
            "chance": round(task.chance, 4),
        },
        **training.facts(loaded),
        "command": f"python -m sae_nb_studies.recipes.known_circuits --only {r.name} --seed {r.seed} "
        "--out DIR",
    }


def card_text(card: dict[str, Any]) -> str:
    """Return a model card, from the card's facts."""
    recipe, held_out = card["recipe"], card["held_out"]
    inside = (
        f"an MLP of {recipe['n_neurons']} neurons (ReLU) each"
        if recipe["n_neurons"]
        else "attention only: its MLPs have one neuron each, whose output weights and biases are zero "
        "and were never trained"
    )
    about = (
        f"A GPT-2 of {card['parameters']} parameters ({recipe['n_blocks']} block"
        f"{'s' if recipe['n_blocks'] > 1 else ''} of width {recipe['d_model']}, {recipe['n_heads']} heads, "
        f"{inside}; one token per word, embedding and output apart), trained by this project so that "
        "what traces circuits can be judged on one that is known: "
        "`sn.circuits.known_circuit(model)`."
    )
    bullets = [
        f"**Data**: {card['data']}; {card['rows_seen']} rows.",
        f"**Training**: {card['step']} steps of {recipe['rows']} rows, loss where a word is asked for, "
        f"seed {card['seed']}, loss of the last batch {card['last_training_loss']}; {card['minutes']} "
        f"minutes, CPU threads: {card['threads']}; torch {card['torch']}, {card['date']}.",
        f"**Optimisers**: Muon ({recipe['muon_learning_rate']}) for the matrices of attention, "
        f"AdamW ({recipe['adam_learning_rate']}) for the rest; weight decay {recipe['weight_decay']}, "
        f"{recipe['warmup_steps']} steps of warm-up, linear decay over the last "
        f"{recipe['decay_steps']}.",
        "**Licence**: that of this project.",
    ]
    table = (
        f"| held out: {held_out['answers']} answers in {held_out['rows']} rows, {held_out['weights']} | |\n"
        f"| --- | --- |\n| accuracy | {held_out['accuracy']:.4f} |\n| of a guess | {held_out['chance']:.4f} |"
    )
    lines = [*(filled(text, "- ") for text in bullets), f"- **Command**: `{card['command']}`"]
    parts = [f"# {card['name']}", filled(card["task"]), filled(about), table, "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for everything written")
    parser.add_argument(
        "--only", choices=sorted(CIRCUIT_RECIPES), help="one model; without it, all of them"
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--resume", action="store_true", help="continue what --out holds")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for recipe in [CIRCUIT_RECIPES[given.only]] if given.only else CIRCUIT_RECIPES.values():
        if given.seed is not None:
            recipe = replace(recipe, seed=given.seed)
        train_circuit(recipe, given.out, resume=given.resume)


if __name__ == "__main__":
    sys.exit(ended(main))
