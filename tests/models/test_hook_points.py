"""Hook points are strings that know their place; every spelling of a place finds it."""

from __future__ import annotations

import copy
import json
import pickle
from collections import namedtuple

import pytest
import torch

from sae_nb.models import HookPoint
from sae_nb.models._hook_points import find_hook_point
from sae_nb.models._states import first_input, read_tensor, replace_tensor

POINTS = [
    HookPoint("embed", path="wte"),
    *(
        HookPoint(f"{kind}.{layer}", path=f"h.{layer}{end}", side=side, layer=layer)
        for layer in range(12)
        for kind, end, side in [
            ("resid_pre", "", "input"),
            ("attn_out", ".attn", "output"),
            ("resid_post", "", "output"),
        ]
    ),
]
PATHS = {"", "wte", "h", "h.3", "h.3.attn", "h.3.output", "ln_f"}


def test_a_hook_point_is_its_name() -> None:
    """It compares, hashes and serialises as the string."""
    point = HookPoint("resid_post.3", path="h.3", layer=3)
    assert point == "resid_post.3"
    assert {point: 1}["resid_post.3"] == 1
    assert json.dumps(point) == '"resid_post.3"'
    assert repr(point) == "'resid_post.3'"
    assert point.kind == "resid_post"


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))]
)
def test_copies_keep_the_place(copied) -> None:
    """Copying and pickling lose no attribute."""
    point = HookPoint("resid_mid.3", path="h.3.ln", side="input", layer=3, index=1, writable=False)
    again = copied(point)
    assert again == point
    assert vars(again) == vars(point)


@pytest.mark.parametrize(
    ("written", "path", "side"),
    [
        ("resid_post.3", "h.3", "output"),
        ("blocks.3.hook_resid_pre", "h.3", "input"),
        ("hook_embed", "wte", "output"),
        ("h.3", "h.3", "output"),
        ("h.3.input", "h.3", "input"),
        ("h.3.attn.output", "h.3.attn", "output"),
        ("ln_f", "ln_f", "output"),
    ],
)
def test_every_spelling_finds_its_module(written: str, path: str, side: str) -> None:
    """Standard, TransformerLens and raw names resolve."""
    point = find_hook_point(written, POINTS, PATHS)
    assert (point.path, point.side) == (path, side)


def _values() -> dict[str, object]:
    from transformers.modeling_outputs import BaseModelOutput

    x, other = torch.zeros(2, 3), torch.ones(1)
    pair = namedtuple("pair", "hidden weights")
    return {
        "tensor": x,
        "tuple": (x, None, other),
        "list": [x, other],
        "none first": (None, x),
        "named": pair(x, None),
        "record": BaseModelOutput(last_hidden_state=x),
        "dict": {"size": 3, "states": x},
    }


@pytest.mark.parametrize("form", list(_values()))
def test_the_tensor_is_read_from_and_put_back_into_any_output(form: str) -> None:
    """Reading after replacing gives the new tensor; everything around it stays."""
    value = _values()[form]
    assert read_tensor(value).shape == (2, 3)
    new = torch.full((2, 3), 7.0)
    changed = replace_tensor(value, new)
    assert read_tensor(changed) is new
    assert type(changed) is type(value) or form == "tensor"
    if form == "record":
        assert changed.last_hidden_state is new
        assert changed["last_hidden_state"] is new
    if form == "tuple":
        assert changed[1] is None
        assert torch.equal(changed[2], torch.ones(1))


def test_an_index_chooses_the_element_of_a_tuple() -> None:
    """HookPoint.index says which tensor of several is meant."""
    point = HookPoint("h", path="h", index=2)
    value = (torch.zeros(2), None, torch.ones(3))
    assert torch.equal(read_tensor(value, point), torch.ones(3))
    assert torch.equal(replace_tensor(value, torch.ones(1), point)[0], torch.zeros(2))


def test_the_first_input_is_found_in_arguments_and_keywords() -> None:
    """Positional first, then hidden_states, then any tensor."""
    x = torch.zeros(1)
    assert first_input((x,), {}) == 0
    assert first_input((), {"mask": x, "hidden_states": x}) == "hidden_states"
    assert first_input((), {"scale": 2, "x": x}) == "x"
    with pytest.raises(TypeError, match="scale"):
        first_input((), {"scale": 2})
