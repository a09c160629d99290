"""Promises of the LensPanel: cells are the lens's reading, a click lists both lenses, newest text wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
import traitlets as t

import sae_nb as sn

TEXT = "Once upon a time there was a"


@pytest.fixture(scope="module")
def gpt() -> Any:
    """The small language model."""
    return sn.load_model("tiny-gpt")


def opened(model: Any, inputs: Any) -> sw.LensPanel:
    """A panel that has read its input."""
    panel = sw.LensPanel(model, sn.load_lens(model.name), inputs)
    panel.wait(60)
    return panel


def test_cells_are_the_reading_of_the_lens(gpt: Any) -> None:
    """The last block first; underlined where the model answers the same; KL at the end of each row."""
    panel = opened(gpt, TEXT)
    reading = sn.load_lens("tiny-gpt", gpt).read(TEXT)
    grid = panel.grids[0]
    assert grid.rows == ["2", "1", "0"]
    assert grid.columns == list(reading.tokens)
    assert grid.cells == reading.grid().to_numpy().tolist()
    assert np.array_equal(np.array(grid.agrees), reading.agrees[::-1])
    assert grid.side == pytest.approx(reading.kl.mean(axis=1)[::-1].tolist())
    panel.close()


def test_a_cell_lists_ten_outputs_by_both_lenses(gpt: Any) -> None:
    """By click or by trait; the trait and the outline follow each other."""
    panel = opened(gpt, TEXT)
    assert panel.place == len(panel.grids[0].columns) - 1
    panel.grids[0].selected = (0, 2)
    assert (panel.layer, panel.place) == (2, 2)
    panel.layer, panel.place = 0, 3
    assert panel.grids[0].selected == (2, 3)
    own, plain = panel._detail_view.own, panel._detail_view.plain
    assert len(own.labels) == len(plain.labels) == 10
    assert own.values[0] == pytest.approx(panel.reading.top_probability[0, 3, 0])
    assert "Block 0" in panel._detail_view.place.value
    panel.shown = "both"
    assert panel.grids[1].cells != panel.grids[0].cells
    assert panel.grids[1].description.endswith("logit lens")
    panel.close()


def test_a_typed_text_is_read_and_a_second_stands_below(gpt: Any) -> None:
    """The answer names block and token; an empty field says what to do."""
    panel = opened(gpt, TEXT)
    panel.second_text = "The dog ran to the"
    panel.text = "Tom and Anna went to the"
    panel.wait(60)
    assert "Anna" in "".join(panel.grids[0].columns)
    assert panel.grids[2].columns[-1] == panel.grids[0].columns[-1]
    assert "lens reads" in panel.answer or "jacobian lens" in panel.answer
    panel.text = "  "
    panel.wait(60)
    assert panel.status == "Type at least one word."
    assert not panel.problem
    panel.close()


def test_an_image_is_drawn_once_per_block(tmp_path: Path) -> None:
    """Shaded where patches read the model's own answer; the page alone has them too."""
    vit = sn.load_model("tiny-vit")
    panel = opened(vit, sn.data.scenes(2, seed=5).images)
    assert len(panel.pictures[0].captions) == 11
    assert panel.pictures[0].captions[-1].startswith("10 · cls “")
    panel.example = 1
    panel.wait(60)
    answer = int(vit(sn.data.scenes(2, seed=5).images)[1].argmax())
    assert f"“{answer}”" in panel.answer
    page = panel.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "10 · cls" in page
    panel.close()


def test_what_does_not_fit_is_refused(gpt: Any) -> None:
    """A lens of another model, ids in place of a text, blocks that are not there."""
    with pytest.raises(ValueError, match="must have 12 blocks"):
        sw.LensPanel(gpt, sn.load_lens("tiny-vit"), TEXT)
    with pytest.raises(TypeError, match="must be a text"):
        sw.LensPanel(gpt, sn.load_lens("tiny-gpt"), [1, 2, 3])
    panel = opened(gpt, TEXT)
    with pytest.raises(t.TraitError):
        panel.layer = 7
    panel.close()
