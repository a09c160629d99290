"""What a live model answers, what it says about itself, and how batches join."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sae_nb.models import wrap
from sae_nb.models._answers import main_tensor, named_outputs
from tests.models.conftest import inputs_for


@pytest.mark.parametrize("family", ["gpt2", "bert", "vit", "dinov2", "clip_vision_model"])
def test_batch_size_changes_nothing(build, family) -> None:
    """One by one or all at once."""
    model = wrap(build(family))
    inputs = inputs_for(model, 5)
    torch.testing.assert_close(model(inputs, batch_size=2), model(inputs, batch_size=5))
    assert len(model(inputs)) == 5


@pytest.mark.parametrize(
    ("family", "attribute"),
    [
        ("gpt2", "logits"),
        ("roberta", "logits"),
        ("bert", "last_hidden_state"),
        ("vit", "logits"),
        ("dinov2", "pooler_output"),
        ("clip_vision_model", "pooler_output"),
        ("siglip_vision_model", "pooler_output"),
    ],
)
def test_the_answer_is_what_the_documentation_says(build, family, attribute) -> None:
    """Logits; last hidden states of encoders; pooled states of vision backbones."""
    module = build(family)
    model = wrap(module)
    inputs = inputs_for(model)
    raw = module(**{"pixel_values" if model.modality.is_image else "input_ids": inputs})
    torch.testing.assert_close(model(inputs), getattr(raw, attribute).detach())
    assert torch.equal(model.heads(inputs)[attribute], model(inputs))


def test_answers_carry_no_graph(build) -> None:
    """Calling a model in a notebook does not build up memory."""
    assert not wrap(build("gpt2"))([[3, 4]]).requires_grad


def test_a_text_beyond_the_context_is_cut_with_a_warning(build) -> None:
    """The answer is shorter than the text, so it is said."""
    model = wrap(build("gpt2"))
    for ask in (model, model.heads):
        with pytest.warns(UserWarning, match="1 of the texts .* 48 tokens") as caught:
            ask([[5] * 60, [6]])
        assert caught[0].filename == __file__
    assert model([[5] * 48]).shape == (1, 48, 64)


def test_special_tokens_and_limits_are_found(build, tokenizer) -> None:
    """From the tokenizer, else the configuration; ids outside the vocabulary are not believed."""
    model = wrap(build("gpt2"), tokenizer=tokenizer())
    assert (model.beginning_of_text, model.end_of_text, model.pad_id) == (1, 2, 0)
    assert model.special_ids == {0, 1, 2, 3}
    assert (model.vocabulary_size, model.context_length) == (64, 48)
    assert wrap(build("roberta")).context_length == 48 - 1 - 1
    odd = wrap(build("gpt2", eos_token_id=50256, bos_token_id=50256, pad_token_id=None))
    assert (odd.end_of_text, odd.beginning_of_text, odd.pad_id) == (None, None, 0)
    assert odd([[3], [4, 5]]).shape == (2, 2, 64)


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"a": self.a(x), "b": self.b(x)}


def test_a_module_with_several_answers_gives_the_first_and_all_by_name() -> None:
    """A dict of tensors, joined over batches."""
    model = wrap(Heads())
    x = torch.randn(5, 4)
    torch.testing.assert_close(model(x, batch_size=2), model.heads(x)["a"])
    torch.testing.assert_close(model.heads(x, batch_size=2)["b"], model.module.b(x).detach())


def test_outputs_are_named() -> None:
    """Tensors, tuples, dicts and records."""
    x, y = torch.zeros(1), torch.ones(2)
    assert list(named_outputs(x)) == ["output"]
    assert list(named_outputs((x, None, y))) == ["0", "2"]
    assert torch.equal(main_tensor((None, y)), y)
    assert torch.equal(main_tensor({"last_hidden_state": x, "logits": y}), y)
    pooled = {"last_hidden_state": x, "pooler_output": y}
    assert torch.equal(main_tensor(pooled), x)
    assert torch.equal(main_tensor(pooled, prefer_pooled=True), y)
    with pytest.raises(TypeError, match="must return a tensor"):
        main_tensor(3)
