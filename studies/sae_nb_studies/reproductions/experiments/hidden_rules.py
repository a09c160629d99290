"""What do methods reveal about a rule that a model follows and explains, does not explain, or explains falsely?

tiny-gpt is fine-tuned to a decision tree over fields of stories, once for each kind of explanation; each
seed has its own rule. Held-out decisions are predicted from ten labelled pairs by a logistic regression
whose columns are weighted by a method's scores. SAE and transcoders are those of tiny-gpt before its
fine-tuning.
"""

from __future__ import annotations

from typing import Any, get_args

import sae_nb as sn
from sae_nb_studies.data.planted._hidden_rules import Explanation

SHORT = {"steps": 40, "kinds": ("faithful",), "n_labelled": 12, "n_held_out": 60, "n_draws": 3}
SAE_POINT = "resid_post.3"
SAMPLES = "samples alone"
KINDS: tuple[Explanation, ...] = get_args(Explanation)


def run(
    seed: int,
    *,
    steps: int = 300,
    kinds: tuple[Explanation, ...] = KINDS,
    n_labelled: int = 20,
    n_held_out: int = 300,
    n_draws: int = 40,
) -> dict[str, float]:
    """Plant rule number `seed` with every kind of explanation, and predict the models' decisions."""
    sae = sn.load_sae(f"tiny-gpt/{SAE_POINT}")
    transcoders = [sn.load_sae(f"tiny-gpt/mlp.{i}") for i in range(4)]
    record = sn.studies.data.hidden_rules(n_labelled + n_held_out, rule=seed, seed=seed)
    labelled, held_out = record[:n_labelled], record[n_labelled:]
    plain = sn.studies.circuits.predict_decisions(
        sn.load_model("tiny-gpt", "cpu"), labelled, held_out, n_draws=1, seed=seed
    )
    numbers = {"untrained, followed": plain.followed}
    for kind in kinds:
        model = sn.studies.models.train_hidden_rule(seed, kind, steps=steps, seed=seed)
        found = sn.studies.circuits.predict_decisions(
            model,
            labelled,
            held_out,
            sae=sae,
            transcoders=transcoders,
            n_draws=n_draws,
            seed=seed,
        )
        numbers |= {f"{kind}, {name}": value for name, value in of(found, record).items()}
    return numbers


def of(found: Any, record: Any) -> dict[str, float]:
    """Return the numbers of one model."""
    numbers = {
        "followed": found.followed,
        "named, rule": len(set(found.named) & set(record.rule.fields)) / 3,
        "named, other rule": len(set(found.named) & set(record.other_rule.fields)) / 3,
    }
    for row in found.table.itertuples(index=False):
        numbers[row.method] = float(row.accuracy)
        numbers[f"{row.method}, gain"] = float(row.accuracy - found.accuracy(SAMPLES))
        numbers[f"{row.method}, shuffled"] = float(row.shuffled)
        numbers[f"{row.method}, fields"] = float(row.found)
    return numbers
