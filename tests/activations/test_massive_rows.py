"""Rows with a massive norm are found wherever they are, dropped by default, counted and named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.activations._massive import massive, norm_limit, row_norms

TEXTS = [
    "Tom walked to the castle and said hello to the king.",
    "Once upon a time there was a little girl who lived in a house.",
    "The king lived in the castle with a big dog.",
    "They went to the park and played with a ball.",
] * 3
PLACE = "resid_post.0"
MASSIVE = 9
"""How often the token with the massive norm is in the texts."""


@pytest.fixture(scope="module")
def long_word() -> Iterator[Any]:
    """tiny-gpt, in which the last token of " castle" has a massive norm from the embedding on."""
    model = sn.load_model("tiny-gpt")
    token = model.tokenizer(" castle")["input_ids"][-1]
    with torch.no_grad():
        model.module.get_input_embeddings().weight[token] *= 1000
    return model


def captured(model: Any, at: Any = PLACE, texts: Any = TEXTS, **more: Any) -> Any:
    return sn.capture(model, texts, at, progress=False, **more)


def test_massive_rows_are_dropped_wherever_they_are_and_named(long_word: Any) -> None:
    """Nine rows are so; no other one changes, and the repr counts them."""
    kept, acts = captured(long_word, drop_massive=False), captured(long_word)
    norms = row_norms(kept.x)
    found = norms > 10 * norms.median()
    assert int(found.sum()) == MASSIVE
    assert torch.equal(acts.x, kept.x[~found])
    assert torch.equal(acts.position, kept.position[~found])
    places = torch.stack([kept.sample[found], kept.position[found]], dim=1).tolist()
    assert acts.context.policy["massive_at"] == places
    positions = ", ".join(map(str, sorted({place[1] for place in places})))
    assert f"{MASSIVE} rows of massive norm dropped (at positions {positions})" in repr(acts)
    assert "massive" not in repr(kept)


def test_a_model_without_massive_rows_is_captured_as_ever(gpt: Any) -> None:
    """Nothing is dropped at any hook point of tiny-gpt, and no bit changes."""
    points = ["resid_pre.0", "resid_post.0", "resid_post.3", "mlp_out.1", "attn_out.2"]
    usual, kept = captured(gpt, points), captured(gpt, points, drop_massive=False)
    for name in points:
        assert torch.equal(usual[name].x, kept[name].x)
        assert usual[name].context.policy["n_dropped_massive"] == 0


def test_a_token_that_is_massive_at_one_hook_point_is_dropped_at_all(long_word: Any) -> None:
    """Rows of several places stay those of the same tokens, although the MLP's are of usual norm there."""
    acts = captured(long_word, [PLACE, "mlp_out.0"])
    assert torch.equal(acts[PLACE].position, acts["mlp_out.0"].position)
    assert len(captured(long_word, "mlp_out.0")) > len(acts["mlp_out.0"])
    assert acts[PLACE].context is acts["mlp_out.0"].context


@pytest.mark.parametrize("options", [{}, {"pack": True, "context_length": 16}, {"max_rows": 40}])
def test_a_store_drops_the_same_rows_as_memory(
    long_word: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Rows, places and counts are equal, however many shards they lie in."""
    settings = {"batch_size": 2, **options}
    acts = captured(long_word, **settings)
    stored = captured(long_word, store=tmp_path / "acts", shard_rows=20, **settings)
    assert torch.equal(stored.x, acts.x)
    assert dict(stored.context.policy) == dict(acts.context.policy)
    assert len(acts) == 40 or acts.context.policy["n_dropped_massive"] == MASSIVE


def test_a_capture_that_was_interrupted_decides_alike(long_word: Any, tmp_path: Path) -> None:
    """The limit is written with the shards: what comes after the interrupt is held against the same one."""
    settings = {"batch_size": 2, "shard_rows": 20}
    whole = captured(long_word, store=tmp_path / "whole", **settings)

    def stop(record: Any) -> None:
        if record.samples == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sn.capture(long_word, TEXTS, PLACE, store=tmp_path / "part", progress=stop, **settings)
    resumed = captured(long_word, store=tmp_path / "part", **settings)
    assert torch.equal(resumed.x, whole.x)
    assert dict(resumed.context.policy) == dict(whole.context.policy)


def test_a_store_from_before_there_was_a_choice_is_opened_as_it_is(
    long_word: Any, tmp_path: Path
) -> None:
    """The usual call opens it, and does not refuse what it holds."""
    before = captured(long_word, store=tmp_path / "acts", drop_massive=False)
    assert torch.equal(captured(long_word, store=tmp_path / "acts").x, before.x)
    with pytest.raises(ValueError, match="drop_massive"):
        captured(long_word, store=tmp_path / "acts", drop_massive=True)


def test_a_stream_has_another_row_in_the_place_of_a_massive_one(long_word: Any) -> None:
    """As many rows as without, none massive; a stream that starts later gives the same ones."""
    source = sn.stream(long_word, TEXTS, PLACE)
    batches = [batch for batch, _ in zip(source.batches(16), range(8))]
    norms = row_norms(torch.cat(batches))
    assert not bool((norms > norm_limit(norms)).any())
    kept = sn.stream(long_word, TEXTS, PLACE, drop_massive=False)
    norms = row_norms(torch.cat([batch for batch, _ in zip(kept.batches(16), range(8))]))
    assert bool((norms > norm_limit(norms)).any())
    later = sn.stream(long_word, TEXTS, PLACE).batches(16, start=5)
    assert all(torch.equal(next(later), batches[i]) for i in (5, 6, 7))


def test_a_stream_that_is_read_once_loses_no_text(long_word: Any) -> None:
    """The first batch, from which the median is taken, is streamed as well."""
    n = len(captured(long_word, drop_massive=False))
    source = sn.stream(long_word, iter(TEXTS), PLACE, buffer=n)
    rows = next(source.batches(n))
    norms = row_norms(captured(long_word).x)
    assert torch.isin(row_norms(rows), norms).all()
    assert len(torch.unique(row_norms(rows))) == len(torch.unique(norms))


def test_what_is_massive_does_not_overflow_half_precision(long_word: Any) -> None:
    """A row beyond 65504 is dropped before it becomes infinite."""
    token = long_word.tokenizer(" castle")["input_ids"][-1]
    weight = long_word.module.get_input_embeddings().weight
    with torch.no_grad():
        usual = weight[token].clone()
        weight[token] *= 10_000
    try:
        assert (
            captured(long_word, dtype=torch.float16).context.policy["n_dropped_massive"] == MASSIVE
        )
        with pytest.raises(ValueError, match="must be finite"):
            captured(long_word, dtype=torch.float16, drop_massive=False)
    finally:
        with torch.no_grad():
            weight[token] = usual


def test_what_counts_as_massive_by_hand() -> None:
    """More than ten times the median; not where most rows are zero or a tenth of them are so long."""
    norms = torch.tensor([1.0] * 20 + [10.0, 10.1])
    assert massive(norms).nonzero().flatten().tolist() == [21]
    assert not massive(torch.tensor([0.0] * 20 + [1.0])).any()
    assert massive(torch.tensor([1.0] * 8 + [50.0])).sum() == 1
    assert not massive(torch.tensor([1.0] * 8 + [50.0] * 2)).any()
    assert not massive(torch.tensor([1.0] * 3 + [50.0])).any()
    assert not massive(torch.tensor([1.0] * 20 + [float("inf"), float("nan")])).any()
