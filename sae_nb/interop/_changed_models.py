"""TransformerLens' changes of a model's weights, by what they change at the place that an SAE reads.

SAELens makes those that `model_from_pretrained_kwargs` states, and no other, and so does this toolkit, whose
models are as they are, on activations:

- `center_writing_weights`: everything that is written to the stream (embeddings, W_O, W_out and their biases)
  less its mean; only where the norm is a layer norm, which takes the mean off what it reads. So the stream and
  what is added to it lose their mean, and queries, keys, values, patterns, heads' values, what a layer norm
  gives, and neurons before and after their function stay what they were.
- `fold_ln`: gain and bias of a norm move into the weights behind it: what the norm gives lacks them.
- `fold_value_biases`: values lack their bias, and so do the heads' values, whose weights sum to 1.
- `refactor_factored_attn_matrices`: queries, keys, values and heads' values are in another basis.
- `center_unembed`: logits alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from sae_nb.checks._hook_point_names import lens_name

CENTRED = "center_writing_weights"
_WRITTEN = re.compile(
    r"hook_(pos_)?embed|blocks\.\d+\.hook_(resid_(pre|mid|post)|attn_out|mlp_(out|in))"
)
"""The stream, and what is added to it; TransformerLens' `hook_mlp_in` is the stream before the norm."""
_OF_NORM = re.compile(r".*hook_normalized")
_OF_VALUES = re.compile(r".*attn\.hook_[vz]")
_OF_HEADS = re.compile(r".*attn\.hook_(q|k|v|z|rot_q|rot_k)")
_OTHER_WEIGHTS = ("revision", "checkpoint_index", "checkpoint_value")


def changed_model(metadata: Mapping[str, Any]) -> tuple[bool, list[str]]:
    """Return whether an SAE reads what centred weights have written, and notes on other changes."""
    changed = metadata.get("model_from_pretrained_kwargs") or {}
    hook = metadata.get("hook_name")
    stated = {
        change: bool(changed.get(change))
        for change in (CENTRED, "fold_ln", "fold_value_biases", "refactor_factored_attn_matrices")
    }
    changed.get("center_unembed")
    place = None if hook is None else lens_name(str(hook))
    if metadata.get("model_class_name") not in (None, "HookedTransformer"):
        place = ""  # its weights were those of its own library
    if place and stated["refactor_factored_attn_matrices"] and _OF_HEADS.fullmatch(place):
        raise ValueError(
            f"An SAE of {place!r} must be of the model's own queries, keys and values to be read here, and "
            "this one is of a model with refactor_factored_attn_matrices=True: they are in another basis. "
            "Train it on a model loaded without that."
        )
    return stated[CENTRED] and (place is None or _WRITTEN.fullmatch(place) is not None), list(
        _notes(changed, stated, place or "")
    )


def _notes(changed: Mapping[str, Any], stated: Mapping[str, bool], place: str) -> Iterator[str]:
    if stated["fold_ln"] and _OF_NORM.fullmatch(place):
        yield (
            "It was trained on a model with fold_ln=True: it reads what the norm gives before its gain and its "
            "bias, a place that has no name here. Capture it yourself."
        )
    if stated["fold_value_biases"] and _OF_VALUES.fullmatch(place):
        yield (
            "It was trained on a model with fold_value_biases=True: take the biases of the values off the "
            "activations that it reads."
        )
    others = {name: changed[name] for name in _OTHER_WEIGHTS if changed.get(name) is not None}
    if others:
        which = ", ".join(f"{name}={value!r}" for name, value in others.items())
        yield f"It was trained on other weights than the model's last: {which}. Load these."


def of_one_head(metadata: Mapping[str, Any], d_in: int | None = None) -> list[str]:
    """Return a note on which columns of its hook point an SAE of one attention head reads."""
    head = metadata.get("hook_head_index")
    if head is None:
        return []
    wide = "d_in" if d_in is None else str(d_in)
    return [
        f"It reads head {head} alone: columns {head}·{wide} to {int(head) + 1}·{wide} of what is captured at "
        "its hook point."
    ]
