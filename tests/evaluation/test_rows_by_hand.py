"""Rows of a report about the dictionary, costs, tokens and headlines, worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.evaluation.explanations._detection import ExplanationScores
from sae_nb.evaluation.report import _report, _row_pass
from sae_nb.evaluation.report._atom_rows import _geometry, _use
from sae_nb.evaluation.report._downstream import TokenCosts, _check_labels
from sae_nb.evaluation.report._measurement import Resampling, measured
from sae_nb.evaluation.report._report import (
    EvaluationCost,
    _passes,
    _undecided,
    cautions,
    evaluation_cost,
    training_cut_short,
)
from sae_nb.evaluation.report._row_pass import RowPass

RESAMPLING = Resampling(50, 0)


def geometry(factor: float) -> Any:
    return SimpleNamespace(
        max_cosine=factor * np.linspace(0, 1, 21), welch=0.2, m=3, coherence=factor, babel=2 * factor,
        stable_rank=3 * factor, effective_rank=4 * factor, alike=np.array([0.0, 1, 0, 1]) * factor,
    )  # fmt: skip


def test_rows_of_the_dictionary_have_the_floor_of_their_definition() -> None:
    """The Welch bound, m of it, rank one, no copies; controls are those of random atoms."""
    found = _geometry(geometry(1.0), geometry(0.5), RESAMPLING)
    wanted = {
        "coherence": (1.0, 0.2, 0.5), "max_cosine": (0.5, 0.2, 0.25),
        "max_cosine_p95": (0.95, 0.2, 0.475), "babel": (2.0, 0.6, 1.0),
        "stable_rank": (3.0, 1.0, 1.5), "effective_rank": (4.0, 1.0, 2.0),
        "duplicate_fraction": (0.5, 0.0, 0.25),
    }  # fmt: skip
    assert found.keys() == wanted.keys()
    for name, numbers in wanted.items():
        row = found[name]
        assert (row.value, row.floor, row.control) == pytest.approx(numbers), name
        assert row.n == (4 if name == "duplicate_fraction" else 21)
        assert row.unit == "atoms"


def coactivation(factor: float, **more: Any) -> Any:
    return SimpleNamespace(**{
        "n_rows": 30, "connectivity": 0.7 * factor, "interference": 2.0 * factor,
        "counts": np.array([10, 4, 30, 10]),
        "partner": np.array([[1, 2], [0, 2], [-1, -1], [0, -1]]),
        "npmi": factor * np.array([[0.5, 0.1], [0.9, 0.0], [-1, -1], [0.25, -1]]),
        **more,
    })  # fmt: skip


def test_rows_of_what_atoms_do_together_leave_out_rare_and_lonely_ones() -> None:
    """Atom 1 fires in too few rows, atom 2 has no partner: (0.5 + 0.25) / 2."""
    found = _use(coactivation(1.0), coactivation(0.5), 8.0, RESAMPLING)
    npmi = found["npmi_top"]
    assert (npmi.value, npmi.floor, npmi.control, npmi.n) == (0.375, 0.0, 0.1875, 2)
    row = found["connectivity"]
    assert (row.value, row.floor, row.control, row.n) == pytest.approx((0.7, 0.75, 0.35, 30))
    row = found["negative_interference"]
    assert (row.value, row.floor, row.control, row.n) == pytest.approx((0.25, 0.0, 0.125, 30))
    alone = coactivation(0.5, partner=np.full((4, 2), -1))
    assert np.isnan(_use(coactivation(1.0), alone, 0.0, RESAMPLING)["npmi_top"].control)
    assert np.isnan(_use(coactivation(1.0), alone, 0.0, RESAMPLING)["negative_interference"].value)


def test_no_more_rows_are_drawn_than_all_parts_hold() -> None:
    """In the order of the draw, sorted; the rows themselves, and both codes of them."""
    order = np.array([4, 1, 3, 0, 2, 5])
    near = torch.tensor([[1.0], [3.0], [4.0]])  # of rows 1, 3, 4

    class Held:
        def __init__(self, most: int | None) -> None:
            self.most = most

        def of(self, rows: np.ndarray) -> list[int]:
            return rows.tolist()

    def drawn(most: int, one: int | None, other: int | None) -> tuple[list[int], list[float], Any]:
        fake: Any = SimpleNamespace(
            codes=Held(one), control_codes=Held(other), near=near, order=order
        )
        rows, x, codes, control = RowPass.drawn(fake, most)
        assert codes == control == rows.tolist()
        return rows.tolist(), x[:, 0].tolist(), codes

    assert drawn(9, 6, 6) == ([1, 3, 4], [1, 3, 4], [1, 3, 4])
    assert drawn(2, 6, 6)[:2] == ([1, 4], [1, 4])
    assert drawn(9, 1, 6)[0] == [4]
    assert drawn(9, 6, None)[0] == []


@pytest.mark.parametrize(("l0", "most"), [(1, 640), (2, 160), (3, 71), (5, 64), (0, 640)])
def test_as_many_rows_are_kept_as_their_pairs_of_atoms_allow(
    monkeypatch: pytest.MonkeyPatch, l0: int, most: int
) -> None:
    """Of 640 pairs a row has l0²; at least 64 rows. Those of the lowest ranks are kept, by their number."""
    monkeypatch.setattr(_row_pass, "_PAIRS", 640)
    sample = _row_pass.CodeSample(np.array([0, most, most - 1, 5, most + 1, 7]))
    z = torch.zeros(3, 6)
    z[:, :l0] = torch.tensor([[1.0], [2.0], [3.0]])
    for rows, part in (([4, 0, 1], z), ([2, 3, 5], 10 * z)):
        sample.update(sn.SparseCodes.from_dense(part), np.array(rows))
    assert sample.most == most
    kept = sample.of(np.array([5, 0, 2])).to_dense()
    assert kept.tolist() == torch.stack([10 * z[2], z[1], 10 * z[0]]).tolist()
    assert sample.codes().n_rows == 4
    monkeypatch.setattr(_row_pass, "CONTROL_ROWS", 70)
    few = _row_pass.CodeSample(np.arange(3))
    few.update(sn.SparseCodes.from_dense(z), np.arange(3))
    assert few.most == min(most, 70)


def test_a_cost_grows_with_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes one second a look: 5120 rows take two and a half times what 2048 do."""
    now = iter(range(1000))
    monkeypatch.setattr(_report.time, "perf_counter", lambda: float(next(now)))
    asked: list[int] = []
    monkeypatch.setattr(_report, "evaluate", lambda _sae, few, **_: asked.append(len(few)))
    sae = sn.TopK(4, 8, k=2)
    assert evaluation_cost(sae, torch.ones(5120, 4)).rows == 2.5
    assert asked == [64, 2048]
    assert evaluation_cost(sae, torch.ones(100, 4)).rows == 1
    both = EvaluationCost(rows=2.0, model=3.0)
    assert (both.seconds, str(both)) == (5, "about 2 s for rows, 3 s for the model's answers")
    assert EvaluationCost(rows=2.0, model=None).seconds == 2
    # Five passes of 20 inputs, of which eight took a second.
    model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
    assert _passes(model, torch.ones(20, 4)) == 5 * 20 / 8


