"""Recipe of `tiny-looped`: an adder that needs more loops for longer carries.

Run `python -m sae_nb_studies.recipes.tiny_looped --out DIR`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from numpy.random import Generator
from torch import Tensor

from sae_nb.checks import Count, Positive, Weight
from sae_nb.files import write_bytes, write_json
from sae_nb.interrupts import ended
from sae_nb.models import LoopedAdder
from sae_nb_studies.recipes._common import Recipe, filled, recipe_options
from sae_nb_studies.recipes._training_run import Run

logger = logging.getLogger(__name__)

NAME = "tiny-looped"
DATA = (
    "sums of two numbers of up to 15 digits, as pairs of digits with the lowest place first; a third "
    "of the sums have, at three places of four, digits that add up to 9 and so hand a carry on, and "
    "a third at nearly all places; in a quarter the digits of the first number are the same above "
    "the lowest place"
)
N_JUDGED = 2000
_TRAIN_STREAM, _JUDGED_STREAM = 0, 1


@dataclass(frozen=True, kw_only=True)
class LoopedRecipe(Recipe):
    """Settings of the training."""

    rows: Count = 96
    """Sums of a step."""

    steps: Count = 1400
    decay_steps: Count = 600
    warmup_steps: Count = 50
    muon_learning_rate: Positive = 0.01
    adam_learning_rate: Positive = 0.003
    weight_decay: Weight = 0.05
    log_every: Count = 100


@dataclass(frozen=True)
class Sums:
    """Sums as tokens, with the digits of the answers."""

    ids: Tensor
    digits: Tensor
    """(n, places); −100 above the place where a sum ends."""

    reach: Tensor
    """(n, places): places below from which the carry into a place comes; 0 where it is decided next to it, by
    digits that add up to no 9.
    """


def draw_sums(n: int, generator: Generator, places: int = 16) -> Sums:
    """Draw sums of two to so many places, of which the highest has the pair 0+0."""
    first = generator.integers(0, 10, (n, places))
    second = generator.integers(0, 10, (n, places))
    same = (
        generator.random((n, 1)) < 0.25
    )  # the same pair again and again, but for the lowest place
    first = np.where(same & (np.arange(places) > 0), first[:, 1:2], first)
    hands_on = generator.random((n, places)) < generator.choice([0.0, 0.75, 0.97], (n, 1))
    second = np.where(hands_on, 9 - first, second)
    length = generator.integers(1, places, (n, 1))  # places below the highest
    beyond = np.arange(places) >= length
    first[beyond], second[beyond] = 0, 0
    total, carry, reach = first + second, np.zeros(n, int), np.zeros(n, int)
    digits, reaches = np.zeros_like(first), np.zeros_like(first)
    for place in range(places):
        digits[:, place] = (total[:, place] + carry) % 10
        reaches[:, place] = reach
        carry = (total[:, place] + carry) // 10
        # The carry out of a place is its own, unless its digits add up to 9.
        reach = np.where(total[:, place] == 9, reach + 1, 0)
    ids = LoopedAdder.FIRST + 10 * first + second
    over = np.arange(places) > length
    digits[over] = -100
    return Sums(*(torch.as_tensor(part) for part in (ids, digits, reaches)))


def sums_at(recipe: LoopedRecipe, step: int) -> Sums:
    """Return the sums of one step, the same whenever they are asked for."""
    return draw_sums(recipe.rows, np.random.default_rng((recipe.seed, _TRAIN_STREAM, step)))


def judged_sums(recipe: LoopedRecipe, n: int = N_JUDGED) -> Sums:
    """Return sums of another stream of random numbers."""
    return draw_sums(n, np.random.default_rng((recipe.seed, _JUDGED_STREAM)))


class LoopedTraining(Run):
    """The adder in training: after every loop −mean ln p(digit), and of the gate −mean ln p(it is right)."""

    def __init__(self, recipe: LoopedRecipe) -> None:
        super().__init__(recipe, DATA)
        self.model = LoopedAdder(generator=torch.Generator().manual_seed(recipe.seed))
        self._optimise_blocks("blocks.")

    def _loss(self, sums: Sums) -> Tensor:
        asked, losses = sums.digits >= 0, []
        for states, _ in self.model.loops(sums.ids):
            logits = self.model.head(self.model.norm(states))
            answer = F.cross_entropy(logits[asked], sums.digits[asked])
            right = (logits.argmax(dim=-1) == sums.digits)[asked].float()
            # The gate judges the states as they are, and does not shape them.
            gate = self.model.exit_gate(states.detach())[..., 0][asked]
            losses.append(answer + F.binary_cross_entropy_with_logits(gate, right))
        return torch.stack(losses).mean()


@torch.no_grad()
def measured(model: LoopedAdder, sums: Sums) -> dict[str, Any]:
    """Return the accuracy per digit and sum, after every loop, and by how far a carry came."""
    model.eval()
    asked = sums.digits >= 0
    by_loop, gates, whole = [], [], []
    for states, gate in model.loops(sums.ids):
        right = model.head(model.norm(states)).argmax(dim=-1) == sums.digits
        whole.append(float((right | ~asked).all(dim=1).float().mean()))
        by_loop.append(
            [
                round(float(right[asked & (sums.reach == far)].float().mean()), 4)
                for far in (0, 2, 4, 6, 8, 10)
            ]
        )
        gates.append(float(((gate > 0) == right)[asked].float().mean()))
    return {
        "accuracy": round(float(right[asked].float().mean()), 4),
        "sums": round(whole[-1], 4),
        "sums_by_loop": [round(value, 4) for value in whole],
        "digits_by_loop_and_reach_0_2_4_6_8_10": by_loop,
        "gate_is_right": [round(value, 4) for value in gates],
        "chance": 0.1,
    }


def train_looped(recipe: LoopedRecipe, out: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train the adder and write it, its card and checkpoint below a folder."""
    training, judged = LoopedTraining(recipe), judged_sums(recipe)

    def log() -> None:
        found = measured(training.model, judged)
        logger.info(
            "step %d/%d, loss %.4f, sums right by loop %s, %.2f min", training.step, recipe.steps,
            training.loss, found["sums_by_loop"], training.seconds / 60,
        )  # fmt: skip

    training.train(
        lambda step: sums_at(recipe, step), out / f"{NAME}.checkpoint", log, resume=resume
    )
    folder = out / NAME
    folder.mkdir(parents=True, exist_ok=True)
    training.model.save(folder)
    loaded = LoopedAdder.from_folder(folder)
    card = {
        "name": NAME,
        "task": "It adds two numbers, digit by digit, and needs a loop more for every two places that a carry "
        "comes from further below.",
        "data": DATA,
        "rows_seen": training.step * recipe.rows,
        "held_out": {"weights": "fp16 file as loaded", "rows": len(judged.ids)}
        | measured(loaded, judged),
        **training.facts(loaded),
        "command": f"python -m sae_nb_studies.recipes.tiny_looped --seed {recipe.seed} --out DIR",
    }
    write_json(folder / "card.json", card)
    write_bytes(folder / "card.md", card_text(card, loaded).encode())
    return card


