"""ReportCard: rows are chosen by click, key and menu; what is behind a row is told; bad input is refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import sae_nb_widgets as sw
import torch
import traitlets as t
from sae_nb_widgets.report_card._detail import sample_html
from sae_nb_widgets.report_card._words import verdict_words

import sae_nb as sn
from sae_nb.evaluation import Measurement
from sae_nb.summaries import MovingSample, ReportCardSummary, summarise_report_card
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
    marks = [line[1] for line in card._dots.marks]
    red = [mark for mark in marks if mark["tone"] == "bad"]
    assert len(red) >= 2
    assert {mark["note"] for mark in red} == {"no better"}
    assert "✕" not in card.static_main()
    assert card.answer.endswith(f"“untrained” on none of {judged} measures.")


def test_perfect_values_carry_no_red_mark() -> None:
    """No duplicate at all, and all of the loss recovered, though chance is as near: nothing is wrong."""

    def whole(value: float, floor: float | None, control: float, id: str) -> Measurement:
        return Measurement(
            value=value, floor=floor, control=control, interval=(value, value), definition=id, n=9,
            unit="atoms",
        )  # fmt: skip

    report = {
        "duplicate_fraction": whole(0.0, 0.0, 0.0, "duplicate_fraction"),
        "ce_recovered_mean": whole(1.0, 0.99, 1.0, "ce_recovered_mean"),
        "r2": whole(0.9, 0.0, 0.3, "r2_pooled"),
    }
    card = sw.ReportCard(report)
    tones = dict(zip(card._dots.rows, (line[0]["tone"] for line in card._dots.marks), strict=True))
    assert tones == {
        "duplicate fraction": "plain",
        "loss recovered": "plain",
        "variance explained": "good",
    }
    assert card.answer.startswith("Yes: ")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([0.9, 0.9, 0.9], "Yes: it beats a trivial answer and a random dictionary on 3 of 3 measures."),
        ([0.9, 0.9, 0.9, 0.1], "Mostly: it beats a trivial answer and a random dictionary on 3 of 4 measures, "
         "but not on “m3”."),
        ([0.9, 0.1, 0.1, 0.1], "In part: it beats a trivial answer and a random dictionary on 1 of 4 measures, "
         "but not on “m1”, “m2” and 1 more."),
        ([0.1], "No: it beats a trivial answer and a random dictionary on none of 1 measures."),
    ],
)  # fmt: skip
def test_the_verdict_is_one_sentence(values: list[float], words: str) -> None:
    """By hand: the control is at 0.5."""
    report = {
        f"m{i}": Measurement(
            value=value, floor=0.0, control=0.5, interval=(value, value), definition="r2_pooled", n=9,
            unit="rows",
        )
        for i, value in enumerate(values)
    }  # fmt: skip
    card: ReportCardSummary = summarise_report_card(report, show="all")
    assert verdict_words(card, card.metrics) == words


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
    assert "better than floor and control" in told(card)


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
    card._dots.selected = 2
    assert card.metric == card.record.metrics[2]
    card._rows.value = card.record.metrics[0]
    assert card.metric == card.record.metrics[0]
    assert card._dots.selected == 0
    card.wait()


def test_show_changes_the_rows_and_keeps_the_choice_where_it_can(card: sw.ReportCard) -> None:
    """All rows are more; what is clear goes with "not clear"."""
    few = len(card.record.metrics)
    card.metric = "r2"
    card.show = "all"
    assert len(card.record.metrics) > few
    assert card.metric == "r2"
    assert card._dots.selected == card.record.metrics.index("r2")
    card.show = "key"
    assert (card.metric, len(card.record.metrics)) == ("r2", 6)
    card.metric = "babel"  # which is not among them
    assert (card.show, card.metric, card._rows.value) == ("all", "babel", "babel")
    with pytest.raises(t.TraitError, match="must be one of"):
        card.metric = "beauty"
    card.wait()


def test_the_answer_counts_all_measures_and_says_what_is_hidden(card: sw.ReportCard) -> None:
    """Whatever is shown, the verdict stays; the marks on screen and those said to be hidden are all."""
    answer = card.answer
    (trained, judged), (_, others) = (card._all.n_clear(name) for name in card._all.saes)
    assert answer == (
        f"In part: “trained” beats a trivial answer and a random dictionary on {trained} of {judged} "
        f"measures; “untrained” on none of {others} measures."
    )
    for show in ("key", "all", "not clear"):
        card.show = show
        drawn = sum(mark["tone"] == "bad" for line in card._dots.marks for mark in line)
        hidden = card._all.n_marked - drawn
        assert (f"{hidden} more with a red" in card.status) == (hidden > 0)
        assert card.answer == answer
    card.wait()


def test_a_row_says_in_which_direction_it_is_better(card: sw.ReportCard) -> None:
    """In words under its name, none where neither is; the ends of its scale are told with its numbers."""
    card.show = "all"
    hints = dict(zip(card.record.metrics, card._dots.hints, strict=True))
    assert hints["r2"] == "R² · higher is better"
    assert hints["fvu"] == "lower is better"
    assert hints["shrinkage_gamma"] == "shrinkage γ · best near 1"
    assert hints["l0"] == "L0"
    legend = dict(card._dots.legend)
    assert set(legend) == {"good", "bad", "plain", "floor", "control", "interval"}
    card.metric = "r2"
    assert "The row runs from " in told(card)
    card.wait()


def test_the_page_has_rows_without_script_and_all_numbers_in_a_table(card: sw.ReportCard) -> None:
    """Six rows are seen; every measure is one click away; the picture draws the same rows."""
    page = card.static_main()
    assert page.count('class="sae-nb-dotrow') == 6
    assert page.count("<th scope='row'>") == len(card._all.metrics)
    texts = {stroke.text for stroke in card._dots.drawing(700).strokes if hasattr(stroke, "text")}
    assert {*card._dots.rows, "trained", "no better"} <= texts


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
