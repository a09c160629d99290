"""Promises of the language recipe: honest numbers, nothing held out is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from sae_nb.data import prose, stories
from sae_nb.models import load_model
from sae_nb_studies.recipes import TrainingText, gather, judged_ids, tiny_gpt, token_ids
from sae_nb_studies.recipes._language_data import Batches, train_tokenizer
from sae_nb_studies.recipes._language_training import (
    LanguageRecipe,
    LanguageShape,
    LanguageTraining,
    nats_per_token,
    new_language_model,
)

SHAPE = LanguageShape(d_model=16, n_blocks=2, n_heads=2, d_hidden=24, context_length=64)
RECIPE = LanguageRecipe(
    shape=SHAPE, steps=6, decay_steps=3, rows=4, row_length=16, warmup_steps=2, log_every=2, seed=1
)


def _small(extra: Path | None, seed: int) -> TrainingText:
    train, test = prose("train").texts, prose("test").texts
    sources = {"prose": train[:40], "docstrings": train[40:60]}
    sources |= {} if extra is None else {"extra": train[60:80]}
    return TrainingText(sources, {"prose": test[:6], "stories": stories(8, seed + 1).texts}, seed)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> TrainingText:
    """A hundredth of the text in place of all of it."""
    monkeypatch.setattr(tiny_gpt, "gather", _small)
    return _small(None, RECIPE.seed)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(_small(None, 1))


@pytest.mark.slow
def test_what_the_recipe_writes_opens_writes_and_can_be_read_from(
    tmp_path, small, trigram, monkeypatch
):
    """The folder is a checkpoint like others: hook points, generation, texts that begin alike."""
    tiny_gpt.train_tiny_gpt(RECIPE, tmp_path, extra=tmp_path)
    assert "trigram" not in (tmp_path / "tiny-gpt" / "card.md").read_text()
    monkeypatch.setattr(trigram, "N_STORIES", 30)
    card = trigram.add_to_card(tmp_path / "tiny-gpt", _small(tmp_path, RECIPE.seed))
    model = load_model(tmp_path / "tiny-gpt")
    assert model.kind == "language"
    assert model.causal
    assert model.hook_points()[-2:] == ["resid_post.1", "final_norm"]
    assert isinstance(model.generate("One day", max_new_tokens=3), str)
    assert model.tokenizer("One day")["input_ids"][0] == model.end_of_text == 0
    judged = {k: judged_ids(model.tokenizer, v) for k, v in small.held_out.items()}
    measured = {k: round(nats_per_token(model.module, v, 0), 4) for k, v in judged.items()}
    assert card["held_out"]["nats_per_token"] == measured
    assert set(card["held_out"]["trigram"]) == {"all", "cpython", "stories"}
    text = (tmp_path / "tiny-gpt" / "card.md").read_text()
    assert card["command"] in text
    assert "--extra-text FOLDER" in text
    assert f"{measured['prose']:.3f}" in text


@pytest.mark.slow
def test_training_learns(tokenizer):
    """Sixty steps on one small batch bring the loss well below guessing."""
    training = LanguageTraining(replace(RECIPE, steps=60, decay_steps=20), "x")
    batch = Batches(_small(None, 1), tokenizer).at(0, 4, 17)
    with torch.random.fork_rng(devices=[]):
        first = None
        for _ in range(60):
            training.model.train()
            training.advance(batch)
            first = training.loss if first is None else first
    assert first == pytest.approx(torch.log(torch.tensor(1024.0)).item(), abs=0.3)
    assert training.loss < first - 1.5


def test_nats_do_not_depend_on_how_texts_are_batched():
    """Padding adds nothing: each text is as if alone, its end counted, against plain log-softmax."""
    model = new_language_model(RECIPE)
    texts = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14, 15], [1, 2]]
    total, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([[0, *text, 0]])
        with torch.no_grad():
            p = F.log_softmax(model.eval()(ids[:, :-1]).logits[0], dim=-1)
        total -= float(p[torch.arange(len(text) + 1), ids[0, 1:]].sum())
        count += len(text) + 1
    for batch in (1, 2, 16):
        assert nats_per_token(model, texts, 0, batch=batch) == pytest.approx(total / count, 1e-5)


def test_tokens_give_the_text_back(tokenizer):
    """Byte level: any text survives; the boundary is no part of it."""
    texts = ["One day Anna met a dog.", "naïve café ☕ 漢字\n\ttabs"]
    for text, ids in zip(texts, token_ids(tokenizer, texts), strict=True):
        assert tokenizer.decode(ids) == text
        assert 0 not in ids
    assert tokenizer(texts[0])["input_ids"] == [0, *token_ids(tokenizer, texts[:1])[0]]


@pytest.mark.slow
def test_nothing_held_out_is_read(tmp_path):
    """No long sentence of the held-out prose is in any source, also if the folder has it."""
    test = prose("test").texts
    (tmp_path / "leak.txt").write_text("\n\n".join([*test[:5], "A paragraph of my own, unseen."]))
    material = gather(tmp_path, 0)
    assert material.sources["extra"] == ("A paragraph of my own, unseen.",)
    assert set(material.sources) == {"prose", "docstrings", "extra"}
    held = {s for t in test for s in t.split(". ") if len(s) >= 60}
    for texts in material.sources.values():
        assert not any(sentence in text for text in texts for sentence in list(held)[:50])
    assert not set(material.held_out["stories"]) & set(stories(200, 0).texts)
