"""The modules of the components: whole on their own, and without what they do not use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sae_nb_widgets as sw
from sae_nb_widgets.components._scripts import _shared_parts, script

STATIC = Path(sw.__file__).parent / "static"
MODULES = sorted(
    path.stem
    for path in STATIC.glob("*.js")
    if "export default" in path.read_text(encoding="utf-8") and path.stem != "row_of_controls"
)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_what_it_uses_and_no_more(name: str) -> None:
    """Of the shared functions each that is called is there, once, and none that is not."""
    text = script(name)
    own = (STATIC / f"{name}.js").read_text(encoding="utf-8")
    for shared in _shared_parts():
        written = re.findall(rf"(?:function|const) {shared}\b", text)
        called = re.findall(rf"(?<!function )(?<!const )(?<![.\w]){shared}\b(?!\(\{{)", text)
        assert len(written) == bool(called), shared
    assert len(text) < len(own) + 6_500
    assert "\n//" not in text
