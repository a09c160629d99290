"""ReportCard: rows are chosen by click, key and menu; what is behind a row is told; bad input is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import sae_nb_widgets as sw
import torch

import sae_nb as sn

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parts() -> SimpleNamespace:
    saes = [
        sn.load_sae("tiny-vit/resid_post.6"),
        sn.TopK(d_in=64, n_atoms=64, k=8, generator=torch.Generator().manual_seed(0)).eval(),
    ]
    pictures = sn.data.scenes(12, seed=7).images
    acts = sn.capture(sn.load_model("tiny-vit"), pictures, "resid_post.6", progress=False)
    reports = [sn.evaluate(sae, acts, n_bootstrap=100) for sae in saes]
    return SimpleNamespace(saes=saes, acts=acts, reports=reports)


@pytest.fixture
def card(parts: SimpleNamespace) -> sw.ReportCard:
    made = sw.ReportCard(parts.reports, ["trained", "untrained"], saes=parts.saes, acts=parts.acts)
    return made


def told(card: sw.ReportCard) -> str:
    return "".join(w.value for w in card._detail_view.widgets)


def test_an_untrained_sae_has_no_clear_row_of_fit(card: sw.ReportCard) -> None:
    fit = [card._all.cell(m, "untrained") for m in ("r2", "fvu", "cosine_centred")]
    assert {cell.verdict for cell in fit} == {"not clear"}
    assert card._all.cell("r2", "trained").verdict == "clear"
    clear, judged = card._all.n_clear("untrained")
    assert clear == 0
    assert judged > 10
    marks = [line[1] for line in card._dots.marks]
    red = [mark for mark in marks if mark["tone"] == "bad"]
    assert len(red) >= 2
    assert {mark["note"] for mark in red} == {"no better"}
    assert "✕" not in card.static_main()


def test_keys_click_and_menu_choose_the_same(card: sw.ReportCard) -> None:
    """↓ from nothing is the first row; a click takes the row at its height."""
    card.press("ArrowDown")
    assert card.metric == card.record.metrics[0] == card._rows.value
    card.press("ArrowDown")
    assert card.metric == card.record.metrics[1]
    card._dots.selected = 2
    assert card.metric == card.record.metrics[2]
    card._rows.value = card.record.metrics[0]
    assert card.metric == card.record.metrics[0]
    assert card._dots.selected == 0
    card.wait()
