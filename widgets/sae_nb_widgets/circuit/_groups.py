"""Pins and groups of a CircuitPanel: nodes that are drawn whatever the threshold, and nodes that are one."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as ipw
import traitlets as t

from sae_nb.checks import checked
from sae_nb_widgets.circuit._drawing import CircuitDrawing
from sae_nb_widgets.panel import control, line, or_trait_error, small_button


class GroupsNodes(CircuitDrawing):
    """Nodes are pinned, and what is pinned becomes a group under a name."""

    group_name = t.Unicode("", help="What the pinned nodes are called once they are grouped.")

    def _group_controls(self) -> ipw.Widget:
        return line(
            control(self, "group_name", "group", "What the pinned nodes are called together", 200),
            small_button("group the pinned", "Draw and change them as one", self._group_pinned),
            *self._alike_button(),
            small_button(
                "ungroup", "Draw the chosen group’s nodes alone again", self._ungroup_chosen
            ),
        )

    def _alike_button(self) -> list[ipw.Widget]:
        if not self.graph.of_neurons:
            return []
        tip = "Draw neurons that fire together on the input and its contrast as one"
        return [small_button("group alike", tip, self._group_alike)]

    def _group_alike(self) -> None:
        with self.guarded("grouping"):
            if self.live is None:
                raise ValueError("Groups need the live model, and this panel has none.")
            drawn = set(self._summary.nodes.node[self._summary.nodes.kind == "atom"])
            found = {
                name: tuple(node for node in nodes if node in drawn)
                for name, nodes in self.live.groups().items()
            }
            found = {name: nodes for name, nodes in found.items() if len(nodes) > 1}
            if not found:
                self.say("No two of the neurons that are drawn fire together.")
            self.groups = found

    # --- pins -------------------------------------------------------------------------------------

    @checked
    def pin(self, node: int | None = None) -> None:
        """Draw a node whatever the threshold; None: the chosen one."""
        self.pinned = (*self.pinned, self.node if node is None else node)

    @checked
    def unpin(self, node: int | None = None) -> None:
        """Draw a node only where the threshold has it; None: all that are pinned."""
        self.pinned = tuple(one for one in self.pinned if node is not None and one != node)

    def toggle_pin(self) -> None:
        """Pin the chosen node, or let it go."""
        if self.node < 0:
            self.say("Choose a node to pin.")
        elif self.node in self.pinned:
            self.unpin(self.node)
        else:
            self.pin()

    @t.validate("pinned")
    def _pins_exist(self, proposal: t.Bunch) -> tuple[int, ...]:
        return or_trait_error(self._nodes, proposal["value"], "pinned")

    # --- groups -----------------------------------------------------------------------------------

    @checked
    def group(self, nodes: Sequence[int], name: str) -> None:
        """Draw nodes as one, under a name; edges add up, and a change is made of all its atoms together.

        Raises
        ------
        traitlets.TraitError: If a node is not part of the graph, a target, or in another group.
        """
        self.groups = {**self.groups, name: tuple(nodes)}

    @checked
    def ungroup(self, name: str) -> None:
        """Draw the nodes of a group alone again.

        Raises
        ------
        KeyError: If there is no such group.
        """
        if name not in self.groups:
            raise KeyError(f"`name` must be one of the groups, {list(self.groups)}, got {name!r}.")
        self.groups = {key: nodes for key, nodes in self.groups.items() if key != name}

    @t.validate("groups")
    def _groups_fit(self, proposal: t.Bunch) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        taken: set[int] = set()
        for name, given in dict(proposal["value"]).items():
            nodes = or_trait_error(self._nodes, given, "groups")
            if not str(name).strip() or not nodes:
                raise t.TraitError(
                    f"A group must have a name and at least one node, got {name!r} and {list(nodes)}."
                )
            wrong = [i for i in nodes if i in taken or self.circuit.kinds[i] == "target"]
            if wrong:
                raise t.TraitError(
                    f"A group must be of nodes that are in no other and are no targets, got {wrong[0]} "
                    f"({self._named.short(wrong[0])}) in {name!r}. Ungroup the other one first."
                )
            taken.update(nodes)
            found[str(name)] = nodes
        return found

    def _group_pinned(self) -> None:
        with self.guarded("grouping"):
            if not self.pinned:
                self.say("Pin the nodes that belong together first (p).")
                return
            free = [node for node in self.pinned if not self._group_of(node)]
            self.group(free, self.group_name.strip() or f"group {len(self.groups) + 1}")
            self.pinned, self.group_name = (), ""

    def _ungroup_chosen(self) -> None:
        with self.guarded("ungrouping"):
            group = self._group_of(self.node)
            if group:
                self.ungroup(group)
            else:
                self.say("Choose a group to take it apart.")
