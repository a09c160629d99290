"""Make a pretrained SAE: train, match its atoms with known factors, measure, write its folder.

python -m sae_nb_studies.recipes.saes tiny-vit/resid_post.6 --out saes/tiny-vit/resid_post.6
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sae_nb.activations import Activations, acts_for
from sae_nb.architectures import SparseAutoencoder, TopK, Transcoder, sae_folder
from sae_nb.atoms import AtomCatalogue
from sae_nb.capturing import capture
from sae_nb.evaluation import FactorEvidence, FactorMatch, evaluate, match_factors
from sae_nb.files import write_bytes
from sae_nb.geometry import LayoutSettings, umap_layout
from sae_nb.models import LiveModel, load_model
from sae_nb.pretrained import capture_for
from sae_nb.pretrained.inputs import JUDGE, MATCH, SHOW, TRAIN, Sizes
from sae_nb.training import TrainConfig, train
from sae_nb_studies.recipes.saes._card import CARD, card_text, shown_command
from sae_nb_studies.recipes.saes._evidence import add_evidence
from sae_nb_studies.recipes.saes._material import (
    SAMPLES_AT_ONCE,
    Material,
    material,
    transcoder_places,
)
from sae_nb_studies.recipes.saes._names import add_more_names, written_names
from sae_nb_studies.recipes.saes._packing import write_examples, write_facts
from sae_nb_studies.recipes.saes._repeats import repeated
from sae_nb_studies.recipes.saes._shipping import as_shipped, plain
from sae_nb_studies.recipes.saes._steering import measure_steering
from sae_nb_studies.recipes.saes._text_recipe import NAMES, TEXT_PLANS, make_on_texts, name_on_texts

STORED_AS = torch.float16
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Size, length and data of a training."""

    n_atoms: int
    k: int
    steps: int
    """Optimiser steps of 1024 rows."""

    sizes: Sizes
    seed: int = 0
    repeats: int = 0
    """Trainings in all whose matches with factors are compared, from `seed` on; 0: the one alone is judged."""


PLANS = {
    "tiny-vit": Plan(n_atoms=512, k=16, steps=3000, sizes=Sizes(samples=(5000, 1000, 1000, 160))),
    "tiny-gpt": Plan(
        n_atoms=1024,
        k=16,
        steps=2000,
        sizes=Sizes(samples=(2500, 600, 600, 190), prose=(None, 200, 60, 30)),
    ),
    "tiny-audio": Plan(
        n_atoms=512, k=16, steps=2000, sizes=Sizes(samples=(4000, 1000, 1000, 100)), repeats=5
    ),
}
"""Plans of the shipped SAEs, by model."""

TRANSCODER_ATOMS, TRANSCODER_STEPS = 512, 4000
"""Of each MLP's transcoder."""


def plan_for(name: str) -> Plan:
    """Return the plan of a name: that of its model, or of the model it is a variant of."""
    for model, plan in PLANS.items():
        if name.startswith(model):
            if transcoder_places(name.partition("/")[2]) is None:
                return plan
            return replace(plan, n_atoms=TRANSCODER_ATOMS, steps=TRANSCODER_STEPS)
    raise ValueError(f"`name` must begin with one of {', '.join(PLANS)}, got {name!r}.")


def make(name: str, plan: Plan, folder: Path, *, command: str = "") -> None:
    """Make one SAE and write its folder."""
    model_name, _, hook_point = name.partition("/")
    if not hook_point:
        raise ValueError(
            "`name` must be model/hook point, such as tiny-vit/resid_post.6, or model/mlp.L for a transcoder, "
            f"got {name!r}."
        )
    model = load_model(model_name)
    sae, per_atom, training = _trained(model, hook_point, plan)
    per_atom["xy"] = umap_layout(sae.dictionary, LayoutSettings(seed=plan.seed))
    facts: dict[str, Any] = {
        "name": name,
        "command": command,
        "date": date.today().isoformat(),
        "torch": torch.__version__,
        "plan": asdict(plan),
        "training": training,
        **_judged(model, sae, plan),
    }
    read = [FactorMatch(**match) for match in facts["read"]]
    steered = sae.writes is None  # trials add what is read where it is read
    if plan.repeats:
        facts["repeats"] = repeated(name, plan, sae)
    facts["steering"] = (
        measure_steering(model, sae, read, per_atom["p99"], plan.seed) if steered else []
    )
    _write(folder, model, sae, plan, per_atom, facts)


