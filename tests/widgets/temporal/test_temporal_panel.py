"""TemporalPanel without a browser: traits, records, what is drawn in place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from sae_nb_widgets.components import word_at
from sae_nb_widgets.temporal._figure import FAINTEST, MOST_ARCS
from sae_nb_widgets.temporal._panel import _answer, _Seen

import sae_nb as sn
from sae_nb.figures import colour_scale, fade, format_count, format_number, named, theme
from tests.widgets.made import Held

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
def panel(model: sn.LiveModel, sae: sn.Temporal) -> sw.TemporalPanel:
    """One text."""
    made = sw.TemporalPanel(model, sae, TEXT, boundaries=[6])
    made.wait()
    return made


def test_a_text_is_read_and_said(panel: sw.TemporalPanel) -> None:
    """Tokens, atoms and the sentence are of the same record; the sentence has its control beside it."""
    record = panel.record
    assert record is not None
    assert not panel.problem
    share, control = (
        format_number(100 * float(x.mean()), "%", digits=2)
        for x in (record.shares[:, 0], record.shuffled)
    )
    assert float(record.shares[:, 0].mean()) < 1.1 * float(record.shuffled.mean())
    assert panel.answer == (
        f"Earlier tokens predict {share} of this text, no more than in shuffled order ({control})."
    )
    assert panel.numbers.startswith(f"in shuffled order {control}, R²")
    assert panel.numbers.endswith("; first token skipped")
    assert "cosine of neighbours" in panel.numbers
    strip = panel._strip.tokens
    assert tuple(strip.tokens[0]) == record.names
    assert "".join(record.names) in TEXT
    bars, dashes = (
        np.array(named(panel._plot, name).y) for name in ("predicted", "shuffled order")
    )
    np.testing.assert_allclose(bars / bars[0], record.shares[:, 0] / record.shares[0, 0], rtol=1e-4)
    np.testing.assert_allclose(dashes / bars[0], record.shuffled / record.shares[0, 0], rtol=1e-4)
    assert 0.8 < max(bars.max(), dashes.max()) <= 1
    assert strip.tone == "predicted"
    blue = theme.css_colour(theme.TONES["predicted"]).removesuffix(")").removeprefix("rgb(")
    assert blue in strip.static_html()
    assert theme.css_colour(theme.STRENGTH)[4:-1] not in strip.static_html()
    assert strip.token_strength(0, 3) == pytest.approx(100 * float(record.shares[3, 0]), abs=1e-4)


def test_a_past_that_predicts_more_than_shuffled_beats_chance(panel: sw.TemporalPanel) -> None:
    """At least a tenth more; sentence and heading name what is predicted best, and files say which token."""
    record = panel.record
    beaten = replace(record, shuffled=record.shuffled / 2)
    seen = _Seen(beaten, record, panel._seen.asked)
    word = word_at(record.names, beaten.most_predicted).strip(".")
    assert ", more than in shuffled order (" in _answer(seen)
    assert f"; of beginnings of words, “{word}” gains most: " in _answer(seen)
    ends = beaten.shares.copy()
    end = next(i for i, name in enumerate(beaten.names) if i and not name[:1].isspace())
    ends[end, 0] = 1.0
    higher = _Seen(replace(beaten, shares=ends), None, panel._seen.asked)
    assert f"“{word}” gains most: " in _answer(higher)
    assert _answer(higher).endswith(" Ends of words follow from their beginnings.")
    assert panel.headline == ""
    panel._draw(seen)
    assert panel.headline == f"“{word}” was expected"
    assert "Second text: no better than chance, " in _answer(seen)
    panel.token = 3
    assert panel.export_name() == "temporal_token_3"


def test_the_first_screen_is_bars_with_arcs(panel: sw.TemporalPanel) -> None:
    """The best predicted token is looked at; atoms, matrices and maps are hidden, and take no room."""
    record = panel.record
    assert panel.token == record.most_predicted
    arcs = [named(panel._plot, f"arc {i}") for i in range(MOST_ARCS)]
    assert sum(len(arc.x) > 0 for arc in arcs) == len(record.read_from(panel.token)) > 0
    for shown in ("predicted", "shuffled order"):
        assert named(panel._plot, shown).visible
    for hidden in ("raster", "novel", "raw similarity", "novel map"):
        assert named(panel._plot, hidden).visible is False
    small = panel._plot.layout.height
    panel.part, panel.lower = "novel", "similarity"
    assert panel._plot.layout.height > small
    for shown in ("raster", "raw similarity"):
        assert named(panel._plot, shown).visible
    panel.bands = "energy"
    assert named(panel._plot, "novel").visible
    assert named(panel._plot, "second novel").visible is False
    panel.part = panel.lower = "none"
    panel.bands = "share"
    assert panel._plot.layout.height == small


def test_the_axis_has_whole_words(panel: sw.TemporalPanel) -> None:
    """Each once, where it begins; together they are the text."""
    axis = panel._plot.layout.xaxis
    assert axis.showticklabels
    assert "".join(axis.ticktext) == "".join("".join(panel.record.names).split())
    panel.part = "novel"
    assert not axis.showticklabels
    assert panel._plot.layout.xaxis3.ticktext == axis.ticktext


def test_atoms_are_rows_by_name_and_have_cards(panel: sw.TemporalPanel) -> None:
    """Without a name an atom is called by where it is strongest here; a label typed anywhere follows."""
    record, raster = panel.record, named(panel._plot, "raster")
    shown = record.rasters["novel"].strongest(panel.rows)
    assert raster.meta["atoms"] == shown.atoms.tolist()
    assert len(shown.atoms) == 16
    assert (
        shown.left_out == record.rasters["novel"].left_out + len(record.rasters["novel"].atoms) - 16
    )
    first = [np.flatnonzero(~np.isnan(row))[0] for row in shown.strengths]
    assert first == sorted(first)
    energy = np.nansum(shown.strengths**2, axis=1)
    assert energy.min() >= max(
        float(np.nansum(row**2))
        for atom, row in zip(record.rasters["novel"].atoms, record.rasters["novel"].strengths)
        if atom not in shown.atoms
    )
    atom = int(shown.atoms[3])
    peak = record.names[int(np.nanargmax(shown.strengths[3]))].strip()
    assert panel._plot.layout.yaxis3.ticktext[3] == f"{atom} · at “{peak}”"
    assert f"({shown.left_out} weak ones hidden)" in panel._plot.layout.annotations[2].text
    panel.names.labels.write(atom, "the <b>fox</b>")
    assert panel._plot.layout.yaxis3.ticktext[3] == f"{atom} · the &lt;b&gt;fox&lt;/b&gt;"
    assert raster.customdata[3][0] == f"{atom} · the &lt;b&gt;fox&lt;/b&gt;"
    panel.token = int(np.nanargmax(shown.strengths[3]))
    bars = panel._detail_view._atoms
    assert f"{atom} · the <b>fox</b>" in bars.labels
    assert bars.atoms == [a for a, _ in record.atoms_added(panel.token)]
    panel.names.labels.write(atom, "")
    panel.rows = 40
    assert raster.z.shape[0] == min(40, len(record.rasters["novel"].atoms))
    assert not panel._plot.layout.yaxis3.tickvals


def test_a_colour_means_one_thing_on_a_screen(panel: sw.TemporalPanel) -> None:
    """Atoms have the colour of their part, and matrices neither of the two."""
    for part, colour in (("novel", theme.NOVEL), ("predicted", theme.PREDICTED)):
        panel.part = part
        scale = [stop[1] for stop in named(panel._plot, "raster").colorscale]
        assert scale == [colour, fade(colour, FAINTEST), colour]
    panel.lower = "similarity"
    for part in ("predicted", "novel", "raw"):
        colours = {stop[1] for stop in named(panel._plot, f"{part} similarity").colorscale}
        assert colours == {colour for _, colour in colour_scale()}


def test_a_token_shows_its_sources_and_its_atoms(panel: sw.TemporalPanel) -> None:
    """One arc per source, bars for the atoms; Escape takes all of it away."""
    record = panel.record
    panel.token = 8
    arcs = [named(panel._plot, f"arc {i}") for i in range(MOST_ARCS)]
    drawn = [arc for arc in arcs if arc.x is not None and len(arc.x)]
    assert len(drawn) == len(record.read_from(8))
    assert drawn[0].x[-1] == pytest.approx(8)
    assert [
        label.split(" · ")[0].removeprefix("atom ") for label in panel._detail_view._atoms.labels
    ] == [f"{a}" for a, _ in record.atoms_added(8)]
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
    layouts = Held(lambda codes: {name: np.ones((len(z), 2)) for name, z in codes.items()})
    monkeypatch.setattr(panel._umap, "layouts", layouts)
    panel.lower = "UMAP"
    assert layouts.begun.wait(10)
    panel.color_by = "document"
    layouts.go.set()
    panel.wait()
    assert layouts.times == 1
    assert set(named(panel._plot, "novel map").x) == {1.0}


def test_two_texts_are_in_step(panel: sw.TemporalPanel) -> None:
    """The second has bands of its own, and both have the cursor where both are that long."""
    panel.second_text = "Anna lived near the school."
    panel.wait()
    second = panel.second_record
    assert second is not None
    assert " Second text: " in panel.answer
    assert len(panel._strip.tokens.tokens) == 2
    assert second.n_times < panel.record.n_times
    assert panel._plot.layout.xaxis.range == (-0.5, panel.record.n_times - 0.5)
    assert named(panel._plot, "second predicted").visible
    panel.token = 2
    assert list(named(panel._plot, "second cursor").x) == [2, 2]
    panel.token = panel.record.n_times - 1
    assert not len(named(panel._plot, "second cursor").x)
    panel.second_text = ""
    panel.wait()
    assert panel.second_record is None
    assert not named(panel._plot, "second predicted").visible


def test_what_cannot_be_read_is_said_and_the_old_record_stays(panel: sw.TemporalPanel) -> None:
    """A text of one token has no past: boxes and answer go on saying what is shown."""
    before, answer = panel.record, panel.answer
    for name, control in (("text", "text"), ("second_text", "second text")):
        panel.set_trait(name, "a")
        panel.wait()
        assert panel.problem
        assert panel.status.startswith(f"{control}: texts of at least two tokens; “a” is not one.")
        assert panel.record is before
        assert (panel.text, panel.second_text, panel.answer) == (TEXT, "", answer)


def test_an_empty_text_clears_what_was_said_of_the_old_one(panel: sw.TemporalPanel) -> None:
    """No answer, no tokens, no atoms; the next text is read as ever."""
    before = panel.answer
    panel.text = ""
    panel.wait()
    assert (panel.answer, panel.record, panel._strip.tokens.tokens) == ("", None, [])
    assert panel._detail_view._atoms.labels == []
    assert not len(named(panel._plot, "raster").z)
    assert panel.status == "Type at least two words."
    panel.text = TEXT
    panel.wait()
    assert panel.answer == before != ""
    assert len(named(panel._plot, "raster").z)


def test_what_does_not_fit_the_model_is_said(panel: sw.TemporalPanel) -> None:
    """A long text is cut to the model's context, and not in silence."""
    panel.text = "word " * 700
    panel.wait()
    left = len(panel.model.tokenizer(panel.text, verbose=False)["input_ids"]) - 512
    assert panel.record.unread == left > 0
    assert f"The last {format_count(left)} tokens do not fit the model" in panel.answer


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
    with pytest.raises(TypeError, match="`given` must be a signal"):
        sw.TemporalPanel(None, sae, TEXT)


def test_other_saes_are_refused_before_any_work(model: sn.LiveModel) -> None:
    """An SAE of single tokens has no predicted part."""
    with pytest.raises(TypeError, match="`sae` must be an SAE of sequences"):
        sw.TemporalPanel(model, sn.TopK(d_in=128, n_atoms=16, k=2), TEXT)
    nowhere = sn.Temporal(d_in=128, n_atoms=16, k=2)
    with pytest.raises(ValueError, match="`hook_point` must be given"):
        sw.TemporalPanel(model, nowhere, TEXT)
