"""One promise for every kind of finding: the first of each kind that any test makes is held against it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from sae_nb.figures import plot_text
from sae_nb.findings import Finding, Plotted

MOST_CHARACTERS = 1200
MOST_LINES, WIDEST = 45, 240
"""Of a finding that prints a table below its line: a report has up to 30 rows, a checkup 15 and their fixes."""

_made: dict[type, Any] = {}
_held: set[type] = set()


def _noting(cls: type, *_: object, **__: object) -> Any:
    made = object.__new__(cls)
    if cls not in _held and cls.__module__.startswith("sae_nb."):
        _made.setdefault(cls, made)
    return made


Finding.__new__ = _noting  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def _every_finding_holds() -> Iterator[None]:
    """What a test found is shown, drawn, saved and read as every finding is."""
    yield
    while _made:
        kind, finding = _made.popitem()
        if all(hasattr(finding, one.name) for one in fields(finding)):  # else it was refused
            _held.add(kind)
            hold(finding)


def hold(finding: Any) -> None:
    """A short line without dumps, a table, inert HTML, a figure with titles, and a folder that gives it back."""
    import pandas as pd

    text = repr(finding)
    assert text.strip()
    if finding.below:
        assert len(text.splitlines()) <= MOST_LINES, text
        assert max(map(len, text.splitlines())) <= WIDEST, text
    else:
        assert len(text) <= MOST_CHARACTERS, text
    assert not any(dump in text for dump in ("array(", "tensor(", "DataFrame", " object at 0x")), (
        text
    )

    table = finding.to_pandas()
    assert isinstance(table, pd.DataFrame)
    if not callable(finding.table):  # a method where it chooses rows
        pd.testing.assert_frame_equal(finding.table, table)
    declared = [
        one.metadata["column"] or one.name for one in fields(finding) if "column" in one.metadata
    ]
    assert {*declared} <= {*table.columns, table.index.name} | _absent(finding)

    html = finding._repr_html_()
    assert "<table" in html
    assert html.count("<script") == 0

    if isinstance(finding, Plotted):
        figure, chart = finding.plot(), finding.chart
        names = [plot_text(one.name) for one in chart.series]
        assert names
        assert [trace.name for trace in figure.data] == names
        for axis, title in ((figure.layout.xaxis, chart.x), (figure.layout.yaxis, chart.y)):
            along = "x" if axis is figure.layout.xaxis else "y"
            words = all(
                isinstance(value, str) for one in chart.series for value in getattr(one, along)
            )
            assert axis.title.text == title
            assert title or words, f"{along} has neither a title nor names"

    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "kept"
        kept.mkdir()
        try:
            finding.save(kept)
        except TypeError as error:
            assert str(error).startswith("A finding to be saved must hold")  # noqa: PT017
            assert _holds_live(finding), error  # noqa: PT017
            return
        again = type(finding).load(kept)
    assert repr(again) == text
    pd.testing.assert_frame_equal(again.to_pandas(), table)


def _absent(finding: Any) -> set[str]:
    """Columns that this one has not: their field is None."""
    there = [one for one in fields(finding) if "column" in one.metadata]
    return {
        one.metadata["column"] or one.name for one in there if getattr(finding, one.name) is None
    }


def _holds_live(value: Any) -> bool:
    """Whether a model, an SAE, a tokenizer or a function is somewhere in it, which no folder can hold."""
    import numpy as np
    import pandas as pd
    import torch

    if isinstance(value, torch.nn.Module):
        return True
    if is_dataclass(value):
        return any(_holds_live(getattr(value, one.name)) for one in fields(value))
    if isinstance(value, dict):
        return any(map(_holds_live, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_holds_live, value))
    plain = (type(None), int, float, str, torch.Tensor, np.ndarray, np.generic)
    return not isinstance(value, (*plain, pd.DataFrame, pd.Series))