def card_text(card: dict[str, Any], adder: LoopedAdder) -> str:
    """Return the model card, from the card's facts."""
    recipe, held_out, config = card["recipe"], card["held_out"], adder.config
    about = (
        f"A looped transformer of {card['parameters']} parameters: {config.n_shared} blocks of width "
        f"{config.hidden_size}, {config.num_attention_heads} heads, run {config.n_loops} times. A "
        "place attends to itself and to the place below it alone, so that nothing can be known of a "
        f"carry from more than {config.n_shared} places below per loop. It was trained to answer after "
        "every loop as well as it can, and its gate to state whether that answer is right. It reads "
        "pairs of digits, the lowest place first: “8+6 7+9 4+5 0+0” is 478 + 596, and its answers are "
        "4, 7, 0, 1."
    )
    bullets = [
        f"**Data**: {card['data']}; {card['rows_seen']} sums.",
        f"**Training**: {card['step']} steps of {recipe['rows']} sums, seed {card['seed']}, loss of the last "
        f"batch {card['last_training_loss']}; {card['minutes']} minutes, CPU threads: {card['threads']}; torch "
        f"{card['torch']}, {card['date']}.",
        f"**Optimisers**: Muon ({recipe['muon_learning_rate']}) for the matrices of blocks, AdamW "
        f"({recipe['adam_learning_rate']}) for the rest; weight decay {recipe['weight_decay']}, "
        f"{recipe['warmup_steps']} steps of warm-up, linear decay over the last {recipe['decay_steps']}.",
        "**Licence**: that of this project.",
    ]
    reaches = (0, 2, 4, 6, 8, 10)
    rows = zip(
        held_out["sums_by_loop"],
        held_out["digits_by_loop_and_reach_0_2_4_6_8_10"],
        held_out["gate_is_right"],
        strict=True,
    )
    table = "\n".join(
        [
            f"Held out: {held_out['rows']} sums, {held_out['weights']}; digits right "
            f"{held_out['accuracy']:.4f}.\n",
            f"| loop | sums | {' | '.join(f'digits, carry from {far} below' for far in reaches)} | gate |",
            "| --- " * (3 + len(reaches)) + "|",
            *(
                f"| {i + 1} | {whole:.4f} | {' | '.join(f'{value:.4f}' for value in digits)} | {gate:.4f} |"
                for i, (whole, digits, gate) in enumerate(rows)
            ),
        ]
    )
    lines = [*(filled(text, "- ") for text in bullets), f"- **Command**: `{card['command']}`"]
    parts = [f"# {card['name']}", filled(card["task"]), filled(about), table, "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    given = recipe_options(__doc__, LoopedRecipe()).parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = LoopedRecipe(steps=given.steps, decay_steps=given.decay_steps, seed=given.seed)
    train_looped(recipe, given.out, resume=given.resume)


if __name__ == "__main__":
    sys.exit(ended(main))
