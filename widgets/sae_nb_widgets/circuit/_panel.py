"""CircuitPanel: an attribution graph as names over its tokens; a node is cut, and the answer watched."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import traitlets as t

from sae_nb.atoms import AtomNames
from sae_nb.checks import checked
from sae_nb.circuits import AttributionGraph
from sae_nb.figures import visible_token
from sae_nb.figures.theme import escape, format_count, format_number, format_percent
from sae_nb_widgets.circuit import _queries as queries, _words as words
from sae_nb_widgets.circuit._chosen import ChosenNode
from sae_nb_widgets.circuit._contrast import ContrastFields
from sae_nb_widgets.circuit._controls import AS_GRAPH, CircuitControls
from sae_nb_widgets.circuit._cut import LiveCut
from sae_nb_widgets.circuit._drawn_graph import drawn, patches_of, shaded_image
from sae_nb_widgets.circuit._edge_heads import EdgeHeads
from sae_nb_widgets.circuit._map import CircuitMap
from sae_nb_widgets.circuit._names import NodeNames
from sae_nb_widgets.circuit._queries import Change, View
from sae_nb_widgets.circuit._story import story_html
from sae_nb_widgets.circuit._summary import Circuit, CircuitAnswer, CircuitStory, CircuitSummary
from sae_nb_widgets.panel import _pages as pages
from sae_nb_widgets.panel._atoms import HasAtoms
from sae_nb_widgets.panel._declaring import Number, Whole, line, or_trait_error, reacts, show
from sae_nb_widgets.panel._glossary import AN_ATOM, an_atom
from sae_nb_widgets.panel._pages import COLUMNS

if TYPE_CHECKING:
    from sae_nb.circuits import Transcoders
    from sae_nb.models import LiveModel

MOST_RECORDED = 40
MOST_STRENGTH = 4.0
LEGEND = (
    "orange: pushes for {answer} · blue: against it · bubbles: {bubbles} · "
    "numbers at the left: blocks of the model · width of a line: the share that runs through it"
)


def a_node(**about: Any) -> Whole:
    """Return the index of a node of a panel, or −1."""
    return Whole(-1, 0, lambda panel: panel.n_nodes - 1, none=-1, **about)


@checked(leave=("transcoders",))
class CircuitPanel(HasAtoms):
    """Which atoms caused this answer, and through which path?

    Tokens below, a row for every place that atoms write, the answer above; an atom is drawn as its name. `node`
    is a trait; a click, a row of a table, ← and → set it, and its examples, what made it and what it makes are
    shown. With the live model, `strength` changes the chosen atom in it: the effect is compared with the
    graph's prediction and with random directions of the same size.

    Parameters
    ----------
    graph
        From `sn.circuits.attribution_graph` or `load_graph`; give the whole graph, the panel prunes it.
    model, transcoders
        As the graph was made with, "neurons" for one of neurons; None takes those that the graph knows. A
        graph from a file knows none: without them it is shown, and cannot be asked.
    node
        First one chosen, −1 for none; None: of the atoms that speak for the answer the one of most influence,
        with a name if any has one.
    threshold
        Share of the influence that is drawn at first; None: of which a person can still see the parts.

    Raises
    ------
    ValueError, TypeError: If no path leads from an input to a target, the model or the transcoders are not
        those of the graph, or only one of the two is given.

    Example
    -------
    >>> import sae_nb as sn
    >>> gpt, t = sn.load_model("tiny-gpt"), sn.load_sae("tiny-gpt/mlp.3")
    >>> graph = sn.circuits.attribution_graph(gpt, t, "One day Mia was", target=" the", max_nodes=20)
    >>> panel = CircuitPanel(graph, node=-1)
    >>> panel.summary.rows[0], panel.summary.rows[-1], panel.summary.reaches
    ('input', 'answer', True)
    >>> panel.close()
    """

    question = "Which atoms caused this answer, and through which path?"
    explanation = (
        "Inputs stand below, the answers above, and between them a row for every MLP with the atoms that "
        "fired, over the input at which they did. A line is what one adds to the other while attention and "
        "norms are held as they were. Changing an atom runs the live model with nothing held; compare it with "
        "what the graph foresaw, and with what random directions of the same size do.",
        "A graph explains one input, and the model with everything held: what norms give back, attention that "
        "moves and later MLPs that answer otherwise are not in it, so it overstates most changes. What the "
        "atoms miss has a dashed outline and is not explained. A name is a hypothesis; read the examples.",
        "Ameisen et al., “Circuit Tracing” (2025); Dunefsky et al., arXiv 2406.11944.",
    )
    stem = "circuit"
    kept_traits = (
        "as_graph", "without", "threshold", "pinned", "groups", "path_from", "path_to", "n_random", "node",
        "strength",
    )  # fmt: skip
    needs_kernel = (
        "Choosing other nodes, pruning, paths and groups, and changing atoms in the live model need a running "
        "kernel and were left out; the drawing, the chosen node and its last answer are all here."
    )

    node = a_node(help="The node chosen, by its row in `graph.nodes`; −1 for none.")
    threshold = Number(0.8, 0.01, 1.0, help="Share of the influence that is drawn.")
    pinned = t.Tuple(help="Nodes that are drawn whatever the threshold.")
    groups = t.Dict(help="Name → nodes that are drawn, and changed, as one.")
    group_name = t.Unicode("", help="What the pinned nodes are called once they are grouped.")
    path_from = a_node(help="Where the strongest path begins; −1 for none.")
    path_to = a_node(help="Where it ends.")
    strength = Number(
        1.0, 0.0, MOST_STRENGTH, help="What the strength of the chosen atom is multiplied by."
    )
    n_random = Whole(19, 0, 50, help="Random directions of the same size, run with every change.")
    without = t.Bool(False, help="Whether the story is told without its atoms.")
    as_graph = t.Bool(False, help="Whether the whole drawing is shown under the story.")
    with_pinned = t.Bool(False, help="Whether the pinned atoms are changed with the chosen one.")

    def __init__(
        self,
        graph: AttributionGraph,
        model: LiveModel | None = None,
        transcoders: Transcoders | None = None,
        *,
        node: int | None = None,
        threshold: float | None = None,
    ) -> None:
        self.live = _live(graph, model, transcoders)
        self.graph, self.n_nodes = graph, len(graph)
        self.circuit = Circuit(graph)
        if not self.circuit.reaches:
            raise ValueError(
                "`graph` must have a path from an input to a target, and this one has none. Prune less: "
                "graph.prune(nodes=0.95)."
            )
        self.tokens, self.crops = _columns(graph), patches_of(graph)
        passes = None if self.live is None else self.live.passes
        layers = () if passes is None else passes.layers
        self._saes = {str(layer.write): layer.sae for layer in layers if layer.sae is not None}
        if graph.of_neurons:
            self.__dict__.update(
                question=words.NEURONS_QUESTION, explanation=words.NEURONS_EXPLANATION
            )
        self._path: Sequence[int] = ()
        self._change: CircuitAnswer | None = None
        self._seconds = 0.0
        super().__init__(chips=self._facts())
        self._named = self.names = NodeNames(graph, self._saes)
        self.threshold = self.circuit.first_threshold() if threshold is None else threshold
        self.node = queries.first_atom(self.circuit, self._named) if node is None else node
        self._summary = queries.viewed(self.circuit, self._view())
        self.where = (
            graph.model_name,
            words.places_words(self.circuit),
            words.targets_words(self.circuit),
        )
        self._story = self.circuit.story(live=False)
        self._build()
        self._draw_story()
        self._redraw()
        self._draw_node()
        self.edge_heads.ask()
        self._open_names()
        self._tell()

    @property
    def atom_line(self) -> str:
        """Description of an atom, in one line."""
        if self.graph.of_neurons and not self._saes:
            return "A neuron is one number inside an MLP, at one token: it is multiplied by what it writes."
        first = next(iter(self._saes.values()), None)
        return AN_ATOM if first is None else an_atom(first)

    def whose(self, atom: int) -> tuple[AtomNames, int]:
        """Return the names of a node's dictionary, and its atom there."""
        return self._named.book(atom) or (self._named, atom)

    def _facts(self) -> dict[str, str]:
        graph, kinds = self.graph, self.circuit.kinds
        facts = {"model": graph.model_name, "explains": words.targets_words(self.circuit)}
        n = format_count(int((kinds == "atom").sum()))
        if graph.of_neurons:
            facts["neurons"] = f"{n} of {format_count(graph.n_units)} by position"
            if graph.contrast_tokens and graph.grid is None:
                facts["contrast"] = "".join(graph.contrast_tokens).strip()
            facts["names"] = graph.named_by or "none"
        else:
            facts |= {"atoms": n, "replacement": format_percent(graph.replacement, digits=2)}
        if graph.left_out:
            facts["left out"] = graph.left_out_words
        return facts if self.live is not None else facts | {"live model": "none: shows only"}

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        self.map = CircuitMap(description=f"circuit of {words.targets_words(self.circuit)}")
        self.map.observe(self._choose_place, "selected")
        self.cut_row = LiveCut(self)
        self.effects, self.outcomes = self.cut_row.effects, self.cut_row.outcomes
        self.chosen = ChosenNode(self.circuit, self._named, self.live is not None, self._choose)
        self.inputs, self.outputs = self.chosen.inputs, self.chosen.outputs
        self.edge_heads = EdgeHeads(self)
        self.difference = ContrastFields(self, self.live, type(self))
        self.controls = CircuitControls(self)
        self.picture = shaded_image(self.circuit)
        if self.picture is not None:
            self.picture.observe(self._choose_patch, "selected")
        legend = LEGEND.format(
            answer=f"“{words.first_answer(self.circuit)}”",
            bubbles=words.BUBBLES[self.graph.of_neurons],
        )
        self.story_view = ipw.HTML()
        blocks = ipw.Box(
            [
                self.cut_row.after,
                self.inputs,
                self.outputs,
                self.edge_heads.table,
                self.chosen.examples,
            ]
        )
        blocks.add_class(COLUMNS).add_class("sae-nb-circuitblocks")
        self.drawing = ipw.VBox(
            [
                line(*self.controls.first, self.controls.cut),
                self.map, ipw.HTML(f'<div class="sae-nb-legendline">{escape(legend)}</div>'),
                self.cut_row.row, self.chosen.heading, blocks, self.edge_heads.below,
            ]
        )  # fmt: skip
        show(self.drawing, False)
        self.arrange(
            controls=self.controls.story,
            more=[*self.controls.more, self.difference.row],
            figure=[self.story_view, self.drawing, self.difference.below],
            detail=[] if self.picture is None else [self.picture],
        )  # fmt: skip
        for key, action in (
            ("ArrowRight", self.next), ("ArrowLeft", self.previous), ("p", self.toggle_pin),
            ("Escape", self.clear_selection),
        ):  # fmt: skip
            self.bind_key(key, action)

    # --- what is drawn ----------------------------------------------------------------------------

    @property
    def summary(self) -> CircuitSummary:
        """The record that is drawn."""
        return self._summary

    def _view(self) -> View:
        return View(
            node=self.node,
            threshold=self.threshold,
            pinned=tuple(self.pinned),
            groups=dict(self.groups),
            path=tuple(self._path),
        )

    @reacts("node", doing="showing a node")
    def _show_node(self) -> None:
        self.with_pinned = False
        self._redraw()
        self._draw_node()
        self.edge_heads.ask()
        self._open_names()
        self._ask()

    @reacts("pinned", doing="pinning")
    def _mark_pinned(self) -> None:
        self._redraw()
        self._draw_node()

    @reacts("threshold", "groups", doing="drawing the circuit")
    def _redraw(self) -> None:
        self._summary = queries.viewed(self.circuit, self._view())
        self._draw_map()
        self._conclude()

    @reacts("as_graph", doing="drawing the circuit")
    def _fold(self) -> None:
        show(self.drawing, self.as_graph)

    @reacts("without", doing="telling the circuit")
    def _draw_story(self) -> None:
        self.story_view.value = story_html(self.circuit, self._story, self._named, self.without)

    def _draw_map(self) -> None:
        faces, layouts = drawn(
            self.circuit, self._summary, self._view(), self._named, self.tokens, self.crops
        )
        self.map.show(faces, layouts, self._summary.place_of(self.node))

    _rescale = _draw_map

    def _draw_node(self) -> None:
        self.chosen.draw(self.node, self._group_of(self.node), self.node in self.pinned)
        self.cut_row.fit(self._cannot(), self.node >= 0)

    def draw_names(self) -> None:
        """Rewrite names: a label was changed, or examples arrived."""
        self._draw_story()
        self._draw_map()
        self._draw_node()
        self._show_change()

    def _conclude(self) -> None:
        """Describe the circuit; what a change did is in the row under it."""
        said, bold = words.overview(self.circuit, self._summary, self._named)
        self.headline = words.headline(self.circuit, self._story, self._named)
        told, told_bold = words.story_words(self.circuit, self._story)
        reasons, numbers = "", []
        if told:
            reasons = f"{words.story_numbers(self._story)} {said}"
            said, bold = told, told_bold
        if self._change is not None:
            targets = words.targets_words(self.circuit)
            numbers += [
                words.change_words(self._change, self._changed_name(), targets),
                words.change_numbers(self._change, self._seconds),
            ]
        numbers.append(words.overview_numbers(self.circuit, self._summary))
        self.conclude(said, " ".join(filter(None, numbers)), bold, reasons=reasons)

    # --- names ------------------------------------------------------------------------------------

    def _open_names(self) -> None:
        """Open dictionaries off the main thread: of the chosen node, its neighbours, all that are drawn."""
        mine = (self.node, *self.chosen.nodes) if self.node >= 0 else ()
        wanted = (*mine, *queries.by_influence(self._summary))
        closed = next((node for node in wanted if not self._named.is_open(node)), None)
        if closed is None:
            return

        def done(_: None) -> None:
            self.draw_names()
            self._open_names()

        self.run_async(
            lambda: self._named.open(closed), done, doing="drawing examples", channel="names"
        )

    def _send_card(self, atom: int) -> None:
        if self._named.is_open(atom):
            super()._send_card(atom)
            return

        def done(_: None) -> None:
            super(CircuitPanel, self)._send_card(atom)
            self.draw_names()

        self.run_async(lambda: self._named.open(atom), done, channel=f"card {atom}")

    # --- the live model ---------------------------------------------------------------------------

    @property
    def change(self) -> CircuitAnswer | None:
        """The last change of the chosen node; None before one. Waits for work that is under way."""
        self.wait()
        return self._change

    def _changed_nodes(self) -> tuple[int, ...]:
        """The atoms that the slider changes: the chosen one, or its group's; with the pinned ones if asked."""
        place = self._summary.place_of(self.node) if self.node >= 0 else -1
        nodes = self._summary.nodes_at(place) if place >= 0 else ()
        pinned = self.pinned if self.with_pinned else ()
        return tuple(n for n in dict.fromkeys((*nodes, *pinned)) if self.circuit.kinds[n] == "atom")

    def _changed_name(self) -> str:
        nodes = self._changed_nodes()
        more = len(nodes) - 1 if self.with_pinned else 0
        name = self._group_of(self.node) or self._named.changed_as(self.node)
        return f"{name} and {more} more" if more > 0 else name

    def _cannot(self) -> str:
        """Return the reason why nothing can be changed; empty if it can."""
        if self.live is None:
            return words.SHOWS_ONLY
        if self.live.passes is None or not self.live.passes.measures:
            return words.CANNOT_ASK
        if self.node >= 0 and not self._changed_nodes():
            return words.NOT_AN_ATOM
        return ""

    @reacts("strength", "n_random", "groups", "with_pinned", doing="changing an atom")
    def _ask(self, as_it_is: bool = False) -> None:
        """Run the live model with the chosen atom changed, or `as_it_is`; the newest request wins."""
        live, nodes = self.live, self._changed_nodes()
        self._change = None
        if live is None or self._cannot() or not nodes or (self.strength == 1 and not as_it_is):
            self.forget_async("main")
            self._show_change()
            return
        asked, started = (
            Change(nodes=nodes, factor=self.strength, n_random=self.n_random),
            time.perf_counter(),
        )

        def done(answer: CircuitAnswer) -> None:
            self._seconds = time.perf_counter() - started
            self._change = answer
            self._show_change()

        self.cut_row.wait()
        self.run_async(
            lambda: queries.changed(live, asked),
            done,
            doing=f"changing {self._named.short(self.node)}",
            otherwise=self._show_change,
        )

    def _show_change(self) -> None:
        name = self._changed_name() if self.node >= 0 else ""
        self.cut_row.show(self._change, name, words.targets_words(self.circuit))
        self._conclude()

    @property
    def story(self) -> CircuitStory:
        """The circuit from word to word, and the answer without it; waits for the running model."""
        self.wait()
        return self._story

    def _tell(self) -> None:
        """Take the atoms that speak most for the answer out of the live model, once."""
        live = self.live
        if live is None or self._cannot():
            return

        def done(story: CircuitStory) -> None:
            self._story = story
            self._draw_story()
            self._conclude()

        n, what = self._story.n, "neurons" if live.of_neurons else "atoms"
        self.run_async(
            lambda: Circuit(live).story(), done,
            doing=f"taking {n} {what} out of the running model, and changing as many at random",
            channel="story",
        )  # fmt: skip

    @checked
    def intervene(self, factor: float | None = None) -> CircuitAnswer:
        """Run the live model with the chosen atom, or group, at so many times its strength; draw the answer.

        Parameters
        ----------
        factor
            0 takes it out, 1 leaves it; None: the trait `strength`, and where that leaves it, 0.

        Raises
        ------
        ValueError: If there is no live model, nothing is chosen, or the chosen node is not an atom.
        """
        why = self._cannot() or ("" if self.node >= 0 else words.NOTHING_CHOSEN)
        if why:
            raise ValueError(why)
        if factor is None:
            factor = 0.0 if self.strength == 1 else self.strength
        self.strength = factor
        self._ask(as_it_is=True)
        self.wait()
        if self._change is None:
            raise RuntimeError(f"There is no answer: {self.status}")
        return self._change

    def cut(self) -> None:
        """Take the chosen atom out of the live model, and the pinned ones with it."""
        if self.node < 0:
            self.say(words.NOTHING_CHOSEN)
            return
        with self.hold_trait_notifications():
            self.strength, self.with_pinned = 0.0, bool(self.pinned)

    def explain_difference(self, text: str, answer: str = "", rather_than: str = "") -> None:
        """Show below the circuit behind one answer rather than another, next to a text that has the other.

        Only for neurons of a live language model. Without answers they are the model's own to the two texts;
        `text` has as many tokens as the one shown. The panel below is `difference.panel`.
        """
        self.difference.explain(text, answer, rather_than)

    def close(self) -> None:
        """Free the panel and the one below it."""
        if hasattr(self, "difference"):  # a call that was refused made nothing
            self.difference.close()
        super().close()

    # --- choosing ---------------------------------------------------------------------------------

    def _choose(self, node: int) -> None:
        with self.guarded("choosing a node"):
            self.node = node

    def _choose_place(self, change: t.Bunch) -> None:
        place = change["new"]
        if 0 <= place < len(self._summary.nodes) and place != self._summary.place_of(self.node):
            self._choose(int(self._summary.nodes.node.iloc[place]))

    def _choose_patch(self, change: t.Bunch) -> None:
        grid, patch = self.graph.grid, change["new"][1]
        if grid is not None and patch >= 0:
            position = (self.circuit.kinds == "token") & (
                self.graph.nodes.position.to_numpy() == grid[0] + patch
            )
            self._choose(int(np.flatnonzero(position)[0]))

    def next(self) -> None:
        """Choose the drawn node of next less influence."""
        self._step(1)

    def previous(self) -> None:
        """Choose the drawn node of next more influence."""
        self._step(-1)

    def _step(self, by: int) -> None:
        found = queries.by_influence(self._summary)
        at = found.index(self.node) + by if self.node in found else 0
        self.node = found[min(max(at, 0), len(found) - 1)]

    def clear_selection(self) -> None:
        """Choose nothing, and take the path away."""
        self.path_from = self.path_to = self.node = -1
        self.say("")

    # --- pins, groups, paths ----------------------------------------------------------------------

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
        return or_trait_error(queries.check_nodes, proposal["value"], self.n_nodes, "pinned")

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
        return or_trait_error(queries.check_groups, proposal["value"], self.circuit)

    def _group_of(self, node: int) -> str:
        return next((name for name, nodes in self.groups.items() if node in nodes), "")

    def group_pinned(self) -> None:
        """Draw the pinned nodes, and the chosen one, as one."""
        with self.guarded("grouping"):
            if not self.pinned:
                self.say("Pin the nodes that belong together first (p).")
                return
            free = [node for node in self.pinned if not self._group_of(node)]
            self.group(free, self.group_name.strip() or f"group {len(self.groups) + 1}")
            self.pinned, self.group_name = (), ""

    def group_alike(self) -> None:
        """Draw neurons that fire together on the input and its contrast as one."""
        with self.guarded("grouping"):
            if self.live is None:
                raise ValueError("Groups need the live model, and this panel has none.")
            nodes = self._summary.nodes
            found = queries.alike(self.live, set(nodes.node[nodes.kind == "atom"]))
            if not found:
                self.say("No two of the neurons that are drawn fire together.")
            self.groups = found

    def ungroup_chosen(self) -> None:
        """Draw the nodes of the chosen group alone again."""
        with self.guarded("ungrouping"):
            group = self._group_of(self.node)
            if group:
                self.ungroup(group)
            else:
                self.say("Choose a group to take it apart.")

    @checked
    def path(self, source: int, target: int) -> list[int]:
        """Draw the strongest path from one node to another, by the product of shares, and return its nodes.

        Raises
        ------
        ValueError: If no path leads there.
        """
        found = self.graph.path(*queries.check_nodes((source, target), self.n_nodes, "path"))
        with self.hold_trait_notifications():
            self.path_from, self.path_to = source, target
        return found

    def path_to_answer(self) -> None:
        """Draw the strongest path from the chosen node to the answer."""
        if self.node < 0 or self.circuit.kinds[self.node] == "target":
            self.say("Choose where the path begins.")
            return
        with self.hold_trait_notifications():
            self.path_from, self.path_to = self.node, queries.heaviest_target(self.circuit)

    @reacts("path_from", "path_to", doing="finding a path")
    def _draw_path(self) -> None:
        ends = (self.path_from, self.path_to)
        self._path = ()
        try:
            if min(ends) >= 0 and ends[0] != ends[1]:
                self._path = self.graph.path(*ends)
        finally:
            self._redraw()
        if self._path:
            self.say(" → ".join(self._named.short(node) for node in self._path))

    # --- exports ----------------------------------------------------------------------------------

    @property
    def record(self) -> dict[str, Any]:
        """The nodes that are drawn, and the last change, for the table of exported pages."""
        nodes = self._summary.nodes
        shown = nodes[nodes.kind != "target"].sort_values(
            "influence", ascending=False, kind="stable"
        )
        found = {
            str(row.group) or self._named.full(int(row.node)): (
                f"influence {format_percent(row.influence)}; adds {format_number(row.adds)}"
            )
            for row in shown.head(MOST_RECORDED).itertuples()
        }
        return found if self._change is None else {"change": self._change, **found}

    def static_main(self) -> str:
        """Return the story, and the drawing folded where it is not shown."""
        folded = "" if self.as_graph else pages.static_html(self.drawing.children)
        fold = f"<details><summary>{AS_GRAPH}</summary>{folded}</details>" if folded else ""
        return f"{super().static_main()}{fold}"

    def static_chips(self) -> dict[str, str]:
        """Return the facts next to the question in exports, and which node is chosen."""
        chosen = {"chosen": self._named.full(self.node)} if self.node >= 0 else {}
        return {
            **chosen,
            **self.chips,
            "drawn": f"{format_percent(self.threshold)} of the influence",
        }


def _live(
    graph: AttributionGraph, model: LiveModel | None, transcoders: Transcoders | None
) -> AttributionGraph | None:
    """The graph with what it was made with; None where that is not known."""
    if model is None and transcoders is None:
        return None if graph.passes is None else graph
    if model is None or transcoders is None:
        missing = "model" if model is None else "transcoders"
        raise ValueError(
            f"`model` and `transcoders` must be given together, got no {missing}. Pass both, or "
            "none to look only."
        )
    return graph.with_model(model, transcoders)


def _columns(graph: AttributionGraph) -> list[str]:
    """Return the text under each column: a token, or a place of the image; "r1" is its first register."""
    if graph.grid is None:
        return [visible_token(token, bare=True) for token in graph.tokens]
    return [name.removeprefix("patch ").replace("register ", "r") for name in graph.tokens]
