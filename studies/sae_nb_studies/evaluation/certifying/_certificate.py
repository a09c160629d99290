"""certificate: which atoms of an SAE are facts about the data, next to every control that could be fooled.

Random directions come close to trained SAEs on several popular scores (arXiv 2602.14111). An atom that another
training finds again, on other rows too, is not one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch

from sae_nb.activations import Activations, acts_for, check_one_place
from sae_nb.checks import Count, Seed, at_least, check_path, checked, shown
from sae_nb.evaluation import (
    Measurement,
    SecondCode,
    duplicate_groups,
    explained_variance,
    score_explanations,
    second_code,
)
from sae_nb.findings import Plotted
from sae_nb.sessions import keep_verdicts
from sae_nb.statistics import Bootstrap, wilson_interval
from sae_nb_studies.evaluation.certifying._doing import Doing, doing, inputs_of
from sae_nb_studies.evaluation.certifying._returns import (
    CHANCE,
    DENSE,
    LUCK,
    REAL,
    UNCLEAR,
    AtomNumbers,
    Firing,
    firing,
    origins,
    returns,
)
from sae_nb_studies.evaluation.certifying._sisters import (
    Sisters,
    check_given,
    random_twin,
    seconds_of,
    trained_sisters,
)
from sae_nb_studies.evaluation.concepts._absorption import absorption

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.figures import Chart
    from sae_nb.lenses import Lens
    from sae_nb.models import LiveModel
    from sae_nb.training import TrainConfig

N_SEEDS = 3
"""Sisters of other seeds. Ours: with the two of halves they are five, of which one may miss an atom."""

WORSE = 0.05
"""R² by which sisters may fall short of the SAE and still speak against an atom. Ours."""

MOST_ROWS = 16_384
"""Rows that R² and a second code are measured on."""

DOES_NOT_SAY = (
    "A real atom is one that the data determine. It need not be a concept with a name, and the model need not "
    "use it."
)


class Certificate(Plotted):
    """A verdict for each atom of an SAE, and six numbers for the whole; made by `certificate`."""

    table: DataFrame
    """A row per atom: atom, verdict ("real", "unclear", "chance"), return (mean largest cosine with sisters
    of other seeds), halves (with sisters trained on halves of the samples), again (the return that four of
    five sisters reach, or all of fewer), origin (cosine with itself after the bias is shared out among the
    atoms that fire), density (share of rows), sure (the least of return, halves and origin), twin (`again` of
    random directions, 99th percentile), kept (share of its firings that orthogonal matching pursuit has too:
    `sn.second_code`); with a model: steers, effect, outcome, lens_hit; with names:
    detection. Only columns that were measured are there, and what was measured of some atoms is empty for the
    others."""

    numbers: DataFrame
    """A row per number of the SAE: number, value, low, high (95 %), control, n, meaning."""

    controls: DataFrame
    """A row per dictionary in which nothing is real: dictionary, real, unclear, chance (shares by the same
    rule)."""

    facts: Mapping[str, Any]
    """Place, model, rows, sisters, steps, seed, and the bar: the value of `again` from which an atom may be
    real."""

    notes: tuple[str, ...]
    """Measurements that were left out, with the reason."""

    @property
    def shares(self) -> dict[str, float]:
        """Share of atoms of each verdict."""
        counts = self.table["verdict"].value_counts()
        return {
            name: float(counts.get(name, 0)) / len(self.table) for name in (REAL, UNCLEAR, CHANCE)
        }

    @property
    def measurements(self) -> dict[str, Measurement]:
        """The numbers that no report has, by name: `sw.ReportCard([{**report, **found.measurements}])`."""
        named = self.numbers.set_index("number")
        return {
            row: Measurement.measured(
                row,
                one["value"],
                (one["low"], one["high"]),
                control=None if np.isnan(one["control"]) else one["control"],
                n=int(one["n"]),
                unit="atoms",
            )
            for name, row in ROWS.items()
            if name in named.index and (one := named.loc[name]) is not None
        }

    def real(self) -> np.ndarray:
        """Return the numbers of the atoms that are real, the surest first."""
        found = self.table[self.table["verdict"] == REAL]
        return found.sort_values("return", ascending=False, kind="stable")["atom"].to_numpy()

    @property
    def headline(self) -> str:
        """The share of atoms of each verdict, and of the most convincing control."""
        said = ", ".join(f"{share:.0%} {name}" for name, share in self.shares.items())
        worst = self.controls.loc[self.controls["real"].idxmax()]
        return (
            f"{len(self.table)} atoms: {said}; of {worst['dictionary']} {worst['real']:.0%} are called real; "
            f"{self.facts['sisters']} sisters"
        )

    @property
    def below(self) -> tuple[str | DataFrame, ...]:
        """The numbers, the controls, what was not measured, and what a verdict does not say."""
        shown = self.numbers.drop(columns="meaning").set_index("number")
        return (shown, self.controls.set_index("dictionary"), *self.notes, DOES_NOT_SAY)

    @property
    def chart(self) -> Chart:
        """`again` of every atom, in order, with the bar and with what chance reaches."""
        from sae_nb.figures import Chart, Points

        ordered = self.table.sort_values("again", ascending=False, kind="stable")
        place = np.arange(len(ordered))
        groups = [
            (name, (ordered["verdict"] == name).to_numpy()) for name in (REAL, UNCLEAR, CHANCE)
        ]
        series = [
            Points(name=name, x=place[these], y=ordered["again"].to_numpy()[these])
            for name, these in groups
            if these.any()
        ]
        ends = np.array([0, max(len(ordered) - 1, 1)])
        lines = [
            Points(name=name, x=ends, y=np.full(2, at), control=control, line=True)
            for name, at, control in (
                ("real from here", float(self.facts["bar"]), False),
                ("random twin, 99th percentile", float(ordered["twin"].iloc[0]), True),
            )
        ]
        return Chart(
            series=(*series, *lines), x="atom, by its return", y="return (cosine)", marks=True
        )


@dataclass(frozen=True, eq=False)
class _Asked:
    """The SAE that is certified, and everything it is measured with."""

    sae: Any
    acts: Activations
    model: LiveModel | None
    inputs: Any
    labels: Mapping[str, Any] | None
    lens: Lens | None
    n_atoms: int
    seed: int
    progress: bool
    notes: list[str] = field(default_factory=list)


@checked(leave=("sae", "sisters", "budget", "labels"))
def certificate(
    sae: SparseAutoencoder,
    acts: Activations | torch.Tensor,
    model: LiveModel | None = None,
    sisters: Any = "train",
    budget: Any = "5 min",
    *,
    inputs: Any = None,
    labels: Mapping[str, Any] | None = None,
    lens: Lens | None = None,
    config: TrainConfig | None = None,
    n_sisters: Annotated[int, at_least(2)] = N_SEEDS,
    n_atoms: Count = 16,
    folder: str | Path | None = None,
    seed: Seed = 0,
    progress: bool = True,
) -> Certificate:
    """Judge each atom: do the data determine it, or did this one training make it up?

    Sisters are trained with the SAE's own recipe from other seeds and on halves of the samples. An atom is
    "real" if four of five find it again and its direction does not depend on where the bias is put; "chance"
    if it returns no better than random directions with the spread of the rows, or never fires; else "unclear".
    The same rule is applied to a random twin, a frozen decoder and an untrained SAE, in which nothing is real.
    Cards, badges and sites of the SAE show the verdicts from then on.

    Parameters
    ----------
    sae
        Any SAE of one place, of other libraries too (`sn.load_sae(folder)`).
    acts
        Its activations; all rows are read, and sisters are trained on them.
    model, inputs
        A live model, to measure what atoms do at equal cost next to random directions. None as inputs: samples
        that `acts` keep.
    sisters
        "train", or SAEs of other seeds that were trained before; then nothing is trained.
    budget
        Time, such as "5 min" or seconds, that the steps of the sisters are chosen by; they never have more than
        the SAE itself had.
    labels
        Facts by name, a truth value per row: each is followed through the SAE (absorption), and names may
        use it.
    lens
        Whose named outcomes count as hits; None: the direct path to the answer.
    config
        Settings of the sisters, in place of the budget's.
    n_sisters
        Sisters of other seeds.
    n_atoms
        Atoms that are added to the model, and atoms whose names are judged, drawn at random.
    folder
        Keeps the trainings: a call that was killed continues from there.

    Raises
    ------
    TypeError, ValueError: If arguments do not fit, the SAE cannot be trained here and no sisters are given,
        or the budget is too small.
    SisterDivergedError: If the training of a sister diverges.

    Source
    ------
    Return over seeds: "Sparse autoencoders trained on the same data learn different features", arXiv
    2501.16615; consistency: arXiv 2505.20254. Random and frozen controls: arXiv 2602.14111 and 2405.08366.
    The rule and the measure of the bias are ours, calibrated on planted data.

    Example
    -------
    >>> import sae_nb as sn
    >>> data = sn.data.planted_dictionary(12, 12, 1000, 2)
    >>> sae = sn.TopK(12, 16, 2, generator=torch.Generator().manual_seed(0))
    >>> how = sn.TrainConfig(steps=60, batch_size=256)
    >>> result = sn.train(sae, data.x, how, progress=False)
    >>> found = certificate(sae, data.x, config=how, progress=False)
    >>> set(found.table["verdict"]) <= {"real", "unclear", "chance"}
    True
    """
    check_one_place(sae)
    source = acts_for(sae, acts)
    seconds = seconds_of(budget)
    if not isinstance(labels, Mapping | None):
        raise TypeError(
            f'`labels` must be truth values by name, got {shown(labels)}. Use {{"plural": mask}}.'
        )
    asked = _Asked(sae, source, model, inputs, labels, lens, n_atoms, seed, progress)
    if isinstance(sisters, str) and sisters == "train":
        where = None if folder is None else check_path(folder, name="folder")
        family = trained_sisters(
            sae,
            source,
            config,
            seconds,
            n_seeds=n_sisters,
            seed=seed,
            folder=where,
            progress=progress,
        )
    else:
        family = Sisters(seeds=check_given(sae, sisters))
        asked.notes.append(
            "Sisters were given: return over halves, frozen decoder and untrained encoder were not measured."
        )
    return _certified(asked, family)


def _certified(asked: _Asked, family: Sisters) -> Certificate:
    """Measure, judge, and put the numbers next to those of the controls."""
    sae, fired = asked.sae, firing(asked.sae, asked.acts)
    own = _atom_numbers(sae, family, fired)
    twin = random_twin(asked.acts, sae.n_atoms, asked.seed)
    twin_numbers = AtomNumbers(
        seeds=returns(twin, family.seeds, signed=fired.signed),
        halves=returns(twin, family.halves, signed=fired.signed) if family.halves else None,
        origin=None,
        density=None,
    )
    luck = float(np.quantile(twin_numbers.again, LUCK))
    verdicts = own.verdicts(luck, weak=_weak(asked, family))
    table = _table(own, verdicts, luck)
    did = _doing(asked, table)
    controls = _controls(asked, family, twin_numbers, fired, luck)
    numbers = _numbers(asked, family, own, verdicts, twin_numbers, float(controls["real"].max()))
    numbers += _kept(asked, table) + _named(asked, table) + _absorbed(asked)
    if did is not None:
        numbers.append(_steering_number(did))
    keep_verdicts(sae, verdicts.tolist())
    return Certificate(
        table=table,
        numbers=numbers_table(numbers),
        controls=controls,
        facts=_facts(asked, family, fired) | {"bar": round(own.bar, 3)},
        notes=tuple(asked.notes),
    )


def _atom_numbers(sae: SparseAutoencoder, family: Sisters, fired: Firing) -> AtomNumbers:
    return AtomNumbers(
        seeds=returns(sae.dictionary, family.seeds, signed=fired.signed),
        halves=returns(sae.dictionary, family.halves, signed=fired.signed)
        if family.halves
        else None,
        origin=origins(sae, fired.share),
        density=fired.density,
    )


def _table(own: AtomNumbers, verdicts: np.ndarray, luck: float) -> DataFrame:
    import pandas as pd

    columns = {
        "atom": np.arange(len(verdicts)),
        "verdict": verdicts,
        "return": own.over_seeds,
        "halves": own.over_halves,
        "again": own.again,
        "origin": own.origin,
        "density": own.density,
        "sure": own.sure,
        "twin": np.full(len(verdicts), luck),
    }
    return pd.DataFrame({name: column for name, column in columns.items() if column is not None})


def _controls(
    asked: _Asked, family: Sisters, twin: AtomNumbers, fired: Firing, luck: float
) -> DataFrame:
    """Apply the rule to dictionaries in which nothing is real."""
    import pandas as pd

    every = {"a random twin": twin}
    if family.frozen is not None:
        theirs = firing(family.frozen, asked.acts)
        every["a frozen decoder"] = _atom_numbers(family.frozen, family, theirs)
    if family.untrained is not None:
        every["an untrained SAE"] = AtomNumbers(
            seeds=returns(family.untrained, family.seeds, signed=fired.signed),
            halves=returns(family.untrained, family.halves, signed=fired.signed),
            origin=None,
            density=None,
        )
    rows = []
    for name, numbers in every.items():
        verdicts = numbers.verdicts(luck)
        rows.append(
            {"dictionary": name}
            | {v: float((verdicts == v).mean()) for v in (REAL, UNCLEAR, CHANCE)}
        )
    return pd.DataFrame(rows)


Number = tuple[str, float, tuple[float, float], float | None, int]
"""Name, value, interval, control and size."""

KEPT = {"kept": "kept_by_second_code", "kept in noise": "kept_in_noise"}
ROWS = {
    "real": "certified_real", "return": "return_over_seeds", "halves": "return_over_halves",
    "steers": "steers_at_equal_kl", **KEPT,
}  # fmt: skip
"""Numbers that are rows of a report card, and their definitions."""

MEANINGS = {
    "real": "share of atoms called real; control: the most that a dictionary without real atoms has",
    "return": "mean largest cosine with sisters of other seeds; control: random twin",
    "halves": "the same with sisters trained on halves of the samples; control: random twin",
    "R²": "explained variance; control: frozen decoder",
    "duplicates": "share of atoms with a cosine above .9 with another",
    "dense": f"share of atoms that fire in over {DENSE:.0%} of the rows",
    "dead": "share of atoms that never fire",
    "kept": "mean share of an atom's firings that orthogonal matching pursuit has too, of atoms with ten or "
    "more; control: the pursuit's codes of other rows",
    "kept in noise": "the same for the encoder itself where a hundredth of the row's length is added at random",
    "steers": "share of tried atoms that move an outcome more than any random direction; control: chance",
    "detection": "balanced accuracy of an atom's name; control: another atom's name",
    "absorption": "share of a label that other atoms carry; control: random atoms",
}


def _numbers(
    asked: _Asked,
    family: Sisters,
    own: AtomNumbers,
    verdicts: np.ndarray,
    twin: AtomNumbers,
    by_chance: float,
) -> list[Number]:
    n, boot = len(verdicts), Bootstrap(seed=asked.seed)
    real = int((verdicts == REAL).sum())
    copied = sum(len(group) for group in duplicate_groups(asked.sae.dictionary))
    numbers: list[Number] = [
        ("real", real / n, _wilson(real, n), by_chance, n),
        ("return", own.seeds.mean(), boot.spread(own.over_seeds), twin.seeds.mean(), n),
    ]
    if own.over_halves is not None and twin.halves is not None:
        spread = boot.spread(own.over_halves)
        numbers.append(("halves", own.over_halves.mean(), spread, twin.halves.mean(), n))
    numbers += [_r2(asked, family), ("duplicates", copied / n, _wilson(copied, n), None, n)]
    if own.density is not None:
        dense, dead = int((own.density > DENSE).sum()), int((own.density == 0).sum())
        numbers.append(("dense", dense / n, _wilson(dense, n), None, n))
        numbers.append(("dead", dead / n, _wilson(dead, n), None, n))
    return numbers


def _weak(asked: _Asked, family: Sisters) -> bool:
    """Return whether the sisters explain less of the rows than the SAE does, with a note on it."""
    sae, acts = asked.sae, asked.acts
    chosen = np.sort(np.random.default_rng(asked.seed).permutation(len(acts))[:4096])
    x = acts.rows(torch.from_numpy(chosen)).to(sae.dictionary)
    with torch.no_grad():
        own = explained_variance(x, _decoded(sae, x))
        theirs = [explained_variance(x, _decoded(one, x)) for one in family.seeds if callable(one)]
    if not theirs or np.mean(theirs) >= own - WORSE:
        return False
    asked.notes.append(
        f"The sisters explain less (R² {np.mean(theirs):.2f}) than the SAE ({own:.2f}): an atom that they do "
        "not find is called unclear, not chance. Give them more steps or more rows."
    )
    return True


def _decoded(sae: SparseAutoencoder, x: torch.Tensor) -> torch.Tensor:
    """Return a reconstruction, of an object that is not a module too."""
    return sae(x.to(sae.dictionary)) if callable(sae) else sae.decode(sae.encode(x))


def _kept(asked: _Asked, table: DataFrame) -> list[Number]:
    """Ask what orthogonal matching pursuit keeps of every atom's firings, and write it into the table."""
    if getattr(asked.sae, "reads_sequences", False):
        asked.notes.append(
            "No second code was asked for: the SAE's codes depend on the rows before."
        )
        return []
    found = second_code(asked.sae, drawn_rows(asked.acts, asked.seed), ("omp",), seed=asked.seed)
    table["kept"] = found.table["kept"]
    return kept_numbers(found)


