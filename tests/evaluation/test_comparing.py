"""Dictionaries in one table: equal L0 is checked, what is fitted is not trained, two rows that no choice made."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb_studies.evaluation import Comparison, compare_dictionaries

D, N, K = 12, 16, 3
X = sn.data.planted_dictionary(N, D, 600, K).x
CONFIG = sn.TrainConfig(steps=60, batch_size=128)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def topk(seed: int) -> Any:
    return sn.TopK(D, N, K, generator=seeded(seed))


PCA = sn.fit_classical(X, "PCA", D, k=K)


@pytest.fixture(scope="module")
def found() -> Comparison:
    return compare_dictionaries(
        {"TopK": topk, "crowded": sn.TopK(D, N, 2 * K), "PCA": PCA}, X, CONFIG, l0=K
    )


@pytest.mark.slow
def test_rows_are_those_given_and_two_more(found: Comparison) -> None:
    """In this order; training beats its start, and its start says how far seeds agree by chance."""
    names = [row.name for row in found.rows]
    assert names == ["TopK", "crowded", "PCA", "TopK, untrained", "random atoms"]
    trained, before = found["TopK"].numbers, found["TopK, untrained"].numbers
    assert trained["r2"] > before["r2"]
    assert trained["stability"] > before["stability"]
    assert before["seconds"] == 0 < trained["seconds"]
    assert [row.name for row in found.rows if not row.at_l0] == ["crowded"]
    assert math.isnan(found["random atoms"].numbers["stability"])


@pytest.mark.slow
def test_means_are_over_seeds_on_rows_held_out(found: Comparison) -> None:
    _, test = sn.Activations.from_tensor(X).split(0.8, seed=0)
    saes = found["TopK"].saes
    r2 = [sn.evaluate(sae, test, n_bootstrap=0).r2.value for sae in saes]
    assert len(saes) == 2
    assert found["TopK"].numbers["r2"] == pytest.approx(sum(r2) / 2)
    assert found["random atoms"].numbers["r2"] == found["TopK"].reports[0].r2.control
    stable = sn.evaluation.stability(saes, n_bootstrap=0).value
    assert found["TopK"].numbers["stability"] == pytest.approx(stable)


def test_what_is_fitted_is_not_trained(found: Comparison) -> None:
    """PCA keeps its components, has no seconds and no second seed; without anything to train there is no row before training."""
    assert torch.equal(found["PCA"].saes[0].dictionary, PCA.dictionary)
    alone = compare_dictionaries({"PCA": PCA}, X, seeds=(0,))
    assert math.isnan(found["PCA"].numbers["seconds"])
    assert len(found["PCA"].saes) == 1
    assert [row.name for row in alone.rows] == ["PCA", "random atoms"]
    assert math.isnan(alone["PCA"].numbers["stability"])


@pytest.mark.slow
def test_an_untrained_sae_is_built_anew_for_every_seed(found: Comparison) -> None:
    """With its settings, the one given untouched, and the same as a function of the seed gives."""
    given = sn.TopK(D, N, K)
    before = given.dictionary.clone()
    same = compare_dictionaries({"TopK": given}, X, CONFIG, l0=K)
    assert torch.equal(given.dictionary, before)
    assert not given.initialised
    for ours, theirs in zip(same["TopK"].saes, found["TopK"].saes, strict=True):
        assert torch.equal(ours.dictionary, theirs.dictionary)


@pytest.mark.slow
def test_in_the_live_model_answers_are_measured() -> None:
    """With inputs and labels: cross-entropy lost and accuracy, for the random atoms too."""
    model, scenes = sn.load_model("tiny-vit"), sn.data.scenes(6, seed=1)
    acts = sn.capture(model, scenes.images, "resid_post.6", progress=False)
    how = {"model": model, "inputs": scenes.images, "labels": torch.as_tensor(scenes.digit)}
    makes = {"TopK": sn.TopK(64, 64, 4)}
    few = compare_dictionaries(makes, acts, sn.TrainConfig(steps=2), test=acts, seeds=(0,), **how)
    assert list(few.table.columns)[3:5] == ["delta_ce", "accuracy"]
    for row in few.rows:
        assert math.isfinite(row.numbers["delta_ce"])
        assert 0 <= row.numbers["accuracy"] <= 1


def test_an_sae_that_was_cut_short_is_said() -> None:
    """A training that Ctrl-C ended: its numbers are of a part, in the report and in the comparison."""
    sae = topk(0)

    def stop(record: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sn.train(sae, X, CONFIG, callbacks=stop, progress=False)
    said = r"cut short after 1 of 60 steps"
    with pytest.warns(UserWarning, match=f"half: .*{said}"):
        compare_dictionaries({"half": sae}, X, CONFIG, seeds=(0,), progress=False)
    assert re.search(said, repr(sn.evaluate(sae, X, n_bootstrap=0)))
    sn.train(sae, X, CONFIG, progress=False)
    assert not re.search(said, repr(sn.evaluate(sae, X, n_bootstrap=0)))


def test_the_table_leaves_as_pandas_and_markdown(found: Comparison) -> None:
    """One line per row, the same columns; a number that is not there is an empty cell."""
    table = found.to_pandas()
    assert list(table.index) == [row.name for row in found.rows]
    assert list(table.columns) == ["r2", "l0", "dead_fraction", "stability", "seconds"]
    lines = found.to_markdown().splitlines()
    assert lines[0] == "| dictionary | r2 | l0 | dead_fraction | stability | seconds |"
    assert lines[-3].startswith("| random atoms |")
    assert lines[-3].endswith("|  |  |")
    assert {line.count("|") for line in lines[:-2]} == {7}