def _trained(
    model: LiveModel, hook_point: str, plan: Plan
) -> tuple[SparseAutoencoder, dict[str, np.ndarray], dict[str, Any]]:
    """Return the SAE as it will be shipped, its rates on the training rows, and what was done."""
    source = material(model, TRAIN, plan.sizes, plan.seed)
    generator = torch.Generator().manual_seed(plan.seed)
    places = transcoder_places(hook_point)
    acts: Any = capture(
        model, source.inputs, places or hook_point, batch_size=SAMPLES_AT_ONCE, progress=False
    )
    sae: SparseAutoencoder
    if places is None:
        sae = TopK(acts.d_in, plan.n_atoms, plan.k, generator=generator)
    else:
        x, y = acts = tuple(acts[place] for place in places)
        sae = Transcoder(x.d_in, y.d_in, plan.n_atoms, plan.k, generator=generator)
    result = train(sae, acts, TrainConfig(steps=plan.steps, seed=plan.seed), progress=False)
    acts = acts_for(sae, acts)
    logger.info("trained on %d rows of %s", len(acts), source.words)
    last = result.history[-1]
    logger.info("trained %d steps: R² %.4f on the last batch", last.step, last.r2)
    shipped = as_shipped(sae, matrices_as=STORED_AS)
    firings = AtomCatalogue(shipped, acts)
    shipped.strength_p99 = torch.from_numpy(firings.p99)
    done = {
        "data": source.words,
        "rows": len(acts),
        "rows_seen": last.tokens,
        "silent_fraction": float(1 - firings.alive.mean()),
        "seconds": round(last.seconds, 1),
        "threads": torch.get_num_threads(),
    }
    return shipped, {"frequency": firings.frequency, "p99": firings.p99}, done


def _judged(model: LiveModel, sae: SparseAutoencoder, plan: Plan) -> dict[str, Any]:
    """Match on one set; judge matches, reconstruction and the spliced model on a fresh one."""
    chosen, _, _ = _encoded(model, sae, plan, MATCH)
    judged, acts, source = _encoded(model, sae, plan, JUDGE)
    matches = match_factors(chosen, judged)
    report = evaluate(sae, acts, model=model, inputs=source.inputs, labels=source.labels)
    found = sorted((m for m in matches.by_factor if m.found), key=lambda m: -m.f1)
    missed = [m for m in matches.by_factor if not m.found]
    logger.info("%d factors found, %d missed", len(found), len(missed))
    return {
        "judged_on": source.words,
        "r2": report["r2"].value,
        "report": {row: plain(m) for row, m in report.items()},
        "matches": [asdict(match) for match in found],
        "missed": [match.factor for match in missed],
        "nearly": [asdict(match) for match in missed],
        "read": [asdict(match) for match in matches.by_atom if match.found],
    }


def _encoded(
    model: LiveModel, sae: SparseAutoencoder, plan: Plan, purpose: int
) -> tuple[FactorEvidence, Activations, Material]:
    source = material(model, purpose, plan.sizes, plan.seed)
    acts = capture_for(sae, model, source.inputs)
    codes = AtomCatalogue(sae, acts).codes
    sample = acts.sample.numpy()
    return FactorEvidence(codes=codes, sample=sample, factors=source.factors(acts)), acts, source


def _write(
    folder: Path,
    model: LiveModel,
    sae: SparseAutoencoder,
    plan: Plan,
    per_atom: dict[str, np.ndarray],
    facts: dict[str, Any],
) -> None:
    with sae_folder(sae, folder, matrices_as=STORED_AS) as partial:
        if sae.writes is None:
            shown, acts, source = _encoded(model, sae, plan, SHOW)
            facts["shown"] = source.words
            write_examples(partial, acts, shown.codes, per_atom, facts)
        else:
            facts["shown"] = (
                f"drawn when opened: {material(model, SHOW, plan.sizes, plan.seed).words}"
            )
            write_facts(partial, per_atom, facts)
        write_bytes(partial / CARD, card_text(facts).encode())
    size = sum(file.stat().st_size for file in folder.iterdir())
    logger.info("wrote %s, %d kB", folder, size // 1000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and make one SAE."""
    parser = argparse.ArgumentParser(
        prog="python -m sae_nb_studies.recipes.saes", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("name", help="model/hook point, such as tiny-vit/resid_post.6")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--architecture", choices=("TopK", "MatchingPursuit"))
    for option in ("n-atoms", "k", "steps", "seed"):
        parser.add_argument(f"--{option}", type=int)
    parser.add_argument(
        "--evidence", action="store_true", help="judge the labels of the SAE that is in the folder"
    )
    parser.add_argument(
        "--names",
        action="store_true",
        help="judge the names written for a real model's atoms; without --texts those that came later, "
        "on the passages in the folder",
    )
    parser.add_argument(
        "--sisters", type=int, default=0, help="trainings from other seeds, for --names"
    )
    for option in ("texts", "work"):
        parser.add_argument(f"--{option}", type=Path, help="of a real language model's SAE: folder")
    choices = vars(parser.parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    name, folder = choices.pop("name"), choices.pop("out")
    evidence, texts, work = (choices.pop(n) for n in ("evidence", "texts", "work"))
    names, sisters = choices.pop("names"), choices.pop("sisters")
    changed = {n: v for n, v in choices.items() if v is not None}
    words = sys.argv[1:] if arguments is None else arguments
    command = shown_command(words, hidden=("--out", "--texts", "--work"))
    real = TEXT_PLANS.get(name.partition("/")[0])
    if real is not None and names and texts is None:
        add_more_names(folder, written_names(NAMES / f"{name}.json"))
    elif real is not None:
        if texts is None or work is None:
            parser.error(f"{name} needs --texts and --work")
        on = replace(real, **changed)
        if names:
            name_on_texts(name, on, folder, texts=texts, work=work, sisters=sisters)
        else:
            make_on_texts(name, on, folder, texts=texts, work=work, command=command)
    elif evidence:
        add_evidence(name, replace(plan_for(name), **changed), folder)
    else:
        make(name, replace(plan_for(name), **changed), folder, command=command)
    return 0
