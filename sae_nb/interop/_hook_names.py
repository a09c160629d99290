"""Other libraries' names of hook points in ours.

The residual stream before block L is the one after block L − 1, and before block 0 it is the
embedding; so one name is enough for each place.
"""

from __future__ import annotations

import re

from sae_nb.models import standard_name

_OURS = re.compile(r"(resid_pre|resid_mid|resid_post|attn_out|mlp_out)\.(\d+)")
_HEADS = re.compile(r"blocks\.(\d+)\.attn\.hook_z")
_BLOCKS = re.compile(r"(?:model\.|transformer\.|gpt_neox\.)?(?:layers|h|blocks)\.(\d+)")


def known_hook_point(name: str | None) -> str | None:
    """Return the standard name of a place another library names, or the name as it is."""
    if name is None:
        return None
    standard = standard_name(name)
    kind, _, layer = standard.rpartition(".")
    if kind == "resid_pre":
        return "embed" if int(layer) == 0 else f"resid_post.{int(layer) - 1}"
    if block := _BLOCKS.fullmatch(standard):
        return f"resid_post.{block[1]}"
    if standard in ("embed_tokens", "model.embed_tokens", "transformer.wte"):
        return "embed"
    return standard


def reads_heads(name: str | None) -> bool:
    """Say whether a place is the concatenated heads before attention's output map."""
    return bool(name and _HEADS.fullmatch(name))


def lens_name(hook_point: str) -> str:
    """Return TransformerLens' name of a standard hook point; other names are returned as they are."""
    if hook_point == "embed":
        return "hook_embed"
    match = _OURS.fullmatch(hook_point)
    return f"blocks.{match[2]}.hook_{match[1]}" if match else hook_point
