"""Reference scores of eight benchmarks: of an oracle, of three broken SAEs, and of SAEs of other seeds.

The oracle knows the labels: an atom per value, its direction fitted by least squares, its code the label
itself. The broken SAEs are one of random directions, one whose atoms are all the same, and one that
repeats a sixteenth of the trained atoms sixteen times. A seed is that of the training, of the tasks and
of every draw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import sae_nb as sn
from sae_nb_studies.uses._bench import BROKEN, N_INPUTS
from sae_nb_studies.uses._bench_rows import BENCH_ROWS, score_of
from sae_nb_studies.uses._bench_tasks import Material, bundled_tasks

SHORT = {
    "n_inputs": 160,
    "steps": 30,
    "n_train": 20,
    "places": ("tiny-vit/resid_post.6",),
    "rows": ("scr", "tpp"),
}
PLACES = ("tiny-gpt/resid_post.3", "tiny-vit/resid_post.6")
ROWS = tuple(BENCH_ROWS)

LEFT_OUT = ("tiny-vit ravel",)  # in some draws of scenes a linear probe reads only one label

K, COPIES = 16, 16


def run(
    seed: int,
    *,
    n_inputs: int = N_INPUTS,
    steps: int = 300,
    n_train: int = 150,
    places: tuple[str, ...] = PLACES,
    rows: tuple[str, ...] = ROWS,
) -> dict[str, float]:
    """Train an SAE on each model, break it, and benchmark all of them.

    `n_inputs`: of the tasks; `steps` of 512 rows of `n_train` other inputs; `places` and `rows`: where
    and on which benchmarks. A trained SAE's lead over the best broken one is called `ahead`. A score that
    is not finite is left out.
    """
    numbers: dict[str, float] = {}
    for place in places:
        given = _material(place, n_inputs, seed)
        saes = saes_of(given, _rows_to_train(given, n_train, seed), steps, seed)
        asked = {kind: given.with_sae(sae) for kind, sae in saes.items()}
        oracle = given.with_sae(_knowing(given))  # type: ignore[arg-type]  # it has all that rows need of an SAE
        name = place.partition("/")[0]
        for row in rows:
            if f"{name} {row}" in LEFT_OUT:
                continue
            scores = {kind: score_of(row, one)[0] for kind, one in asked.items()}
            found = {kind: score.value for kind, score in scores.items()}
            found["oracle"] = _of_oracle(row, oracle)
            found["simple"] = scores["trained"].simple
            found["ahead"] = found["trained"] - float(np.max([found[kind] for kind in BROKEN]))
            measured = {kind: value for kind, value in found.items() if math.isfinite(value)}
            numbers |= {f"{name} {row} {kind}": value for kind, value in measured.items()}
    return numbers


def _material(place: str, n_inputs: int, seed: int) -> Material:
    name, _, hook_point = place.partition("/")
    tasks = bundled_tasks("stories" if name == "tiny-gpt" else "scenes", n_inputs, seed)
    return Material(sn.load_sae(place), sn.load_model(name), hook_point, tasks, seed)


def _rows_to_train(given: Material, n: int, seed: int) -> sn.Activations:
    """Capture inputs that are not in any task."""
    if given.model.kind != "language":
        return given.captured(sn.data.scenes(n, seed=70_000 + seed).images)
    texts = list(sn.data.stories(n, seed=70_000 + seed).texts)
    return given.captured([*texts, *sn.data.prose("train").texts[: n // 2]])


def saes_of(given: Material, acts: sn.Activations, steps: int, seed: int) -> dict[str, Any]:
    """Build a trained SAE and three broken ones, all of the bundled SAE's shape.

    `given`: tasks with the bundled SAE; `acts`: rows to train on, for `steps`.
    """
    d_in, n_atoms = given.sae.d_in, given.sae.n_atoms
    made = {
        kind: sn.TopK(d_in, n_atoms, K, generator=torch.Generator().manual_seed(seed + place))
        for place, kind in enumerate(("trained", *BROKEN))
    }
    trained = made["trained"]
    config = sn.TrainConfig(steps=steps, batch_size=512, seed=seed)
    sn.train(trained, acts, config, progress=False)
    state = {name: value.clone() for name, value in trained.state_dict().items()}
    some = torch.arange(n_atoms) % (n_atoms // COPIES)
    main = torch.linalg.svd(acts.x - acts.x.mean(dim=0), full_matrices=False)[2][0]
    random = made["random"].dictionary.detach().clone()
    rows = {
        "random": (random, random, 0 * state["encoder.bias"]),
        "collapsed": (
            main.expand(n_atoms, -1),
            main.expand(n_atoms, -1) / K,
            0 * state["encoder.bias"],
        ),
        "copied": (
            state["operator.weight"][some],
            state["encoder.weight"][some] / COPIES,
            state["encoder.bias"][some] / COPIES,
        ),
    }
    for kind, (atoms, reads, bias) in rows.items():
        replaced = {"operator.weight": atoms, "encoder.weight": reads, "encoder.bias": bias}
        made[kind].load_state_dict(state | replaced)
    return {kind: sae.eval() for kind, sae in made.items()}


def references(
    numbers: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, dict[str, float]]]:
    """Compute the reference scores that `sae_nb_studies.uses.bench` shows next to a score.

    They are means over seeds, and the relative spread of trained SAEs. `numbers` are those of the
    artefact. Kept in `studies/sae_nb_studies/uses/bench_references.json`; a score that no seed could measure is left out.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for place in PLACES:
        of_place = found[place] = {}
        for row in ROWS:
            by_kind = {
                kind: numbers[number]
                for kind in ("oracle", *BROKEN, "trained")
                if (number := f"{place.partition('/')[0]} {row} {kind}") in numbers
            }
            trained = by_kind.pop("trained", {"mean": 0.0, "sd": 0.0})
            beside = {kind: round(one["mean"], 4) for kind, one in by_kind.items()}
            if trained["mean"]:
                beside["reseed_cv"] = round(trained["sd"] / abs(trained["mean"]), 4)
            if beside:
                of_place[row] = beside
    return found


