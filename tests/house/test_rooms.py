"""Promises of the house: rooms by subject, one door each, imports that point down. From the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from rooms import (
    PACKAGES,
    House,
    Import,
    circles,
    goes_past_a_door,
    module_graph,
    parsed,
    room_graph,
    room_of,
)

ROOT = Path(__file__).parents[2]
# What may stand directly in sae_nb beside the rooms.
CONTENTS = {
    "__init__",
    "__main__",
    "_lazy",
    "background",
    "checks",
    "interrupts",
    "plugins",
    "progress",
}
# Which of the three packages' rooms may import a package that is not ours; none means nowhere.
ONLY_IN = {
    "ipywidgets": {"sae_nb_widgets"},
    "anywidget": {"sae_nb_widgets"},
    "plotly": {"sae_nb.figures", "sae_nb_widgets", "sae_nb_lessons"},
    "nnsight": {"sae_nb.models", "sae_nb.capturing", "sae_nb.steering"},
}
# Tests that are about the insides of a room that is not theirs, and which ones they are.
ABOUT_INSIDES = {
    # every architecture by each of the backends that its kernels would choose between
    "architectures/test_contract.py": {"sae_nb.kernels", "sae_nb.pursuit"},
    # traces of the panel's figure, found in a real browser
    "browser/scenes/pursuit.py": {"sae_nb_widgets.pursuit"},
    # a process killed, a disk filled and a second call made in the middle of a step of theirs
    "reliability/killing.py": {"sae_nb.files"},
    "reliability/test_disk_faults.py": {"sae_nb.files", "sae_nb_widgets.panel"},
    "reliability/test_killed_processes.py": {"sae_nb.architectures"},
    "reliability/test_two_at_once.py": {"sae_nb.sweeps"},
    # a bound that is lowered, so that a test needs no gigabytes
    "first_hour/test_silence.py": {"sae_nb.labelling"},
    # the compiled loops, imported before workers are forked
    "training/warm_torchrun.py": {"sae_nb.kernels", "sae_nb.pursuit"},
}


def _told(imports: list[Import]) -> list[str]:
    return [f"{one.importer}, line {one.line}: {one.target} {one.name or ''}" for one in imports]


def test_top_is_the_table_of_contents(house: House) -> None:
    """Beside the rooms only a handful of modules stand in `sae_nb`."""
    there = {file.stem for name, file in house.modules.items() if file.parent == ROOT / "sae_nb"}
    assert there <= CONTENTS


@pytest.mark.slow
def test_rooms_stand_in_no_circle(house: House) -> None:
    """Function-local imports and those under `if TYPE_CHECKING` count."""
    assert circles(room_graph(house, *PACKAGES)) == []


@pytest.mark.slow
def test_files_stand_in_no_circle(house: House) -> None:
    """Within a room too. Function-local imports count; those under `if TYPE_CHECKING` do not."""
    assert circles(module_graph(house, *PACKAGES, typing=False)) == []


@pytest.mark.slow
def test_rooms_do_not_import_the_table_of_contents(house: House) -> None:
    """`import sae_nb` inside a room would be an import of every room."""
    up = [one for one in house.imports if one.target == "sae_nb" and one.importer != "sae_nb"]
    assert _told([one for one in up if one.importer.startswith("sae_nb.")]) == []


def test_nobody_goes_past_a_door(house: House) -> None:
    """Of sae_nb, of the panels or of the lessons."""
    assert _told([one for one in house.imports if goes_past_a_door(house, one)]) == []


@pytest.mark.slow
def test_tests_go_past_the_door_of_their_own_room_alone(house: House) -> None:
    """tests/pursuit may look into `sae_nb.pursuit`, and asks at every other door."""
    past = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        own = _rooms_of_test(file)
        for one in house.imports_of(str(file.relative_to(ROOT)), parsed(file)):
            if goes_past_a_door(house, one) and room_of(one.target) not in own:
                past.append(one)
    assert _told(past) == []


def _rooms_of_test(file: Path) -> set[str]:
    place = file.relative_to(ROOT / "tests")
    packages = {"widgets": "sae_nb_widgets", "lessons": "sae_nb_lessons"}
    if place.parts[0] in packages and len(place.parts) > 2:
        return {f"{packages[place.parts[0]]}.{place.parts[1]}"}
    # A study of a room's name goes on where that room ends, and their tests are of both.
    room = place.parts[place.parts[0] == "studies"]
    own = {f"sae_nb.{room}", f"sae_nb.studies.{room}"}
    return own | ABOUT_INSIDES.get(place.as_posix(), set())


def test_everything_of_ours_is_imported_from_where_it_is(house: House) -> None:
    """A former place (`sae_nb.circuits`) still works for users; here it would hide from the contracts."""
    lost = [
        one
        for one in house.imports
        if one.target.split(".")[0] in PACKAGES and one.target not in house.modules
    ]
    assert _told(lost) == []


def test_heavy_packages_stay_in_their_rooms(house: House) -> None:
    """Widgets in the panels, plotly in `figures`, nnsight where the live model is."""
    astray = [
        one
        for one in house.imports
        for package, allowed in ONLY_IN.items()
        if one.target.split(".")[0] == package
        and not {one.importer.split(".")[0], room_of(one.importer)} & allowed
    ]
    assert _told(astray) == []


@pytest.mark.slow
def test_no_string_goes_round_the_doors(house: House) -> None:
    """`import_module` of ours stands in `_lazy` alone; a registry may name its own package's files."""
    ours = [
        one
        for one in house.string_imports
        if one.importer != "sae_nb._lazy"
        and not one.text.startswith(("f'{__package__}.", "f'."))
        and not _names_another_package(one.text)
    ]
    assert [f"{one.importer}, line {one.line}: {one.text}" for one in ours] == []


def _names_another_package(text: str) -> bool:
    """Whether the argument is a plain string that names none of our packages."""
    node = ast.parse(text, mode="eval").body
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return False
    return node.value.split(".")[0] not in PACKAGES
