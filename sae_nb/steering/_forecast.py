"""A forecast of pushes: which atoms have a steady effect over inputs, and which spread, told before any push.

Statistics of every atom, from the dictionary and stored codes, foretell what pushing it does: a ridge
regression on atoms that were really pushed, judged on those held out, beside density alone and shuffles.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from sae_nb.atoms._catalogue import AtomCatalogue, known_catalogue
from sae_nb.atoms._foretold import UNKNOWN, Foretold
from sae_nb.checks import Positive, Seed, at_least, check_atom, checked
from sae_nb.findings import Finding
from sae_nb.lenses._head import Head, head_of
from sae_nb.progress import progress_bar
from sae_nb.statistics import rank_correlation
from sae_nb.steering._contexts import random_direction
from sae_nb.steering._push_statistics import DENSITY, P99, push_statistics
from sae_nb.steering._pushes import Push, Pushes

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel

LEAST_FIRED = 5
"""Rows in which an atom must fire to be foretold; fewer say little about it. Ours."""

LEAST_PUSHED = 20
"""Atoms from which a forecast is fitted."""

LEAST_RANK = 0.3
"""Held-out rank correlation from which anything is foretold, if it also beats every shuffle. Ours."""

N_SPLITS, N_FOLDS, N_SHUFFLES, N_RANDOM = 5, 6, 20, 8
"""Repeated folds; shuffles of what came, the control; random directions pushed, the floor."""

TEXT_LENGTH = 24
"""Tokens of a text that are read."""

PENALTIES = np.logspace(-2, 3, 12)
OUTCOMES = ("stability", "spread")


class Forecast(Finding):
    """What pushing each atom is expected to do, how far that can be trusted, and what came of some pushes."""

    table: DataFrame
    """A row per atom: says ("steady", "depends on the text", "spreads"), stability (mean cosine of the changes
    of two inputs' log-probabilities, pushed by its p99) and spread (outcomes whose probability changes, at
    equal KL) as foretold, of an atom that was pushed by the others alone; came_stability, came_spread, kl (by
    which its p99 moves the answers), push (multiple of the unit atom that reaches the equal KL) of atoms that
    were pushed; then its statistics before any push."""

    fits: DataFrame
    """A row for stability and for spread: rank (held-out rank correlation), by density, by p99 (the same by
    that column alone), shuffled (the largest of 20 shuffles), upper and lower (mean of what came of the third
    foretold highest, and lowest), mean (of all), random (of random directions, as long as the median p99 or at
    equal KL), error (root of the mean squared error, held out), foretold (whether it can be told here)."""

    facts: dict[str, Any]
    """SAE, hook point, atoms pushed and those that could not reach the KL, inputs, target KL, seed."""

    by_atom: Foretold
    """The same as panels and cards show it."""

    @property
    def headline(self) -> str:
        """What can be foretold, by how many pushed atoms, next to density alone and the control."""
        facts = self.facts
        if not facts["pushed"]:
            return f"statistics of {len(self.table)} atoms: nothing was pushed or foretold"
        said = []
        for name, row in self.fits.iterrows():
            if not row["foretold"]:
                said.append(f"{name} {UNKNOWN} (rank correlation {row['rank']:.2f})")
                continue
            alone = f"density alone {row['by density']:.2f}, p99 alone {row['by p99']:.2f}"
            said.append(
                f"{name}: held-out rank correlation {row['rank']:.2f} ({alone}, shuffled at most "
                f"{row['shuffled']:.2f})"
            )
        return (
            f"{len(self.table)} atoms from {facts['pushed']} pushed in {facts['inputs']} "
            f"{facts['input_word']}s, by their p99 and at KL {facts['target_kl']:g}; {'; '.join(said)}"
        )

    def sentence(self, atom: int) -> str:
        """Return what is foretold of an atom in words and numbers, and what came, as cards have it."""
        return self.by_atom.sentence(atom)

    @property
    def steadiest(self) -> DataFrame:
        """The table, the steadiest first."""
        return self.table.sort_values("stability", ascending=False, kind="stable")


@checked(leave=("model", "sae", "acts"))
def forecast(
    model: LiveModel | None,
    sae: SparseAutoencoder,
    atoms: Sequence[int] | None = None,
    *,
    acts: Activations | Tensor | AtomCatalogue | None = None,
    inputs: Inputs | None = None,
    hook_point: str | None = None,
    n_pushed: Annotated[int, at_least(0)] = 100,
    n_inputs: Annotated[int, at_least(2)] = 12,
    target_kl: Positive = 0.1,
    folder: str | Path | None = None,
    seed: Seed = 0,
    progress: bool = True,
) -> Forecast:
    """Foretell how steady the effect of each atom is over inputs, and how far it spreads, before it is pushed.

    Every atom's statistics come from the dictionary and one pass over stored codes. A sample of atoms is
    pushed: each by its own p99, where it is seen how steady it is, and by what moves the answers by `target_kl`
    nats, where spread is compared. A ridge regression is fitted on these and judged on atoms that it has not
    seen; where it does not beat every shuffle, "cannot be foretold here" is the answer.
    Panels and cards of the SAE say what was foretold from then on.

    Parameters
    ----------
    model
        Must answer with scores. None: statistics alone, nothing is foretold.
    atoms
        Those of the table; None: all that fire in five rows or more. Any of the SAE's may be pushed.
    acts
        Rows for the statistics. None takes the examples of a pretrained SAE.
    inputs
        Texts or images in which atoms are pushed, two or more; None draws `n_inputs` of those behind `acts`, of
        a text its first 24 tokens.
    hook_point
        Where atoms are pushed; None: where the SAE reads.
    n_pushed
        Atoms drawn to be pushed, a few passes over the inputs each; from 20 on others can be foretold.
    folder
        Keeps what was foretold next to the SAE's files, for later sessions.
    seed
        Of the atoms, the inputs, random directions and folds.

    Raises
    ------
    TypeError, ValueError: If arguments do not fit, no atom fires, or answers are states.

    Source
    ------
    "Pre-Intervention Prediction of Sparse Autoencoder Steering Side Effects", arXiv 2606.08365 (abstract), for
    the kinds of statistics. Both pushes and measures, the shuffles and the floor are ours.

    Example
    -------
    >>> import sae_nb as sn
    >>> vit, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    >>> found = forecast(vit, sae, [3, 17], n_pushed=2, n_inputs=2, progress=False)
    >>> found.table["says"].tolist()  # two pushed atoms tell nothing about others
    ['cannot be foretold here', 'cannot be foretold here']
    """
    import pandas as pd

    catalogue = acts if isinstance(acts, AtomCatalogue) else None
    if catalogue is None:
        catalogue = known_catalogue(sae) if acts is None else AtomCatalogue(sae, cast(Any, acts))
    able = np.flatnonzero(catalogue.n_fired >= LEAST_FIRED)
    if not len(able):
        raise ValueError(
            f"`acts` must be rows in which some atom fires {LEAST_FIRED} times or more, and none of "
            f"{catalogue.n_atoms} does in {catalogue.n_rows} rows. Pass more rows."
        )
    asked = able if atoms is None else np.array([check_atom(one, sae.n_atoms) for one in atoms])
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.permutation(able)[: n_pushed if model is not None else 0])
    place = str(hook_point or getattr(sae, "hook_point", None) or catalogue.acts.hook_point)
    pushes = None
    if model is not None and len(drawn):
        drawn_inputs = _drawn_inputs(catalogue, n_inputs, rng) if inputs is None else inputs
        pushes = Pushes(model, drawn_inputs, place, target_kl)
    rows = np.union1d(asked, able)
    statistics = push_statistics(catalogue, sae.dictionary, rows, _head_of(pushes))
    came, random = _pushed(pushes, sae, drawn, catalogue.p99[drawn], seed, progress)
    fits = {name: _fit(statistics, came[name].dropna(), random[name], seed) for name in OUTCOMES}
    by_atom = _by_atom(fits, came, able, catalogue.n_atoms, pushes, catalogue)
    by_atom.keep(sae, folder)
    told = {name: getattr(by_atom, name)[asked] for name in OUTCOMES}
    says = {"says": [by_atom.words(int(atom)) for atom in asked]}
    table = pd.DataFrame(says | told, index=pd.Index(asked, name="atom"))
    table = table.join(came.rename(columns={name: f"came_{name}" for name in OUTCOMES}))
    return Forecast(
        table=table.join(statistics),
        fits=pd.DataFrame({name: fit.row for name, fit in fits.items()}).T,
        facts={
            "hook_point": place,
            "pushed": len(drawn),
            "out of reach": int(came["spread"].isna().sum()),
            "inputs": by_atom.n_inputs,
            "input_word": by_atom.input_word,
            "target_kl": target_kl,
            "rows": catalogue.n_rows,
            "seed": seed,
        },
        by_atom=by_atom,
    )


def _drawn_inputs(
    catalogue: AtomCatalogue, n: int, rng: np.random.Generator
) -> list[list[int]] | Tensor:
    """Draw texts, of each its beginning, or images of those behind the rows."""
    context = catalogue.acts.context
    order = rng.permutation(np.unique(catalogue.samples)).tolist()
    if context.token_ids is not None:
        texts = [context.token_ids.sample(i).tolist()[:TEXT_LENGTH] for i in order]
        texts = sorted(texts, key=lambda text: -len(text))[
            :n
        ]  # as drawn, where all are long enough
        found: list[list[int]] | Tensor = [text for text in texts if len(text) > 1]
    else:
        found = [] if context.pictures is None else context.pictures[order[:n]]
    if len(found) < 2:
        raise ValueError(
            "`inputs` must be given where activations keep no two texts or images, got None and "
            f"{catalogue.acts!r:.80}. Pass texts or images of the model."
        )
    return found


def _head_of(pushes: Pushes | None) -> Head | None:
    """The way from directions to outcomes, where the model answers by a norm and a projection."""
    if pushes is not None:
        with suppress(
            ValueError, RuntimeError, TypeError, LookupError
        ):  # such as one of several norms
            return head_of(pushes.answers.model, pushes.answers.batches[0])
    return None


def _pushed(
    pushes: Pushes | None,
    sae: SparseAutoencoder,
    atoms: Int[np.ndarray, " n"],
    p99: Float[np.ndarray, " n"],
    seed: int,
    progress: bool,
) -> tuple[DataFrame, dict[str, float]]:
    """Push atoms, a row each, by their p99; and random directions by its median, of which means."""
    import pandas as pd

    found: list[Push] = []
    if pushes is not None:
        unit = normalize(sae.dictionary.detach().float(), dim=1)
        ways = [unit[int(atom)] for atom in atoms]
        ways += [random_direction(sae.d_in, seed + i) for i in range(N_RANDOM)]
        lengths = [*p99.tolist(), *[float(np.median(p99))] * N_RANDOM]
        with progress_bar(len(ways), "pushing atoms", "push", enabled=progress) as bar:
            for way, length in zip(ways, lengths, strict=True):
                found.append(pushes.push(way, length))
                bar.update(1)
    rows = [(one.stability, one.spread, one.kl, one.amount) for one in found]
    columns = [*OUTCOMES, "kl", "push"]
    index = pd.Index(atoms, name="atom")
    came = pd.DataFrame(rows[: len(atoms)], index=index, columns=columns, dtype=float)
    random = pd.DataFrame(rows[len(atoms) :], columns=columns, dtype=float).mean()
    return came, random.to_dict()


# -------------------------------------------------------------------------------------------------
# The fit, and how far it can be trusted.


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """One of the outcomes as it is foretold of every atom with statistics."""

    foretold: Series
    """By atom: of pushed atoms by the others alone; all NaN where it cannot be told."""

    row: dict[str, Any]


def _fit(statistics: DataFrame, came: Series, random: float, seed: int) -> _Fit:
    """Fit a ridge regression to what came, and judge it by folds."""
    nothing = statistics[DENSITY] * np.nan
    judged = ("rank", "by density", "by p99", "shuffled", "upper", "lower", "error")
    row: dict[str, Any] = dict.fromkeys(judged, np.nan)
    row |= {"mean": float(came.mean()), "random": random, "foretold": False}
    if len(came) < LEAST_PUSHED:
        return _Fit(foretold=nothing, row=row)
    x, y = statistics.loc[came.index], came.to_numpy()

    def held_out(columns: list[str], y: np.ndarray, split: int) -> Float[np.ndarray, " n"]:
        return _held_out(x[columns].to_numpy(), y, seed + split)

    every = list(statistics)
    splits = [held_out(every, y, i) for i in range(N_SPLITS)]
    row["rank"] = float(np.mean([_rank(one, y) for one in splits]))
    for name in (DENSITY, P99):
        alone = [_rank(held_out([name], y, i), y) for i in range(N_SPLITS)]
        row[f"by {name}"] = float(np.mean(alone))
    rng = np.random.default_rng(seed)
    shuffles = [rng.permutation(y) for _ in range(N_SHUFFLES)]
    row["shuffled"] = max(_rank(held_out(every, one, i), one) for i, one in enumerate(shuffles))
    held = np.mean(splits, axis=0)
    order = np.argsort(held, kind="stable")
    third = len(order) // 3
    row["lower"], row["upper"] = float(y[order[:third]].mean()), float(y[order[-third:]].mean())
    row["foretold"] = row["rank"] > max(row["shuffled"], LEAST_RANK)
    if not row["foretold"]:
        return _Fit(foretold=nothing, row=row)
    row["error"] = float(np.sqrt(np.mean((held - y) ** 2)))
    told = nothing.copy()
    told[:] = _ridge(len(y)).fit(x.to_numpy(), y).predict(statistics.to_numpy())
    told.loc[came.index] = held
    return _Fit(foretold=told, row=row)


def _ridge(n: int) -> Any:
    """Ridge regression on ranks, brought to a normal distribution; the penalty by leave-one-out."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer

    ranks = QuantileTransformer(
        n_quantiles=min(60, n), output_distribution="normal", random_state=0
    )
    return make_pipeline(ranks, RidgeCV(PENALTIES))


