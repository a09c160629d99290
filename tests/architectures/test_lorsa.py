"""Lorsa: it looks where the layer looks, a text is read from its first token on, and it takes the layer's place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import sae_nb as sn
from sae_nb.models import read_attention
from sae_nb_studies.architectures import Lorsa

STORIES = ["Once upon a time there was a cat.", "Tom ran."]
LETTERS = ["q k e f q k e f", "a b c a b c"]


def of_layer(model: Any, texts: Any, layer: int = 1, **settings: Any) -> Lorsa:
    generator = torch.Generator().manual_seed(0)
    return Lorsa.of_layer(model, layer, texts, 64, 4, generator=generator, **settings)


def read(model: Any, lorsa: Lorsa, text: Any) -> tuple[Tensor, Tensor]:
    acts = sn.capture(model, text, list(lorsa.places), drop_first=False, progress=False)
    return acts[lorsa.places[0]].x, acts[lorsa.places[1]].x


def neox(**changes: Any) -> Any:
    """Small networks with random weights: a quarter of each head is turned, or queries have a norm."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 20,
        "max_position_embeddings": 16,
        "initializer_range": 0.5,
    }
    if changes.get("normed"):
        return sn.wrap(
            Qwen3ForCausalLM(Qwen3Config(**sizes, num_key_value_heads=1, head_dim=16)).eval()
        )
    return sn.wrap(GPTNeoXForCausalLM(GPTNeoXConfig(**sizes, rotary_pct=0.25)).eval())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "texts"), [("tiny-gpt", STORIES), ("tiny-induction", LETTERS), ("neox", None)]
)
def test_it_begins_with_the_attention_of_the_layer(name: str, texts: Any) -> None:
    """Rotations, learned positions, biases, and heads of which a part is turned; copies of a head look alike."""
    model = neox() if name == "neox" else sn.load_model(name)
    inputs = torch.arange(12).reshape(1, 12) if texts is None else texts
    lorsa = of_layer(model, inputs, copies=2)
    one = inputs[:1]
    x, _ = read(model, lorsa, one)
    (batch,) = model.batches(one, batch_size=1)
    own = read_attention(model, batch, 1).pattern
    found = lorsa.attention(x[None])[0].detach()
    assert torch.allclose(found, own.repeat_interleave(2, dim=0), atol=1e-4)
    assert float(own.diagonal(0, 1, 2).std()) > 0.01  # not all alike


def test_a_layer_with_a_norm_of_queries_is_refused() -> None:
    with pytest.raises(ValueError, match="must attend by a softmax of linear queries"):
        of_layer(neox(normed=True), torch.arange(12).reshape(1, 12))


def test_what_each_token_adds_sums_to_the_strength_and_later_tokens_add_nothing() -> None:
    model = sn.load_model("tiny-gpt")
    lorsa = of_layer(model, STORIES)
    with torch.no_grad():
        lorsa.encoder.bias.normal_(generator=torch.Generator().manual_seed(1))
    x, _ = read(model, lorsa, STORIES[:1])
    codes = lorsa.encode(x)
    added = lorsa.sources(x, range(64))
    strength = added.sum(dim=-1).T + lorsa.encoder.bias.detach() / lorsa.scaling.scale
    at = codes.support.rows, codes.atoms.long()
    assert torch.allclose(codes.values.detach(), strength[at], rtol=1e-4, atol=1e-5)
    assert not bool(added.triu(1).any())
    fewer = lorsa.encode(x[:5]).to_dense()
    assert torch.allclose(fewer, codes.to_dense()[:5], atol=1e-5)


def test_in_the_layers_place_it_writes_what_it_decodes_also_in_a_padded_batch() -> None:
    model = sn.load_model("tiny-gpt")
    lorsa = of_layer(model, STORIES)
    alone = [lorsa(read(model, lorsa, [text])[0]).detach() for text in STORIES]
    with sn.splice(model, lorsa.places[1], lorsa) as splicing:
        together = sn.capture(model, STORIES, lorsa.places[1], drop_first=False, progress=False).x
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)
    assert splicing.n_touched == len(together)
    acts = sn.capture(model, STORIES, list(lorsa.places), drop_first=False, progress=False)
    both = acts[lorsa.places[0]], acts[lorsa.places[1]]
    assert torch.allclose(lorsa(both[0]), together, atol=1e-4)
    report = sn.evaluate(lorsa, both, n_bootstrap=100)
    r2 = sn.evaluation.explained_variance(both[1].x, together)
    assert report["r2"].value == pytest.approx(float(r2), abs=1e-3)
    assert sn.atoms.AtomCatalogue(lorsa, both).r2 == pytest.approx(float(r2), abs=1e-3)


@pytest.mark.slow
def test_training_learns_where_to_look() -> None:
    """y_t is a code of the one earlier token that has the mark of x_t, which no token sees by itself."""
    generator = torch.Generator().manual_seed(0)
    marks = torch.stack(
        [torch.randperm(4, generator=generator).repeat(2) for _ in range(300)]
    )  # each mark comes twice
    held = torch.randn(300, 8, 3, generator=generator)
    held[:, 4:] = 0
    x = torch.cat([4 * torch.nn.functional.one_hot(marks, 4).float(), held], dim=-1)
    first = torch.stack([m[:4].argsort()[m] for m in marks])
    y = torch.gather(held, 1, first[..., None].expand(-1, -1, 3)) * (torch.arange(8) >= 4)[:, None]
    learned, fixed = (
        Lorsa(7, 3, 12, 6, n_heads=2, d_head=4, generator=torch.Generator().manual_seed(1))
        for _ in range(2)
    )
    for weight in fixed.looking():
        weight.requires_grad_(requires_grad=False)
    r2 = []
    for lorsa in (learned, fixed):
        sn.train(lorsa, (x, y), steps=120, batch_size=256, seed=0, progress=False)
        y_hat = lorsa(x).detach()
        r2.append(float(sn.evaluation.explained_variance(y.flatten(0, 1), y_hat.flatten(0, 1))))
    assert r2[0] > r2[1] + 0.1
