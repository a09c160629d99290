"""TemporalPanel without a browser: traits, records, what is drawn in place."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import sae_nb_widgets as sw
import torch
from PIL import Image
from sae_nb_widgets.temporal._figure import MOST_ARCS

import sae_nb as sn
from sae_nb.figures import named, theme
from sae_nb.figures.theme import format_number

pytestmark = pytest.mark.slow

TEXT = "Anna lived near the library. One day the fox ran away."


@pytest.fixture(scope="module")
def model() -> sn.LiveModel:
    return sn.load_model("tiny-gpt")


@pytest.fixture(scope="module")
def sae() -> sn.Temporal:
    made = sn.Temporal(d_in=128, n_atoms=64, k=4, generator=torch.Generator().manual_seed(0))
    made.hook_point = "resid_post.2"
    return made.eval()


@pytest.fixture
def panel(model: sn.LiveModel, sae: sn.Temporal) -> sw.TemporalPanel:
    made = sw.TemporalPanel(model, sae, TEXT, boundaries=[6])
    made.wait()
    return made


def test_a_text_is_read_and_said(panel: sw.TemporalPanel) -> None:
    """Tokens, atoms and the sentence are of the same record; the sentence has its control beside it."""
    record = panel.record
    assert record is not None
    assert not panel.problem
    control = format_number(100 * float(record.shuffled[1:].mean()), "%", digits=2)
    assert record.predicted_share < 1.1 * float(record.shuffled[1:].mean())
    assert (control in panel.answer) != (control in panel.numbers)
    panel.bands = "share"
    strip = panel._strip.tokens
    assert tuple(strip.tokens[0]) == record.names
    assert "".join(record.names) in TEXT
    bars, dashes = (
        np.array(named(panel._plot, name).y) for name in ("predicted", "shuffled order")
    )
    np.testing.assert_allclose(bars / bars[0], record.shares[:, 0] / record.shares[0, 0], rtol=1e-4)
    np.testing.assert_allclose(dashes / bars[0], record.shuffled / record.shares[0, 0], rtol=1e-4)
    most = max(record.shares[:, 0].max(), record.shuffled.max())
    top = np.ceil(20 * most) / 20  # the axis ends at the next twentieth
    assert max(bars.max(), dashes.max()) == pytest.approx(most / top, rel=1e-4)
    assert strip.tone == "predicted"
    blue = theme.css_colour(theme.TONES["predicted"]).removesuffix(")").removeprefix("rgb(")
    assert blue in strip.static_html()
    assert theme.css_colour(theme.STRENGTH)[4:-1] not in strip.static_html()
    assert strip.token_strength(0, 3) == pytest.approx(100 * float(record.shares[3, 0]), abs=1e-4)


def test_without_a_temporal_sae_it_says_so_and_shows_what_each_word_adds(
    model: sn.LiveModel,
) -> None:
    """By the plain SAE that comes with the model, with its names; nothing claims to be predicted."""
    plain = sn.load_sae("tiny-gpt/resid_post.3")
    panel = sw.TemporalPanel(model, None, 6 * TEXT)
    panel.wait()
    assert "temporal SAE" in panel.headline
    assert "missing" in panel.headline
    assert not panel.record.shares[:, 0].any()
    acts = sn.capture(model, [6 * TEXT], "resid_post.3", drop_massive=False, progress=False)
    row = plain.encode(acts.x[8:9]).to_dense()[0]
    assert panel.token == int(np.argmax([len(name) for name in panel.record.names]))
    assert "novel" not in panel._plot.layout.annotations[2].text
    assert not panel._plot.layout.showlegend
    panel.token = 8
    bars = panel._detail_view._atoms
    assert bars.atoms[0] == int(row.argmax())
    assert all(" · " in label for label in bars.labels)
    assert panel._detail_view._sources.layout.display == "none"
    assert panel.controls.first[0].rows > 2
    panel.close()


def test_where_the_past_predicts_the_first_screen_is_two_squares_and_curves(
    model: sn.LiveModel, sae: sn.Temporal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their numbers are the record's; bars with arcs, atoms, matrices and maps come instead, on request."""
    monkeypatch.setattr("sae_nb_widgets.temporal._panel._stays", lambda _: True)
    panel = sw.TemporalPanel(model, sae, TEXT)
    panel.wait()
    record = panel.record
    for part, said in (("predicted", "Predicted from the past"), ("novel", "New")):
        curve, chance = (
            named(panel._plot, f"{part} {what}") for what in ("by distance", "in random order")
        )
        assert curve.visible
        assert chance.visible
        np.testing.assert_allclose(curve.y, record.by_distance[part], rtol=1e-5)
        assert list(curve.x) == list(range(1, len(record.by_distance[part]) + 1))
        assert list(chance.y) == pytest.approx([record.order_lost[part]] * 2)
        source = re.search(f'alt="{said}: [^"]*" [^>]*base64,([^"]*)"', panel._likeness.value)[1]
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))
        shade = 255 * np.clip(record.similarity[part], 0, 1)
        np.testing.assert_allclose(pixels[..., 3], shade, atol=0.51)
    arcs = [named(panel._plot, f"arc {i}") for i in range(MOST_ARCS)]
    hidden = ("raster", "predicted", "shuffled order", "raw similarity", "novel map")
    assert not any(one.visible for one in (*arcs, *(named(panel._plot, name) for name in hidden)))
    assert format_number(record.lag1["predicted"], digits=2) in panel.answer
    small = panel._plot.layout.height
    panel.bands = "share"
    assert all(arc.visible for arc in arcs)
    assert not named(panel._plot, "predicted by distance").visible
    assert not panel._likeness.value
    panel.bands = "none"
    assert panel._plot.layout.height == small
    panel.close()


