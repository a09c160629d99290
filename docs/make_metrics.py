"""Write docs/metrics.md: what each metric is, where libraries differ, and by how much on one example.

    python docs/make_metrics.py

Every number of the page is computed here; a test computes them again and compares.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.evaluation import (
    Definition,
    Report,
    as_published,
    definition_families,
    explained_variance,
    published_formulas,
)

PAGE = Path(__file__).parent / "metrics.md"
SAE, MODEL, PLACE = "tiny-vit/resid_post.6", "tiny-vit", "resid_post.6"
N_PICTURES = 32
R2 = (
    "r2_pooled",
    "r2_varratio",
    "r2_pertoken",
    "r2_perdim",
    "r2_scalar",
    "ev_saelens618",
    "r2_uncentred",
)
BETTER = {"higher": "higher", "lower": "lower", "one": "close to 1", "none": "neither"}


def data(kind: str) -> tuple[Tensor, Tensor]:
    """Rows and reconstructions with a pooled R² of 0.75, unless `kind` spoils it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 256, generator=generator)
    noise = torch.randn(4000, 256, generator=generator) / 2
    if kind == "mean offset 3σ per dimension":
        x = x + 3 * torch.randn(256, generator=generator)
    if kind == "scaled by 5":
        x, noise = 5 * x, 5 * noise
    if kind == "1 % massive rows":
        x[::100] *= 300
    return x, x + noise + (0.5 if kind == "x̂ biased by 0.5" else 0.0)


KINDS = (
    "zero mean, unit variance",
    "mean offset 3σ per dimension",
    "scaled by 5",
    "1 % massive rows",
    "x̂ biased by 0.5",
)


def r2_rows() -> list[list[str]]:
    """One line per kind of data: every definition of explained variance."""
    rows = []
    for kind in KINDS:
        x, x_hat = data(kind)
        rows.append([kind, *(f"{explained_variance(x, x_hat, d):.3f}" for d in R2)])  # type: ignore[arg-type]
    return rows


def example() -> tuple[Report, list[list[str]]]:
    """The bundled SAE on fresh pictures: our report, and other libraries' numbers for the same."""
    model, sae = sn.load_model(MODEL), sn.load_sae(SAE)
    pictures = sn.data.scenes(N_PICTURES, seed=0, split="test")
    acts = sn.capture(model, pictures.images, PLACE, progress=False)
    report = sn.evaluate(
        sae, acts, model=model, inputs=pictures.images, labels=pictures.digit, n_bootstrap=200
    )
    with torch.no_grad():
        given = {
            "x": acts.x,
            "x_hat": sae(acts.x),
            "codes": sae.encode(acts.x),
            "dictionary": sae.dictionary,
            "other": sae.dictionary.flip(0)
            + 0.02 * torch.randn(sae.dictionary.shape, generator=torch.Generator().manual_seed(0)),
        }
    ours = {m.definition: m.value for m in reversed(list(report.values()))}
    ours["stability_hungarian"] = sn.evaluation.stability(
        [given["dictionary"], given["other"]], n_bootstrap=0
    ).value
    rows = []
    for formula in published_formulas().values():
        value = as_published(formula.id, **{name: given[name] for name in formula.needs})
        instead = (
            "the same" if not formula.ours else f"`{formula.ours}` {_number(ours[formula.ours])}"
        )
        rows.append(
            [f"`{formula.id}`", formula.formula, _number(value), instead, formula.caution or "–"]
        )
    return report, rows


def report_rows(report: Report) -> list[list[str]]:
    """The report as lines."""
    return [
        [name, f"`{m.definition}`", *map(_number, (m.value, m.floor, m.control)), f"{m.n} {m.unit}"]
        for name, m in report.items()
    ]


def definition_tables() -> list[str]:
    """One table per family."""
    pages = []
    for title, family in definition_families().items():
        pages += [f"### {title}", "", _definitions(family.values()), ""]
    return pages


def _definitions(chosen: Iterable[Definition]) -> str:
    rows = [[f"`{d.id}`", d.formula, BETTER[d.better], d.floor, d.differs or "–"] for d in chosen]
    return table(("id", "formula", "better", "floor", "where libraries differ"), rows)


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; bars within cells are escaped."""
    lines = [list(header), ["---"] * len(list(header)), *map(list, rows)]
    return "\n".join(f"| {' | '.join(c.replace('|', '∣') for c in line)} |" for line in lines)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    if math.isnan(value):
        return "undefined"
    return "0" if abs(value) < 1e-9 else f"{value:.3g}"


def page() -> str:
    """The whole page."""
    report, published = example()
    header = ("row", "definition", "value", "floor", "control", "n")
    parts = [
        INTRODUCTION,
        "## Explained variance: one name, seven numbers",
        "",
        "n = 4000, d = 256, noise such that the pooled R² of the first three lines is 0.75. "
        "`explained_variance(x, x_hat, definition)` computes each.",
        "",
        table(("data", *(f"`{d}`" for d in R2)), r2_rows()),
        "",
        TRAPS,
        "## One example, as every library computes it",
        "",
        f"The bundled `{SAE}` on {N_PICTURES} fresh scenes. `as_published(id, …)` computes each; what "
        "compares two dictionaries compares this one with itself, disturbed and in another order.",
        "",
        table(("formula", "what it does", "its number", "ours", "caution"), published),
        "",
        "## The same example in our report",
        "",
        "`sn.evaluate(sae, acts, model=model, inputs=pictures, labels=digits)`",
        "",
        table(header, report_rows(report)),
        "",
        "## Every definition",
        "",
        "e = x − x̂, z the code, d_j atom j, μ the mean row of the whole set, c atoms, d dimensions.",
        "",
        *definition_tables(),
        COSTS,
    ]
    return "\n".join(parts).rstrip() + "\n"


INTRODUCTION = """# Metrics

Made by `python docs/make_metrics.py`; do not edit. A test computes its numbers again.

Every number is a `Measurement`: `value`, `floor` (what the trivial answer reaches), `control` (what random
atoms reach, as many and with the same L0), a bootstrap `interval` over samples (or atoms), `definition` (an
id of this page), `n`, `unit`, and `seconds` where one call made it. `define(id)` gives the record behind an
id. A value without its floor says little: at d = 64 two random dictionaries of 256 atoms have a stability of
0.34.

Rules that hold for all of them: active is z ≠ 0 (codes may be signed); strengths are taken times ‖d_j‖; sums
are pooled over all rows in fp64 and divided once; rows of one text or picture stay together in every split
and every resample; what cannot be measured is NaN ("undefined"), never a lucky 0.
"""

TRAPS = """What to take from it: a scalar mean, or none, counts an offset as explained variance; a
variance ratio forgives a bias; SAELens 6.18's formula depends on the units (and exceeds 1 on the example
below); and no ratio of sums sees past a few massive rows, which is why `fvu_token_median` and
`fvu_trimmed` stand beside R² in every report.
"""

COSTS = """## What costs, and says so first

`evaluate` without a model reads the rows twice and a part of them once more.
Rows on the model's answer appear when `model` and `inputs` are given: five
forward passes per batch. `print(evaluation_cost(sae, acts, model, inputs))` says both in seconds first.
What trains is a call of its own: `stability_trial` (one training per seed),
`frozen_decoder` (one training; `frozen_decoder_cost` measures a few steps and says how long it will take),
`meta_dictionary` (two trainings on the atoms). `stability`, `plausibility`, `identifiability`,
`absorption`, `swallowed` and `stitch` read what is there, and carry their `seconds`.
"""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
