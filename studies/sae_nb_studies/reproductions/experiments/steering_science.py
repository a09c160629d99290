"""Does adding an atom write the concept that it reads? tiny-vit's digits, tiny-gpt's sentiments, new SAEs.

Atoms are chosen by what they *read* on training inputs, then judged by what they *write* on others: success
at equal KL, compared with random directions, the nearest atom and the difference of means; fragility; the
illusion check; ablation; attributions compared with splices. Bounds were set after one short pilot with
seed 0, before the three seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder
from sae_nb_studies.evaluation import SteeringCurves, illusion_check
from sae_nb_studies.reproductions._recorded_order import (
    ablation_effects,
    attribution_fidelity,
    fragility_battery,
    steering_curves,
)

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.models import LiveModel


SHORT = {"digits": 1, "steps": 80, "pictures": 100, "inputs": 6, "controls": 4, "texts": 80}
VIT, VIT_POINT = "tiny-vit", "resid_post.6"
GPT, GPT_POINT = "tiny-gpt", "resid_post.3"
ATOMS, K = 512, 16
NAMES = ("Anna", "Ben", "Rose", "Tom", "Grace", "Felix")
SENTIMENTS = {1: " happy", 0: " sad"}


def run(
    seed: int,
    *,
    digits: int = 4,
    steps: int = 300,
    pictures: int = 300,
    texts: int = 300,
    inputs: int = 12,
    controls: int = 6,
) -> dict[str, float]:
    """Train an SAE on each model and steer with its atoms.

    `digits`: how many of the ten; `pictures`, `texts`: to train on and to choose atoms on.
    """
    seen = see_digits(seed, pictures, steps)
    chosen = np.random.default_rng(seed).permutation(10)[:digits]
    numbers = _digits(seen, chosen, inputs, controls, seed)
    return numbers | _sentiments(seed, texts, steps, inputs, controls)


@dataclass(frozen=True, eq=False)
class Seen:
    """A model, its activations on some samples, and an SAE trained on them."""

    model: LiveModel
    point: str
    acts: Activations
    label: Tensor
    """Concept of each sample: a digit, or a sentiment."""

    sae: SparseAutoencoder
    untrained: SparseAutoencoder
    """Of the same shape, never trained: what an SAE that learned nothing would claim."""


@cache
def see_digits(seed: int = 0, pictures: int = 300, steps: int = 300) -> Seen:
    """Train a TopK on tiny-vit's activations of some pictures."""
    shown = sn.data.scenes(pictures, seed=1000 + seed, split="train")
    return _seen(VIT, VIT_POINT, shown, torch.as_tensor(shown.digit), steps, seed)


def _seen(name: str, point: str, shown: object, label: Tensor, steps: int, seed: int) -> Seen:
    model = sn.load_model(name)
    acts = sn.capture(model, shown, point, progress=False)
    made = []
    for i in range(2):
        generator = torch.Generator().manual_seed(2 * seed + i)
        made.append(sn.TopK(d_in=acts.d_in, n_atoms=ATOMS, k=K, generator=generator))
    sae, untrained = made
    sn.train(sae, acts, sn.TrainConfig(steps=steps, seed=seed), progress=False)
    return Seen(model, point, acts, label, sae, untrained.eval())


def reading_atom(seen: Seen, sae: SparseAutoencoder, label: int) -> tuple[int, float]:
    """Return the atom that identifies a concept best on the training samples, and how well (AUC)."""
    strongest = _by_sample(seen, sae)
    from scipy.stats import rankdata

    ranks = rankdata(strongest, axis=0)
    inside = (seen.label == label).numpy()
    n = int(inside.sum())
    auc = (ranks[inside].sum(axis=0) - n * (n + 1) / 2) / (n * (len(inside) - n))
    best = int(auc.argmax())
    return best, float(auc[best])


def _by_sample(seen: Seen, sae: SparseAutoencoder) -> Float[np.ndarray, "samples n_atoms"]:
    """Return the mean strength of every atom over each sample's rows."""
    from scipy.sparse import csr_matrix

    with torch.no_grad():
        codes = sae.encode(seen.acts.x).to_scipy()
    sample = seen.acts.sample.numpy()
    rows = np.arange(len(sample))
    share = 1 / np.bincount(sample)[sample]
    return np.asarray((csr_matrix((share, (sample, rows))) @ codes).todense())


# --- digits ----------------------------------------------------------------------------------------