def test_where_it_does_not_the_first_screen_is_bars_with_arcs(panel: sw.TemporalPanel) -> None:
    """The best predicted token is looked at; atoms, matrices and maps are hidden, and take no room."""
    record = panel.record
    assert panel.headline == "The past predicts little here"
    assert not panel._likeness.value
    assert "cosine" not in panel.answer
    arcs = [named(panel._plot, f"arc {i}") for i in range(MOST_ARCS)]
    assert panel.token == record.most_predicted
    assert sum(len(arc.x) > 0 for arc in arcs) == len(record.read_from(panel.token)) > 0
    for shown in ("predicted", "shuffled order"):
        assert named(panel._plot, shown).visible
    for hidden in ("raster", "novel", "raw similarity", "novel map", "novel by distance"):
        assert named(panel._plot, hidden).visible is False
    small = panel._plot.layout.height
    panel.part, panel.lower = "novel", "similarity"
    for shown in ("raster", "raw similarity"):
        assert named(panel._plot, shown).visible
    panel.bands = "energy"
    assert named(panel._plot, "novel").visible
    assert named(panel._plot, "second novel").visible is False
    panel.part = panel.lower = panel.bands = "none"
    assert panel._plot.layout.height == small


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


@pytest.mark.parametrize(
    "text", ["Der Richter fragte den Zeugen, was er sah.", "法官问证人看到了什么。", "... !!! ??? ,,, ((( )))", "ha " * 40]
)  # fmt: skip
def test_any_text_is_taken_apart_and_said_in_numbers(panel: sw.TemporalPanel, text: str) -> None:
    """Another language, punctuation alone, one word again and again: nothing is NaN, and the share is its own."""
    panel.text = text
    panel.wait()
    assert not panel.problem, panel.status
    assert format_number(100 * panel.record.predicted_share, "%", digits=2) in panel.answer
    assert panel.headline
    assert "nan" not in (panel.answer + panel.numbers).lower()


def test_a_text_that_is_too_short_is_refused_by_its_rule(panel: sw.TemporalPanel) -> None:
    """tiny-gpt reads “a” as two tokens and skips the first: the other has no past."""
    seen = panel.answer
    panel.text = "a"
    panel.wait()
    assert panel.problem
    assert "at least two tokens besides the first, which is skipped; “a” is not one" in panel.status
    assert (panel.text, panel.answer) == (TEXT, seen)
