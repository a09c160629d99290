"""Every public callable with one wrong argument at a time: it works, or says in our words what is wrong.

`SAE_NB_WRONG_CALLS=80000 pytest tests/bad_input` makes all calls; the default is 150, drawn with one seed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from drawing import outcomes, sample
from worker import VALID, Outcome, cases

CASES = int(os.environ.get("SAE_NB_WRONG_CALLS", "150"))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made() -> list[Outcome]:
    """What came of the calls of this run; some examples do not call what they explain."""
    found = [one for one in outcomes(sample(cases(), CASES)) if one.kind != "not shown"]
    assert len(found) > 0.9 * CASES
    return found


def test_right_arguments_are_taken(made: list[Outcome]) -> None:
    """Else a wrong one next to them proves nothing."""
    refused = [one for one in made if one.case.endswith(VALID) and one.kind != "works"]
    assert not refused, "\n".join(map(str, refused))


def test_wrong_arguments_are_answered_in_our_words(made: list[Outcome]) -> None:
    """A raw error of torch, numpy or Python is none of ours: one call in fifty at most ends in one.

    Most errors name the argument; `silent` ones name what was found in it.
    """
    raw = [one for one in made if one.kind == "raw"]
    assert len(raw) <= 0.02 * len(made), "\n".join(map(str, raw))
    assert sum(one.kind == "named" for one in made) > len(made) / 2


def test_no_wrong_argument_makes_a_call_go_on_or_end_the_process(made: list[Outcome]) -> None:
    """Half a minute of processor time is enough to refuse anything."""
    ended = [one for one in made if one.kind in ("late", "died")]
    assert not ended, "\n".join(map(str, ended))
