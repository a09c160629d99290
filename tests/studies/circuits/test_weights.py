"""Connections by weights: as the running model has them where nothing lies between, and refused the other way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

import sae_nb as sn
from sae_nb_studies.circuits import check_connections, de_embed, weight_connections


def transcoder(layer: int, seed: int, n_atoms: int = 48) -> Any:
    made = sn.Transcoder(128, 128, n_atoms, 6, generator=torch.Generator().manual_seed(seed))
    made.hook_point, made.target_hook_point = f"mlp_in.{layer}", f"mlp_out.{layer}"
    return made.eval()


def test_weights_rank_what_is_read_like_the_running_model(gpt: Any) -> None:
    """Of untrained transcoders of two blocks next to each other: only an attention layer lies between."""
    texts = list(sn.data.stories(12, seed=0).texts)
    found = check_connections(gpt, transcoder(1, 0), transcoder(2, 1), texts, n_atoms=6)
    assert found.value > 0.8
    assert abs(found.floor) < 0.5


def test_the_gain_of_the_norm_is_a_part_of_it(gpt: Any) -> None:
    """mlp_in.2 reads the stream through a norm: without its gain the weights are others."""
    first, second = transcoder(0, 0), transcoder(2, 1)
    gain = gpt.get_module(gpt.hook_point("resid_mid.2").path).weight.detach()
    weights = weight_connections(gpt, first, second)
    expected = first.dictionary @ (second.encoder.weight * gain).T
    torch.testing.assert_close(weights, expected.detach())


@pytest.mark.parametrize("name", ["Cohere", "Qwen3", "GPTNeoX"])
def test_the_norm_before_the_mlp_is_found_where_blocks_are_others(name: str) -> None:
    """Side by side with attention, or in a family that is not known: against the norm's own answers."""
    torch.manual_seed(0)
    few = {"vocab_size": 60, "eos_token_id": 2, "num_key_value_heads": 2}
    sizes = {
        "hidden_size": 128,
        "intermediate_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
    }
    config = getattr(transformers, f"{name}Config")(**sizes, **few)
    module = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
    layers = module.gpt_neox.layers if name == "GPTNeoX" else module.model.layers
    block, (first, second) = layers[2], (transcoder(0, 0), transcoder(2, 1))
    norm = block.input_layernorm if name == "Cohere" else block.post_attention_layernorm
    atoms = first.dictionary.detach()
    with torch.no_grad():
        both = norm(1e4 * atoms) - norm(-1e4 * atoms)
    centred = atoms - atoms.mean(dim=1, keepdim=True) * (name != "Qwen3")
    sizes_ = centred.square().mean(dim=1, keepdim=True).sqrt()
    expected = (both / 2 * sizes_) @ second.encoder.weight.detach().T
    found = weight_connections(sn.wrap(module), first, second)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_planted_atom_is_called_by_its_token(gpt: Any) -> None:
    """An atom that reads the embedding of one token is excited by that token most."""
    first = transcoder(0, 0)
    token = gpt.tokenizer.encode(" fox", add_special_tokens=False)[0]
    gain = gpt.get_module(gpt.hook_point("resid_mid.0").path).weight.detach()
    with torch.no_grad():
        first.encoder.weight[3] = gpt.module.get_input_embeddings().weight[token] / gain
    assert de_embed(gpt, first, 3, n=1)["token"].item() == " fox"
