"""Promises of the LensPanel: cells are the lens's reading, a click lists both lenses, newest text wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw

import sae_nb as sn

TEXT = "Once upon a time there was a"


def opened(model: Any, inputs: Any) -> sw.LensPanel:
    panel = sw.LensPanel(model, sn.load_lens(model.name), inputs)
    panel.wait(60)
    return panel


def test_cells_are_the_reading_of_the_lens(gpt: Any) -> None:
    """The last block first; underlined where the model answers the same; KL at the end of each row."""
    panel = opened(gpt, TEXT)
    reading = sn.load_lens("tiny-gpt", gpt).read(TEXT)
    grid = panel.grids[0]
    assert grid.rows == ["3", "2", "1", "0"]  # after the last block the answer itself
    assert grid.columns == list(reading.tokens)
    assert grid.cells[0] == [reading.names[i] for i in reading.answer]
    assert grid.cells[1:] == reading.grid().to_numpy().tolist()
    assert np.array_equal(np.array(grid.agrees[1:]), reading.agrees[::-1])
    assert grid.side[1:] == pytest.approx(reading.kl.mean(axis=1)[::-1].tolist())
    panel.close()


def test_a_cell_lists_ten_outputs_by_both_lenses(gpt: Any) -> None:
    """By click or by trait; the trait and the outline follow each other."""
    panel = opened(gpt, TEXT)
    assert panel.place == len(panel.grids[0].columns) - 1
    panel.grids[0].selected = (1, 2)
    assert (panel.layer, panel.place) == (2, 2)
    panel.layer, panel.place = 0, 3
    assert panel.grids[0].selected == (3, 3)
    own, plain = panel._detail_view.own, panel._detail_view.plain
    assert len(own.labels) == len(plain.labels) == 10
    reading = panel.reading
    assert own.labels == [reading.names[i] for i in reading.top[0, 3].tolist()]
    answers = [one == "confirmed" for one in own.states]
    assert answers == (reading.top[0, 3] == reading.answer[3]).tolist()
    assert own.tips[0].startswith(f"{100 * reading.top_probability[0, 3, 0]:.2g}")
    assert "Block 0" in panel._detail_view.place.value
    panel.shown = "both"
    assert panel.grids[1].cells != panel.grids[0].cells
    panel.close()


def test_a_typed_text_is_read_and_a_second_is_next_to_it(gpt: Any) -> None:
    """The answer names block and token, of the text that was clicked; an empty field says what to do."""
    panel = opened(gpt, TEXT)
    panel.shown = "lens"
    panel.second_text = "The dog ran to the"
    panel.text = "Tom and Anna went to the"
    panel.wait(60)
    assert "Anna" in "".join(panel.grids[0].columns)
    assert panel.grids[2].columns[-1] == panel.grids[0].columns[-1]
    panel.grids[2].selected = (2, 1)
    assert (panel.of_second, panel.layer, panel.place) == (True, 1, 1)
    assert panel.grids[0].selected == (-1, -1)
    assert panel.headline.startswith("The → ")
    panel.grids[0].selected = (1, 1)
    assert not panel.of_second
    assert panel.grids[2].selected == (-1, -1)
    assert "Jacobian lens" in panel.answer
    panel.text = "  "
    panel.wait(60)
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


def test_atoms_that_fire_in_a_cell_are_listed_with_what_they_raise(gpt: Any) -> None:
    """Those of the SAE's own block, strongest first; elsewhere it says where they are listed."""
    sae = (
        sn.load_sae("tiny-gpt/mlp_out.1") if "tiny-gpt/mlp_out.1" in sn.pretrained_names() else None
    )
    if sae is None:
        sae = sn.TopK(128, 256, k=8)
        sae.hook_point = "resid_post.1"
    panel = sw.LensPanel(gpt, sn.load_lens("tiny-gpt"), TEXT, saes=sae)
    panel.wait(60)
    bars = panel._detail_view.atoms
    assert panel.layer == 1
    states = sn.capture(gpt, TEXT, sae.hook_point, drop_first=False, progress=False)
    codes = sae.encode(states.x)[panel.place]
    strongest = codes.values.argsort(descending=True)[:6]
    listed = [int(one.split(":")[0]) for one in bars.labels]
    assert listed == codes.atoms[strongest].tolist()
    assert bars.values == pytest.approx(codes.values[strongest].tolist())
    effects = sn.load_lens("tiny-gpt", gpt).effects(sae, 1)[listed[0]]
    assert gpt.tokenizer.decode([int(effects.argmax())]).strip() in bars.labels[0]
    panel.layer = 0
    assert not bars.labels
    assert "block 1" in bars.empty_text
    panel.close()


