"""Promises of the benchmark: known answers get the scores they must, tasks are checked, files are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix

import sae_nb as sn
from sae_nb_studies.evaluation.concepts._targeted import (
    Pooled,
    attribute_exchange,
    shortcut_removal,
    targeted_perturbation,
)
from sae_nb_studies.uses import Bench, BenchTasks, _bench, bench
from sae_nb_studies.uses._bench_rows import Score, score_of
from sae_nb_studies.uses._bench_tasks import Material


def planted(n: int = 480, *, known: bool = True) -> tuple[Pooled, dict[str, np.ndarray]]:
    """Two labels of two classes and one of three, a direction each, in noise; codes are the labels, or nothing."""
    generator = np.random.default_rng(0)
    labels = {
        "a": generator.integers(0, 2, n),
        "b": generator.integers(0, 2, n),
        "c": generator.integers(0, 3, n),
    }
    values = [
        labels[name] == i
        for name, n_values in (("a", 2), ("b", 2), ("c", 3))
        for i in range(n_values)
    ]
    codes = np.stack(values, axis=1).astype(np.float64)
    atoms = np.zeros((7, 8))
    atoms[:2, 0], atoms[2:4, 1] = (
        (-1, 1),
        (-2, 2),
    )  # two-sided: without them a sample is at the mean
    atoms[[4, 5, 6], [2, 3, 4]] = 3
    x = codes @ atoms + 0.3 * generator.standard_normal((n, 8))
    if not known:
        atoms, codes = np.tile(np.ones(8) / 8**0.5, (7, 1)), np.ones((n, 7))
    z = csr_matrix(codes)
    return Pooled(x=x, z=z, atoms=atoms, offset=np.zeros(8)), labels


def scr(pooled: Pooled, labels: dict[str, np.ndarray]) -> float:
    return shortcut_removal(pooled, labels["a"] == 1, labels["b"] == 1, (1, 2)).score


def test_scr_is_one_for_an_oracle_and_zero_for_a_broken_sae() -> None:
    """The stronger label is the shortcut; atoms that are all the same move no sample against another."""
    assert scr(*planted()) == pytest.approx(1.0, abs=0.05)
    assert scr(*planted(known=False)) == pytest.approx(0.0, abs=0.05)


def test_tpp_hurts_one_class_alone() -> None:
    """An oracle's class loses its probe (balanced accuracy to ½), the others keep theirs."""
    pooled, labels = planted()
    assert targeted_perturbation(pooled, labels["c"], (1,)).score > 0.2
    broken, _ = planted(known=False)
    assert targeted_perturbation(broken, labels["c"], (1,)).score == pytest.approx(0.0, abs=0.02)


@pytest.mark.slow
def test_ravel_exchanges_one_attribute() -> None:
    """Planted: cause and isolation are near 1; a label that another determines is left out."""
    pooled, labels = planted()
    found = attribute_exchange(pooled, labels | {"not a": 1 - labels["a"]})
    assert set(found) <= {"a", "not a", "b", "c"}
    assert len(found) == 3
    assert all(one.score > 0.9 for one in found.values())
    broken = attribute_exchange(planted(known=False)[0], labels)
    assert all(one.cause < 0.7 for one in broken.values())


def own(n: int = 96, **more: Any) -> tuple[Any, Any, BenchTasks]:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(n) % 3
    x = torch.eye(8)[label] * 3 + 0.1 * torch.randn(n, 8, generator=generator)
    sae = sn.TopK(8, 16, 2, generator=generator)
    model = sn.wrap(torch.nn.Sequential(torch.nn.Identity()))
    return sae, model, BenchTasks(inputs=x, labels={"third": label}, **more)


@pytest.mark.slow
def test_own_tasks_are_measured_and_saved(tmp_path: Path) -> None:
    """A user's vectors and labels; JSON has null for what is not known, HTML holds the rows and no script."""
    sae, model, tasks = own()
    result = bench(sae, model, ["probing", "tpp"], tasks, hook_point="0")
    assert result.table["score"].between(0, 1).all()
    result.save(tmp_path)
    saved = json.loads((tmp_path / "bench.json").read_text())
    assert [row["row"] for row in saved["rows"]] == ["probing", "tpp"]
    assert saved["rows"][0]["oracle"] is None
    page = (tmp_path / "bench.html").read_text()
    assert "<svg" in page
    assert "<script" not in page
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bench.html", "bench.json"]
    again = Bench.load(tmp_path)
    pd.testing.assert_frame_equal(again.table, result.table)
    pd.testing.assert_frame_equal(again.details, result.details)
    assert again.facts == result.facts
    (tmp_path / "bench.json").write_text('{"rows": []}')
    with pytest.raises(ValueError, match="has no details, facts"):
        Bench.load(tmp_path)


def test_what_is_forgotten_is_counted() -> None:
    """Atoms of what is to be forgotten, set far below 0, change its answers and no other."""
    sae, model, tasks = own()
    known = torch.eye(8)
    with torch.no_grad():
        sae.load_state_dict(
            sae.state_dict()
            | {"operator.weight": known.repeat(2, 1), "encoder.weight": torch.cat((known, -known))}
        )
    forget, keep = known[:1].repeat(12, 1), known[1:3].repeat(12, 1)
    given = Material(sae, model, "0", BenchTasks(inputs=tasks.inputs, forget=forget, keep=keep), 0)
    score, reason = score_of("unlearning", given)
    assert reason == ""
    assert score.value == 1.0


def test_references_stand_beside_and_never_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded is shown, a broken SAE that scores as high is named, what is not recorded is "—"."""
    beside = {"random": 2.0, "collapsed": -1.0, "reseed_cv": 0.25}
    monkeypatch.setattr(_bench, "_references", lambda *_: {"core": beside})
    monkeypatch.setattr(_bench, "score_of", lambda *_: (Score(value=0.9, simple=0.8), ""))
    monkeypatch.setattr(_bench, "N_INPUTS", 48)
    sae = sn.load_sae("tiny-vit/resid_post.6")
    result = bench(sae, rows=["core"], n_inputs=48)
    row = result.table.iloc[0]
    assert (row["random"], row["collapsed"], row["reseed_cv"]) == (2.0, -1.0, 0.25)
    assert np.isnan(row["oracle"])
    assert np.isnan(row["copied"])
    assert "random, 2.000" in row["warning"]
    assert "collapsed" not in row["warning"]
    assert "—" in repr(result)
    assert "<td>—</td>" in result._repr_html_()
    names = [trace.name for trace in result.plot().data]
    assert "random SAE" in names
    assert "oracle" not in names