def kept_numbers(found: SecondCode) -> list[Number]:
    """Return the numbers of a certificate that a second code gives."""
    return [
        (name, m.value, m.interval, m.control, m.n)
        for name, row in KEPT.items()
        if (m := found.measurements.get(row)) is not None
    ]


def drawn_rows(acts: Activations, seed: int) -> Activations:
    """Return the rows that what is slow is measured on."""
    order = np.random.default_rng(seed).permutation(len(acts))
    drawn = np.zeros(len(acts), dtype=bool)
    drawn[order[:MOST_ROWS]] = True
    return acts.subset(torch.from_numpy(drawn))


def _r2(asked: _Asked, family: Sisters) -> Number:
    """R² of the SAE, and of the frozen decoder, on the same rows."""
    acts, boot = drawn_rows(asked.acts, asked.seed), Bootstrap(seed=asked.seed)
    x = acts.rows(torch.arange(len(acts))).to(asked.sae.dictionary)
    with torch.no_grad():
        x_hat = _decoded(asked.sae, x)
    errors = (x - x_hat).double().square().sum(dim=1).cpu().numpy()
    spread = (x - x.mean(dim=0)).double().square().sum(dim=1).cpu().numpy()
    sums = boot.grouped(np.stack([errors, spread], axis=1), acts.sample.numpy())
    interval = boot.interval(sums, lambda s: 1 - s[:, 0] / s[:, 1])
    control = None
    if family.frozen is not None:
        with torch.no_grad():
            control = explained_variance(x, family.frozen(x.to(family.frozen.dictionary)))
    return ("R²", 1 - errors.sum() / spread.sum(), interval, control, len(x))


