"""sweep: several architectures, settings and seeds, trained on one pass over the activations.

All SAEs of a group see the same batches in the same order, so differences are theirs. Each is then
measured on held-out rows, with its floor and its random control.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.activations import Activations
from sae_nb.architectures import ARCHITECTURES, SparseAutoencoder
from sae_nb.checks import Count, Seed, check_count, checked, shown
from sae_nb.classical import METHODS, fit_classical
from sae_nb.evaluation import Report, evaluate, stability
from sae_nb.evaluation.trainings import TrainingRun, build_from_seed, held_out, train_runs
from sae_nb.files._atomic import check_seal, json_object, sealed, write_json
from sae_nb.files._exchange import remove_folder
from sae_nb.files._locks import holding_folder
from sae_nb.findings import Finding
from sae_nb.interrupts import ending_with
from sae_nb.pretrained import load_sae
from sae_nb.training import TrainConfig
from sae_nb.training._sources import fingerprint

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel


KIND, FILE = "sweep", "sweep.json"
UNDER_WAY = "under-way"
"""Folder of the trainings that are not done yet."""

SHOWN = ("r2", "l0", "dead_fraction", "ce_recovered", "accuracy_recovered")


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """One SAE of a sweep, what it was made with, and what it is worth."""

    architecture: str
    settings: dict[str, Any]
    seed: int
    measured: dict[str, float]
    """Numbers on held-out rows by name; "r2_floor" and "r2_control" are with "r2"."""

    sae: SparseAutoencoder

    @property
    def name(self) -> str:
        """Architecture, settings and seed in a few words."""
        return _name(self.architecture, self.settings, self.seed)


class Sweep(Finding, kw_only=False):
    """The SAEs of a sweep with their numbers."""

    HEADLINE = "{share}SAEs"

    rows: tuple[SweepRow, ...]
    """In the order asked for."""

    asked: int | None = None
    """SAEs that were asked for, where the sweep was interrupted and some are missing; else None."""

    @property
    def share(self) -> str:
        """The number of SAEs there are, and of those asked for, in words."""
        return f"{len(self.rows)} " + (f"of {self.asked} " if self.asked is not None else "")

    @property
    def saes(self) -> list[SparseAutoencoder]:
        """The trained SAEs, in the order of the rows."""
        return [row.sae for row in self.rows]

    @property
    def table(self) -> pd.DataFrame:
        """One line per SAE."""
        import pandas as pd

        lines = [
            {"architecture": r.architecture, **r.settings, "seed": r.seed, **r.measured}
            for r in self.rows
        ]
        return pd.DataFrame(lines)

    @property
    def summary(self) -> pd.DataFrame:
        """One line per architecture and setting: mean and standard deviation over seeds.

        "stability" is the mean matched cosine between the dictionaries of its seeds.
        """
        import pandas as pd

        groups: dict[str, list[SweepRow]] = {}
        for row in self.rows:
            groups.setdefault(_name(row.architecture, row.settings, None), []).append(row)
        return pd.DataFrame([_over_seeds(rows) for rows in groups.values()])

    @property
    def below(self) -> tuple[pd.DataFrame]:
        """The means over seeds."""
        return (self.summary,)


@checked(leave=("settings", "data"))
def sweep(
    data: Activations | Float[Tensor, "n d_in"],
    architectures: Sequence[str | type[SparseAutoencoder]] = ("TopK",),
    *,
    n_atoms: int | Sequence[int],
    settings: Mapping[str, Sequence[Any]] | None = None,
    seeds: Sequence[Seed] = (0, 1, 2),
    config: TrainConfig | None = None,
    test: Activations | Float[Tensor, "m d_in"] | None = None,
    model: LiveModel | None = None,
    inputs: Inputs | None = None,
    labels: Any = None,
    at_once: Count = 12,
    folder: str | Path | None = None,
    progress: bool = True,
) -> Sweep:
    """Train and measure every combination of architecture, size, setting and seed.

    Parameters
    ----------
    data, test
        Activations to train on; held-out rows, None: a fifth of the samples of `data`.
    architectures
        Names ("TopK", "JumpReLU", …) or classes; "PCA", "KMeans", "NMF", "SemiNMF", "ConvexNMF" and
        "ArchetypalAnalysis" are fitted to the same rows.
    n_atoms
        Size of the dictionaries, or several.
    settings
        Values to try by constructor argument, such as {"k": [8, 16], "sparsity": [0.01]}; each
        architecture takes those it has.
    seeds
        Of the first weights; three at least if a difference is to be believed.
    config
        Shared by all; its seed orders the rows. None is `TrainConfig()`.
    model, inputs, labels
        As for `evaluate`, to splice each SAE into the model too.
    at_once
        SAEs trained on one pass; more need more memory.
    folder
        Where SAEs and numbers are kept as they are done, with the steps of the training under way; the same
        call then continues where it was killed or interrupted.

    Raises
    ------
    TypeError, ValueError: If an architecture is unknown, a setting is of none of them, or data or folder do
        not fit.

    Example
    -------
    >>> x = torch.randn(400, 8, generator=torch.Generator().manual_seed(0))
    >>> swept = sweep(x, n_atoms=16, settings={"k": [2, 4]}, seeds=(0, 1),
    ...               config=TrainConfig(steps=20), progress=False)
    >>> len(swept.saes), list(swept.summary["k"])
    (4, [2, 4])
    """
    wanted = list(
        _combinations(architectures, n_atoms, {} if settings is None else settings, seeds)
    )
    config = config or TrainConfig()
    if config.checkpoint is not None:
        raise ValueError(
            "`config.checkpoint` must be None in a sweep, which keeps its own. Use folder=…"
        )
    train_on, test_on = held_out(data, test)
    plain = {name: value for name, value in config.to_json().items() if name != "device"}
    identity: dict[str, Any] = {"data": fingerprint(train_on), "config": plain}
    identity |= {"test": fingerprint(test_on), "model": None if model is None else model.name}
    with _alone(folder):
        store = _Store(folder, identity)
        measure = {"model": model, "inputs": inputs, "labels": labels, "n_bootstrap": 0}
        todo = [one for one in wanted if _name(*one) not in store.done]
        runs = [TrainingRun(build=partial(_built, train_on, *one), rows=train_on) for one in todo]
        with ending_with(lambda: store.so_far(wanted)), store.training(todo) as checkpoint:
            done = train_runs(
                runs, config, at_once=at_once, progress=progress, checkpoint=checkpoint
            )
            for one, run in zip(todo, done, strict=True):
                store.keep(one, run.sae, _numbers(evaluate(run.sae, test_on, **measure)))
        return Sweep(tuple(store.done[_name(*one)] for one in wanted))


def _alone(folder: str | Path | None) -> AbstractContextManager[None]:
    """Hold the folder, so that two sweeps never write into each other."""
    if folder is None:
        return nullcontext()
    refusal = (
        f"`folder` must be written by one sweep at a time, but another one is at work in "
        f"{str(folder)!r}. Wait for it, or choose another folder."
    )
    return holding_folder(Path(folder), refusal)


Wanted = tuple[str, dict[str, Any], int]


def _combinations(
    architectures: Sequence[str | type[SparseAutoencoder]],
    n_atoms: int | Sequence[int],
    settings: Mapping[str, Sequence[Any]],
    seeds: Sequence[int],
) -> Iterator[Wanted]:
    names = [one if isinstance(one, str) else getattr(one, "__name__", "") for one in architectures]
    # Rows of a sweep are of one hook point.
    two_sites = {n for n, a in ARCHITECTURES.items() if "d_out" in inspect.signature(a).parameters}
    offered = [*(n for n in ARCHITECTURES if n not in two_sites), *METHODS]
    for name in names:
        if name not in offered:
            among = ", ".join(offered)
            raise ValueError(
                f"`architectures` must be among {among}, got {name or architectures!r}."
            )
    sizes = [n_atoms] if isinstance(n_atoms, int) else list(n_atoms)
    known = {
        name: {"k"} if name in METHODS else set(inspect.signature(ARCHITECTURES[name]).parameters)
        for name in names
    }
    _check_settings(settings, known, seeds)
    for name, size in itertools.product(names, sizes):
        own = {key: values for key, values in settings.items() if key in known[name]}
        for values in itertools.product(*own.values()):
            chosen = {"n_atoms": check_count(size, name="n_atoms"), **dict(zip(own, values))}
            for seed in seeds:
                yield name, chosen, int(seed)


def _check_settings(
    settings: Mapping[str, Sequence[Any]], known: Mapping[str, set[str]], seeds: Sequence[int]
) -> None:
    if not known or not seeds:
        raise ValueError(
            "`architectures` and `seeds` must not be empty. Name one of each at least."
        )
    if not isinstance(settings, Mapping):
        raise TypeError(
            f"`settings` must be a dict of lists by constructor argument, got {shown(settings)}. Use "
            "{'k': [4, 8]}."
        )
    for name, values in settings.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise TypeError(
                f"`settings[{name!r}]` must be a list of values to try, got {values!r}. Use "
                f"{{{name!r}: [{values!r}]}}."
            )
        if not any(name in own for own in known.values()):
            raise ValueError(
                f"`settings` must name constructor arguments of {', '.join(known)}, got {name!r}."
            )


def _built(
    data: Activations, name: str, settings: Mapping[str, Any], seed: int
) -> SparseAutoencoder:
    if name in METHODS:
        chosen: Any = name
        return fit_classical(data, chosen, **settings, seed=seed)
    return build_from_seed(ARCHITECTURES[name], seed, int(data.d_in), **settings)


def _numbers(report: Report) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for name, measurement in report.items():
        numbers[name] = measurement.value
        if name == "r2" and measurement.floor is not None and measurement.control is not None:
            numbers["r2_floor"], numbers["r2_control"] = measurement.floor, measurement.control
    return numbers


def _over_seeds(rows: list[SweepRow]) -> dict[str, Any]:
    shown = [name for name in SHOWN if name in rows[0].measured]
    line: dict[str, Any] = {"architecture": rows[0].architecture, **rows[0].settings}
    line["seeds"] = len(rows)
    for name in shown:
        values = torch.tensor([row.measured[name] for row in rows], dtype=torch.float64)
        line[name] = float(values.mean())
        line[f"{name}_sd"] = float(values.std()) if len(rows) > 1 else float("nan")
    line["r2_control"] = sum(row.measured["r2_control"] for row in rows) / len(rows)
    if len(rows) > 1:
        line["stability"] = stability([row.sae for row in rows]).value
    return line


def _name(architecture: str, settings: Mapping[str, Any], seed: int | None) -> str:
    words = [architecture, *(f"{key}={value}" for key, value in sorted(settings.items()))]
    return " ".join([*words, *([] if seed is None else [f"seed={seed}"])])


class _Store:
    """Finished runs, in memory and, if a folder is given, on disk."""

    def __init__(self, folder: str | Path | None, identity: dict[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        self.identity = json.loads(json.dumps(identity))
        self.done: dict[str, SweepRow] = {}
        if self.folder is not None and (self.folder / FILE).is_file():
            self._read(self.folder)

    def so_far(self, wanted: Sequence[Wanted]) -> tuple[str, Sweep | None]:
        """Tell what an interrupted sweep has left, and return the SAEs that are done."""
        done = tuple(self.done[_name(*one)] for one in wanted if _name(*one) in self.done)
        text = f"The sweep was interrupted: {len(done)} of {len(wanted)} SAEs are trained and measured. "
        if done:
            text += "`sn.interrupted()` returns them. "
        if self.folder is None:
            text += "Pass folder=, and the same call goes on from there next time."
        else:
            text += f"The same call goes on where it stopped ({str(self.folder)!r})."
        return text, Sweep(done, len(wanted)) if done else None

    @contextmanager
    def training(self, todo: Sequence[Wanted]) -> Iterator[Callable[[int], Path] | None]:
        """Give the folder in which the pass that begins with a run keeps its steps; removed at the end."""
        if self.folder is None:
            yield None
            return
        under_way = self.folder / UNDER_WAY
        yield lambda first: under_way / _place(_name(*todo[first]))
        if under_way.is_dir():  # not where all was done before, or nothing was left to train
            remove_folder(under_way)
        # An interrupt may come while one is removed; this sweep alone holds the folder.
        for left in self.folder.glob(f".{UNDER_WAY}.*.partial"):
            shutil.rmtree(left, ignore_errors=True)

    def keep(self, one: Wanted, sae: SparseAutoencoder, measured: dict[str, float]) -> None:
        architecture, settings, seed = one
        row = SweepRow(
            architecture=architecture, settings=settings, seed=seed, measured=measured, sae=sae
        )
        self.done[row.name] = row
        if self.folder is not None:
            sae.save(self.folder / _place(row.name))
            write_json(self.folder / FILE, sealed(self._stated()))

    def _stated(self) -> dict[str, Any]:
        names = ("architecture", "settings", "seed")
        rows = [
            # JSON has no NaN: a number that is undefined is left out.
            {name: getattr(row, name) for name in names}
            | {"measured": {n: v for n, v in row.measured.items() if v == v}}
            for row in self.done.values()
        ]
        return {"kind": KIND, "version": 1, "identity": self.identity, "rows": rows}

    def _read(self, folder: Path) -> None:
        stated = json_object(folder / FILE)
        if stated.get("kind") != KIND:
            raise ValueError(f"{str(folder / FILE)!r} must be of a sweep. Choose another folder.")
        stated = check_seal(folder / FILE, stated)
        same = {
            name: self.identity.get(name) for name in stated["identity"]
        }  # older ones name fewer
        if stated["identity"] != same:
            raise ValueError(
                f"{str(folder)!r} must hold a sweep of the same data, test rows, model and config, and "
                "holds another. Choose a new folder."
            )
        for facts in stated["rows"]:
            name = _name(facts["architecture"], facts["settings"], facts["seed"])
            self.done[name] = SweepRow(**facts, sae=load_sae(folder / _place(name)))


def _place(name: str) -> str:
    """A folder name that any file system takes, and no two rows share."""
    words = "".join(c if c.isalnum() else "-" for c in name)[:60]
    return f"{words}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
