"""bench: SAEBench's eight evaluations of one SAE in minutes, each with useful comparisons.

Source: SAEBench, arXiv 2503.09532 [its code, read]; which of its scores can rank SAEs: Chanin,
arXiv 2605.18229 [abstract]. Every score here is better when it is higher.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np

from sae_nb.activations import check_sae
from sae_nb.checks import Seed, at_least, check_path, checked, one_of
from sae_nb.corpora import check_reads, check_row_by_row
from sae_nb.files import read_json, write_bytes, write_json
from sae_nb.findings import Finding
from sae_nb.models import LiveModel, load_model
from sae_nb_studies.uses._bench_rows import BENCH_ROWS, score_of
from sae_nb_studies.uses._bench_tasks import FEWEST_INPUTS, BenchTasks, Material, bundled_tasks

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.architectures import SparseAutoencoder

N_INPUTS = 400
"""Inputs of the bundled tasks."""

BROKEN = ("random", "collapsed", "copied")
"""SAEs that no score should praise: untrained; every atom the same; a sixteenth of the atoms, copied."""

_COLUMNS = ("score", "simple", "oracle", *BROKEN, "reseed_cv")
_JSON, _HTML = "bench.json", "bench.html"


class Bench(Finding):
    """Eight scores of an SAE, each with its oracle, its broken SAEs and its noise; made by `bench`."""

    HEADLINE = "{facts[sae]} · {facts[hook_point]} · {facts[model]} · {facts[tasks]}"

    table: DataFrame
    """A row per evaluation: row, score, simple (what `simple_is` reaches), oracle, random, collapsed,
    copied (broken SAEs), reseed_cv (standard deviation over mean, of other seeds of training and task),
    warning, seconds, reason (why a score is NaN), asks, simple_is. Values that were not recorded are
    NaN.
    """

    details: DataFrame
    """Parts of the scores: row, measure, value."""

    facts: Mapping[str, Any]
    """SAE, model, hook point, inputs and seed."""

    @property
    def below(self) -> tuple[str | DataFrame, ...]:
        """The scores with what they are compared with, and notes on them."""
        shown = self.table[["row", *_COLUMNS, "seconds"]]
        texts = shown.map(
            lambda x: x if isinstance(x, str) else "—" if math.isnan(x) else f"{x:.3f}"
        )
        notes = [(r["row"], r["reason"] or r["warning"]) for r in self.table.to_dict("records")]
        return (texts.set_index("row"), *(f"{row}: {note}" for row, note in notes if note))

    def _repr_html_(self) -> str:
        """Show the scores with the question of each, as on the page that is saved."""
        names = [*_COLUMNS, "seconds"]
        head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in ("row", *names))
        body = "".join(
            f"<tr><td>{_question(row)}</td>"
            + "".join(f"<td>{_cell(name, row)}</td>" for name in names)
            + "</tr>"
            for row in self.table.to_dict("records")
        )
        return (
            f"<table><caption>{escape(self.headline)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )

    def plot(self) -> Any:
        """Draw every score on one axis with what a simpler method, the oracle and the broken SAEs reach."""
        from sae_nb.figures import framed, theme

        table = self.table[::-1]
        names = table["row"] + np.where(table["warning"].str.contains("rank"), " (cannot rank)", "")
        symbols = ("x", "cross", "triangle-down")
        marks: list[tuple[str, str, str, str]] = [
            ("oracle", "oracle", theme.OKABE_ITO[2], "diamond-open"),
            ("simpler method or control", "simple", theme.NOVEL, "circle-open"),
            *((f"{k} SAE", k, theme.CONTROL, symbol) for k, symbol in zip(BROKEN, symbols)),
            ("this SAE", "score", theme.PREDICTED, "circle"),
        ]
        figure = framed((), x="score (higher is better)", height=340, margin=(130, 16, 34, 46))
        for name, column, colour, symbol in marks:
            if column != "score" and table[column].isna().all():
                continue  # not recorded: no name without a mark
            figure.add_scatter(
                name=name,
                x=table[column],
                y=names,
                mode="markers",
                marker={"color": colour, "symbol": symbol, "size": 10},
                hovertemplate="%{y}: %{x:.3f}" + f"<extra>{name}</extra>",
            )
        known = table[[column for _, column, *_ in marks]].to_numpy(float)
        ends = np.nanmin(known, initial=0.0) - 0.04, np.nanmax(known, initial=1.0) + 0.04
        return figure.update_xaxes(range=ends).update_yaxes(type="category")

    @checked
    def save(self, folder: str | Path) -> None:
        """Write bench.json and bench.html into a folder, each in one step.

        Raises
        ------
        FileNotFoundError: If there is no such folder.
        """
        where = check_path(folder, name="folder")
        if not where.is_dir():
            raise FileNotFoundError(
                f"`folder` must be a folder that exists, got {str(folder)!r}. Make it first."
            )
        write_json(where / _JSON, self.to_json())
        write_bytes(where / _HTML, self._page().encode())

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read the bench.json that `save` wrote into a folder; what is null in it is NaN.

        Raises
        ------
        FileNotFoundError, ValueError: If it is not there, or not of a bench.
        """
        path = check_path(folder, name="folder") / _JSON
        content = read_json(path)
        missing = sorted(
            {"facts", "rows", "details"} - set(content if isinstance(content, dict) else ())
        )
        if missing:
            raise ValueError(
                f"{str(path)!r} must be of a bench, but has no {', '.join(missing)}. Save it again."
            )
        table, details = _rows(content["rows"]), _details(content["details"])
        return cls(table=table, details=details, facts=content["facts"])

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data; what is not known is null."""
        rows = [{k: _plain(v) for k, v in r.items()} for r in self.table.to_dict("records")]
        details = [{k: _plain(v) for k, v in r.items()} for r in self.details.to_dict("records")]
        return {"facts": dict(self.facts), "rows": rows, "details": details}

    def _page(self) -> str:
        from sae_nb.figures import to_svg
        from sae_nb.figures.theme import html_page

        return html_page("Benchmark of an SAE", f"{to_svg(self.plot())}{self._repr_html_()}")


def _rows(rows: Sequence[Mapping[str, Any]]) -> DataFrame:
    """Return the table of a bench; unknown numbers are NaN."""
    import pandas as pd

    names = ["row", *_COLUMNS, "warning", "seconds", "reason", "asks", "simple_is"]
    return pd.DataFrame(rows, columns=names).astype(dict.fromkeys((*_COLUMNS, "seconds"), float))


def _details(details: Sequence[Mapping[str, Any]]) -> DataFrame:
    """Return the table of the scores' parts."""
    import pandas as pd

    return pd.DataFrame(details, columns=["row", "measure", "value"]).astype({"value": float})


