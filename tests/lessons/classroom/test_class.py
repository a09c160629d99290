"""A class of six: copies without answers, records that arrive, marks that no notebook can write itself."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient
from sae_nb_lessons.__main__ import main
from sae_nb_lessons.classroom import collect, mark, student_copy
from sae_nb_lessons.classroom._plain import NotPlain, packed, unpacked
from sae_nb_lessons.exercises._cells import NOTEBOOKS, digest, exercise_cells, solutions
from sae_nb_lessons.exercises._registry import untouched
from sae_nb_lessons.exercises._verdicts import RECORD

LESSON = "01_superposition"
SLIP = """def dimensionality(directions):
    return directions.norm(dim=1) ** 2 / ((directions @ directions.T) ** 2).sum(dim=1)"""
WRONG = {"01.2": "share = 0.5", "01.3": "directions = torch.eye(5)[:, :2]", "01.5": SLIP}
HOSTILE = {
    "01.1": "import os\nos._exit(0)",
    "01.2": "while True:\n    pass",
    "01.3": 'print("x" * 10**8)\ndirections = torch.zeros(5, 2)',
    "01.5": "def dimensionality(directions):\n    while True:\n        pass",
}
EDITED = """import sae_nb_lessons.exercises._kit as kit
from sae_nb_lessons.exercises._verdicts import Verdict
kit.Exercise.check = lambda self, answer: Verdict(exercise=self.id, state="right")
share = 0.5"""


def returned_with(answers: dict[str, str]) -> Any:
    """A student's notebook of lesson 01, its cells filled in where `answers` has something."""
    notebook = nbformat.read(NOTEBOOKS / f"{LESSON}.ipynb", as_version=4)
    for (id, method), cell, call in exercise_cells(notebook):
        if id in answers and method not in ("reveal", "score"):
            cell.source = f"{answers[id]}\n{call['call']}"
    return notebook


def claiming(notebook: Any, *records: dict[str, Any]) -> Any:
    """The notebook with an output that says so."""
    said = nbformat.v4.new_output(
        "display_data", data={RECORD: list(records), "text/plain": "[01.2]"}
    )
    next(cell for cell in notebook.cells if cell.cell_type == "code").outputs = [said]
    return notebook


def tried(id: str, *answers: object) -> dict[str, Any]:
    """The record of an exercise after some answers."""
    one = untouched(id)
    for answer in answers:
        one.check(answer)
    return one.record


RIGHT = {
    id: code for (id, method), code in solutions().items() if id[:2] == "01" and method != "score"
}
FORGED = {
    "exercise": "01.2",
    "checker": "0",
    "tries": 1,
    "answers": [{"state": "right", "seconds": 1, "answer": "0.4"}],
}


def the_class() -> dict[str, Any]:
    half = returned_with({"01.2": "share = 2 / 5", "01.3": "directions = (", "01.4": "guess = 0.5"})
    return {
        "änne": claiming(returned_with(RIGHT), tried("01.2", 0.5, 0.4)),
        "bert": claiming(returned_with(WRONG), tried("01.2", 0.5)),
        "cleo": returned_with({}),
        "dora": claiming(
            returned_with(HOSTILE), FORGED, {"exercise": 3}, {"exercise": "01.1", "answers": 7}
        ),
        "emil": claiming(returned_with({"01.2": EDITED}), FORGED),
        "fritz": half,
    }


@pytest.mark.slow
def test_a_class_of_six_is_marked_in_one_command(tmp_path: Path) -> None:
    """Right is right, wrong has its mistake, and nothing that a notebook does or says of itself changes that."""
    for student, notebook in the_class().items():
        folder = tmp_path / "submitted" / student / "week 1"
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / f"{LESSON}.ipynb")
    assert main(["mark", str(tmp_path), "--seconds", "10"]) == 0
    with (tmp_path / "marks.csv").open(encoding="utf-8") as file:
        rows = {(row["student"], row["exercise"]): row for row in csv.DictReader(file)}
    state = lambda student: [rows[student, f"01.{i}"]["state"] for i in range(1, 6)]  # noqa: E731
    assert state("änne") == ["right", "right", "right", "predicted", "right"]
    assert state("bert") == ["blank", "wrong", "wrong", "blank", "wrong"]
    assert state("cleo") == ["blank"] * 5
    assert state("dora") == [*["cannot be judged"] * 2, "wrong", "blank", "cannot be judged"]
    assert state("emil") == ["blank", "wrong", "blank", "blank", "blank"]
    assert state("fritz") == ["blank", "right", "cannot be judged", "predicted", "blank"]
    assert (rows["änne", "01.2"]["tries"], rows["änne", "01.2"]["answer"]) == ("2", "0.4")
    assert float(rows["änne", "01.2"]["seconds"]) >= 0
    assert "never divide by a length" in rows["bert", "01.5"]["mistake"]
    assert rows["bert", "01.5"]["answer"] == SLIP
    assert "had not ended after 10 s" in rows["dora", "01.2"]["mistake"]
    assert "ended the process" in rows["dora", "01.1"]["mistake"]
    assert "SyntaxError" in rows["fritz", "01.3"]["mistake"]
    for student in ("dora", "emil"):
        assert "the notebook says right" in rows[student, "01.2"]["notes"]
        assert f"checker 0 is another than {digest()}" in rows[student, "01.2"]["notes"]
    assert rows["änne", "01.2"]["notes"] == rows["bert", "01.2"]["notes"] == ""
    page = (tmp_path / "marks.html").read_text("utf-8")
    (commonest, *_) = page.partition("<ol>")[2].partition("</ol>")[0].split("</li>")
    assert commonest.startswith("<li>01.2: ")
    assert commonest.endswith("(3)</b>")  # änne at first, bert, emil


