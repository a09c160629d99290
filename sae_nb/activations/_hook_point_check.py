"""A word of warning where an SAE meets another hook point than the one it was trained at."""

from __future__ import annotations

import weakref
from typing import Any

from sae_nb.checks import warn_caller
from sae_nb.checks._hook_point_names import STANDARD, after_block

_warned: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()


def place_of(hook_point: object) -> str | None:
    """Return a hook point's standard name: one for what block i - 1 gives and block i gets. None for others,
    such as module paths and several sites.

    Example
    -------
    >>> place_of("resid_pre.4"), place_of("resid_post.3"), place_of("model.layers.3")
    ('resid_post.3', 'resid_post.3', None)
    """
    name = STANDARD.fullmatch("" if hook_point is None else str(hook_point))
    return None if name is None or name["stream"] else after_block(name[0])


def warn_of_place(sae: Any, hook_point: object) -> None:
    """Warn, once for each SAE and hook point, if an SAE is used elsewhere than where it was trained."""
    there = place_of(hook_point)
    own = {place_of(getattr(sae, name, None)) for name in ("hook_point", "target_hook_point")} - {
        None
    }
    if there is None or not own or there in own:
        return
    places = _warned.setdefault(sae, set())
    if there not in places:
        places.add(there)
        warn_caller(
            f"This SAE was trained at {sae.hook_point} and is used at {hook_point}: its atoms were not learned "
            f"there, so labels, strengths and R² do not carry over. Use activations of {sae.hook_point}, or "
            f"an SAE of {hook_point}."
        )


def other_model(sae: object, acts: object) -> str:
    """Return a sentence if rows are of another model than the one an SAE was trained on; else nothing."""
    names = getattr(sae, "model_name", None), getattr(acts, "model_name", None)
    if None in names or names[0] == names[1]:
        return ""
    return f"These rows are of {names[1]}, the SAE is of {names[0]}."


def warn_of_places(first: Any, second: Any) -> None:
    """Warn, once, if two SAEs that are compared atom by atom were trained at different hook points."""
    one, other = (place_of(getattr(sae, "hook_point", None)) for sae in (first, second))
    if one is None or other is None or one == other:
        return
    places = _warned.setdefault(second, set())
    if one in places:
        return
    places.add(one)
    warn_caller(
        f"These SAEs were trained at {first.hook_point} and at {second.hook_point}: cosines of their atoms "
        "compare directions of two different spaces. Compare SAEs of one hook point."
    )
