"""Evidence for the labels of a pretrained SAE: judged on fresh samples, and looked for in sister SAEs.

python -m sae_nb_studies.recipes.saes tiny-vit/resid_post.6 --evidence --out FOLDER
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sae_nb.activations import Activations
from sae_nb.architectures import SparseAutoencoder, TopK
from sae_nb.capturing import capture
from sae_nb.evaluation import codes_of
from sae_nb.files import read_manifest, write_manifest
from sae_nb.labelling import AtomLabels, label
from sae_nb.models import LiveModel, load_model
from sae_nb.pretrained import ExampleStore, load_examples, load_sae
from sae_nb.pretrained.inputs import JUDGE, TRAIN
from sae_nb.training import TrainConfig, train
from sae_nb_studies.recipes.saes._material import SAMPLES_AT_ONCE, material

if TYPE_CHECKING:
    from sae_nb_studies.recipes.saes._recipe import Plan

N_SISTERS, N_WINDOWS = 3, 200
"""Trainings from other seeds; windows a label is judged on, half of them firing."""

FRESH = 1
"""Added to the plan's seed: samples that neither training nor the choice of labels has seen."""

logger = logging.getLogger(__name__)


def sisters_of(name: str, plan: Plan, n: int = N_SISTERS) -> list[SparseAutoencoder]:
    """Train an SAE like the pretrained one from `n` other seeds, on the same activations."""
    model, acts = training_rows(name, plan)
    logger.info("training %d sisters on %d rows of %s", n, len(acts), model.name)
    return [sister(acts, plan, plan.seed + i) for i in range(1, n + 1)]


def sister(acts: Activations, plan: Plan, seed: int) -> SparseAutoencoder:
    """Train one SAE of a plan's size from a seed."""
    generator = torch.Generator().manual_seed(seed)
    sae = TopK(acts.d_in, plan.n_atoms, plan.k, generator=generator)
    train(sae, acts, TrainConfig(steps=plan.steps, seed=seed), progress=False)
    return sae.eval()


def training_rows(name: str, plan: Plan) -> tuple[LiveModel, Activations]:
    """Capture what the SAEs of a plan are trained on."""
    model_name, _, hook_point = name.partition("/")
    model = load_model(model_name)
    inputs = material(model, TRAIN, plan.sizes, plan.seed).inputs
    return model, capture(model, inputs, hook_point, batch_size=SAMPLES_AT_ONCE, progress=False)


def judged_labels(
    name: str, plan: Plan, sisters: list[SparseAutoencoder], file: Path, seed: int = 0
) -> AtomLabels:
    """Judge the labels of a pretrained SAE as attributes of fresh samples; what was found is in `file`."""
    sae, own = load_sae(name), load_examples(name).labels
    model_name, _, hook_point = name.partition("/")
    model = load_model(model_name)
    source = material(model, JUDGE, plan.sizes, plan.seed + FRESH + seed)
    acts = capture(model, source.inputs, hook_point, batch_size=SAMPLES_AT_ONCE, progress=False)
    sample = acts.sample.numpy()
    truths = {
        factor.name: np.asarray(factor.truth)[sample] if factor.per == "sample" else factor.truth
        for factor in source.factors(acts)
    }
    return label(
        sae,
        acts,
        codes=codes_of(sae, acts, None),
        labels=dict(own),
        attributes={text: truths[text] for text in sorted(set(own.values()))},
        sisters=sisters,
        atoms=sorted(own),
        file=file,
        n_examples=N_WINDOWS,
        seed=seed,
        replace_file=True,
        progress=False,
    )


def add_evidence(name: str, plan: Plan, folder: Path) -> AtomLabels:
    """Train sisters, judge the labels, and put the file of labels into the SAE's folder."""
    architecture = read_manifest(folder, "sae")["architecture"]
    found = judged_labels(name, plan, sisters_of(name, plan), folder / ExampleStore.LABELS)
    write_manifest(folder, "sae", architecture=architecture)
    logger.info("%s", found)
    return found
