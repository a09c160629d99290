"""The tour's own cells, with only model, inputs, labels and hook point changed, on real networks.

On its own material it runs in a browser: tests/browser/test_tour.py asserts the same there.

Of the atoms on photographs .46 ± .04 never fire (five seeds), on the tour's digits .06 ± .01.

The cells run in this process, where connections that leave the machine are refused.
"""

from __future__ import annotations

import pydoc_data.topics
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "00_tour.ipynb"
N_TEXTS = 60


def _texts(n_characters: int) -> list[str]:
    topics = (" ".join(text.split()) for text in pydoc_data.topics.topics.values())
    return [text[:n_characters] for text in topics if len(text) >= n_characters][:N_TEXTS]


def _run_cells(**material: Any) -> dict[str, Any]:
    """Execute the notebook's code in this process; the cell tagged `material` is replaced.

    The cells tagged `words` are left out: they are on tiny-gpt whatever the material.
    """
    import nbformat  # late: it takes seconds, in every process that collects tests

    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "code" and "words" not in tags:
            if "material" in tags:
                names |= material
            else:
                exec(compile(cell.source, str(NOTEBOOK), "exec"), names)
    return names


@pytest.fixture(params=["photo-vit", "minilm"])
def material(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the tour runs on: model, inputs, labels if any, hook point."""
    labels, hook_point = None, "resid_post.3"
    if request.param == "photo-vit":
        model = request.getfixturevalue("photo_vit")
        pictures, classes = request.getfixturevalue("cats_and_horses")
        inputs, labels, hook_point = pictures[:300], classes[:300], "resid_post.2"
    else:
        model, inputs = request.getfixturevalue("open_real")(request.param), _texts(120)
    return {"model": model, "inputs": inputs, "labels": labels, "hook_point": hook_point}


@pytest.mark.timeout(600)
def test_the_tour_runs_on_it(material: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Capture, TopK, atoms, steering: the tour's assertions hold here too."""
    names = _run_cells(**material)
    report, effect = names["report"], names["effect"]
    assert names["acts"].hook_point == material["hook_point"]
    assert report["r2"].value > report["r2"].control
    recovered = next(n for n in ("ce_recovered", "kl_score", "cosine_recovered") if n in report)
    assert report[recovered].value > (report[recovered].floor or 0.0)
    assert names["browser"].atom == effect.atom
    with capsys.disabled():
        sys.stdout.write(f"\n{names['summary']}\n")
