"""What is read off a panel or a slider, computed from the cells above the question."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jupytext
import numpy as np
import pandas as pd
import pytest
import torch
from sae_nb_lessons import exercise
from sae_nb_lessons.studies import own_sae

import sae_nb as sn
from sae_nb.figures.theme import format_number

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
TABLES = partial(
    pd.option_context,
    *("display.float_format", None, "display.precision", 6, "display.max_colwidth", 50),
)
"""How tables look is set by a lesson for its own kernel."""


def cells_before(notebook: str, id: str) -> dict[str, Any]:
    """Run the cells of a notebook up to a question, without its exercises, and return their names."""
    names: dict[str, Any] = {}
    for cell in jupytext.read(NOTEBOOKS / f"{notebook}.py").cells:
        if f'exercise("{id}")' in cell.source:
            return names
        if cell.cell_type == "code" and "exercise" not in cell.metadata.get("tags", ()):
            with TABLES():
                exec(compile(cell.source, notebook, "exec"), names)
    raise AssertionError(f"{notebook} does not ask {id}")


def steps_until_nothing_is_left(shown: dict[str, Any]) -> int:
    shown["stepper"].wait()
    return int((np.asarray(shown["stepper"].steps[0].residual_norms) < 1e-4).argmax())


def swings(figure: Any) -> int:
    return int((np.diff(np.sign(np.asarray(figure.data[0].y))) != 0).sum())


def events_that_are_not_there(row: Any) -> float:
    return float(row["events"] * (1 - row["precision"]))


def beyond_random(shown: dict[str, Any]) -> float:
    """26.2: the first row's effect, over what a random direction reaches at most."""
    shown["lens"].wait()
    used = shown["lens"].summary.used
    first = int(used.attribution.argmax())
    return float(used.attribution[first] / used.control[first])


def as_dark_as_before(shown: dict[str, Any]) -> str:
    """29.3: of the full stop after the first “rabbit” and the first “was”, where more of the change is left."""
    shown["panel"].wait()
    text = shown["panel"].reading
    at = {
        "full stop": text.tokens.index(" rabbit") + 1,
        "was": text.tokens.index(" was"),
    }
    assert text.tokens[at["full stop"]] == "."
    return max(at, key=lambda token: text.left[at[token]] / text.kl[at[token]])


def ours_or_the_toolkits(shown: dict[str, Any]) -> str:
    """02.8: R² on images that neither saw, of the loop as it is asked for."""
    ours = own_sae(shown["x"], 512, 20, 800, cooled=False).r2(shown["held_out"].x)
    assert abs(shown["report"].r2.value - ours) < 0.01
    return "the toolkit's" if shown["report"].r2.value > ours else "ours"


def strength_at_a_quarter(shown: dict[str, Any]) -> float:
    """05.1: what the panel's sentence says of the strength that it found, in the places that it shows."""
    panel = shown["steering"]
    panel.target_kl = 0.25
    panel.wait()
    return float(format_number(panel.strength))


SHOWN: list[tuple[str, str, Callable[[dict[str, Any]], object]]] = [
    ("02_write_your_own_sae", "02.8", ours_or_the_toolkits),
    ("05_steering", "05.1", strength_at_a_quarter),
    ("06_the_lens", "06.2", lambda s: s["lens"].read_both(s["text"])[1].settles[-3]),
    ("12_hierarchy", "12.2", steps_until_nothing_is_left),
    ("19_transcoders", "19.3", lambda s: s["reports"][0]["ce_recovered_mean"].control),
    (
        "20_crosscoders",
        "20.2",
        lambda s: max(s["runs"], key=lambda name: s["runs"][name].wait().history[-1].r2),
    ),
    (
        "21_reading_a_corpus",
        "21.3",
        lambda s: s["found"].table.loc[(s["found"].table.a - s["found"].table.b).idxmax()].label,
    ),
    ("26_attribution_and_maco", "26.2", beyond_random),
    ("29_what_did_fine_tuning_change", "29.3", as_dark_as_before),
    (
        "lab_01_landmarks",
        "lab_01.4",
        lambda s: f"{max(s['maps'], key=lambda cost: float(np.mean(s['maps'][cost].l0))):g}",
    ),
    (
        "lab_02_similarity",
        "lab_02.4",
        lambda s: min(n for n, one in s["tilings"].items() if one.residual < 0.05),
    ),
    ("lab_03_waves", "lab_03.4", lambda s: min(s["drawn"], key=lambda n: swings(s["drawn"][n]))),
    (
        "lab_04_events",
        "lab_04.4",
        lambda s: f"{float(s['table'].apply(events_that_are_not_there, axis=1).idxmax()):g}",
    ),
    (
        "lab_05_anomalies",
        "lab_05.4",
        lambda s: float(s["found"].widths[s["moments"][0]] / s["found"].widths[s["moments"][-1]]),
    ),
    (
        "lab_06_error_bars",
        "lab_06.4",
        lambda s: (
            f"{round(100 * max(s['rows'], key=lambda n: s['rows'][n]['mean sd of the twelve']) / 256)}%"
        ),
    ),
    (
        "lab_07_momentum",
        "lab_07.4",
        lambda s: next(
            gamma
            for gamma, drawn in s["drawn"].items()
            if abs(max(drawn.data[0].y) / min(drawn.data[0].y) - 3) < 1e-3
        ),
    ),
    (
        "lab_08_orbits",
        "lab_08.4",
        lambda s: len(
            {
                (round(x, 2) + 0.0, round(y, 2) + 0.0)
                for x, y in zip(*(s["drawn"]["flip"].data[1][side] for side in "xy"), strict=True)
            }
        ),
    ),
    (
        "lab_09_signatures",
        "lab_09.4",
        lambda s: "yes" if s["tests"]["0.0"].observed > s["tests"]["0.0"].floor else "no",
    ),
    (
        "lab_10_mosaics",
        "lab_10.4",
        lambda s: next(k for k, made in s["made"].items() if (made.n_sources() == 1).all()),
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("notebook", "id", "read"), SHOWN, ids=[one[1] for one in SHOWN])
def test_the_right_answer_is_what_the_cells_show(
    notebook: str, id: str, read: Callable[[dict[str, Any]], object]
) -> None:
    assert exercise(id).check(read(cells_before(notebook, id)))


def test_the_atom_of_fours_is_as_its_panels_say() -> None:
    """16.4 and 25.2: the cosine with its nearest neighbour, and the share of positions on which it fires."""
    examples = sn.load_examples("tiny-vit/resid_post.6")
    four = examples.match("digit 4").atom
    atoms = torch.nn.functional.normalize(sn.load_sae("tiny-vit/resid_post.6").dictionary, dim=1)
    cosines = atoms @ atoms[four]
    assert exercise("16.4").check(float(cosines[torch.arange(len(atoms)) != four].max()))
    assert exercise("25.2").check(float((examples.codes.to_dense()[:, four] > 0).float().mean()))
