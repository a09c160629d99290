"""Every public callable with one wrong argument at a time: it works, or says in our words what is wrong.

`SAE_NB_WRONG_CALLS=80000 pytest tests/bad_input` makes all calls; the default is 800, drawn with one seed.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from calls import unlisted
from drawing import outcomes, sample
from worker import VALID, Outcome, cases

pytestmark = pytest.mark.slow

CASES = int(os.environ.get("SAE_NB_WRONG_CALLS", "800"))
OURS = {"works", "named", "silent"}
"""`silent` is an error of ours, too, that names not the argument but what was found in it."""


def open_errors() -> set[str]:
    """Return the lines of `open.txt`: arguments of which some wrong value still ends in another's error."""
    lines = Path(__file__).with_name("open.txt").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


@pytest.fixture(scope="module")
def made() -> list[Outcome]:
    """What came of the calls of this run."""
    return list(outcomes(sample(cases(), CASES)))


def _argument(outcome: Outcome) -> str:
    return outcome.case.rpartition(" | ")[0]


def test_every_public_callable_is_called() -> None:
    """A new one is listed in `calls.py`, and calls that were not made prove nothing."""
    assert unlisted() == []
    assert open_errors() <= {case.rpartition(" | ")[0] for case in cases()}


def test_right_arguments_are_taken(made: list[Outcome]) -> None:
    """Else a wrong one next to them proves nothing."""
    refused = [one for one in made if one.case.endswith(VALID) and one.kind != "works"]
    assert not refused, "\n".join(map(str, refused))


def test_wrong_arguments_are_answered_in_our_words(made: list[Outcome]) -> None:
    """A raw error of torch, numpy or Python is none of ours; `open.txt` names where there are some yet."""
    raw = [one for one in made if one.kind not in OURS and _argument(one) not in open_errors()]
    assert not raw, "\n".join(map(str, raw))


def test_no_wrong_argument_makes_a_call_go_on_or_end_the_process(made: list[Outcome]) -> None:
    """Five seconds of processor time are enough to refuse anything."""
    ended = [one for one in made if one.kind in ("late", "died")]
    assert not ended, "\n".join(map(str, ended))


def test_most_calls_are_refused_by_name(made: list[Outcome]) -> None:
    """The calls are wrong indeed: what is given is named in more than half of them."""
    kinds = Counter(one.kind for one in made)
    assert kinds["named"] > 0.5 * len(made)


@pytest.mark.skipif(CASES < 78_000, reason="all cases, with SAE_NB_WRONG_CALLS=80000")
def test_what_is_no_longer_open_is_closed(made: list[Outcome]) -> None:
    """The list of what is open only gets shorter."""
    still = {_argument(one) for one in made if one.kind not in OURS}
    assert open_errors() == still