def _digits(
    seen: Seen, chosen: Float[np.ndarray, " digits"], inputs: int, controls: int, seed: int
) -> dict[str, float]:
    test = sn.data.scenes(20 * inputs, seed=2000 + seed, split="test")
    label = torch.as_tensor(test.digit)
    curves, lights, fragile, gone = [], [], [], []
    for digit in (int(d) for d in chosen):
        others, own = test.images[label != digit][:inputs], test.images[label == digit][:inputs]
        atom, _ = reading_atom(seen, seen.sae, digit)
        found = curves_of(seen, seen.sae, atom, digit, others, controls, seed)
        curves.append(found)
        by = float(found.arms["atom"].strengths[2])
        fragile.append(
            fragility_battery(
                seen.model, others, VIT_POINT, seen.sae, atom, by, digit,
                other_positions=["cls", "patches"], n_controls=controls, seed=seed,
            )
        )  # fmt: skip
        lights.append(
            illusion_check(
                seen.model,
                VIT_POINT,
                seen.sae,
                atom,
                others[: len(own)],
                own[: len(others)],
                seed=seed,
            )
        )
        gone.append(
            ablation_effects(
                seen.model, own, VIT_POINT, seen.sae, atom, n_controls=controls, seed=seed
            )[atom]
        )
    exact = attribution_fidelity(seen.model, test.images[:6], VIT_POINT, seen.sae, seed=seed)
    return {
        **_told(curves, "digits"),
        "digits, robustness": _mean(f["robustness"].value for f in fragile),
        "digits, sign flips": _mean(f["sign flips"].value for f in fragile),
        "digits, effect spread": _mean(f["effect spread"].value for f in fragile),
        "digits, first of near atoms": _mean(f.neighbour_rank == 1 for f in fragile),
        "digits, cls alone": _mean(f.table.loc["positions cls", "effect"] for f in fragile),
        "digits, patches alone": _mean(f.table.loc["positions patches", "effect"] for f in fragile),
        "illusion, not red": _mean(c.light != "red" for c in lights),
        "illusion, v": _mean(c["v"].value for c in lights),
        "illusion, v_row": _mean(c["v_row"].value for c in lights),
        "illusion, v_null": _mean(abs(c["v_null"].value) for c in lights),
        "illusion, random": _mean(c["v"].control or 0.0 for c in lights),
        "illusion, dormant index": _mean(c["dormant index"].value for c in lights),
        "ablation, effect": _mean(m.value for m in gone),
        "ablation, random atoms": _mean(m.control or 0.0 for m in gone),
        "attribution agreement": exact["agreement"].value,
        "attribution agreement, chance": exact["agreement"].control or 0.0,
        "attribution faithfulness": exact["faithfulness"].value,
        "attribution faithfulness, chance": exact["faithfulness"].control or 0.0,
        "attribution, error share": exact.error_share,
    }


def curves_of(
    seen: Seen,
    sae: SparseAutoencoder,
    atom: int,
    digit: int,
    others: Tensor,
    controls: int = 6,
    seed: int = 0,
) -> SteeringCurves:
    """Steer pictures of other digits towards one.

    `seen`: the model, and rows with and without the digit; `digit`: the answer wanted.
    """
    rows = seen.label[seen.acts.sample] == digit
    contrast = (seen.acts.x[rows], seen.acts.x[~rows])
    return steering_curves(
        seen.model, others, VIT_POINT, sae, atom, digit,
        contrast=contrast, rival=rival_of(seen, digit), n_controls=controls, seed=seed,
    )  # fmt: skip


def rival_of(seen: Seen, label: int) -> Tensor:
    """Return the atom that reads a concept best in the SAE that was never trained."""
    return seen.untrained.dictionary[reading_atom(seen, seen.untrained, label)[0]]


def _told(curves: list[SteeringCurves], what: str) -> dict[str, float]:
    """Return means over concepts: success of the atom, of its rivals, and how often it is clear of them."""
    best = [c["success"].control or 0.0 for c in curves]
    return {
        f"{what}, success": _mean(c["success"].value for c in curves),
        f"{what}, random 95 %": _mean(best),
        f"{what}, nearest atom": _mean(c.arms["nearest atom"].area.mean() for c in curves),
        f"{what}, difference of means": _mean(
            c.arms["difference of means"].area.mean() for c in curves
        ),
        f"{what}, beyond random": _mean(
            c["success"].value > b for c, b in zip(curves, best, strict=True)
        ),
        f"{what}, untrained": _mean(c["success"].floor or 0.0 for c in curves),
        f"{what}, beyond untrained": _mean(
            c["success"].interval[0] > (c["success"].floor or 0.0) for c in curves
        ),
        f"{what}, strength at 0.25": _mean(c.arms["atom"].strengths[2] for c in curves),
        f"{what}, random at 0.25": _mean(
            np.mean([arm.strengths[2] for arm in c.controls]) for c in curves
        ),
    }


