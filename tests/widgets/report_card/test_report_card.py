"""ReportCard: rows are chosen by click, key and menu; what is behind a row is told; bad input is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.report_card._detail import sample_html
from sae_nb_widgets.report_card._figure import NOT_CLEAR, report_card_figure

import sae_nb as sn
from sae_nb.evaluation import Measurement
from sae_nb.figures import format_number, theme
from sae_nb.summaries import MovingSample, summarise_report_card
from tests.widgets.made import Held


@pytest.fixture(scope="module")
def parts() -> SimpleNamespace:
    """Reports of a pretrained SAE and of one that was never trained."""
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
    """A card of both."""
    made = sw.ReportCard(parts.reports, ["trained", "untrained"], saes=parts.saes, acts=parts.acts)
    return made


def told(card: sw.ReportCard) -> str:
    """What stands beside the figure."""
    return "".join(w.value for w in card._detail_view.widgets)


def test_an_untrained_sae_has_no_clear_row_of_fit(card: sw.ReportCard) -> None:
    """Red and marked, in figure and words."""
    fit = [card._all.cell(m, "untrained") for m in ("r2", "fvu", "cosine_centred")]
    assert {cell.verdict for cell in fit} == {"not clear"}
    assert card._all.cell("r2", "trained").verdict == "clear"
    clear, judged = card._all.n_clear("untrained")
    assert clear == 0
    assert judged > 10
    figure = card.current_figure()
    red = next(trace for trace in figure.data if trace.marker.color == theme.ALARM)
    assert len(red.x) >= 2
    assert red.marker.symbol == "x"
    numbers = next(trace for trace in figure.data if trace.name == "numbers")
    assert sum(NOT_CLEAR in text for text in numbers.text) == len(red.x)
    assert f"“untrained” on 0 of {judged}." in card.answer


def test_a_row_tells_its_definition_differences_and_example(card: sw.ReportCard) -> None:
    """Definition id, what libraries do, the sample that moves it, other libraries' numbers."""
    card.metric = "r2"
    card.wait()
    said = told(card)
    assert "r2_pooled" in said
    assert "Libraries differ" in said
    assert "most influential input" in said
    assert "without it trained has" in said
    assert "overcomplete.r2_score" in said
    card.metric = "effective_rank"
    card.wait()
    assert "No single input can be named" in told(card)
    card.press("Escape")
    assert card.metric == ""
    assert "Click a row" in told(card)


