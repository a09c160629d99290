"""Every kind of finding keeps what the base declares; the base itself, on kinds made for the purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from every_finding import hold

from sae_nb.codes import SparseCodes
from sae_nb.figures import Chart, Points
from sae_nb.findings import Finding, Plotted, column

HOSTILE = "<script>alert(1)</script>"


@dataclass(frozen=True)
class Cost:
    seconds: float


class Toy(Plotted):
    HEADLINE = "{name}: R² {r2.mean:.2f} of {layers.len} layers, best {r2[-1]:.1f}, shares {shares:.0%}; {kinds.counts}"

    name: str
    layers: tuple[str, ...] = field(metadata=column("layer", index=True))
    r2: np.ndarray = field(metadata=column("R²"))
    """Share of the variance, by layer."""

    floor: torch.Tensor | None = field(metadata=column())
    low: float
    high: float
    """Ends of the interval."""

    shares: Mapping[str, float]
    cost: Cost
    codes: SparseCodes
    rows: pd.DataFrame
    kinds: tuple[str, ...] = ("a", "b", "a")

    @property
    def chart(self) -> Chart:
        series = (
            Points("R²", self.layers, self.r2),
            Points("floor", self.layers, self.floor, control=True),
        )
        return Chart(series=series, y="R²")


class Stored(Finding):
    table: pd.DataFrame
    n: int


@pytest.fixture
def toy() -> Toy:
    return Toy(
        name=HOSTILE,
        layers=("one", "two"),
        r2=np.array([0.5, np.nan]).clip(max=0.7),
        floor=torch.tensor([0.1, 0.2]),
        low=0.0,
        high=float("inf"),
        shares={"a": 0.25, "b": 0.75},
        cost=Cost(1.5),
        codes=SparseCodes(torch.ones(2), torch.tensor([0, 2]), torch.tensor([0, 1, 2]), 3),
        rows=pd.DataFrame({"word": ["x", HOSTILE], "n": [1, 2]}),
    )


def test_the_promise_of_every_finding_holds_of_a_toy(toy: Toy) -> None:
    """A short line, a table, inert HTML, a figure, a folder: what `every_finding` checks of all kinds."""
    hold(toy)
    hold(Stored(table=pd.DataFrame({"a": [1.0, 2.0]}), n=3))


def test_the_table_is_the_declared_columns_or_the_numbers(toy: Toy) -> None:
    """Columns with their titles and types; what is None is left out; numbers come with their meaning."""
    assert toy.table.columns.tolist() == ["R²", "floor"]
    assert toy.table.index.tolist() == ["one", "two"]
    assert toy.table["floor"].dtype == np.float32

    class Plain(Finding):
        share: float
        """Of all."""

        words: str

    table = Plain(share=0.5, words="x").table
    assert table.to_dict("records") == [{"name": "share", "value": 0.5, "meaning": "Of all."}]


def test_text_is_inert_in_html(toy: Toy) -> None:
    html = toy._repr_html_()
    assert HOSTILE not in html
    assert html.count("&lt;script&gt;") == 2


class Ranked(Finding):
    HEADLINE = "{names.len} methods"

    names: tuple[str, ...]
    scores: tuple[float, ...]

    @property
    def below(self) -> tuple[str | pd.DataFrame, ...]:
        index = pd.Index(self.names, name="method")
        table = pd.DataFrame({"n": [1, 12], "score": self.scores, "what": [HOSTILE, "c"]}, index)
        return table, f"Not {HOSTILE}."


def test_what_is_below_the_headline_is_printed_and_shown() -> None:
    """A table lines up: words to the left, numbers to the right, the unknown empty; a notebook shows the same."""
    found = Ranked(names=("one", "three"), scores=(0.123456, float("nan")))
    assert repr(found).splitlines() == [
        "Ranked(2 methods)",
        "method   n   score  what",
        f"one      1  0.1235  {HOSTILE}",
        "three   12          c",
        f"Not {HOSTILE}.",
    ]
    html = found._repr_html_()
    assert html.startswith("<p>Ranked(2 methods)</p><table")
    assert html.count("<table") == 1
    assert "<td>0.1235</td>" in html
    assert HOSTILE not in html
    assert html.endswith(">Not &lt;script&gt;alert(1)&lt;/script&gt;.</p>")
    hold(found)


def test_a_folder_gives_every_field_back(toy: Toy, tmp_path: Path) -> None:
    toy.save(tmp_path / "kept")
    again = Toy.load(tmp_path / "kept")
    np.testing.assert_array_equal(again.r2, toy.r2)
    assert isinstance(again.floor, torch.Tensor)
    assert again.layers == toy.layers
    assert again.high == float("inf")
    assert again.cost == toy.cost
    assert torch.equal(again.codes.to_dense(), toy.codes.to_dense())
    pd.testing.assert_frame_equal(again.rows, toy.rows)


def test_what_no_file_holds_is_refused_by_name(tmp_path: Path) -> None:
    """A function or a model among the fields; nothing is left in the folder."""

    class Live(Finding):
        measure: Any

    with pytest.raises(TypeError, match=r"got Live\.measure, a function"):
        Live(measure=lambda: 0).save(tmp_path / "kept")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_another_kind_is_refused(toy: Toy, tmp_path: Path) -> None:
    toy.save(tmp_path / "kept")
    with pytest.raises(ValueError, match="must hold a Stored, got a Toy"):
        Stored.load(tmp_path / "kept")