def _named(asked: _Asked, table: DataFrame) -> list[Number]:
    """Judge names of some atoms on samples they were not made from, next to another atom's name."""
    if asked.acts.tokens is None and asked.labels is None:
        asked.notes.append(
            "Names were not judged: the activations keep no tokens, and no labels were given."
        )
        return []
    try:
        found = score_explanations(
            asked.sae, asked.acts, labels=asked.labels, n_atoms=asked.n_atoms, seed=asked.seed
        )
    except ValueError as error:
        asked.notes.append(f"Names were not judged: {error}")
        return []
    table["detection"] = table["atom"].map(
        {a: s.get("detection", np.nan) for a, s in found.per_atom.items()}
    )
    score = found.scores["detection"]
    return [("detection", score.value, score.interval, score.control, score.n)]


def _absorbed(asked: _Asked) -> list[Number]:
    """Follow every label through the SAE."""
    numbers: list[Number] = []
    for name, truth in (asked.labels or {}).items():
        values = np.asarray(truth)
        if values.dtype != bool or values.shape != (len(asked.acts),):
            asked.notes.append(
                f"Absorption of {name!r} was not measured: it is not a truth value per row."
            )
            continue
        try:
            found = absorption(asked.sae, asked.acts, values, seed=asked.seed)
        except ValueError as error:
            asked.notes.append(f"Absorption of {name!r} was not measured: {error}")
            continue
        numbers.append(
            (f"absorption of {name}", found.value, found.interval, found.control, found.n)
        )
    return numbers


