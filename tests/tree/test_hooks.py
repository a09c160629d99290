"""Every question that a package asks of a higher one has an answer, and nobody else is named."""

from __future__ import annotations

import sys

import pytest

from sae_nb import _hooks as hooks

pytestmark = pytest.mark.slow


def test_every_hook_is_answered_by_the_package_that_sae_nb_names_for_it() -> None:
    for importing in hooks._importing.values():
        importing()
    modules = [module for name, module in sys.modules.items() if name.startswith("sae_nb.")]
    values = [value for module in modules for value in list(vars(module).values())]
    found = {value.name: value for value in values if isinstance(value, hooks.Hook)}
    assert found.keys() == hooks._importing.keys()
    assert [name for name, hook in found.items() if hook._answer is None] == []
