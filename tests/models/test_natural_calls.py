"""A live model as people of torch, Hugging Face and TransformerLens use one."""

from __future__ import annotations

import pytest
import torch

import sae_nb as sn


@pytest.fixture
def plain() -> sn.LiveModel:
    return sn.wrap(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()))


@pytest.mark.slow
def test_a_model_says_how_deep_and_wide_it_is(gpt, plain) -> None:
    """By its own configuration, or by a record of what is known."""
    assert gpt.config is gpt.module.config
    assert (gpt.n_layers, gpt.width()) == (4, gpt.config.hidden_size)
    assert (plain.n_layers, plain.width()) == (None, None)
    assert (plain.config.name, plain.config.n_parameters) == ("Sequential", 15)


def test_tokens_are_a_table_that_says_what_capture_drops(gpt) -> None:
    """As many are not dropped as are captured, at the same positions."""
    texts = ["Once upon a time", "More"]
    tokens = gpt.tokens(texts)
    acts = sn.capture(gpt, texts, "embed", progress=False)
    kept = tokens[~tokens["dropped"]]
    assert kept["sample"].tolist() == acts.sample.tolist()
    assert kept["position"].tolist() == acts.position.tolist()
    assert kept["token"].tolist() == list(acts.tokens)
    assert "".join(tokens["token"]) == "<|endoftext|>Once upon a time<|endoftext|>More"
    alone = gpt.tokens(texts[0])
    assert list(alone.columns) == ["position", "id", "token", "special", "dropped"]
    ids = gpt.tokenizer(texts[0])["input_ids"]
    assert alone["id"].tolist() == ids == gpt.tokens(ids)["id"].tolist()


def test_a_near_miss_of_a_bundled_name_asks_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare name that is not near one is a hub id like any other."""
    from sae_nb.models import _checkpoint_files

    asked = []

    def snapshot(name: str, *args: object, **options: object) -> OSError:
        asked.append(name)
        return OSError("no such repository")

    monkeypatch.setattr(_checkpoint_files, "snapshot", snapshot)
    monkeypatch.setattr(_checkpoint_files, "is_offline", lambda: False)
    for name in ("tiny-vitt", "tinygpt", "tiny_vit_tied"):
        with pytest.raises(FileNotFoundError, match="Did you mean 'tiny-"):
            sn.load_model(name)
    assert asked == []
    with pytest.raises(
        FileNotFoundError, match=r"got 'gpt2': no such repository\..* The cache holds"
    ):
        sn.load_model("gpt2")
    assert set(asked) == {"gpt2"}
