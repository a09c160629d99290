"""Effect of the atoms of a pretrained SAE on the live model: measured once, stated on its card.

Atom and strength are chosen on some prompts or images, and judged on others, with random directions
of the same norm as their control.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float

from sae_nb.architectures import SparseAutoencoder
from sae_nb.data import scenes, sounds, stories
from sae_nb.evaluation import FactorMatch
from sae_nb.models import LiveModel
from sae_nb.steering import random_direction
from sae_nb_studies.pretrained import ClassTrial, SentimentTrial, neutral_beginnings

N_CONTROLS = 8
N_CANDIDATES = 2
MOST_NATS = 0.4
"""Cost allowed when choosing, below the half nat that is promised, so that fresh prompts keep it."""

SENTIMENTS = {1: "good", -1: "bad"}
CLASS_STRENGTHS = (1.5, 2.0, 2.5)
SENTIMENT_STRENGTHS = (0.75, 1.0, 1.15, 1.3, 1.45)
ENOUGH_TURNED = 0.9
TEMPERATURE = 0.7
"""Of the stories that are judged. Ours: at 1 the model errs often enough by itself to hide an effect;
the card states the shift at 1 too."""

logger = logging.getLogger(__name__)


def measure_steering(
    model: LiveModel,
    sae: SparseAutoencoder,
    read: Sequence[FactorMatch],
    p99: Float[np.ndarray, " n_atoms"],
    seed: int,
) -> list[dict[str, Any]]:
    """Return, for every label that can be steered, the best atom and what it does."""
    measure = _sentiments if model.modality.is_text else _classes
    return measure(model, sae, read, p99, seed)


def _classes(
    model: LiveModel,
    sae: SparseAutoencoder,
    read: Sequence[FactorMatch],
    p99: Float[np.ndarray, " n_atoms"],
    seed: int,
) -> list[dict[str, Any]]:
    trials = []
    for n, split, own_seed in ((150, "train", 0), (300, "test", 1)):
        own_seed += 1000 * (seed + 1) + 10
        if model.modality == "audio":
            heard = sounds(n, own_seed)
            trials.append(ClassTrial(model, str(sae.hook_point), heard, heard.pitch))
        else:
            pictures = scenes(n, own_seed, split)  # type: ignore[arg-type]
            trials.append(ClassTrial(model, str(sae.hook_point), pictures, pictures.digit))
    choosing, judging = trials
    kind, found = "pitch" if model.modality == "audio" else "digit", []
    for digit, class_name in enumerate(model.class_names or ()):
        label = f"{kind} {class_name}"
        tried = [
            (choosing.turn(sae.dictionary[atom], by * p99[atom], digit).turned, -by, atom)
            for atom in _labelled(read, label)[:N_CANDIDATES]
            for by in CLASS_STRENGTHS
        ]
        if not tried:
            continue
        # The weakest that is enough, or else the one that turns most.
        _, minus, atom = max(tried, key=lambda t: (min(t[0], ENOUGH_TURNED), t[1]))
        by = float(-minus * p99[atom])
        turn = judging.turn(sae.dictionary[atom], by, digit)
        random = [
            judging.turn(random_direction(sae.d_in, s), by, digit).turned for s in range(N_CONTROLS)
        ]
        logger.info("%s, atom %d at %.2f p99: %.3f", label, atom, -minus, turn.turned)
        found.append(
            {"label": label, "atom": atom, "by_p99": -minus, "by": by, "random": random}
            | asdict(turn)
        )
    return found


def _sentiments(
    model: LiveModel,
    sae: SparseAutoencoder,
    read: Sequence[FactorMatch],
    p99: Float[np.ndarray, " n_atoms"],
    seed: int,
) -> list[dict[str, Any]]:
    own_seed = 1000 * (seed + 1) + 20
    hook_point = str(sae.hook_point)
    few, many = (stories(n, own_seed + 2 + i).texts for i, n in enumerate((24, 200)))
    prompts = neutral_beginnings(200, own_seed + 1)
    choosing = SentimentTrial(
        model,
        hook_point,
        neutral_beginnings(64, own_seed),
        few,
        seeds=[own_seed],
        temperature=TEMPERATURE,
    )
    judging = SentimentTrial(model, hook_point, prompts, many, temperature=TEMPERATURE)
    controls = SentimentTrial(model, hook_point, prompts[:100], seeds=[0], temperature=TEMPERATURE)
    hotter = SentimentTrial(model, hook_point, prompts, seeds=[0])
    found = []
    for sign, name in SENTIMENTS.items():
        chosen = _best_sentiment(choosing, sae, _labelled(read, name), p99, sign)
        if chosen is None:
            continue
        atom, by_p99 = chosen
        by = float(by_p99 * p99[atom])
        shift = judging.shift(sae.dictionary[atom], by, sign)
        random = [
            controls.shift(random_direction(sae.d_in, s), by, sign).shift for s in range(N_CONTROLS)
        ]
        label = next(match.factor for match in read if match.atom == atom)
        logger.info("%s, atom %d at %.2f p99: %s", label, atom, by_p99, shift)
        found.append(
            {"label": label, "sign": sign, "atom": atom, "by_p99": by_p99, "by": by}
            | {"random": random, "hotter": hotter.shift(sae.dictionary[atom], by, sign).shift}
            | {name: value for name, value in asdict(shift).items() if value == value}  # no NaN
        )
    return found


def _best_sentiment(
    trial: SentimentTrial,
    sae: SparseAutoencoder,
    candidates: Sequence[int],
    p99: Float[np.ndarray, " n_atoms"],
    sign: int,
) -> tuple[int, float] | None:
    best, chosen = 0.0, None
    for atom in candidates[:N_CANDIDATES]:
        for by_p99 in SENTIMENT_STRENGTHS:
            shift = trial.shift(sae.dictionary[atom], float(by_p99 * p99[atom]), sign)
            if max(shift.cost_written, shift.cost_read) > MOST_NATS:
                break  # stronger costs more
            if shift.shift > best:
                best, chosen = shift.shift, (atom, by_p99)
        logger.info("%s %d: best so far %s, %.3f", SENTIMENTS[sign], atom, chosen, best)
    return chosen


def _labelled(read: Sequence[FactorMatch], word: str) -> list[int]:
    """Atoms whose label has a word in it, those that detect it best first."""
    mine = [match for match in read if f" {word} " in f" {match.factor} "]
    return [match.atom for match in sorted(mine, key=lambda match: -match.f1)]