def test_of_many_blocks_some_are_shown_and_the_chosen_one_always(gpt: Any) -> None:
    """Closer together towards the end; all on request, and with the same numbers."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_layer=30, n_embd=8, n_head=2, vocab_size=1024, bos_token_id=0, eos_token_id=0
    )
    deep = sn.wrap(GPT2LMHeadModel(config).eval(), tokenizer=gpt.tokenizer)
    lens = sn.fit_lens(deep, [TEXT], "logit", progress=False)
    panel = sw.LensPanel(deep, lens, TEXT)
    panel.wait(60)
    panel.shown = "lens"
    shown = [28, 27, 26, 25, 24, 22, 20, 18, 16, 14, 12, 8, 4, 0]
    assert panel.grids[0].rows == ["29", *map(str, shown)]
    assert (
        panel._detail_view.plain.layout.display == "none"
    )  # a logit lens is not compared with itself
    assert "logit lens" not in panel._detail_view.score.value
    panel.layer = 7
    assert panel.grids[0].rows[-3:] == ["7", "4", "0"]
    assert panel.grids[0].selected[0] == 13
    row = dict(zip(panel.grids[0].rows, panel.grids[0].cells, strict=True))["4"]
    panel.blocks = "all"
    panel.wait(60)
    assert panel.grids[0].rows == list(map(str, range(29, -1, -1)))
    assert panel.grids[0].cells[-5] == row
    panel.close()


def test_of_a_lens_of_few_blocks_the_others_are_read_without_one(gpt: Any) -> None:
    """What is said of the logit lens holds for all blocks, not for those alone that the lens was fitted at."""
    lens = sn.fit_lens(gpt, [TEXT, "The dog ran to the old house."], layers=[0], progress=False)
    panel = sw.LensPanel(gpt, lens, TEXT)
    panel.wait(60)
    assert not panel.problem, panel.status
    plain = sn.fit_lens(gpt, [TEXT], "logit", progress=False).read(TEXT)
    assert panel.shown == "ranks"
    assert panel.grids[0].rows == ["3", "0"]
    assert panel.grids[1].rows == ["3", "2", "1", "0"]
    assert np.array_equal(np.array(panel.grids[1].agrees[1:]), plain.agrees[::-1])

    panel.shown = "both"
    assert f"at block 0: {100 * panel.reading.agreement[0]:.3g}" in panel.numbers
    logit = f"(logit lens {100 * plain.agreement[0]:.3g}"
    assert logit in panel.numbers  # of the same block, not of the last that it reads
    panel.grids[1].selected = (1, 0)  # block 2, where no lens was fitted
    assert (panel.layer, panel._detail_view.own.labels) == (2, [])
    assert "not fitted" in panel._detail_view.own.empty_text
    assert len(panel._detail_view.plain.labels) == 10
    panel.close()


def test_a_panel_opens_on_the_place_of_its_answer(gpt: Any, tmp_path: Path) -> None:
    """Of the last word; the whole text is folded below; another place is measured anew."""
    from sae_nb.lenses import answer_ranks

    panel = opened(gpt, TEXT)
    panel.wait(60)
    found = answer_ranks(gpt, TEXT)
    assert panel.shown == "ranks"
    assert f"“{found.answer.strip()}”" in panel.headline
    assert [f"place {one:,};" in panel._strip.value for one in found.rank] == [True] * 4
    page = panel.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Whole text" in page
    assert "sae-nb-rankplot" in page
    panel.place = 2
    panel.wait(60)
    other = answer_ranks(gpt, TEXT, 2)
    assert f"“{other.answer.strip()}”" in panel.headline
    panel.shown = "lens"
    assert panel.headline.endswith(f"→ {other.answer.strip()}")
    panel.close()
