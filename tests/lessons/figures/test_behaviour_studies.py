"""The figure of notebook 15: a strip per watched atom, with the end of the prompt marked."""

from __future__ import annotations

import numpy as np
from sae_nb_lessons.figures import watched_figure

from sae_nb.figures import to_svg
from sae_nb.studies.uses import Moment


def test_strips() -> None:
    """Strengths as they were yielded, without a first one that is not known, and names of both axes."""
    moments = [
        Moment(position=i, token_id=i, token=token, new=i > 1, strengths=np.array(strengths))
        for i, (token, strengths) in enumerate(
            [("The", [np.nan, np.nan]), (" list", [0.0, 2.0]), (" of", [1.0, 3.0])]
        )
    ]
    figure = watched_figure(moments, {7: "rises", 9: "another"})
    assert np.array_equal(figure.data[0].z, [[0, 1], [2, 3]])
    assert figure.data[0].zmax == 3
    assert list(figure.layout.yaxis.ticktext) == ["rises (7)", "another (9)"]
    assert figure.layout.shapes[0].x0 == 0.5
    assert "rises" in to_svg(figure)
