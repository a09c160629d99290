"""Train ``tiny-gpt`` from nothing on two CPU cores; a killed run continues exactly.

    python -m sae_nb_studies.recipes.tiny_gpt --out DIR [--extra-text FOLDER] [--resume]

DIR receives the finished model, its tokenizer and card, and what is needed to continue. It reads the
prose and docstrings that ship with CPython, stories newly generated at every step, and a folder's
texts.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from sae_nb.files import write_bytes, write_json
from sae_nb.interrupts import ended
from sae_nb_studies.recipes._common import recipe_options, write_language_model
from sae_nb_studies.recipes._language_data import (
    STORIES_PER_STEP,
    Batches,
    TrainingText,
    gather,
    judged_ids,
    train_tokenizer,
)
from sae_nb_studies.recipes._language_training import (
    LanguageRecipe,
    LanguageTraining,
    card_text,
    nats_per_token,
)

logger = logging.getLogger("sae_nb.recipes.tiny_gpt")

NAME = "tiny-gpt"


def train_tiny_gpt(
    recipe: LanguageRecipe, out: Path, *, extra: Path | None = None, resume: bool = False
) -> dict[str, Any]:
    """Train the model and write model, tokenizer, card and checkpoint below a folder."""
    material = gather(extra, recipe.seed)
    tokenizer = train_tokenizer(material)
    batches = Batches(material, tokenizer)
    judged = {name: judged_ids(tokenizer, texts) for name, texts in material.held_out.items()}
    training = LanguageTraining(recipe, _fingerprint(material))

    def batch_at(step: int) -> Tensor:
        rows, length = recipe.rows_at(step)
        return batches.at(step, rows, length + 1)

    checkpoint = out / f"{NAME}.checkpoint"
    training.train(batch_at, checkpoint, lambda: _log(training, judged), resume=resume)
    return export(training, tokenizer, material, out / NAME)


def export(
    training: LanguageTraining, tokenizer: Any, material: TrainingText, folder: Path
) -> dict[str, Any]:
    """Save fp16 weights and tokenizer, read them back, judge what was read, and write its card."""
    loaded = write_language_model(training.model, tokenizer, folder)
    card = _card(training, loaded, tokenizer, material)
    write_json(folder / "card.json", card)
    write_bytes(folder / "card.md", card_text(card).encode())
    return card


def _card(
    training: LanguageTraining, loaded: Any, tokenizer: Any, material: TrainingText
) -> dict[str, Any]:
    judged = {name: judged_ids(tokenizer, texts) for name, texts in material.held_out.items()}
    boundary = int(tokenizer.bos_token_id)
    nats = {name: round(nats_per_token(loaded, ids, boundary), 4) for name, ids in judged.items()}
    r = training.recipe
    extra = " --extra-text FOLDER" if "extra" in material.sources else ""
    return {
        "name": NAME,
        "data": {name: sum(map(len, texts)) for name, texts in material.sources.items()},
        "stories_told": training.step * STORIES_PER_STEP,
        "tokens_seen": training.step * r.rows * r.row_length,
        "held_out": {
            "weights": "fp16 file as loaded",
            "tokens": {name: sum(len(i) + 1 for i in ids) for name, ids in judged.items()},
            "nats_per_token": nats,
        },
        "python": platform.python_version(),
        **training.facts(loaded),
        "command": f"python -m sae_nb_studies.recipes.tiny_gpt{extra} --steps {r.steps}"
        f" --decay-steps {r.decay_steps} --seed {r.seed} --out DIR",
    }


def _fingerprint(material: TrainingText) -> str:
    """Short hash of all training text: a run is only continued on the same."""
    digest = hashlib.sha256()
    for name, texts in material.sources.items():
        digest.update("\0".join((name, *texts)).encode())
    return digest.hexdigest()[:16]


def _log(training: LanguageTraining, judged: dict[str, list[list[int]]]) -> None:
    nats = {name: nats_per_token(training.model, ids[:100], 0) for name, ids in judged.items()}
    logger.info(
        "%s step %d/%d, loss %.3f, held out %s, %.1f min, %.3f s/step",
        NAME,
        training.step,
        training.recipe.steps,
        training.loss,
        " ".join(f"{name} {value:.3f}" for name, value in nats.items()),
        training.seconds / 60,
        training.seconds / max(training.step, 1),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    parser = recipe_options(__doc__, LanguageRecipe())
    parser.add_argument("--extra-text", type=Path, help="folder of .txt files to train on as well")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = LanguageRecipe(steps=given.steps, decay_steps=given.decay_steps, seed=given.seed)
    train_tiny_gpt(recipe, given.out, extra=given.extra_text, resume=given.resume)


if __name__ == "__main__":
    sys.exit(ended(main))