def _doing(asked: _Asked, table: DataFrame) -> Doing | None:
    """Add some atoms to the live model, and write what they do into the table."""
    if asked.model is None:
        asked.notes.append("What atoms do was not measured: no model was given.")
        return None
    place = asked.acts.hook_point or getattr(asked.sae, "hook_point", None)
    inputs = inputs_of(asked.acts, asked.seed) if asked.inputs is None else asked.inputs
    if place is None or inputs is None:
        asked.notes.append(
            "What atoms do was not measured: the activations keep no inputs or no hook point. Pass inputs=."
        )
        return None
    alive = table.loc[table.get("density", 1) > 0, "atom"].to_numpy()
    drawn = np.sort(np.random.default_rng(asked.seed).permutation(alive)[: asked.n_atoms]).tolist()
    did = doing(
        asked.sae,
        asked.model,
        str(place),
        drawn,
        inputs=inputs,
        lens=asked.lens,
        seed=asked.seed,
        progress=asked.progress,
    )
    for name, values in (
        ("effect", did.effect), ("steers", did.steers), ("outcome", did.outcome), ("lens_hit", did.hit),
    ):  # fmt: skip
        if values:
            table[name] = table["atom"].map(values)
    return did


def _steering_number(did: Doing) -> Number:
    count, n = sum(did.steers.values()), len(did.steers)
    low = 1 / (len(did.random) + 1)
    return ("steers", count / n, _wilson(count, n), low, n)


def _wilson(count: int, n: int) -> tuple[float, float]:
    low, high = wilson_interval(count, n)
    return float(low), float(high)


def numbers_table(numbers: list[Number]) -> DataFrame:
    """Return numbers as rows: number, value, low, high, control, n, meaning."""
    import pandas as pd

    rows = [
        {
            "number": name, "value": float(value), "low": low, "high": high,
            "control": np.nan if control is None else float(control), "n": n,
            "meaning": MEANINGS[name.partition(" of ")[0]],
        }
        for name, value, (low, high), control, n in numbers
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _facts(asked: _Asked, family: Sisters, fired: Firing) -> dict[str, Any]:
    place = asked.acts.hook_point or getattr(asked.sae, "hook_point", None)
    return {
        "sae": type(asked.sae).__name__,
        "hook_point": "" if place is None else str(place),
        "model": getattr(asked.sae, "model_name", None) or "",
        "rows": len(asked.acts),
        "l0": round(fired.l0, 3),
        "sisters": len(family.seeds) + len(family.halves),
        "steps": family.steps,
        "seed": asked.seed,
    }