def test_tokens_that_cost_most_come_first() -> None:
    n = np.arange(12)
    spliced = np.array([1.0, 5, 2, 9, 0, 3, 3, 4, 8, 7, 6, 10])
    costs = TokenCosts(
        sample=n, position=n, token_id=n, ce_clean=np.ones(12), ce_spliced=spliced, kl=spliced
    )
    assert costs.delta.tolist() == (spliced - 1).tolist()
    assert costs.worst(3).tolist() == [11, 3, 8]
    assert costs.worst().tolist() == [11, 3, 8, 9, 10, 1, 7, 5, 6, 2]


def test_labels_are_classes_of_the_model() -> None:
    model: Any = SimpleNamespace(class_names=["a", "b"])
    assert _check_labels(torch.tensor([0, 1]), model).tolist() == [0, 1]
    for wrong in ([0, 2], [-1, 0]):
        with pytest.raises(ValueError, match="0 … 1, got"):
            _check_labels(torch.tensor(wrong), model)
    for shape in (torch.zeros(0, dtype=torch.long), torch.zeros(2), torch.zeros(1, 1, dtype=int)):
        with pytest.raises(ValueError, match="must be whole numbers"):
            _check_labels(shape, model)
    unnamed: Any = SimpleNamespace(class_names=None)
    assert _check_labels(torch.tensor([7]), unnamed).tolist() == [7]