@pytest.mark.slow
def test_a_record_arrives_without_a_front_end(tmp_path: Path) -> None:
    """In the outputs of a kernel, as nbformat writes and reads them; shown solutions and all tries with it."""
    cells = (
        "from sae_nb_lessons import exercise, exercise_report",
        'exercise("01.2").check(0.5)',
        'exercise("01.2").solution()',
        'exercise("01.2").check(0.4)',
        'exercise("01.3").check("=1")\nexercise_report("01")',
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    nbformat.write(notebook, tmp_path / "mueller_LATE_12_345_01_superposition-1.ipynb")
    nbformat.write(returned_with({}), tmp_path / "mueller_12_344_01_superposition.ipynb")
    nbformat.write(returned_with({}), tmp_path / "mueller_77_346_01_superposition.ipynb")
    rows = {(row.student, row.exercise): row for row in collect(tmp_path).rows}
    kept = rows["mueller 12", "01.2"]
    assert (kept.state, kept.tries, kept.answer) == ("right", 2, "0.4")
    assert "an answer was shown" in kept.notes
    assert "more than the 2" in kept.mistake
    assert rows["mueller 77", "01.2"].state == "missing"
    with (tmp_path / "collected.csv").open(encoding="utf-8") as file:
        assert {"'=1"} < {row["answer"] for row in csv.DictReader(file)}


@pytest.mark.slow
def test_what_needs_cells_above_or_cannot_leave_its_process_is_judged(tmp_path: Path) -> None:
    """A name that a lesson's cell makes, a function that is given a network, and a gradient that must pass."""
    cells = (
        "import torch\nhalf = 0.4 / 2",
        'exercise("01.2").check(2 * half)',
        f'{solutions()["02.2", "check"]}\nexercise("02.2").check(loss_of)',
        f'{solutions()["10.1", "check"]}\nexercise("10.1").check(rows_of)',
        'exercise("09.5").write("one two " * 20)',
    )
    first = "from sae_nb_lessons import exercise"
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in (first, *cells)])
    nbformat.write(made, tmp_path / "own.ipynb")
    rows = {row.exercise: row for row in mark(tmp_path).rows}
    assert {id: row.state for id, row in rows.items()} == {
        **dict.fromkeys(("01.2", "02.2", "10.1"), "right"),
        "09.5": "text",
    }
    assert "process" in rows["02.2"].notes
    assert "process" in rows["10.1"].notes
    assert rows["01.2"].notes == ""


@pytest.mark.slow
def test_a_trap_outside_the_exercises_costs_itself_alone(tmp_path: Path) -> None:
    """A class body ends the process while definitions are gathered; the cells around it run without them."""
    cells = (
        "from sae_nb_lessons import exercise",
        "class Trap:\n    import os\n    os._exit(0)",
        'exercise("01.2").check(0.4)',
    )
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(made, tmp_path / "own.ipynb")
    assert [(row.exercise, row.state) for row in mark(tmp_path).rows] == [("01.2", "right")]