# -------------------------------------------------------------------------------------------------
# The oracle: its codes are the labels.


@dataclass(frozen=True, eq=False)
class Oracle:
    """An SAE that knows the codes of the rows it will be shown, and of no others."""

    dictionary: torch.Tensor
    mean: torch.Tensor
    codes: sn.SparseCodes
    place: Mapping[bytes, int]

    @classmethod
    def of(cls, acts: sn.Activations, facts: Mapping[str, np.ndarray]) -> Oracle:
        """Fit an atom per value of every attribute of the rows, by least squares."""
        labels = {name: values.tolist() for name, values in facts.items()}
        fitted = sn.supervised_dictionary(acts.x, labels)
        place = {row.tobytes(): i for i, row in enumerate(acts.x.numpy())}
        return cls(fitted.dictionary, fitted.mean, fitted.codes(labels), place)

    @property
    def n_atoms(self) -> int:
        """One per value of an attribute."""
        return len(self.dictionary)

    @property
    def d_in(self) -> int:
        """Width of the rows."""
        return self.dictionary.shape[1]

    def encode(self, x: torch.Tensor) -> sn.SparseCodes:
        """Return the codes of rows that it was made for."""
        rows = [self.place[row.tobytes()] for row in x.detach().numpy()]
        return self.codes.rows(torch.tensor(rows))

    def decode(self, codes: sn.SparseCodes) -> torch.Tensor:
        """Add the atoms' contributions to the mean."""
        return codes @ self.dictionary.to(codes.values) + self.mean


@dataclass(frozen=True, eq=False)
class Detector:
    """One atom that fires where a linear probe detects rows to forget, and on almost no row to keep."""

    dictionary: torch.Tensor
    probe: torch.Tensor
    above: float
    n_atoms = 1

    @classmethod
    def of(cls, forget: sn.Activations, keep: sn.Activations) -> Detector:
        """Fit a probe on both; the atom fires above the strongest of 2000 rows that are to be kept."""
        from sklearn.linear_model import LogisticRegression

        x = torch.cat((forget.x, keep.x)).double()
        x = x / x.std()
        truth = np.arange(len(x)) < len(forget)
        model = LogisticRegression(max_iter=1000, class_weight="balanced").fit(x.numpy(), truth)
        probe = torch.from_numpy(model.coef_[0])  # its scale does not matter
        above = float((keep.x.double() @ probe).quantile(1 - 1 / 2000))
        difference = forget.x.double().mean(dim=0) - keep.x.double().mean(dim=0)
        return cls(difference[None].float(), probe.float(), above)

    @property
    def d_in(self) -> int:
        """Width of the rows."""
        return self.dictionary.shape[1]

    def encode(self, x: torch.Tensor) -> sn.SparseCodes:
        """Return 1 where the probe exceeds what rows to be kept reach."""
        return sn.SparseCodes.from_dense((x @ self.probe > self.above).float()[:, None])


def _knowing(given: Material) -> Oracle:
    """Build an oracle of every label and of every known attribute of rows."""
    sample = given.acts.sample.numpy()
    of_rows = {name: values.astype(int) for name, values in given.row_facts.items()}
    of_samples = {name: values[sample] for name, values in given.tasks.classes.items()}
    return Oracle.of(given.acts, of_samples | of_rows)


def _of_oracle(row: str, given: Material) -> float:
    """Score a dictionary that knows the answer; `given` holds the oracle of all labels."""
    if row == "core":
        return math.nan  # labels do not determine activations
    if row == "unlearning":
        forget, keep = given.unlearned
        given = given.with_sae(Detector.of(forget[1], keep[1]))  # type: ignore[arg-type]  # as above
    elif row == "autointerp" and given.acts.tokens is not None and given.model.kind == "language":
        tokens = {"token": given.acts.tokens.ids.numpy()}
        given = given.with_sae(Oracle.of(given.acts, tokens))  # type: ignore[arg-type]
    return score_of(row, given)[0].value