def test_a_headline_of_explanations_has_interval_chance_and_control() -> None:
    score = measured(
        "explanation_detection", 0.75, (0.5, 0.875), floor=0.5, control=0.625, n=2, unit="atoms"
    )
    found = ExplanationScores(
        scores={"detection": score}, per_atom={1: {}, 2: {}}, texts={1: "a", 2: "b"}, rules={},
        left_out=(), n_calls=0, n_unreadable=0, value=0.75, floor=0.5, control=0.625,
        interval=(0.5, 0.875), definition="explanation_detection", n=2, unit="atoms",
    )  # fmt: skip
    assert found.headline == (
        "2 atoms; detection 0.750 (95 % 0.500 … 0.875, chance 0.50, another atom's 0.625)"
    )


def test_a_report_says_what_it_is_of_and_prints_twelve_rows() -> None:
    facts = {"sae": "TopK", "hook_point": "h", "model": None, "n_rows": 5}
    one = measured("mse_token", 0.5, n=5)
    assert sn.evaluation.Report({"mse": one}, facts).headline == "TopK · h · 5 rows"
    left_out = sn.evaluation.Report({"mse": one}, {**facts, "n_massive": 2})
    assert left_out.headline.endswith("5 rows, without 2 of massive norm")
    for n, shown in ((12, 12), (13, 12)):
        report = sn.evaluation.Report({f"row {i}": one for i in range(n)}, facts)
        table, *notes = report.below
        assert len(table) == shown
        assert notes == ["… and 1 more rows: print(report.all), or report.table (pandas)."] * (
            n > shown
        )
        assert len(report.all.below[0]) == n


def test_what_rows_cannot_show_is_said() -> None:
    """An average atom fires n · l0 / n_atoms times; ten are needed."""

    def said(n: int, l0: float, m2: list[float]) -> list[str]:
        rows: Any = SimpleNamespace(
            sparsity=SimpleNamespace(n=n, l0=l0),
            reconstruction=SimpleNamespace(moments=SimpleNamespace(m2=torch.tensor(m2))),
        )
        return [*cautions(rows, 24)]

    assert said(80, 3.0, [1.0, 2.0]) == []
    assert said(79, 3.0, [1.0, 2.0]) == [
        "79 rows let an average atom fire 9.9 times; dead and rare fractions need 80 rows."
    ]
    (one,) = said(999, 3.0, [1.0, 0.0, 0.0])
    assert one.startswith("2 of 3 dimensions do not vary")
    assert said(1, 0.0, [0.0, 0.0])[0].startswith("All rows are the same")
    assert said(1, 0.0, [1.0])[0].startswith("No latent was active")
    none = {"r2": measured("r2_pooled", -0.25, n=1), "ood": measured("ood_score", 1.0, n=1)}
    worse, unknown = _undecided(none, 2)
    assert worse.startswith("R² is -0.25, worse than the mean")
    assert unknown == "Of 2 such rows there can be no distances_kept."
    whole = {**none, "r2": measured("r2_pooled", 0.0, n=1), "distances_kept": none["ood"]}
    assert [*_undecided(whole, 2)] == []
    missing = {**whole, "kl": measured("kl_clean_spliced", float("nan"), n=1)}
    assert [*_undecided(missing, 1)] == ["Of 1 such row there can be no kl."]
    short: Any = SimpleNamespace(measured={"steps": 3.0, "of_steps": 9.0})
    assert "cut short after 3 of 9 steps" in next(training_cut_short(short))
    assert [*training_cut_short(SimpleNamespace(measured=None))] == []
