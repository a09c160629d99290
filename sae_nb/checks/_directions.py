"""Directions from `sn.direction` where an SAE is asked for: the SAE of one atom that each one is."""

from __future__ import annotations

from typing import Any


def as_dictionary(value: Any, model: Any = None, hook_point: object = None) -> Any:
    """Return a direction as an SAE of one atom, and anything else as it is.

    Raises
    ------
    ValueError: If the direction is of another model or hook point.
    """
    if not hasattr(type(value), "as_sae"):
        return value
    check_place(value, model, hook_point)
    return value.as_sae()


def check_place(
    direction: Any, model: Any = None, hook_point: object = None, *, name: str = "direction"
) -> None:
    """Refuse a direction or a curve that was read elsewhere; what is None is not compared.

    `model` is a live model, or the name of one.
    """
    known = model if isinstance(model, str | None) else model.name
    place = None if hook_point is None else str(hook_point)
    if place is not None and hasattr(model, "hook_point"):
        place = str(model.hook_point(place))  # a name can be written in several ways
    asked = place or direction.hook_point, known or direction.model_name
    if (direction.hook_point, direction.model_name) != asked:
        raise ValueError(
            f"`{name}` must be of this place, {asked[0]} of {asked[1]}, got one of {direction.hook_point} of "
            f"{direction.model_name}. Make one of this hook point."
        )


def refuse_direction(value: Any, do: str, *, name: str = "sae") -> None:
    """Refuse a direction, or the SAE of one atom that it is, where several atoms are compared.

    Raises
    ------
    ValueError: If it is one; `do` says what can be done with it.
    """
    if hasattr(type(value), "as_sae") or getattr(value, "direction", None) is not None:
        raise ValueError(
            f"`{name}` must have several atoms to compare, got a direction, which is one. {do}"
        )