def _question(row: Mapping[str, Any]) -> str:
    """Name, question and note of a row."""
    note = row["reason"] or row["warning"]
    small = f"<br><small>{escape(note)}</small>" if note else ""
    return f"<b>{escape(row['row'])}</b><br>{escape(row['asks'])}{small}"


def _cell(name: str, row: Mapping[str, Any]) -> str:
    value = row[name]
    text = "—" if math.isnan(value) else f"{value:.1f}" if name == "seconds" else f"{value:.3f}"
    return f"{text}<br><small>{escape(row['simple_is'])}</small>" if name == "simple" else text


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@checked(leave=("model", "tasks"))
def bench(
    sae: SparseAutoencoder,
    model: LiveModel | str | None = None,
    rows: Sequence[str] | None = None,
    tasks: BenchTasks | str | None = None,
    *,
    hook_point: str | None = None,
    n_inputs: Annotated[int, at_least(FEWEST_INPUTS)] = N_INPUTS,
    seed: Seed = 0,
    progress: bool = False,
) -> Bench:
    """Measure an SAE by SAEBench's eight evaluations, small enough for two cores and a few minutes.

    A row that these tasks or this model cannot have is NaN with its reason. Oracle, broken SAEs and the noise
    of other seeds are not measured here: they are shown where they were recorded, and NaN elsewhere.

    Parameters
    ----------
    model
        Model that the SAE reads; a bundled model's name; None: the one that the SAE names.
    rows
        "core", "probing", "absorption", "scr", "tpp", "ravel", "autointerp", "unlearning"; None: all eight.
    tasks
        "stories", "scenes", or your own; None: stories for a language model, scenes for any other.
    hook_point
        Hook point that the SAE reads; None: the SAE's own.
    n_inputs
        Inputs of the bundled tasks, at least 48.
    seed
        Of the bundled tasks, splits and draws.

    Returns
    -------
    Bench
        `.table`, `.details`, `.plot()`, `.save(folder)`, and `Bench.load(folder)`.

    Raises
    ------
    HookPointNotFound: If the model has no such hook point. ValueError: If a row has no such name, the
    model is unknown, or the SAE was trained at another hook point. TypeError: If the tasks are not
    `BenchTasks`.

    Source
    ------
    SAEBench, arXiv 2503.09532. Ours, and therefore not to be compared with its leaderboard: other tasks; RAVEL
    reads attributes with linear probes; auto-interpretation uses rules instead of a language model; absorption
    is turned round and counts an attribute without latents of its own as 0; SCR and TPP choose the number of
    atoms; unlearning takes any two sets of inputs.

    Example
    -------
    >>> import sae_nb as sn
    >>> sae = sn.load_sae("tiny-vit/resid_post.6")
    >>> result = sn.uses.bench(sae, rows=["core", "scr"], n_inputs=48)
    >>> result.table["row"].tolist()
    ['core', 'scr']
    """
    names = list(BENCH_ROWS) if rows is None else [one_of(r, BENCH_ROWS, name="rows") for r in rows]
    if not names:
        raise ValueError("`rows` must name at least one, got none. Pass None for all eight.")
    check_sae(sae)
    check_row_by_row(sae)
    live = _model_of(sae, model)
    point = hook_point or sae.hook_point
    if point is None:
        raise ValueError(
            "`hook_point` must be given for an SAE that does not name one, got None. Pass one of "
            "model.hook_points()."
        )
    place = check_reads(live, sae, str(point))
    own = isinstance(tasks, BenchTasks)
    if tasks is None:
        tasks = "stories" if live.modality.is_text else "scenes"
    if not own:
        one_of(tasks, ("stories", "scenes"), name="tasks")
    task = tasks if own else bundled_tasks(tasks, n_inputs, seed)  # type: ignore[arg-type]
    material = Material(sae, live, str(point), task, seed, progress)  # type: ignore[arg-type]
    known = {} if own or n_inputs != N_INPUTS else _references(live.name, place)
    return _measured(names, material, known, "own tasks" if own else str(tasks))


