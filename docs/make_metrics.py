"""Write docs/metrics.json: how far the metrics of libraries differ on one example; docs/metrics.md shows it.

    python docs/make_metrics.py

A test computes every number again and compares.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.evaluation import Report, as_published, explained_variance, published_formulas
from sae_nb.files import write_json

KEPT = Path(__file__).parent / "metrics.json"
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


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    if math.isnan(value):
        return "undefined"
    return "0" if abs(value) < 1e-9 else f"{value:.3g}"


def tables() -> dict[str, list[list[str]]]:
    """The page's tables by name, each with its header."""
    report, published = example()
    instead = ["formula", "what it does", "its number", "ours", "caution"]
    rows = ["row", "definition", "value", "floor", "control", "n"]
    return {
        "r2": [["data", *(f"`{d}`" for d in R2)], *r2_rows()],
        "published": [instead, *published],
        "report": [rows, *report_rows(report)],
    }


if __name__ == "__main__":
    write_json(KEPT, tables())
