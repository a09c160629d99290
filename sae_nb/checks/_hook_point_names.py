"""How names of hook points are spelled: "resid_post.6" here, "blocks.6.hook_resid_post" in TransformerLens."""

from __future__ import annotations

import re

STANDARD = re.compile(
    r"embed|final_norm|"
    r"((?P<stream>encoder|decoder)\.)?(?P<kind>(resid|attn|mlp|head)_[a-z]+)\.(?P<layer>\d+)"
)
"""A standard name, with its layer where it has one; raw module paths do not match."""

TRANSFORMER_LENS = re.compile(
    r"blocks\.(?P<layer>\d+)\."
    r"(hook_(?P<kind>resid_pre|resid_mid|resid_post|attn_out|mlp_out)|(attn\.)?(?P<z>hook_z)|mlp\.hook_post)"
)
"""TransformerLens' name; some that publish SAEs leave out the "attn" of the heads' outputs."""

_PARTS = {"head_out": "attn.hook_z", "mlp_post": "mlp.hook_post"}
_IN_BOTH = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", *_PARTS)


def standard_name(name: str) -> str:
    """Return the standard name for a TransformerLens name; other names are returned as they are."""
    if name == "hook_embed":
        return "embed"
    match = TRANSFORMER_LENS.fullmatch(name)
    if match is None:
        return name
    kind = match["kind"] or ("head_out" if match["z"] else "mlp_post")
    return f"{kind}.{match['layer']}"


def lens_name(hook_point: str) -> str:
    """Return TransformerLens' name of a standard hook point; other names are returned as they are."""
    if hook_point == "embed":
        return "hook_embed"
    match = STANDARD.fullmatch(hook_point)
    if match is None or match["stream"] or match["kind"] not in _IN_BOTH:
        return hook_point
    return f"blocks.{match['layer']}.{_PARTS.get(match['kind'], 'hook_' + match['kind'])}"


def after_block(name: str) -> str:
    """Return the one name of what block i − 1 gives and block i gets; other names are returned as they are.

    Before block 0 it is the embedding and, in some models, positions added to it: no other name is its own.
    """
    match = STANDARD.fullmatch(name)
    if match is None or match["stream"] or match["kind"] != "resid_pre" or match["layer"] == "0":
        return name
    return f"resid_post.{int(match['layer']) - 1}"
