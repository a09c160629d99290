"""The eight rows of `bench`: the question of each, its measurement, and the result of a simpler method.

Each reads `Material` and returns its score; what cannot be measured raises NotMeasurableError.
Source: SAEBench, arXiv 2503.09532 [its code, read]; which of its scores can rank SAEs: Chanin,
arXiv 2605.18229 [abstract]. Every score is better when it is higher.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sae_nb.evaluation import evaluate, score_explanations
from sae_nb_studies.evaluation import absorption, probe
from sae_nb_studies.evaluation.causal._unlearning import unlearning
from sae_nb_studies.evaluation.concepts._targeted import (
    NotMeasurableError,
    attribute_exchange,
    label_pairs,
    shortcut_removal,
    targeted_perturbation,
)
from sae_nb_studies.uses._bench_tasks import Material, centred_energy

_CORE, _FOLLOWED, _EXPLAINED = 64, 160, 160  # inputs of the rows that read every token or patch
_N_EXPLAINED = 24  # atoms
_NS = (2, 5, 10, 20, 50)
_PROBED = 3  # classes of a label, the most frequent ones

_CANNOT_RANK = (
    "Cannot rank SAEs: at its usual settings it did not follow the truth where that was known "
    "(arXiv 2605.18229)."
)


@dataclass(frozen=True, kw_only=True)
class Score:
    """The measurement of one row, and the score of a simpler method or a control."""

    value: float
    simple: float
    details: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One of the eight: its question, its comparisons, its measurement."""

    asks: str
    simple: str
    measure: Callable[[Material], Score]
    warning: str = ""


def score_of(name: str, material: Material) -> tuple[Score, str]:
    """Return the score of a row, or the reason why there is none."""
    try:
        return BENCH_ROWS[name].measure(material), ""
    except NotMeasurableError as error:
        return Score(value=np.nan, simple=np.nan), f"{error}."


def _core(given: Material) -> Score:
    """R² on held-out rows, how much of the model's answer stays, and principal components as many as L0."""
    acts, _, _ = given.first(_CORE)
    report = evaluate(
        given.sae,
        acts,
        given.model,
        given.tasks.inputs[:_CORE],
        hook_point=given.hook_point,
        n_bootstrap=0,
        seed=given.seed,
    )
    k = max(1, round(report["l0"].value))
    energy = centred_energy(acts.x)
    simple = float(energy[:k].sum() / energy.sum().clamp_min(1e-30))
    wanted = ("r2", "l0", "dead_fraction", "ce_recovered", "delta_ce", "kl_score", "agreement")
    details = {name: float(report[name].value) for name in wanted if name in report}
    return Score(value=details["r2"], simple=simple, details=details)


def _needs(given: Material, n: int, what: str) -> Mapping[str, Any]:
    classes = given.tasks.classes
    if len(classes) < n:
        raise NotMeasurableError(f"needs {what}, and the tasks have {len(classes)} labels")
    return classes


def _probing(given: Material) -> Score:
    """AUROC of one latent, mean over labels; of the best single channel, component or random latent."""
    values, simple = list[float](), list[float]()
    details: dict[str, float] = {}
    for name, label in _probed(_needs(given, 1, "a label")):
        try:
            study = probe(
                given.sae,
                given.acts,
                label,
                codes=given.codes,
                ks=(1,),
                n_bootstrap=0,
                seed=given.seed,
            )
        except ValueError as error:
            reason = str(error).rstrip(".")
            continue
        values.append(study.scores["sae latents", 1].value)
        simple.append(values[-1] - study.gains[1].value)
        details |= {f"{name}: AUROC of 1 latent": values[-1], f"{name}: of 1 other": simple[-1]}
        details[f"{name}: of all channels"] = study.scores["raw channels", "all"].value
    if not values:
        raise NotMeasurableError(reason)
    return Score(value=float(np.mean(values)), simple=float(np.mean(simple)), details=details)