def _held_out(
    x: Float[np.ndarray, "n columns"], y: Float[np.ndarray, " n"], seed: int
) -> Float[np.ndarray, " n"]:
    """What is foretold of each atom by the atoms of other folds."""
    from sklearn.model_selection import KFold, cross_val_predict

    folds = KFold(N_FOLDS, shuffle=True, random_state=seed)
    fewest = len(y) - -(-len(y) // N_FOLDS)
    found: np.ndarray = cross_val_predict(_ridge(fewest), x, y, cv=folds)
    return found


def _rank(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Rank correlation; 0 where one of both is constant: nothing was told apart."""
    return rank_correlation(a, b, undefined=0.0)


def _by_atom(
    fits: dict[str, _Fit],
    came: DataFrame,
    able: Int[np.ndarray, " m"],
    n_atoms: int,
    pushes: Pushes | None,
    catalogue: AtomCatalogue,
) -> Foretold:
    """Write what was found by the number of every atom."""

    def of_all(values: Series, among: np.ndarray) -> Float[np.ndarray, " n_atoms"]:
        out = np.full(n_atoms, np.nan)
        out[among] = values.loc[among]
        return out

    pushed = came.index.to_numpy()
    told = {name: of_all(fit.foretold, able) for name, fit in fits.items()}
    third = came.quantile([1 / 3, 2 / 3])
    return Foretold(
        **told,
        **{f"came_{name}": of_all(came[name], pushed) for name in OUTCOMES},
        errors=(fits["stability"].row["error"], fits["spread"].row["error"]),
        ranks=(fits["stability"].row["rank"], fits["spread"].row["rank"]),
        thirds=(*third["stability"], third["spread"].iloc[1]),
        n_pushed=len(came),
        n_inputs=0 if pushes is None else pushes.answers.n,
        input_word=catalogue.acts.context.sample_word,
    )
