"""The three texts of the home page: every word that can be clicked has its atoms."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from types import ModuleType


def test_every_word_that_can_be_clicked_has_its_own_atoms(
    tool: Callable[[str], ModuleType],
) -> None:
    """Prompt, and the texts with the atom, without, and along a random direction; "teacher" is open at first."""
    page = tool("three_texts").three_texts("hero")
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', page)
    atoms = json.loads(data)
    buttons = re.findall(
        r'<button type="button" data-at="(\d+)" aria-pressed="(\w+)">(.*?)</b', page
    )
    assert [int(at) for at, *_ in buttons] == list(range(len(atoms)))
    assert len(buttons) > 60
    assert [word for _, pressed, word in buttons if pressed == "true"] == ["teacher"]
    of = {word: [words for words, *_ in atoms[int(at)]] for at, _, word in buttons}
    assert of["teacher"][0] == of["lesson"][0] == of["classroom"][0] == "school"
    assert of["lost"][0] == "losing"
    assert all(dots > 2 and 0 < share < 1.5 for found in atoms for _, dots, share in found)
    assert "classroom" in page.split("<dt>untouched")[0]
    assert "classroom" not in page.split("<dt>untouched")[1].split("<script")[0]