def _model_of(sae: SparseAutoencoder, model: LiveModel | str | None) -> LiveModel:
    if isinstance(model, LiveModel):
        return model
    name = sae.model_name if model is None else model
    if name is None:
        raise ValueError(
            "`model` must be given for an SAE that does not name one, got None. Pass "
            'sn.load_model(…) or a name such as "tiny-gpt".'
        )
    if not isinstance(name, str):
        raise TypeError(
            f"`model` must be a live model or a name, got {type(name).__name__}. Use sn.load_model or sn.wrap."
        )
    return load_model(name)


def _measured(
    names: Sequence[str], material: Material, known: Mapping[str, Any], tasks: str
) -> Bench:
    rows, details = [], []
    for name in names:
        row, start, beside = BENCH_ROWS[name], time.perf_counter(), known.get(name, {})
        score, reason = score_of(name, material)
        rows.append(
            {
                "row": name,
                "score": score.value,
                "simple": score.simple,
                **{kind: beside.get(kind, np.nan) for kind in ("oracle", *BROKEN, "reseed_cv")},
                "warning": " ".join(filter(None, (row.warning, _no_better(score.value, beside)))),
                "seconds": time.perf_counter() - start,
                "reason": reason,
                "asks": row.asks,
                "simple_is": row.simple,
            }
        )
        details += [{"row": name, "measure": m, "value": v} for m, v in score.details.items()]
    facts = {
        "sae": type(material.sae).__name__,
        "n_atoms": material.sae.n_atoms,
        "model": material.model.name,
        "hook_point": material.hook_point,
        "tasks": tasks,
        "n_inputs": len(material.tasks),
        "seed": material.seed,
    }
    return Bench(table=_rows(rows), details=_details(details), facts=facts)


def _no_better(score: float, beside: Mapping[str, float]) -> str:
    """Return the broken SAEs that score as high; "" if none does, or nothing is known."""
    as_high = [f"{k}, {beside[k]:.3f}" for k in BROKEN if beside.get(k, -np.inf) >= score]
    return f"Broken SAEs score as high here: {'; '.join(as_high)}." if as_high else ""


@cache
def _recorded() -> dict[str, Any]:
    return dict(read_json(Path(__file__).with_name("bench_references.json")))


def _references(model: str, place: str) -> Mapping[str, Any]:
    return dict(_recorded().get(f"{model}/{place}", {}))
