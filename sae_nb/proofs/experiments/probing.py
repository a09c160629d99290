"""Are SAEs useful for probing? Latents beside everything that needs no SAE, on three models.

TopK SAEs, 8 atoms per dimension (at most 2048), k = 16. Labels of whole pictures (digit, texture) and
stories (sentiment, plural), codes and activations pooled by their mean. Arms are chosen on validation
labels; a gain is AUROC of the SAE's best arm minus AUROC of the best baseline.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sae_nb.evaluation.encoded_rows import codes_of
from sae_nb.evaluation.probe_features import SAE
from sae_nb.evaluation.probing import probe
from sae_nb.proofs.claims import Claim, Line, Shown
from sae_nb.proofs.three_models import PLACES, Seen, models_of, seen_by, trained_on

TITLE = "Probing: do an SAE's latents tell labels better than what needs no SAE?"
SHORT = {"steps": 60, "samples": 300, "minilm": ""}
PAPER = "arXiv 2502.16681"
KS = (1, 2, 5)


def run(
    seed: int, *, steps: int = 600, samples: int = 800, minilm: str = "minilm"
) -> dict[str, float]:
    """Train an SAE on each model, and probe under four regimes.

    Parameters
    ----------
    seed
        Of samples, trainings and splits.
    steps
        Of each training.
    samples
        Labelled, half of them tested on; 400 others are trained on.
    minilm
        Folder of all-MiniLM-L6-v2; empty leaves it out.
    """
    numbers: dict[str, float] = {}
    for name, source in models_of(minilm).items():
        seen = seen_by(name, source, seed, train=min(400, samples), test=samples)
        sae = trained_on(seen, seed, steps=steps)
        codes = codes_of(sae, seen.test)
        for regime, options in regimes(seen).items():
            found = _probed(sae, seen, codes, options, seed)
            numbers |= {f"{name} {regime} {what}": value for what, value in found.items()}
    return numbers


def regimes(seen: Seen) -> dict[str, dict[str, Any]]:
    """Plenty of labels, few, wrong ones, and other samples to test on."""
    return {
        "plenty": {},
        "few": {"n_labels": 64},
        "noisy": {"label_noise": 0.3},
        "shifted": {"shifted": seen.labels["shifted"]},
    }


def _probed(
    sae: Any, seen: Seen, codes: Any, options: dict[str, Any], seed: int
) -> dict[str, float]:
    """Means over the labels of a model."""
    studies = [
        probe(sae, seen.test, labels, codes=codes, ks=KS, n_bootstrap=0, seed=seed, **options)
        for label, labels in seen.labels.items()
        if label != "shifted"
    ]
    found = {
        "gain": [study.value for study in studies],
        "random gain": [float(study.control or 0.0) for study in studies],
        "all latents": [study.scores[SAE, "all"].value for study in studies],
        "all channels": [study.scores["raw channels", "all"].value for study in studies],
    }
    for k in KS:
        found[f"latents {k}"] = [study.scores[SAE, k].value for study in studies]
        found[f"gain {k}"] = [study.gains[k].value for study in studies]
        found[f"channels {k}"] = [study.scores["raw channels", k].value for study in studies]
    return {what: float(np.mean(values)) for what, values in found.items()}


def _lines(regime: str, bound: float) -> tuple[Line, ...]:
    return tuple(
        Line(
            number=f"{name} {regime} gain",
            label=f"gain in AUROC, {name}",
            at_most=bound,
            short=None if name == "minilm" else 0.1,
        )
        for name in PLACES
    )


def _pair(name: str, regime: str) -> tuple[Shown, ...]:
    return (
        Shown(number=f"{name} {regime} all latents", label=f"AUROC, all latents, {name}"),
        Shown(
            number=f"{name} {regime} all channels",
            label=f"AUROC, regression on activations, {name}",
        ),
    )


CLAIMS = (
    Claim(
        name="no gain with plenty of labels",
        text="With all labels, SAE probes do not beat the best probe that needs no SAE",
        paper=PAPER,
        notebook="10 §5",
        lines=_lines("plenty", 0.01),
        shown=tuple(shown for name in PLACES for shown in _pair(name, "plenty")),
        control=Shown(number="minilm plenty random gain", label="a random dictionary, minilm"),
    ),
    *(
        Claim(
            name=f"no gain with {words}",
            text=f"With {words}, SAE probes do not beat the best probe that needs no SAE",
            paper=PAPER,
            notebook="10 §5",
            lines=_lines(regime, 0.01),
            shown=tuple(shown for name in PLACES for shown in _pair(name, regime)),
            control=Shown(
                number=f"minilm {regime} random gain", label="a random dictionary, minilm"
            ),
        )
        for regime, words in (
            ("few", "64 labels"),
            ("noisy", "30 % of the labels wrong"),
            ("shifted", "a shift of colour or person"),
        )
    ),
    Claim(
        name="few latents tell more than few channels",
        text="Few latents tell labels better than as many raw channels, components or random atoms",
        paper="SAEBench",
        notebook="10 §5",
        lines=tuple(
            Line(
                number=f"{name} plenty gain {k}",
                label=f"gain with {k} column{'s' * (k > 1)}, {name}",
                at_least=0.0,
            )
            for name in PLACES
            for k in KS
        ),
        shown=tuple(
            Shown(number=f"{name} plenty {what} 1", label=f"{name}, AUROC of one of the {what}")
            for name in PLACES
            for what in ("latents", "channels")
        ),
    ),
)
