"""RowTable: sorts by any column, keeps the row chosen, and is written as CSV that a spreadsheet reads."""

from __future__ import annotations

import csv
import io

import pytest
import traitlets as t
from sae_nb_widgets.components import RowTable

from sae_nb.figures import format_number, format_percent

HEADERS = ["atom", "label", "frequency", "strength"]
ROWS = [
    ["9", "tail", format_percent(0.02), format_number(-3.5)],
    ["17", "", format_percent(0.5), format_number(12000.0)],
    ["100", "Ear", format_percent(0.1), format_number(0.25)],
]


@pytest.fixture
def table() -> RowTable:
    """Three atoms."""
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


def test_new_rows_are_shown_in_the_order_chosen(table) -> None:
    """A column that is no longer there is forgotten."""
    table.sorted_by = (2, True)
    table.show(HEADERS, ROWS[::-1], numeric=[True, False, True, True])
    assert [table.cells[i][0] for i in table.order] == ["17", "100", "9"]
    table.show(["atom"], [["3"], ["1"]], numeric=[True])
    assert (table.sorted_by, table.order) == ((-1, False), [0, 1])


def test_a_column_that_is_not_there_is_refused(table) -> None:
    """Rule, given."""
    with pytest.raises(t.TraitError, match="one of 4 columns"):
        table.sorted_by = (4, False)
    assert table.sorted_by == (-1, False)


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


def test_the_static_table_is_in_the_order_shown(table) -> None:
    """Exported pages agree with the screen."""
    table.sorted_by = (0, True)
    html = table.static_html()
    assert html.index(">100<") < html.index(">17<") < html.index(">9<")