@pytest.mark.slow
def test_a_copy_has_no_answer_and_no_output(tmp_path: Path) -> None:
    """No line of an answer that is long enough to give it away, in any file; what it asks for is all there."""
    folder = student_copy(tmp_path / "class")
    assert not list(folder.rglob("*answers*"))
    said = "\n".join(path.read_text("utf-8") for path in folder.iterdir())
    given = json.dumps(
        "\n".join(path.read_text("utf-8") for path in sorted(NOTEBOOKS.glob("[0-9l]*_*.py")))
    )
    for key, code in solutions().items():
        for line in code.splitlines():
            line = json.dumps(line.strip())[1:-1]
            if len(line) > 30 and line not in given and key[1] == "check":
                assert line not in said, key
    assert "](https://sae-nb.github.io/sae_nb/glossary.html)" in said
    assert "](../" not in said
    lesson = nbformat.read(folder / f"{LESSON}.ipynb", as_version=4)
    assert lesson.metadata["sae_nb"] == {"checker": digest()}
    assert [key for key, _, _ in exercise_cells(lesson)] == [
        key for key, _, _ in exercise_cells(returned_with({}))
    ]
    with pytest.raises(FileExistsError, match="must not exist yet"):
        student_copy(folder)


@pytest.mark.parametrize("as_zip", [False, True])
def test_what_is_no_notebook_is_a_row_and_stops_nothing(
    tmp_path: Path, as_zip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty, broken, of another lesson, too large: each has its row, in a folder and in a zip."""
    monkeypatch.setattr("sae_nb_lessons.classroom._returned.LARGEST", 100_000)
    files = {
        "submitted/a/w/01_superposition.ipynb": "",
        "submitted/b/w/01_superposition.ipynb": '{"cells": 3}',
        "submitted/c/w/notes.ipynb": nbformat.writes(nbformat.v4.new_notebook()),
        "submitted/d/w/01_superposition.ipynb": nbformat.writes(
            claiming(returned_with({}), tried("03.5", 1 / 128))
        ),
        "submitted/d/w/.ipynb_checkpoints/01_superposition.ipynb": "",
        "submitted/e/w/01_superposition.ipynb": " " * 200_000,
    }
    where = tmp_path / "class.zip" if as_zip else tmp_path
    if as_zip:
        with zipfile.ZipFile(where, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(name, text)
    else:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, "utf-8")
    rows = collect(where, to=tmp_path / "out").rows
    assert {row.student: row.notes for row in rows if row.state == "unread"} == {
        "a": "it is no notebook that can be read",
        "b": "it is no notebook that can be read",
        "c": "no exercise of the course is in it",
        "e": "its file has 0.2 MB, and 0.1 MB are read: ask for it with fewer outputs",
    }
    (other,) = (row for row in rows if row.exercise == "03.5")
    assert (other.state, other.notes) == ("wrong", "of another lesson")
    assert (tmp_path / "out" / "collected.html").is_file()


@pytest.mark.parametrize("table", [collect, mark])
def test_a_notebook_that_cannot_be_read_is_one_row(tmp_path: Path, table: Any) -> None:
    (tmp_path / f"{LESSON}.ipynb").touch()
    (row,) = table(tmp_path).rows
    assert (row.lesson, row.exercise, row.state) == ("01", "", "unread")


def test_a_folder_without_notebooks_and_wrong_seconds_are_refused(tmp_path: Path) -> None:
    for asked, told in ((tmp_path, "holds none"), (tmp_path / "x", "neither")):
        with pytest.raises(FileNotFoundError, match=told):
            collect(asked)
    with pytest.raises(ValueError, match="above 0, got 0"):
        mark(tmp_path, seconds=0)


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(6.0).reshape(2, 3),
        torch.zeros(0, 4, dtype=torch.int64),
        torch.tensor(True),
        np.arange(4, dtype=np.int32).reshape(2, 2),
        [1, ("a", 2.5, None), {3: [True]}],
    ],
)
def test_data_crosses_the_line_as_it_is(value: Any) -> None:
    got = unpacked(json.loads(json.dumps(packed(value))))
    assert type(got) is type(value)
    if isinstance(value, torch.Tensor | np.ndarray):
        assert (got.shape, got.dtype) == (value.shape, value.dtype)
        assert bool((got == value).all())
    else:
        assert got == value


@pytest.mark.parametrize(
    "value", [print, torch.ones(1, requires_grad=True), np.array([object()]), {1}]
)
def test_more_than_data_does_not_cross(value: Any) -> None:
    with pytest.raises(NotPlain):
        packed([value])


def test_a_record_of_nothing_is_none() -> None:
    """A blank and a refused call leave no record, an answer that cannot be read does."""
    one = untouched("01.2")
    one.check(...)
    one.predict(3)
    assert one.solution().state == "refused"
    assert one.check(...)._repr_mimebundle_() == {}
    shown = one.check("far")._repr_mimebundle_()[RECORD][0]
    assert [(a["state"], a["answer"]) for a in shown["answers"]] == [("form", "far")]
    assert shown["tries"] == 0
    assert "2 / 5" in one.solution().message
    assert one.record["solution"]
