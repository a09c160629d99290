"""Coverage is summed by package, and its badge is never rounded up."""

from __future__ import annotations

import pytest

from tests.covered import badge, by_package, share


def report(covered: int, lines: int, taken: int, branches: int) -> dict[str, dict[str, int]]:
    """A file of a report of coverage.py."""
    counts = {"covered_lines": covered, "num_statements": lines}
    return {"summary": counts | {"covered_branches": taken, "num_branches": branches}}


def test_files_count_to_their_package() -> None:
    """Those in folders of a package too; a file at the top to the whole."""
    found = by_package(
        {
            "sae_nb/codes/_array.py": report(8, 10, 1, 2),
            "sae_nb/codes/parts/_one.py": report(1, 4, 0, 0),
            "widgets/sae_nb_widgets/curve/_panel.py": report(5, 5, 3, 4),
            "sae_nb/_hooks.py": report(0, 0, 0, 0),
        }
    )
    assert found["sae_nb.codes"] == [9, 14, 1, 2]
    assert share(found["sae_nb.codes"]) == 10 / 16
    assert set(found) == {"sae_nb", "sae_nb.codes", "sae_nb_widgets.curve"}
    assert share(found["sae_nb"]) == 1.0


@pytest.mark.parametrize(
    ("whole", "said", "colour"),
    [
        (0.9, "90 %", "brightgreen"),
        (0.8999, "89 %", "yellowgreen"),
        (0.7, "70 %", "orange"),
        (0.1, "10 %", "red"),
    ],
)
def test_a_badge_says_whole_per_cent(whole: float, said: str, colour: str) -> None:
    made = badge(whole)
    assert (made["message"], made["color"], made["schemaVersion"]) == (said, colour, 1)
