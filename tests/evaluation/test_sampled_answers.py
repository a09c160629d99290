"""A large model answers as many texts as the number that matters needs, and the report says how many."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.evaluation.report import _downstream, _sampling

TEXTS = [
    f"{name} went to the {place} and saw a {thing} there."
    for name in ("Tom", "Lily", "The king", "A girl", "The dog")
    for place in ("park", "house", "garden", "castle")
    for thing in ("ball", "bird")
]


@pytest.fixture(scope="module")
def judged(gpt: Any) -> tuple[Any, Any]:
    return sn.load_sae("tiny-gpt/resid_post.3"), sn.capture(
        gpt, TEXTS, "resid_post.3", progress=False
    )


def test_a_small_model_answers_all(gpt: Any, judged: tuple[Any, Any]) -> None:
    report = sn.evaluate(*judged, model=gpt, n_bootstrap=0)
    assert report.provenance["n_samples_run"] == report.provenance["n_samples_given"] == 40
    assert not any("answered" in said for said in report.cautions)
    everything = sn.evaluate(*judged, model=gpt, n_bootstrap=0, model_rows=10**9)
    assert everything.ce_recovered.value == pytest.approx(report.ce_recovered.value, abs=1e-6)


@pytest.mark.slow
def test_a_costly_model_stops_when_the_interval_is_narrow(
    gpt: Any, judged: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins with little work, stops within the width that was set, and the value is that of all."""
    monkeypatch.setattr(_sampling, "WORK", 1.0)
    monkeypatch.setattr(_sampling, "NARROW", 1.0)
    report = sn.evaluate(*judged, model=gpt, n_bootstrap=200, model_batch_size=2)
    used = report.provenance["n_samples_run"]
    assert 12 <= used < 40
    assert any(f"answered {used} of 40 texts, until" in said for said in report.cautions)
    whole = sn.evaluate(*judged, model=gpt, n_bootstrap=0, model_rows=10**9)
    low, high = report.ce_recovered.interval
    assert high - low < 1.2
    assert low - 0.1 <= whole.ce_recovered.value <= high + 0.1
    assert report.r2.n == whole.r2.n
    monkeypatch.setattr(_sampling, "NARROW", 0.0)
    assert sn.evaluate(*judged, model=gpt, n_bootstrap=0).provenance["n_samples_run"] == 40


@pytest.mark.slow
def test_rows_and_seconds_choose(gpt: Any, judged: tuple[Any, Any]) -> None:
    few = sn.evaluate(*judged, model=gpt, n_bootstrap=0, model_rows=50, model_batch_size=2)
    assert 50 <= few.ce_recovered.n < 100
    assert any("as asked" in said for said in few.cautions)
    brief = sn.evaluate(*judged, model=gpt, n_bootstrap=0, model_seconds=0.0, model_batch_size=2)
    assert brief.provenance["n_samples_run"] == 2
    again = sn.evaluate(*judged, model=gpt, n_bootstrap=0, model_rows=50, model_batch_size=2)
    assert again.ce_recovered == few.ce_recovered


@pytest.mark.slow
def test_labels_stay_with_their_samples(vit: Any) -> None:
    acts = sn.capture(vit, sn.data.scenes(24, seed=0), "resid_post.3", progress=False)
    sae = sn.TopK(acts.d_in, 64, 4).eval()
    labels = torch.arange(24) % len(vit.class_names)
    report = sn.evaluate(
        sae, acts, vit, labels=labels, n_bootstrap=0, model_rows=8, model_batch_size=4
    )
    assert report.ce.n == 8


def test_labels_of_all_samples_are_taken_for_those_there_are(vit: Any) -> None:
    pictures = sn.data.scenes(12, seed=3, split="test")
    acts = sn.capture(vit, pictures, "resid_post.6", progress=False)
    kept = torch.arange(12) % 2 == 1
    some = acts.subset(kept[acts.sample])
    sae = sn.load_sae("tiny-vit/resid_post.6")
    report = sn.evaluate(sae, some, vit, labels=pictures.digit, n_bootstrap=0)
    right = vit(pictures.images[kept]).argmax(dim=1) == pictures.digit[kept]
    assert report["accuracy_clean"].n == 6
    assert report["accuracy_clean"].value == pytest.approx(float(right.double().mean()))


@pytest.mark.slow
def test_texts_whose_logits_would_fill_memory_are_cut(
    gpt: Any, judged: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large vocabulary and a long context: the report says where, and costs per token stop there too."""
    monkeypatch.setattr(_downstream, "_WHOLE", 1)
    monkeypatch.setattr(_downstream, "_LOGITS", 6 * gpt.vocabulary_size)
    report = sn.evaluate(*judged, model=gpt, n_bootstrap=0)
    assert report.ce_recovered.n == 5 * 40
    assert any("40 of the texts were cut after 6 tokens" in said for said in report.cautions)
    costs = sn.evaluation.token_costs(gpt, judged[0], judged[1])
    assert costs.position.max() == 4


@pytest.mark.parametrize(
    ("rows", "seconds", "ends"),
    [
        (None, 5.0, [False, True]),
        (5, None, [False, True]),
        (5, 9.0, [False, True]),
        (4, 5.0, [True, True]),
    ],
)
def test_answers_end_after_so_many_rows_or_seconds(
    rows: int | None, seconds: float | None, ends: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of two texts and four rows, and of one text and one row, at 4.5 and 5 seconds."""
    sampling = _sampling.Sampling(rows=rows, seconds=seconds)
    sampling._began = 100.0
    found = []
    for now, n, scored in ((104.5, 2, 4), (105.0, 1, 1)):
        monkeypatch.setattr(_sampling.time, "perf_counter", lambda now=now: now)
        found.append(sampling.enough(SimpleNamespace(n=n), scored, lambda: (0.0, 0.0)))  # type: ignore[arg-type]
    assert found == ends
    assert (sampling.used, sampling.reason) == (3, "as asked")
