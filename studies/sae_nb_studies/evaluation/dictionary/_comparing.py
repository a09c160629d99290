"""compare_dictionaries: several dictionaries trained on the same rows, at the same L0, in one table.

Two rows without any choice are below them: the first dictionary before training, and random atoms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.checks import Positive, Seed, checked, shown, warn_caller
from sae_nb.evaluation import Report, evaluate, stability, training_cut_short
from sae_nb.evaluation.trainings import (
    TrainingRun,
    build_from_seed,
    held_out,
    initialised_atoms,
    is_trained,
    train_runs,
)
from sae_nb.findings import Finding
from sae_nb.interrupts import ending_with

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel
    from sae_nb.training import TrainConfig


NUMBERS = (("r2",), ("l0",), ("dead_fraction",), ("delta_ce", "kl"), ("accuracy", "agreement"))
"""Rows of the reports that the table has: of each group the first that was measured."""

NEAR = 0.2
"""Share by which an L0 may miss the one asked for and still be called equal. Ours."""

UNTRAINED, RANDOM = "untrained", "random atoms"
Make = Callable[[int], "SparseAutoencoder"]
"""Builds a dictionary from a seed."""

Rows = Activations | Float[Tensor, "n d_in"]


@dataclass(frozen=True, kw_only=True)
class ComparedDictionary:
    """One dictionary of a comparison: its numbers, the mean over seeds."""

    name: str
    numbers: Mapping[str, float]
    """By name: rows of the reports, then "stability" (mean matched cosine of the seeds) and "seconds"
    (of the fastest training); NaN where there is no such number."""

    at_l0: bool
    """Whether its L0 is the one asked for, to a fifth."""

    saes: tuple[SparseAutoencoder, ...] = ()
    reports: tuple[Report, ...] = ()
    """One per seed; none of random atoms, which are the control of the first report."""


class Comparison(Finding, kw_only=False):
    """Dictionaries next to each other, with the two rows that no choice made."""

    rows: tuple[ComparedDictionary, ...]
    """In the order given; then one before training, and random atoms."""

    l0: float | None
    """Atoms per row that was asked for."""

    def __getitem__(self, name: str) -> ComparedDictionary:
        for row in self.rows:
            if row.name == name:
                return row
        known = ", ".join(row.name for row in self.rows)
        raise KeyError(f"A comparison has the rows {known}, got {name!r}.")

    @property
    def table(self) -> pd.DataFrame:
        """One line per dictionary, as pandas."""
        import pandas as pd

        index = pd.Index([row.name for row in self.rows], name="dictionary")
        return pd.DataFrame([dict(row.numbers) for row in self.rows], index=index)

    def to_markdown(self) -> str:
        """Return the table as Markdown, numbers in three digits; a name with * is not at the L0 asked for."""
        header, *lines = self._texts()
        rule = ["---"] + ["---:"] * (len(header) - 1)
        table = "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *lines))
        return "\n\n".join([table, *(f"\\{note}" for note in self._notes())])

    def _texts(self) -> list[list[str]]:
        names = list(self.rows[0].numbers)
        lines = [
            [row.name + "*" * (not row.at_l0), *(_text(row.numbers[name]) for name in names)]
            for row in self.rows
        ]
        return [["dictionary", *names], *lines]

    def _notes(self) -> list[str]:
        if all(row.at_l0 for row in self.rows):
            return []
        return [f"* L0 is not {self.l0:g} to a fifth: not comparable with the others."]

    @property
    def headline(self) -> str:
        """The number of dictionaries, and the L0 asked for."""
        return f"{len(self.rows)} dictionaries" + ("" if self.l0 is None else f" at L0 {self.l0:g}")

    @property
    def below(self) -> tuple[str | pd.DataFrame, ...]:
        """The table with numbers in three digits, and who is not at the L0 asked for."""
        import pandas as pd

        header, *lines = self._texts()
        return (pd.DataFrame(lines, columns=header).set_index(header[0]), *self._notes())


def _text(value: float) -> str:
    if math.isnan(value):
        return ""
    return (
        "0" if abs(value) < 1e-12 else f"{float(f'{value:.3g}'):.4g}"
    )  # 1e-12: float64's rounding


@checked(leave=("dictionaries", "data", "test", "labels"))
def compare_dictionaries(
    dictionaries: Mapping[str, SparseAutoencoder | Make],
    data: Rows,
    config: TrainConfig | None = None,
    *,
    l0: Positive | None = None,
    seeds: Sequence[Seed] = (0, 1),
    test: Rows | None = None,
    model: LiveModel | None = None,
    inputs: Any = None,
    labels: Int[Tensor, " samples"] | None = None,
    progress: bool = False,
) -> Comparison:
    """Train dictionaries on the same rows, once per seed, and measure all of them on others.

    Costs a training and an evaluation per dictionary and seed. Each is trained alone, so that seconds can
    be compared; of several seeds the fastest counts, because the first one also compiles loops.

    Parameters
    ----------
    dictionaries
        By name. An untrained SAE is rebuilt for every seed, with its settings; a function builds one
        from a seed. A trained or fitted dictionary (`load_sae`, `fit_classical`, `ITDA(…).fit(…)`) is
        measured unchanged, and has no stability and no seconds of its own.
    data, config
        Training data and settings of all; the seed is replaced by each run's.
    l0
        Atoms per row at which all are meant to be: whose L0 is further away than a fifth is marked. It
        is your part to ask each for it (`k=8`, `l0=8.0`). None marks nothing.
    seeds
        Of the start and the order of the rows; with one there is no stability.
    test
        Held-out rows. None: a fifth of the samples of `data` are kept for it.
    model, inputs, labels
        As for `evaluate`, to put each dictionary into the live model too. They must be the samples of
        `test`.

    Returns
    -------
    Comparison
        One row per dictionary; then the first that is trained as it was before training, and random atoms
        (the control of the first report).

    Raises
    ------
    TypeError: If `dictionaries` are neither SAEs nor functions that return them.
    ValueError: If there are none, or data, seeds or model do not fit.

    Example
    -------
    >>> import sae_nb as sn
    >>> x = sn.data.planted_dictionary(12, 12, 400, 2).x
    >>> found = compare_dictionaries(
    ...     {"TopK": sn.TopK(12, 12, 2), "PCA": sn.fit_classical(x, "PCA", 12, k=2)},
    ...     x, sn.TrainConfig(steps=60), l0=2)
    >>> [row.name for row in found.rows]
    ['TopK', 'PCA', 'TopK, untrained', 'random atoms']
    >>> found["TopK"].numbers["r2"] > found["random atoms"].numbers["r2"]
    True
    """
    from sae_nb.training import TrainConfig

    _check_dictionaries(dictionaries)
    every = [int(seed) for seed in seeds]
    if not every:
        raise ValueError("`seeds` must hold at least one seed, got none. Two show stability.")
    config = config or TrainConfig()
    train_on, test_on = held_out(data, test)

    def measured(name: str, done: list[tuple[SparseAutoencoder, float]]) -> ComparedDictionary:
        saes = tuple(sae for sae, _ in done)
        # Seeds need no interval each; a resampled one would cost more than the number.
        how = {"labels": labels, "n_bootstrap": 0, "progress": progress}
        reports = tuple(evaluate(sae, test_on, model, inputs, **how) for sae in saes)  # type: ignore[arg-type]
        numbers = _means(reports)
        numbers["stability"] = stability(saes, n_bootstrap=0).value if len(saes) > 1 else math.nan
        numbers["seconds"] = min(seconds for _, seconds in done)
        return _row(name, numbers, l0, saes=saes, reports=reports)

    rows: list[ComparedDictionary] = []
    before = None
    with ending_with(lambda: _left_by(rows, len(dictionaries))):
        for name, given in dictionaries.items():
            runs = [
                TrainingRun(build=partial(_built, name, given, seed), rows=train_on, seed=seed)
                for seed in (every[:1] if is_trained(given) else every)
            ]
            done = [
                (one.sae.eval(), one.seconds) for one in train_runs(runs, config, progress=progress)
            ]
            for sentence in training_cut_short(done[0][0]):
                warn_caller(f"{name}: {sentence}")
            rows.append(measured(name, done))
            if before is None and not math.isnan(done[0][1]):
                before = name
        if before is not None:
            starts = [_built(before, dictionaries[before], seed) for seed in every]
            for sae, seed in zip(starts, every, strict=True):
                initialised_atoms(sae, train_on, seed)
            rows.append(measured(f"{before}, {UNTRAINED}", [(sae.eval(), 0.0) for sae in starts]))
    return Comparison((*rows, _random(rows[0], l0)), l0)


def _left_by(rows: Sequence[ComparedDictionary], n: int) -> tuple[str, Any]:
    """Tell what an interrupted comparison has left: the dictionaries that are done, without a verdict."""
    trained_saes = {row.name: row.saes for row in rows}
    text = f"The comparison was interrupted: {min(len(rows), n)} of {n} dictionaries are trained and measured. "
    if not rows:
        return text + "Nothing is kept.", None
    return text + (
        "`sn.interrupted()` returns the SAEs by name; pass these in place of untrained ones to go on."
    ), trained_saes


def _check_dictionaries(given: object) -> None:
    if not isinstance(given, Mapping):
        raise TypeError(
            f"`dictionaries` must be a dict by name, got {shown(given)}. Use "
            '{"TopK": sn.TopK(64, 128, 8)}.'
        )
    if not given:
        raise ValueError("`dictionaries` must name at least one dictionary, got none.")
    for name, one in given.items():
        if not isinstance(name, str) or not callable(one) or isinstance(one, type):
            raise TypeError(
                f"`dictionaries[{name!r}]` must be an SAE, or a function of a seed, under a name, got "
                f"{shown(one)}. Use sn.TopK(64, 128, 8)."
            )


def _built(name: str, given: Any, seed: int) -> SparseAutoencoder:
    """Return the dictionary of a seed: an untrained one again, a function's, or what is ready."""
    from sae_nb.architectures import SparseAutoencoder

    if not isinstance(given, SparseAutoencoder):
        built = given(seed)
        if not isinstance(built, SparseAutoencoder):
            raise TypeError(
                f"`dictionaries[{name!r}]` must return a dictionary such as sn.TopK(…), got "
                f"{shown(built)}."
            )
        return built
    return given if is_trained(given) else build_from_seed(type(given), seed, **given.settings())


def _means(reports: Sequence[Report]) -> dict[str, float]:
    measured = [[name for name in group if name in reports[0]] for group in NUMBERS]
    names = [group[0] for group in measured if group]
    return {name: sum(report[name].value for report in reports) / len(reports) for name in names}


def _random(first: ComparedDictionary, l0: float | None) -> ComparedDictionary:
    """Random atoms in the place of the first dictionary's: the controls of its report."""
    report = first.reports[0]
    names = [name for name in first.numbers if name in report]
    controls = {name: report[name].control for name in names}
    numbers = {name: math.nan if value is None else value for name, value in controls.items()}
    return _row(RANDOM, numbers | {"stability": math.nan, "seconds": math.nan}, l0)


def _row(name: str, numbers: dict[str, float], l0: float | None, **more: Any) -> ComparedDictionary:
    at_l0 = l0 is None or not abs(numbers["l0"] - l0) > NEAR * l0
    return ComparedDictionary(name=name, numbers=numbers, at_l0=at_l0, **more)
