"""One short seed of every proof experiment meets the lines that hold for short runs."""

from __future__ import annotations

import pytest

from sae_nb_studies.reproductions import experiment_names, short_run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", experiment_names())
def test_a_short_run_meets_its_lines(name: str) -> None:
    numbers, missed = short_run(name, seed=0)
    assert numbers
    assert not missed, "\n".join(missed)
