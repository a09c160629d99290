"""A contract for import-linter: a room is entered by its door. Registered in pyproject.toml."""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class DoorsContract(Contract):
    """No module of another room than its own is imported, only the `__init__` of a room.

    A room is what stands directly in one of `packages`; it may have rooms of its own, with doors.
    Whatever has an underscore in its name is private to its room. A module that the door offers as a
    whole is asked for there: `from sae_nb.figures import theme`.
    """

    type_name = "doors"
    packages = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Look at every import between two rooms."""
        past = [
            (importer, inside)
            for inside in sorted(graph.modules)
            if self._is_behind_a_door(graph, inside)
            for importer in sorted(graph.find_modules_that_directly_import(inside))
            if _room(importer) != _room(inside)
            if not _is_asked_for_at_the_door(graph, importer, inside)
        ]
        return ContractCheck(kept=not past, metadata={"past": past, "graph": graph})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Say who goes past which door, and where."""
        for importer, inside in check.metadata["past"]:
            details = check.metadata["graph"].get_import_details(importer=importer, imported=inside)
            lines = ", ".join(f"l.{one['line_number']}" for one in details)
            output.print_error(f"{importer} ({lines}) imports {inside}.", bold=False)
            output.print(
                f"    Import from {_room(inside)}; export the name there if it is missing."
            )

    def _is_behind_a_door(self, graph: ImportGraph, module: str) -> bool:
        if module.split(".")[0] not in self.packages or module == _room(module):
            return False
        has_no_door = not graph.find_children(module)
        return has_no_door or any(part.startswith("_") for part in module.split(".")[2:])


def _is_asked_for_at_the_door(graph: ImportGraph, importer: str, module: str) -> bool:
    room, _, name = module.rpartition(".")
    offered = graph.direct_import_exists(importer=room, imported=module)
    asked = graph.get_import_details(importer=importer, imported=module)
    at_the_door = all(one["line_contents"].startswith(f"from {room} import") for one in asked)
    return offered and at_the_door and not name.startswith("_")


def _room(module: str) -> str:
    """The room of a module; a study is a room of its own."""
    parts = module.split(".")
    return ".".join(parts[: 3 if parts[1:2] == ["studies"] else 2])
