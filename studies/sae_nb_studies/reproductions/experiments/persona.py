"""What does it cost other texts to make a model speak formally? SmolLM2-135M, informal against formal English.

The direction is that from formal to informal beginnings which say the same. On informal beginnings of other contents it is
capped at the median of ordinary prose, or pushed down everywhere, or pushed down only where it is above that median, both
pushes as strong as it takes to move the next word as far as the cap does: log-odds of formal words against informal ones.
The floor pushes random directions by the same lengths, at the same tokens. Cost is KL(clean‖edited) on ordinary prose, in
nats a token.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import sae_nb as sn
from sae_nb.statistics import auroc
from sae_nb_studies.reproductions.experiments.capping import Measure, at_equal_effect

SHORT = {"model": "tiny-gpt", "hook_point": "resid_post.2", "n_neutral": 4, "n_random": 2}
PAIRS = (
    ("Hey guys, the meeting's off cause the boss is sick, so we", "Please note that the meeting is cancelled owing to illness; therefore we"),
    ("That movie was super cool, dude, and after it we", "The film was most enjoyable, and following the screening we"),
    ("Yeah, my laptop's totally dead again, so tomorrow I", "Regrettably, my computer has ceased to function, and tomorrow I"),
    ("Oh man, the food was awesome and we", "The meal was of excellent quality, and we"),
    ("Nah, we can't make it to your party, but hey, we", "Unfortunately, we are unable to attend your reception; however, we"),
    ("Thanks a bunch for the stuff you sent, I", "I am most grateful for the items that you provided, and I"),
    ("Whoa, the kids are way too loud tonight, so we", "The children are exceedingly noisy this evening; consequently, we"),
    ("Ugh, the train's late like always, so I", "I regret to report that the train is delayed once more, and I"),
    ("Hey, wanna grab a bite after work? If not, I", "Would you care to dine following the conference? Otherwise, I"),
    ("My car broke down, it totally sucks, and now we", "The vehicle has suffered a mechanical failure, and accordingly we"),
    ("Yep, got your email, no worries, we", "We acknowledge receipt of your correspondence, and we"),
    ("The game was nuts, we won big time, and I", "The match was remarkable, our team prevailed, and I"),
    ("Sorry, I'm kinda broke right now, so I", "I must apologise, as my funds are presently limited, and I"),
    ("Okay, so the weather's gonna be crap, and we", "According to the forecast, conditions will be unfavourable, and we"),
    ("This guy at the shop was super rude, so I", "The gentleman at the shop was rather impolite, and therefore I"),
    ("Wow, the new house is huge, and we", "The new residence is of considerable size, and we"),
)  # fmt: skip
"""Beginnings that say the same, informally and formally."""

INFORMAL = (" gonna", " just", " guess", " got", " really", " totally")
FORMAL = (" shall", " would", " must", " will", " wish", " therefore")
"""Next words of one register, and of the other."""

N_RANDOM = 3
"""Random directions of a floor."""


def run(
    seed: int,
    *,
    model: str = "smollm2-135m",
    hook_point: str = "resid_post.15",
    n_neutral: int = 6,
    n_random: int = N_RANDOM,
) -> dict[str, float]:
    """Fit on half of the pairs, drawn by the seed, and edit informal beginnings of the other half."""
    live = sn.load_model(model, "cpu")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(PAIRS), generator=generator).tolist()
    fitted, tried = order[: len(order) // 2], order[len(order) // 2 :]
    informal, formal = ([PAIRS[i][side] for i in fitted] for side in (0, 1))
    others = tuple([PAIRS[i][side] for i in tried] for side in (0, 1))
    prose = sn.data.prose("test").texts
    chosen = torch.randperm(len(prose), generator=generator)[:n_neutral].tolist()
    neutral = [prose[i][:200] for i in chosen]

    found = sn.direction(
        live, hook_point, informal, formal, positions="all", n_random=20, seed=seed
    )
    states = sn.capture(live, neutral, hook_point, progress=False).x.float()
    measure = Measure(live, others[0], neutral, INFORMAL, FORMAL)
    done = edits(measure, found, states, n_random, seed)
    lengths = [torch.tensor([float(len(text)) for text in texts]) for texts in (formal, informal)]
    return {
        **{f"{what} of {name}": one[what] for name, one in done.items() for what in one},
        **{
            f"cost of {name} as a share of adding's": done[name]["cost"] / done["adding"]["cost"]
            for name in ("capping", "gating", "random adding")
        },
        "held-out AUC": found.separation,
        "held-out AUC, best of 20 random": found.separation_random,
        "AUC of lengths": _auc(*lengths),
        "AUC on other contents": _auc(*(_along(live, found, texts) for texts in others)),
    }


def edits(
    measure: Measure,
    found: sn.steering.Direction,
    states: Float[Tensor, "n d_in"],
    n_random: int,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Hold a cap, a push and a gated push of equal effect against random directions, pushed as far at the same tokens.

    Parameters
    ----------
    states
        Of ordinary prose: the cap stands, and the gate opens, at the median of their amounts.

    Returns
    -------
    By name of the edit `moved`, log-odds, and `cost`, nats a token; of a push also its `strength`, in distances of the two
    groups; of random directions the means over `n_random`, and `most`, the largest of what they moved.
    """
    model, point = measure.model, found.hook_point
    median = float((states @ found.vector).median())
    cap, _, pushes = at_equal_effect(measure, found, median)
    done = {"capping": {"moved": measure.effect(cap), "cost": measure.harm(cap)}}
    for kind, (push, size) in pushes.items():
        where: dict[str, Any] = {"where": (found, median)} if kind == "the gate" else {}
        name = "gating" if where else kind
        done[name] = {
            "moved": measure.effect(push),
            "cost": measure.harm(push),
            "strength": size / found.scale,
        }
        floor = []
        for i in range(n_random):
            unit = sn.random_direction(states.shape[1], N_RANDOM * seed + i)
            other = partial(
                sn.steer, model, point, direction=unit, by=-size, backend="hooks", **where
            )
            floor.append((measure.effect(other), measure.harm(other)))
        moved, cost = torch.tensor(floor).T
        done[f"random {name}"] = {
            "moved": float(moved.mean()),
            "cost": float(cost.mean()),
            "most": float(moved.max()),
        }
    return done


def _along(model: Any, found: sn.steering.Direction, texts: list[str]) -> Float[Tensor, " n"]:
    """Return the mean amount of each text."""
    acts = sn.capture(model, texts, found.hook_point, progress=False)
    amounts, sample = found.projections(acts.x), torch.as_tensor(acts.sample)
    return torch.stack([amounts[sample == i].mean() for i in range(len(texts))])


def _auc(up: Float[Tensor, " n"], down: Float[Tensor, " n"]) -> float:
    """Return how often one of the first is above one of the second."""
    scores = torch.cat([up, down]).numpy()
    return float(auroc(scores, np.arange(len(scores)) < len(up))[0])
