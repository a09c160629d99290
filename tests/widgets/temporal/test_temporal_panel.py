"""TemporalPanel without a browser: traits, records, what is drawn in place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.temporal._figure import MOST_ARCS

import sae_nb as sn
from sae_nb.figures import named

TEXT = "Anna lived near the library. One day the fox ran away."


@pytest.fixture(scope="module")
def model() -> sn.LiveModel:
    """A language model."""
    return sn.load_model("tiny-gpt")


@pytest.fixture(scope="module")
def sae() -> sn.Temporal:
    """Untrained, at a hook point."""
    made = sn.Temporal(d_in=128, n_atoms=64, k=4, generator=torch.Generator().manual_seed(0))
    made.hook_point = "resid_post.2"
    return made.eval()


@pytest.fixture
def panel(model: sn.LiveModel, sae: sn.Temporal) -> Iterator[sw.TemporalPanel]:
    """One text."""
    made = sw.TemporalPanel(model, sae, TEXT, boundaries=[6])
    made.wait()
    yield made
    made.close()


def test_a_text_is_read_and_said(panel: sw.TemporalPanel) -> None:
    """Tokens, bands and the sentence are of the same record."""
    record = panel.record
    assert record is not None
    assert not panel.problem
    assert "The past predicts" in panel.status
    strip = panel._strip.tokens
    assert tuple(strip.tokens[0]) == record.names
    assert "".join(record.names) in TEXT
    np.testing.assert_allclose(named(panel._plot, "novel").y, record.shares[:, 1], rtol=1e-5)
    assert strip.token_strength(0, 3) == pytest.approx(
        float(record.shares[3, 1] - record.shares[3, 0]), abs=1e-5
    )


def test_the_table_of_its_numbers_holds_text_alone(panel: sw.TemporalPanel) -> None:
    """The codes, which the record keeps to compute with, are left out."""
    table = panel._repr_mimebundle_()["text/html"]
    assert "lag1" in table
    for unreadable in (" object at 0x", "tensor("):
        assert unreadable not in table


def test_a_token_shows_its_sources_and_its_atoms(panel: sw.TemporalPanel) -> None:
    """One arc per source, bars for the atoms; Escape takes all of it away."""
    record = panel.record
    panel.token = 8
    arcs = [named(panel._plot, f"arc {i}") for i in range(MOST_ARCS)]
    drawn = [arc for arc in arcs if arc.x is not None and len(arc.x)]
    assert len(drawn) == len(record.read_from(8))
    assert drawn[0].x[-1] == pytest.approx(8)
    assert panel._detail_view._atoms.labels == [f"atom {a}" for a, _ in record.atoms_added(8)]
    panel._detail_view._atoms.selected = 0
    assert panel.atom == record.atoms_added(8)[0][0]
    panel.press("Escape")
    assert panel.token == -1
    assert not any(arc.x is not None and len(arc.x) for arc in arcs)


def test_keys_and_clicks_step_in_time(panel: sw.TemporalPanel) -> None:
    """Arrows stop at the ends; a click in the strip is the same as setting the trait."""
    panel.token = 0
    panel.press("ArrowLeft")
    assert panel.token == 0
    panel.press("ArrowRight")
    assert panel.token == 1
    panel._strip.tokens.selected = (0, 5)
    assert panel.token == 5
    panel.token = panel.record.n_times - 1
    panel.press("ArrowRight")
    assert panel.token == panel.record.n_times - 1


def test_switches_change_the_figure_in_place(panel: sw.TemporalPanel) -> None:
    """The same traces, other data: raster, lower part and bands."""
    before = [trace.uid for trace in panel._plot.data]
    novel = np.array(named(panel._plot, "raster").z)
    panel.part = "predicted"
    assert np.array(named(panel._plot, "raster").z).shape[1] == novel.shape[1]
    assert "predicted" in panel._plot.layout.annotations[2].text
    panel.lower = "PCA"
    assert named(panel._plot, "novel map").visible
    assert not named(panel._plot, "raw similarity").visible
    panel.bands = "energy"
    top = panel.record.energy.sum(axis=1).max()
    np.testing.assert_allclose(
        named(panel._plot, "novel").y, panel.record.energy[:, 1] / top, rtol=1e-4
    )
    assert [trace.uid for trace in panel._plot.data] == before


def test_maps_are_coloured_by_document_and_unfold(panel: sw.TemporalPanel) -> None:
    """Two colours for two documents; UMAP replaces PCA when it is there, for this text alone."""
    panel.lower, panel.color_by = "PCA", "document"
    colours = list(named(panel._plot, "novel map").marker.color)
    assert colours[:6] == [colours[0]] * 6
    assert set(colours[6:]) == {colours[6]} != {colours[0]}
    flat = np.array(named(panel._plot, "novel map").x)
    panel.lower = "UMAP"
    panel.wait(180)
    assert not panel.problem
    unfolded = np.array(named(panel._plot, "novel map").x)
    assert len(unfolded) == len(flat)
    assert not np.allclose(unfolded, flat)
    panel.bands = "energy"
    np.testing.assert_array_equal(named(panel._plot, "novel map").x, unfolded)
    panel.part, panel.token = "predicted", 3
    panel.part = "novel"
    assert named(panel._plot, "novel chosen").x[0] == unfolded[3]
    panel.lower = "PCA"
    np.testing.assert_allclose(named(panel._plot, "novel map").x, flat)


def test_a_layout_is_of_one_text_alone(
    panel: sw.TemporalPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the next text's record lies where the last one's lay in memory."""
    from sae_nb_widgets.temporal import _panel as temporal

    monkeypatch.setattr(temporal, "id", lambda _: 0, raising=False)
    laid: list[int] = []

    def layouts(codes: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        laid.append(len(codes["novel"]))
        return {name: np.zeros((len(rows), 2), np.float32) for name, rows in codes.items()}

    monkeypatch.setattr(panel._umap, "layouts", layouts)
    panel.lower = "UMAP"
    panel.wait()
    panel.text = "The old dog lost the key near the river and it was a sad day."
    panel.wait()
    assert not panel.problem
    assert laid[1:] == [panel.record.n_times]


def test_other_colours_do_not_lay_out_anew(
    panel: sw.TemporalPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layout under way goes on, and is drawn in the new colours."""
    began, release, asked = threading.Event(), threading.Event(), []

    def layouts(codes: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
        asked.append(1)
        began.set()
        release.wait(10)
        return {name: np.ones((len(rows), 2), np.float32) for name, rows in codes.items()}

    monkeypatch.setattr(panel._umap, "layouts", layouts)
    panel.lower = "UMAP"
    assert began.wait(10)
    panel.color_by = "document"
    release.set()
    panel.wait()
    assert len(asked) == 1
    assert set(named(panel._plot, "novel map").x) == {1.0}


def test_two_texts_are_in_step(panel: sw.TemporalPanel) -> None:
    """The second has bands of its own, and both have the cursor where both are that long."""
    panel.second_text = "Anna lived near the school."
    panel.wait()
    second = panel.second_record
    assert second is not None
    assert named(panel._plot, "second novel").visible
    panel.token = 2
    assert list(named(panel._plot, "second cursor").x) == [2, 2]
    panel.token = panel.record.n_times - 1
    assert not len(named(panel._plot, "second cursor").x)
    panel.second_text = ""
    panel.wait()
    assert panel.second_record is None
    assert not named(panel._plot, "second novel").visible


def test_what_cannot_be_read_is_said_and_the_old_record_stays(panel: sw.TemporalPanel) -> None:
    """A text of one token has no past."""
    before = panel.record
    panel.text = "a"
    panel.wait()
    assert panel.problem
    assert panel.record is before
    with pytest.raises(t.TraitError, match="`token` must be between 0 and .*, or -1 for none"):
        panel.token = 10_000
    with pytest.raises(t.TraitError, match="`atom` must be between 0 and 63 .*, got 64"):
        panel.atom = 64


def test_hostile_text_is_inert(panel: sw.TemporalPanel, tmp_path: Path) -> None:
    """Markup in a text is text in the page, the labels and the hovers."""
    panel.text = "<script>alert(1)</script> and <b>bold</b> words"
    panel.wait()
    assert not panel.problem
    panel.token = 3
    page = panel.to_html(tmp_path / "page.html").read_text()
    assert "<script>alert(1)" not in page
    assert all("<b>" not in text for text in named(panel._plot, "novel").hovertext)


def test_a_session_keeps_what_was_chosen(
    panel: sw.TemporalPanel, model: sn.LiveModel, sae: sn.Temporal
) -> None:
    """State goes to another panel of the same SAE."""
    panel.token, panel.part, panel.lower = 4, "predicted", "PCA"
    other = sw.TemporalPanel(model, sae, "something else entirely")
    other.wait()
    other.restore(panel.state())
    other.wait()
    assert (other.text, other.token, other.part, other.lower) == (TEXT, 4, "predicted", "PCA")
    other.close()


def test_a_signal_needs_no_model() -> None:
    """Traces in place of tokens; a model is asked for where a text is given."""
    generator = torch.Generator().manual_seed(0)
    sae = sn.Temporal(d_in=6, n_atoms=16, k=2, generator=generator)
    signal = torch.randn(30, 6, generator=generator).cumsum(dim=0)
    panel = sw.TemporalPanel(None, sae, signal)
    panel.wait()
    assert panel.record.kind == "signal"
    assert panel._strip.curves.n_points == 30
    panel._strip.curves.selected = 12
    assert panel.token == 12
    panel.close()
    with pytest.raises(TypeError, match="`given` must be a signal"):
        sw.TemporalPanel(None, sae, TEXT)


def test_other_saes_are_refused_before_any_work(model: sn.LiveModel) -> None:
    """An SAE of single tokens has no predicted part."""
    with pytest.raises(TypeError, match="`sae` must be an SAE of sequences"):
        sw.TemporalPanel(model, sn.TopK(d_in=128, n_atoms=16, k=2), TEXT)
    nowhere = sn.Temporal(d_in=128, n_atoms=16, k=2)
    with pytest.raises(ValueError, match="`hook_point` must be given"):
        sw.TemporalPanel(model, nowhere, TEXT)