def test_an_example_of_a_row_that_was_left_is_not_shown(
    card: sw.ReportCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Escape while it is looked for."""
    slow = Held()
    monkeypatch.setattr(type(card._material), "examples", slow)
    card.metric = "r2"
    assert slow.begun.wait(10)
    card.press("Escape")
    slow.go.set()
    card.wait()
    assert "most influential input" not in told(card)
    assert card.status == card._sentence()


def test_keys_click_and_menu_choose_the_same(card: sw.ReportCard) -> None:
    """↓ from nothing is the first row; a click takes the row at its height."""
    card.press("ArrowDown")
    assert card.metric == card.record.metrics[0] == card._rows.value
    card.press("ArrowDown")
    assert card.metric == card.record.metrics[1]
    card._on_click(None, SimpleNamespace(ys=[2.2]), None)
    assert card.metric == card.record.metrics[2]
    card._rows.value = card.record.metrics[0]
    assert card.metric == card.record.metrics[0]
    assert len(card.current_figure().layout.shapes) == 1
    card.wait()


def test_show_changes_the_rows_and_keeps_the_choice_where_it_can(card: sw.ReportCard) -> None:
    """All rows are more; what is clear goes with "not clear"."""
    few = len(card.record.metrics)
    card.metric = "r2"
    card.show = "all"
    assert len(card.record.metrics) > few
    assert card.metric == "r2"
    traces = card._plot.data
    card.show = "key"
    assert all(a is b for a, b in zip(traces, card._plot.data, strict=True))
    with pytest.raises(t.TraitError, match='show="all"'):
        card.metric = "babel"
    card.wait()


def test_the_answer_counts_all_measures_and_says_what_is_hidden(card: sw.ReportCard) -> None:
    """Whatever is shown, the verdict stays; the marks on screen and those said to be hidden are all."""
    answer = card.answer
    (trained, judged), (_, others) = (card._all.n_clear(name) for name in card._all.saes)
    assert answer == (
        f"In part: “trained” beats floor and control on {trained} of {judged} measures; “untrained” "
        f"on 0 of {others}."
    )
    for show in ("key", "all", "not clear"):
        card.show = show
        drawn = sum(NOT_CLEAR in text for text in card.current_figure().data[7].text)
        hidden = card._all.n_marked - drawn
        assert (f"{hidden} more with a red" in card.status) == (hidden > 0)
        assert card.answer == answer
    card.wait()


def test_every_column_says_which_end_is_better(card: sw.ReportCard) -> None:
    """Over the strips of each SAE stand "worse" and "better", left and right."""
    traces = {trace.name: trace for trace in card.current_figure().data}
    n = len(card.record.saes)
    assert list(traces["worse"].text) == ["worse"] * n
    assert list(traces["better"].text) == ["better"] * n
    assert all(a < b for a, b in zip(traces["worse"].x, traces["better"].x, strict=True))


def test_every_strip_has_numbers_at_its_ends(card: sw.ReportCard, parts: SimpleNamespace) -> None:
    """Values at worst and best, under the strip; where three columns leave no room, "better" is enough."""
    traces = {trace.name: trace for trace in card.current_figure().data}
    record, ends = card.record, traces["ends"]
    cell, row = card._all.cell("r2", "trained"), record.metrics.index("r2")
    here = [
        (x, text)
        for x, y, text in zip(ends.x, ends.y, ends.text, strict=True)
        if row < y < row + 1 and x < 1
    ]
    assert [text for _, text in sorted(here)] == [
        format_number(value, digits=2).rstrip("0") for value in cell.ends
    ]
    three = summarise_report_card([parts.reports[0]] * 3, ["a", "b", "c"])
    names = {trace.name: trace for trace in report_card_figure(three).data}
    assert not len(names["ends"].x or ())
    assert set(names["worse"].text) == {""}
    assert set(names["better"].text) == {"better"}
    assert not any(
        "0.00" in text and len(text.split("0.00")[1]) > 4 for text in names["numbers"].text
    )


def test_a_row_says_in_which_direction_it_is_better(card: sw.ReportCard) -> None:
    """An arrow after its name, none where neither is; what arrows mean stands beside them."""
    card.show = "all"
    rows = next(trace for trace in card.current_figure().data if trace.name == "rows")
    by_metric = dict(zip(card.record.metrics, rows.text, strict=False))
    assert by_metric["r2"].endswith("↑")
    assert by_metric["fvu"].endswith("↓")
    assert by_metric["shrinkage_gamma"].endswith("→ 1")
    assert by_metric["l0"] == "atoms per row, L0"
    assert rows.text[-1].startswith("better: ↑ higher")
    legend = [trace.name for trace in card.current_figure().data if trace.showlegend is not False]
    assert f"{NOT_CLEAR} no better than floor or control" in legend
    assert "no good or bad direction" in legend


def test_state_comes_back(card: sw.ReportCard, parts: SimpleNamespace) -> None:
    """Which rows are drawn, and which is explained."""
    card.show, card.metric = "all", "babel"
    other = sw.ReportCard(parts.reports)
    other.restore(card.state())
    assert (other.show, other.metric) == ("all", "babel")
    card.wait()


def test_without_rows_the_card_says_what_would_show_an_example(parts: SimpleNamespace) -> None:
    """Reports alone are enough for all else."""
    made = sw.ReportCard(parts.reports)
    made.metric = "r2"
    assert "Pass the SAEs and activations" in told(made)
    assert made.record.saes == ("TopK 1", "TopK 2")


def test_a_text_that_moves_a_row_is_shown_as_text() -> None:
    """The tokens of that sample, escaped."""
    acts = sn.load_examples("tiny-gpt/resid_post.3").acts
    words = sample_html(
        acts, MovingSample(sample=0, value=0.9, without=0.8, n_samples=3, typical=0.01)
    )
    ids = acts.context.token_ids.sample(0).tolist()
    assert "".join(acts.context.vocabulary[i] for i in ids[1:5]) in words
    assert words.startswith("<p>“")


def test_names_are_data(parts: SimpleNamespace) -> None:
    """Nothing a name holds becomes HTML."""
    nasty = "<img src=x onerror=alert(1)>"
    made = sw.ReportCard(parts.reports, [nasty, "b"])
    made.metric = "r2"
    assert "<img src=x" not in told(made) + made.static_main()
    figure = report_card_figure(made._summary, "r2")
    assert not any("<img src=x" in str(trace.text) + str(trace.customdata) for trace in figure.data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"saes": [sn.TopK(4, 8, 2)]}, "go together"),
        ({"names": ["a"]}, "`names` must be one for each"),
    ],
)
def test_bad_input_is_refused(
    parts: SimpleNamespace, changes: dict[str, object], words: str
) -> None:
    """At the constructor."""
    with pytest.raises(ValueError, match=words):
        sw.ReportCard(parts.reports, **changes)


def test_saes_must_be_those_of_the_reports(parts: SimpleNamespace) -> None:
    """As many, and of the width of the rows."""
    with pytest.raises(ValueError, match="one for each of 2 reports"):
        sw.ReportCard(parts.reports, saes=parts.saes[:1], acts=parts.acts)
    wide = [sn.TopK(d_in=8, n_atoms=16, k=2)] * 2
    with pytest.raises(ValueError, match="width of the SAEs"):
        sw.ReportCard(parts.reports, saes=wide, acts=parts.acts)


def test_any_mapping_of_measurements_is_a_column() -> None:
    """Causal measurements stand on the same card, an undefined number among them."""
    m = Measurement(
        value=float("nan"), floor=0.0, control=0.1, interval=(0.0, 1.0), definition="fldd", n=3,
        unit="pairs",
    )  # fmt: skip
    made = sw.ReportCard([{"v": m}], ["illusion"])
    made.metric = "v"
    assert "Not defined here" in told(made)
    assert made.answer.startswith("Nothing here can be judged")


def test_one_report_opens_without_brackets(parts: SimpleNamespace) -> None:
    """The card is that of a list of one, with the facts of the report."""
    single, listed = (sw.ReportCard(given) for given in (parts.reports[0], parts.reports[:1]))
    assert single.chips == listed.chips
    assert single.record == listed.record
    single.show = "all"
    assert dict(single.record) != dict(listed.record)
