"""RowTable: sorts by any column, keeps the row chosen, and is written as CSV that a spreadsheet reads."""

from __future__ import annotations

import csv
import io

import pytest
from sae_nb_widgets.components._row_table import RowTable

from sae_nb.figures.theme import format_number, format_percent

HEADERS = ["atom", "label", "frequency", "strength"]
ROWS = [
    ["9", "tail", format_percent(0.02), format_number(-3.5)],
    ["17", "", format_percent(0.5), format_number(12000.0)],
    ["100", "Ear", format_percent(0.1), format_number(0.25)],
]


@pytest.fixture
def table() -> RowTable:
    made = RowTable(description="atoms")
    made.show(HEADERS, ROWS, numeric=[True, False, True, True])
    return made


def test_numbers_sort_by_size_and_words_by_the_alphabet(table) -> None:
    """Percent, minus signs and thousands are numbers; empty cells come last both ways."""
    expected = {
        (0, False): [0, 1, 2],
        (0, True): [2, 1, 0],
        (1, False): [2, 0, 1],
        (1, True): [0, 2, 1],
        (2, True): [1, 2, 0],
        (3, False): [0, 2, 1],
        (-1, False): [0, 1, 2],
    }
    for sorted_by, order in expected.items():
        table.sorted_by = sorted_by
        assert table.order == order, sorted_by


def test_the_row_chosen_stays_chosen_when_the_table_is_sorted(table) -> None:
    """`selected` is an index into the rows as given, whatever is on screen."""
    table.selected = 1
    table.sorted_by = (0, True)
    assert table.cells[table.selected][0] == "17"


def test_the_csv_holds_what_is_shown_and_no_formula(table) -> None:
    """Plain numbers in the order shown; quotes and line breaks survive; "=1+1" stays words."""
    table.show(
        ["atom", "note"],
        [["−1", '=HYPERLINK("x")'], [format_number(12000.0), 'a "b",\nc']],
        numeric=[True, False],
    )
    table.sorted_by = (0, True)
    rows = list(csv.reader(io.StringIO(table.to_csv())))
    assert rows == [["atom", "note"], ["12000", 'a "b",\nc'], ["-1", '\'=HYPERLINK("x")']]
