"""Questions that are read off a panel or a slider: what the panels show, and slips with a right number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jupytext
import numpy as np
import pytest
import torch
from sae_nb_lessons import exercise

import sae_nb as sn
from sae_nb_studies.data import six_gaussians
from tests.lessons.exercises.asked import Asked
from tests.lessons.exercises.panel_answers import ASKED

NUMBERS = [one for one in ASKED if "number" in exercise(one.id).expects]


@pytest.mark.parametrize("asked", NUMBERS, ids=lambda asked: asked.id)
def test_a_slip_with_the_right_number_is_not_right(asked: Asked) -> None:
    for slip in (-1, 100, 0.01, 10, 0.1, 1.5):
        assert not exercise(asked.id).check(slip * float(str(asked.right[0]))), slip


@pytest.mark.parametrize(
    ("id", "wrong"),
    [("07.4", ([2, 11], [0, 1], [1], [1, 2, 3], "both", 4)), ("06.2", (0, 4, -1, 1.5, "third"))],
)
def test_a_wrong_place_is_not_right(id: str, wrong: tuple[object, ...]) -> None:
    assert not any(exercise(id).check(answer) for answer in wrong)


def test_the_clouds_are_rebuilt_worst_by_the_one_with_a_price() -> None:
    """04.4 as its lesson trains them: ReLU far below, the other two near 1."""
    clouds = six_gaussians(4000, seed=0)
    torch.manual_seed(0)
    saes = {
        "SpaDE": sn.SpaDE(2, 128, sparsity=1e-3),
        "ReLU": sn.ReLU(2, 128, l0=8),
        "TopK": sn.TopK(2, 128, k=8),
    }
    ends = {
        name: sn.train(sae, clouds.x, steps=300, batch_size=512, seed=0, progress=False).history[-1]
        for name, sae in saes.items()
    }
    assert exercise("13.4").check(min(ends, key=lambda name: ends[name].r2))
    # Five seeds, in two orders of summing: .965 ± .007 beside 1 − .0001 and 1 − .00004.
    left = {name: 1 - end.r2 for name, end in ends.items()}
    assert left["ReLU"] > 10 * max(left["SpaDE"], left["TopK"])


def test_bars_come_back_in_one_pursuit_alone() -> None:
    """02.5: after every step of OMP what is left is orthogonal to all that were taken; of MP it is not."""
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.nn.functional.normalize(torch.randn(128, 64, generator=generator), dim=1)
    x = torch.randn(1, 64, generator=generator)
    back = {}
    for name, pursue in {"MP": sn.matching_pursuit, "OMP": sn.orthogonal_matching_pursuit}.items():
        codes, trace = pursue(x, dictionary, 8, trace=True)
        left = x - codes.to_dense() @ dictionary
        taken = torch.unique(trace.atoms[0])
        back[name] = float((left @ dictionary[taken].T).abs().max())
    assert back["OMP"] < 1e-4 < 0.01 < back["MP"]
    assert exercise("11.1").check("MP")


# --- what the lesson's own cells show ---------------------------------------------------------------

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"


def cells_before(notebook: str, id: str) -> dict[str, Any]:
    """Run the cells of a notebook up to a question, without its exercises, and return their names."""
    names: dict[str, Any] = {}
    for cell in jupytext.read(NOTEBOOKS / f"{notebook}.py").cells:
        if f'exercise("{id}")' in cell.source:
            return names
        if cell.cell_type == "code" and "exercise" not in cell.metadata.get("tags", ()):
            exec(compile(cell.source, notebook, "exec"), names)
    raise AssertionError(f"{notebook} does not ask {id}")


def steps_until_nothing_is_left(shown: dict[str, Any]) -> int:
    shown["stepper"].wait()
    return int((np.asarray(shown["stepper"].steps[0].residual_norms) < 1e-4).argmax())


def swings(figure: Any) -> int:
    return int((np.diff(np.sign(np.asarray(figure.data[0].y))) != 0).sum())


def events_that_are_not_there(row: Any) -> float:
    return float(row["events"] * (1 - row["precision"]))


SHOWN: list[tuple[str, str, Callable[[dict[str, Any]], object]]] = [
    ("12_hierarchy", "12.2", steps_until_nothing_is_left),
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
