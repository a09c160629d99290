"""Names of the nodes of a graph: atoms of several dictionaries, inputs, errors, targets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sae_nb.atoms import NO_NAME, AtomCard, AtomNames, Band, Example
from sae_nb.circuits import AttributionGraph
from sae_nb.figures import visible_token
from sae_nb.sessions import names_of
from sae_nb_widgets.circuit._summary import place_words

QUOTED = re.compile("“([^”]+)”")
ONLY_QUOTES = re.compile("“[^”]+”((, | or )“[^”]+”)*( …)?")


class NodeNames(AtomNames):
    """Names by node; the words of an atom are those of its dictionary, once its examples are open."""

    def __init__(self, graph: AttributionGraph, saes: Mapping[str, Any]) -> None:
        super().__init__()
        columns = ("kind", "place", "position", "atom", "name")
        self._rows = list(zip(*(graph.nodes[name].tolist() for name in columns), strict=True))
        self._graph, self._saes = graph, saes
        self._books: dict[str, AtomNames] = {}
        texts = [""] * len(self._rows)
        self._says, self._fires = (
            graph.nodes[name].tolist() if name in graph.nodes else texts
            for name in ("says", "fires")
        )

    # --- dictionaries -----------------------------------------------------------------------------

    def is_open(self, node: int) -> bool:
        """Return whether all that is known of a node is loaded: examples of a bundled transcoder are
        drawn first.
        """
        kind, place, *_ = self._rows[node]
        return kind != "atom" or place not in self._saes or place in self._books

    def open(self, node: int) -> None:
        """Read the names and examples of a node's dictionary: seconds, the first time, for a bundled one."""
        place = self._rows[node][1]
        if not self.is_open(node):
            self._books[place] = names_of(self._saes[place])
            self._books[place].observe(self._changed)

    def book(self, node: int) -> tuple[AtomNames, int] | None:
        """Return the names of a node's dictionary and its atom there; None if it is not an atom, or not
        open.
        """
        kind, place, _, atom, _ = self._rows[node]
        if kind == "atom" and self._graph.examples is not None and place not in self._saes:
            value = float(self._graph.nodes.value.iat[node])
            signs = (1, -1) if value >= 0 else (-1, 1)
            found = (self._graph.examples.at(place, atom, sign) for sign in signs)
            return next(filter(None, found), None)
        return (self._books[place], atom) if kind == "atom" and place in self._books else None

    # --- names ------------------------------------------------------------------------------------

    def short(self, node: int) -> str:
        """Return an atom as block/number ("2/161"), a neuron in words, an input as its token, and so on."""
        kind, place, position, atom, name = self._rows[node]
        token = visible_token(self._graph.tokens[position], bare=True)
        if kind == "atom":
            block = place.rpartition(".")[2]
            return (
                f"neuron {atom} of block {block}" if self._graph.of_neurons else f"{block}/{atom}"
            )
        if kind == "token":
            return f"“{token}”" if self._graph.grid is None else token
        if kind == "error":
            return f"missed by {place_words(place)}"
        return (
            name.replace("“ ", "“")
            if name.startswith("“")
            else f"“{visible_token(name, bare=True)}”"
        )

    def words(self, node: int) -> str:
        """Return the label or caption of an atom; empty where neither is known."""
        if self._says[node] or self._fires[node]:
            return str(self._says[node] or self._fires[node])
        book = self.book(node)
        return "" if book is None or self._graph.of_neurons else book[0].words(book[1])

    def pill(self, node: int) -> tuple[str, bool]:
        """Return a node as it is drawn, and whether nothing is known of it but that."""
        kind = self._rows[node][0]
        if kind != "atom":
            plain = self.short(node).replace("“", "").replace("”", "")
            return plain.replace(" − ", " rather than "), False
        words = self.words(node)
        if not words:
            return (NO_NAME if self._graph.of_neurons else self.short(node)), True
        quiet = words.startswith(NO_NAME)  # then what it fires on is shown
        listed = words.removeprefix(NO_NAME).strip(": ")
        if quiet or ONLY_QUOTES.fullmatch(listed):
            tokens = QUOTED.findall(listed)[:2]
            said = " · ".join(token.strip() for token in tokens)
            # What it fires on is told from what it writes.
            fires = self._graph.of_neurons and not self._says[node]
            return (f"on {said}" if fires and said else said or self.short(node)), quiet
        return words, False

    def brief(self, node: int, text: str) -> str:
        """Return what is drawn where the words of a pill do not fit: the first of them, or the number."""
        first, *more = text.split(" · ")
        return first if more else self.short(node) if text == NO_NAME else text

    def changed_as(self, node: int) -> str:
        """Return a node as a change names it: "are · were at “keys”, block 25"."""
        (text, quiet), block = self.pill(node), self._rows[node][1].rpartition(".")[2]
        known = self.short(node) if quiet else text
        at = self.at(self._rows[node][2])
        return f"{known} {at}" if quiet else f"{known} {at}, block {block}"

    def token(self, position: int) -> str:
        """Return a position by its name: "“keys”", "patch 1,1"."""
        token = visible_token(self._graph.tokens[position], bare=True)
        return f"“{token}”" if self._graph.grid is None else token

    def at(self, position: int) -> str:
        """Return a position in words: "at “keys”", "at patch 1,1"."""
        return f"at {self.token(position)}"

    def caption(self, atom: int) -> str:
        """Return the same: no difference is made here between a label and a caption."""
        return self.words(atom)

    def name(self, atom: int) -> str:
        """Return number and words: "2/161 · after “.”"."""
        words = self.words(atom)
        return f"{self.short(atom)} · {words}" if words else self.short(atom)

    def in_text(self, atom: int) -> str:
        """Return the name as a sentence has it: "2/161 (after “.”)"."""
        words = self.words(atom)
        return f"{self.short(atom)} ({words})" if words else self.short(atom)

    def where(self, node: int) -> str:
        """Return at which input a node is: "at “ she”"."""
        kind, _, position, _, _ = self._rows[node]
        if kind == "target":
            return ""
        return self.at(position) + (f" ({position})" if self._graph.grid is None else "")

    def full(self, node: int) -> str:
        """Return name and place of a node: "2/161 · after “.” at “ she” (3)"."""
        name = self.name(node)
        is_input = self._rows[node][0] == "token" and self._graph.grid is not None
        return name if is_input else f"{name} {self.where(node)}".strip()

    def in_row(self, node: int) -> str:
        """Return the same for a narrow column, words first: "are · were at “keys” (1) · 12/1441"."""
        if self._rows[node][0] != "atom" or not self.words(node):
            return self.full(node)
        return f"{self.pill(node)[0]} {self.where(node)} · {self.short(node)}"

    # --- a glance ---------------------------------------------------------------------------------

    def examples(self, atom: int, n: int = 3, band: Band = "top") -> tuple[Example, ...]:
        """Return examples of a node's atom."""
        book = self.book(atom)
        return () if book is None else book[0].examples(book[1], n, band)

    def card(self, atom: int) -> AtomCard:
        """Return the card shown on pointing at a node."""
        book = self.book(atom)
        if book is None:
            return super().card(atom)
        return replace(book[0].card(book[1]), atom=atom, name=self.full(atom))
