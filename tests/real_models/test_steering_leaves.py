"""A recipe made on SmolLM2 works in transformers' own model of it, and in lm_eval's words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import sae_nb as sn


def test_plain_hooks_and_the_file_of_lm_eval_give_the_logits_of_steer(
    open_real: Callable[[str], Any], smollm2: Path, tmp_path: Path
) -> None:
    """To the bit in float32, a prompt's logits and eight greedy tokens."""
    from transformers import AutoModelForCausalLM

    model = open_real("smollm2")
    width = model.width(model.hook_point("resid_post.14"))
    direction = sn.random_direction(width, seed=0)
    ids = torch.tensor([model.tokenizer("The weather in the north is")["input_ids"]])
    plain = AutoModelForCausalLM.from_pretrained(
        smollm2, dtype=next(model.module.parameters()).dtype
    ).eval()
    greedy = {"max_new_tokens": 8, "do_sample": False}
    for positions in (None, "last"):
        with sn.steer(
            model, "resid_post.14", direction=direction, by=20.0, positions=positions
        ) as steering:
            expected, text = model(ids), model.module.generate(ids, **greedy)
        with steering.recipe.to_hooks(plain), torch.no_grad():
            assert torch.equal(plain(ids).logits, expected)
            assert torch.equal(plain.generate(ids, **greedy), text)
        with torch.no_grad():
            assert not torch.equal(plain(ids).logits, expected)
        if positions is None:
            everywhere = steering.recipe, expected
    recipe, expected = everywhere
    recipe.to_lm_eval(tmp_path / "north.pt")
    ((name, entry),) = torch.load(tmp_path / "north.pt", weights_only=True).items()
    added = entry["steering_vector"] * entry["steering_coefficient"]

    def add(_module: Any, _inputs: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, tuple) else output
        return (first + added, *output[1:]) if isinstance(output, tuple) else first + added

    handle = dict(plain.base_model.named_modules())[name].register_forward_hook(add)
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, expected)
    handle.remove()