def _probed(labels: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A truth value per task: of two classes the second, of more the most frequent against the rest."""
    for name, label in labels.items():
        classes, counts = np.unique(label, return_counts=True)
        often = classes[np.argsort(-counts, kind="stable")][:_PROBED]
        for one in classes[1:] if len(classes) == 2 else often:
            yield (name if len(classes) == 2 else f"{name} {one}"), label == one


def _absorption(given: Material) -> Score:
    """1 − absorption, mean over attributes; 0 for an attribute without latents of its own."""
    acts, _, rows = given.first(_FOLLOWED)
    values, simple, reason = list[float](), list[float](), ""
    details: dict[str, float] = {}
    for name, truth in given.row_facts.items():
        try:
            found = absorption(given.sae, acts, truth[rows], n_bootstrap=0, seed=given.seed)
        except ValueError as error:
            reason = str(error).rstrip(".")
            continue
        values.append(0.0 if math.isnan(found.value) else 1 - found.value)
        control = np.nan if found.control is None else float(found.control)
        simple.append(0.0 if math.isnan(control) else 1 - control)
        details[f"{name}: absorbed"] = found.value
        details[f"{name}: fully absorbed"] = found.full.value
        details[f"{name}: splits"] = found.splits.value
    if not values:
        raise NotMeasurableError(
            reason or "needs texts, or truth values of patches in `places`, and there are none"
        )
    return Score(value=float(np.mean(values)), simple=float(np.mean(simple)), details=details)


def _scr(given: Material) -> Score:
    classes = given.tasks.classes
    found, reason = {}, "needs two labels of two classes, and the tasks have fewer"
    for one, other in label_pairs(classes):
        name = f"{one} × {other}"
        first, second = (classes[label] == classes[label].max() for label in (one, other))
        try:
            found[name] = shortcut_removal(
                given.pooled, first, second, _NS, seed=given.seed, name=name
            )
        except NotMeasurableError as error:
            reason = str(error)
    if not found:
        raise NotMeasurableError(reason)
    details: dict[str, float] = {}
    for name, one_pair in found.items():
        details |= {f"{name}: {n} atoms": value for n, value in one_pair.by_n.items()}
        details |= {f"{name}: base": one_pair.base, f"{name}: clean": one_pair.clean}
    return Score(
        value=float(np.mean([f.score for f in found.values()])),
        simple=float(np.mean([f.simple for f in found.values()])),
        details=details,
    )


def _tpp(given: Material) -> Score:
    found, reason = {}, "needs a label of three or more classes, and the tasks have none"
    for name, label in given.tasks.classes.items():
        if len(np.unique(label)) < 3:
            continue
        try:
            found[name] = targeted_perturbation(
                given.pooled, label, _NS, seed=given.seed, name=name
            )
        except NotMeasurableError as error:
            reason = str(error)
    if not found:
        raise NotMeasurableError(reason)
    details = {f"{name}: {n} atoms": v for name, f in found.items() for n, v in f.by_n.items()}
    return Score(
        value=float(np.mean([f.score for f in found.values()])),
        simple=float(np.mean([f.simple for f in found.values()])),
        details=details,
    )


def _ravel(given: Material) -> Score:
    found = attribute_exchange(
        given.pooled, _needs(given, 2, "two labels that a linear probe reads"), seed=given.seed
    )
    details: dict[str, float] = {}
    for name, one in found.items():
        details |= {f"{name}: cause": one.cause, f"{name}: isolation": one.isolation}
        details[f"{name}: atoms"] = float(one.n_atoms)
    return Score(
        value=float(np.mean([one.score for one in found.values()])),
        simple=float(np.mean([one.simple for one in found.values()])),
        details=details,
    )


def _explaining(given: Material) -> Score:
    """Balanced accuracy of rules on samples that they were not made from."""
    acts, codes, rows = given.first(_EXPLAINED)
    is_text = acts.context.modality.is_text
    by_row = {name: truth[rows] for name, truth in given.row_facts.items()}
    labels = None if is_text else by_row | given.sample_facts
    try:
        found = score_explanations(
            given.sae,
            acts,
            codes=codes,
            labels=labels,
            explain="rule" if is_text or labels else "exemplars",
            n_atoms=_N_EXPLAINED,
            n_bootstrap=0,
            seed=given.seed,
        )
    except ValueError as error:
        raise NotMeasurableError(str(error).rstrip(".")) from error
    details = {name: measured.value for name, measured in found.scores.items()}
    return Score(
        value=found.value,
        simple=np.nan if found.control is None else float(found.control),
        details=details,
    )


def _unlearning(given: Material) -> Score:
    tasks = given.tasks
    if tasks.forget is None:
        raise NotMeasurableError(
            "needs inputs to forget and inputs to keep, and the tasks have none"
        )
    if tasks.head is None and given.model.modality.is_text and not given.model.causal:
        raise NotMeasurableError("needs a model that answers, and this one is an encoder")
    if tasks.head is not None and tasks.head not in given.model.heads(tasks.keep[:2]):
        raise NotMeasurableError(
            f"needs a head named {tasks.head!r}, and {given.model.name} has none"
        )
    found = unlearning(given.sae, given.model, given.hook_point, *given.unlearned, head=tasks.head)
    details = {"atoms that fire rarely on what is kept": float(found.n_atoms)}
    for rare, m, lost, stays in found.settings:
        name = f"atoms below {rare:g}, −{m:g} ×"
        details |= {f"{name}: forgotten": lost, f"{name}: kept": stays}
    return Score(value=found.score, simple=found.simple, details=details)


BENCH_ROWS: dict[str, Row] = {
    "core": Row(
        asks="Does the SAE reconstruct the activations?",
        simple="the same number of principal components as L0",
        measure=_core,
    ),
    "probing": Row(
        asks="Does one latent predict a label?",
        simple="the best single channel, component or random latent",
        measure=_probing,
    ),
    "absorption": Row(
        asks="Is an attribute carried by its own latents?",
        simple="random atoms",
        measure=_absorption,
    ),
    "scr": Row(
        asks="Does taking out a shortcut's atoms repair a probe that learned it?",
        simple="the difference of means taken out",
        measure=_scr,
        warning=_CANNOT_RANK,
    ),
    "tpp": Row(
        asks="Does taking out a class's atoms hurt its probe alone?",
        simple="the difference of means taken out",
        measure=_tpp,
        warning=_CANNOT_RANK,
    ),
    "ravel": Row(
        asks="Does exchanging an attribute's atoms exchange it alone?",
        simple="the span of class means exchanged",
        measure=_ravel,
    ),
    "autointerp": Row(
        asks="Does a rule say where an atom fires?",
        simple="another atom's rule",
        measure=_explaining,
    ),
    "unlearning": Row(
        asks="Can a few atoms make the model forget one subject?",
        simple="the difference of means subtracted",
        measure=_unlearning,
    ),
}