def _mean(values: object) -> float:
    return float(np.mean([float(v) for v in values]))  # type: ignore[attr-defined]


# --- sentiments ------------------------------------------------------------------------------------


@cache
def see_stories(seed: int = 0, texts: int = 300, steps: int = 300) -> Seen:
    """Train a TopK on tiny-gpt's activations of some stories."""
    told = sn.data.stories(texts, seed=3000 + seed)
    return _seen(GPT, GPT_POINT, list(told.texts), torch.as_tensor(told.sentiment), steps, seed)


def prompts(n: int, seed: int) -> list[str]:
    """Return neutral beginnings of stories that a sentiment should follow: "… Anna was very"."""
    from sae_nb_studies.pretrained import neutral_beginnings

    begun = neutral_beginnings(n, 4000 + seed)
    return [f"{text} {NAMES[i % len(NAMES)]} was very" for i, text in enumerate(begun)]


def first_token(model: LiveModel, word: str) -> int:
    """Return the token that a word begins with.

    `word`: with its leading space.
    """
    return int(model.tokenizer(word, add_special_tokens=False)["input_ids"][0])


def sentiment_curves(
    seen: Seen, sentiment: int, n: int, controls: int, seed: int, *, write: int = 16
) -> SteeringCurves:
    """Steer neutral beginnings towards one sentiment by the atom that reads it best.

    `sentiment`: 1 good, 0 bad; `n`: number of prompts, and of neutral texts to read.
    """
    from sae_nb_studies.pretrained import neutral_beginnings

    atom, _ = reading_atom(seen, seen.sae, sentiment)
    rows = seen.label[seen.acts.sample] == sentiment
    return steering_curves(
        seen.model, prompts(n, seed), GPT_POINT, seen.sae, atom,
        first_token(seen.model, SENTIMENTS[sentiment]),
        contrast=(seen.acts.x[rows], seen.acts.x[~rows]), rival=rival_of(seen, sentiment),
        neutral=neutral_beginnings(n, 5000 + seed), max_new_tokens=write,
        n_controls=controls, seed=seed,
    )  # fmt: skip


def _sentiments(seed: int, texts: int, steps: int, inputs: int, controls: int) -> dict[str, float]:
    seen = see_stories(seed, texts, steps)
    found = [sentiment_curves(seen, s, inputs, controls, seed) for s in SENTIMENTS]
    auc = [reading_atom(seen, seen.sae, s)[1] for s in SENTIMENTS]
    fragile = [
        fragility_battery(
            seen.model, prompts(inputs, seed), GPT_POINT, seen.sae, curves.atom,
            float(curves.arms["atom"].strengths[2]), first_token(seen.model, word),
            other_positions=["last"], temperatures=(0.7, 1.0), n_controls=controls, seed=seed,
        )
        for curves, word in zip(found, SENTIMENTS.values(), strict=True)
    ]  # fmt: skip
    fidelity = attribution_fidelity(seen.model, prompts(6, seed), GPT_POINT, seen.sae, seed=seed)
    return {
        **_told(found, "sentiments"),
        "sentiments, AUC of reading": min(auc),
        "sentiments, nats written": _mean(c["nats written"].value for c in found),
        "sentiments, nats written, clean": _mean(c["nats written"].floor or 0.0 for c in found),
        "sentiments, nats written, random": _mean(c["nats written"].control or 0.0 for c in found),
        "sentiments, nats read": _mean(c["nats read"].value for c in found),
        "sentiments, nats read, random": _mean(c["nats read"].control or 0.0 for c in found),
        "sentiments, robustness": _mean(f["robustness"].value for f in fragile),
        "sentiments, sign flips": _mean(f["sign flips"].value for f in fragile),
        "sentiments, sampled shift": _mean(f.sampled.mean() for f in fragile),
        "sentiments, spread over seeds": _mean(f.sampled.std(axis=1).mean() for f in fragile),
        "text attribution agreement": fidelity["agreement"].value,
        "text attribution faithfulness": fidelity["faithfulness"].value,
        "text attribution faithfulness, chance": fidelity["faithfulness"].control or 0.0,
        "text attribution, error share": fidelity.error_share,
    }
