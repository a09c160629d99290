"""Arguments come in one order: model, hook_point, sae, inputs."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
import sae_nb_widgets as sw
import torch

import sae_nb as sn
from sae_nb.steering import dose_response

ORDER = ("model", "hook_point", "sae", "inputs")
LAST = ("model", "sae", "inputs", "hook_point")


def public() -> Iterator[tuple[str, Any]]:
    """Every function and class that a module offers."""
    import sae_nb_studies

    modules: list[Any] = [sn, sw]
    for place in (sn, sae_nb_studies):
        packages = [
            package.name
            for package in pkgutil.iter_modules(place.__path__)
            if package.name[0] != "_"
        ]
        modules += [importlib.import_module(f"{place.__name__}.{package}") for package in packages]
    for module in modules:
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if callable(value) and not inspect.ismodule(value):
                yield f"{module.__name__}.{name}", value


def needed(call: Any) -> list[str]:
    """The arguments by place that a call must get; a hook point that an SAE knows itself may come later."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return []
    by_place = (p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty)
    words = {"dictionary": "sae", "saes": "sae", "hook_points": "hook_point"}
    return [words.get(p.name, p.name) for p in by_place]


def test_arguments_come_in_one_order() -> None:
    """Where a call takes a model, a hook point and an SAE, in this order; inputs follow the SAE.

    The studies that read a corpus or images through an SAE keep theirs: the hook point is the last of the four.
    """
    wrong = []
    for name, call in public():
        given = [word for word in needed(call) if word in ORDER]
        orders = (
            [ORDER, LAST]
            if name.startswith(("sae_nb_studies.", "sae_nb.corpora.", "sae_nb.generation."))
            else [ORDER]
        )
        right = [sorted(given, key=order.index) for order in orders]
        if {"model", "hook_point", "sae"} <= {*given} and given not in right:
            wrong.append(f"{name}({', '.join(given)})")
    assert wrong == []


def test_an_argument_in_the_place_of_another_is_answered_with_the_order() -> None:
    """Inputs where the hook point belongs; nothing of the call has run."""
    model = sn.wrap(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()))
    sae, x = sn.TopK(3, 8, 2), torch.zeros(2, 4)
    with pytest.raises(
        TypeError, match=r"order is dose_response\(model, hook_point, sae, inputs, "
    ):
        dose_response(model, x, "0", sae, 1, [1.0, 2.0], measure=0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"The order is capture\(model, inputs, hook_points, …\)"):
        sn.capture(model, "resid_post.0", x)  # type: ignore[arg-type]
