"""CircuitPanel: a layered drawing of an attribution graph; an atom is changed, and the answer watched."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import traitlets as t

from sae_nb.atoms import AtomNames
from sae_nb.checks import check_integers, checked
from sae_nb.circuits import AttributionGraph, Circuit, CircuitAnswer, CircuitSummary, summarise_flow
from sae_nb.figures import (
    escape,
    format_count,
    format_number,
    format_percent,
    theme,
    visible_token,
)
from sae_nb_widgets.atom import examples_view
from sae_nb_widgets.circuit import _words as words
from sae_nb_widgets.circuit._figure import Marks, circuit_figure, draw_circuit
from sae_nb_widgets.circuit._names import NodeNames
from sae_nb_widgets.components import PictureGrid, RowTable, Sparkbars
from sae_nb_widgets.panel import (
    AN_ATOM,
    COLUMNS,
    Number,
    Panel,
    Whole,
    an_atom,
    control,
    figure_widget,
    line,
    or_trait_error,
    reacts,
    show,
    small_button,
)

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

MOST_STRENGTH = 4.0
N_NEIGHBOURS, N_EXAMPLES = 6, 4
N_NAMED = 5
"""Atoms whose name is written beside them."""

MOST_RECORDED = 40
LIVE_COLOUR = theme.OKABE_ITO[2]
KEY = (
    "Size: share of the influence on the answer. Width of a line: the share that runs through it. Orange adds "
    "to what it leads to, blue takes from it. A name such as 2/161 is atom number 161 of block 2."
)
ELSEWHERE = "where else the atom fires most"
AFTER = "likeliest answers now (solid tick: before; dashed: random)"


def _node(**about: Any) -> Whole:
    """One of the nodes of a panel, or −1."""
    return Whole(-1, 0, lambda panel: panel.n_nodes - 1, none=-1, **about)


@checked(leave=("transcoders",))
class CircuitPanel(Panel):
    """Which atoms caused this answer, and through which path?

    Inputs below, a row for every place that atoms write, the targets above. `node` is a trait; a click, a row
    of a table, ← and → set it, and its examples, what made it and what it makes are shown. Where the live
    model is known, `strength` changes the chosen atom in it: what happens stands beside what the graph foresaw
    and beside random directions of the same size.

    Parameters
    ----------
    graph
        From `sn.circuits.attribution_graph` or `load_graph`; give the whole graph, the panel prunes it.
    model, transcoders
        As the graph was made with; None takes those that the graph knows. A graph from a file knows none:
        without them it is shown, and cannot be asked.
    node
        First one chosen, −1 for none; the atom of most influence when None.
    threshold
        Share of the influence that is drawn at first; None: of which a person can still see the parts.

    Raises
    ------
    ValueError, TypeError: If no path leads from an input to a target, the model or the transcoders are not
        those of the graph, or only one of the two is given.
    traitlets.TraitError: If there is no such node, or the threshold is not between 0.05 and 1.

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
        "norms are held as they were. Changing an atom runs the live model with nothing held; beside it stands "
        "what the graph foresaw, and what random directions of the same size do.",
        "A graph explains one input, and the model with everything held: what norms give back, attention that "
        "moves and later MLPs that answer otherwise are not in it, so it overstates most changes. What the "
        "atoms miss is drawn as a cross, not explained. A name is a hypothesis; read the examples.",
        "Ameisen et al., “Circuit Tracing” (2025); Dunefsky et al., arXiv 2406.11944.",
    )
    stem = "circuit"
    kept_traits = (
        "threshold", "pinned", "groups", "path_from", "path_to", "n_random", "node", "strength",
    )  # fmt: skip
    needs_kernel = (
        "Choosing other nodes, pruning, paths and groups, and changing atoms in the live model need a running "
        "kernel and were left out; the drawing, the chosen node and its last answer are all here."
    )

    node = _node(help="The node chosen, by its row in `graph.nodes`; −1 for none.")
    threshold = Number(0.8, 0.05, 1.0, help="Share of the influence that is drawn.")
    strength = Number(
        0.0, 0.0, MOST_STRENGTH, help="What the strength of the chosen atom is multiplied by."
    )
    n_random = Whole(3, 0, 50, help="Random directions of the same size, beside every change.")
    pinned = t.Tuple(help="Nodes that are drawn whatever the threshold.")
    groups = t.Dict(help="Name → nodes that are drawn, and changed, as one.")
    group_name = t.Unicode("", help="What the pinned nodes are called once they are grouped.")
    path_from = _node(help="Where the strongest path begins; −1 for none.")
    path_to = _node(help="Where it ends.")

    def __init__(
        self,
        graph: AttributionGraph,
        model: LiveModel | None = None,
        transcoders: Any = None,
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
        self.tokens = _columns(graph)
        self._change: CircuitAnswer | None = None
        self._seconds = 0.0
        self._path: list[int] = []
        passes = None if self.live is None else self.live.passes
        layers = () if passes is None else passes.layers
        self._saes = {str(layer.write): layer.sae for layer in layers if layer.sae is not None}
        super().__init__(chips=self._chips())
        self._named = self.names = NodeNames(graph, self._saes)
        self.threshold = self.circuit.first_threshold() if threshold is None else threshold
        self.node = self._strongest_atom() if node is None else node
        self._summary = self._summarised()
        self._build()
        self._draw()
        self._ask()

    @property
    def atom_line(self) -> str:
        """What an atom is, in one line."""
        first = next(iter(self._saes.values()), None)
        return AN_ATOM if first is None else an_atom(first)

    def whose(self, atom: int) -> tuple[AtomNames, int]:
        """Return the names of a node's dictionary, and its atom there."""
        return self._named.book(atom) or (self._named, atom)

    def _chips(self) -> dict[str, str]:
        graph, kinds = self.graph, self.circuit.kinds
        facts = {"model": graph.model_name, "explains": words.targets_words(self.circuit)}
        facts["atoms"] = format_count(int((kinds == "atom").sum()))
        facts["replacement"] = format_percent(graph.replacement, digits=2)
        return facts if self.live is not None else facts | {"live model": "none: shows only"}

    def _strongest_atom(self) -> int:
        inner = np.where(self.circuit.kinds == "atom", self.circuit.influence, -1.0)
        return int(inner.argmax()) if inner.max(initial=-1.0) > 0 else -1

    # --- building ---------------------------------------------------------------------------------

    def _build(self) -> None:
        drawn = self._drawn()
        self._points = drawn.points
        self.plot = figure_widget(drawn.figure, height=drawn.figure.layout.height)
        for trace in drawn.points:
            self.plot.data[trace].on_click(partial(self._click, trace))
        self._heading, self._note = ipw.HTML(), ipw.HTML()
        self.effects = Sparkbars(empty_text="")
        self.outcomes = Sparkbars(description=AFTER, empty_text="")
        self._answers = ipw.Box([self.effects, self.outcomes])
        self.inputs, self.outputs = RowTable(), RowTable()
        for table, what in ((self.inputs, "made by"), (self.outputs, "makes")):
            table.description = f"{what} (strongest)"
            table.observe(partial(self._choose_row, table), "selected")
        self._missing = ipw.HTML()
        title = ipw.HTML(f'<div class="sae-nb-cardtitle">{ELSEWHERE}</div>')
        self._examples = ipw.VBox([title, self._missing])
        self.view: Any = None
        self._tables = ipw.Box([self.inputs, self.outputs]).add_class(COLUMNS)
        self._strength_line = line(*self._strength_controls())
        chosen: list[ipw.Widget] = [self._heading, self._strength_line, self._note, self._answers]
        if picture := self._picture():
            # Beside the image, one under the other.
            self._answers.layout.flex_flow = "column"
            chosen = [ipw.Box([*picture, ipw.VBox(chosen)]).add_class(COLUMNS)]
        else:
            self._answers.add_class(COLUMNS)
        self.arrange(
            controls=self._first_controls(),
            more=self._more_controls(),
            figure=[
                self.plot, ipw.HTML(f'<div class="sae-nb-cardfacts">{KEY}</div>'), *chosen,
                self._tables, self._examples,
            ],
        )  # fmt: skip
        for key, action in (
            ("ArrowRight", self.next), ("ArrowLeft", self.previous), ("p", self.toggle_pin),
            ("Escape", self.clear_selection),
        ):  # fmt: skip
            self.bind_key(key, action)

    def _first_controls(self) -> list[ipw.Widget]:
        return [
            line(
                control(self, "node", "node", "Number of the node chosen; empty for none", 120),
                small_button("‹", "The node of more influence (←)", self.previous),
                small_button("›", "The node of less influence (→)", self.next),
                small_button("pin", "Draw it whatever the threshold, or no longer (p)", self.toggle_pin),
            ),
            control(
                self,
                "threshold",
                "keep",
                "Share of the influence on the answer that is drawn: less of it, fewer nodes",
                340,
                step=0.01,
                readout_format=".0%",
            ),
        ]  # fmt: skip

    def _strength_controls(self) -> list[ipw.Widget]:
        tip = "What its strength is multiplied by in the live model: 0 takes it out, 1 leaves it, 2 doubles it"
        slider = control(self, "strength", "strength ×", tip, 380, step=0.05)
        set_to = partial(self.set_trait, "strength")
        return [
            slider,
            small_button("cut", "Take the atom out of the live model", lambda: set_to(0.0)),
            small_button("as it is", "Leave it", lambda: set_to(1.0)),
            small_button("double", "Make it twice as strong", lambda: set_to(2.0)),
        ]

    def _more_controls(self) -> list[ipw.Widget]:
        here = "Number of the node where the strongest path"
        return [
            line(
                control(self, "path_from", "path from", f"{here} begins", 140),
                control(self, "path_to", "to", f"{here} ends", 110),
                small_button("path to the answer", "From the chosen node", self._path_to_answer),
            ),
            line(
                control(
                    self, "group_name", "group", "What the pinned nodes are called together", 200
                ),
                small_button(
                    "group the pinned", "Draw and change them as one", self._group_pinned
                ),
                small_button("ungroup", "Draw the chosen group’s nodes alone again", self._ungroup_chosen),
            ),
            control(self, "n_random", "random directions", "Beside every change", 190),
        ]  # fmt: skip

    def _picture(self) -> list[ipw.Widget]:
        """The image of a graph of one, shaded by what each patch does; nothing for texts."""
        graph = self.graph
        self.picture: PictureGrid | None = None
        if graph.grid is None or graph.inputs is None or graph.inputs.ndim != 4:
            return []
        before, rows, columns = graph.grid
        share = self.circuit.influence[self.circuit.kinds == "token"]
        prefix = share[:before]
        self.picture = PictureGrid(
            description="where the answer comes from",
            titled=True,
            unit="of the influence",
            hint="Hover: share of the influence that ends at this patch. Click: choose it.",
        )
        self.picture.show(
            graph.inputs.numpy(),
            heat=share[before : before + rows * columns].reshape(1, rows, columns),
            captions=["the input"],
            prefix=[prefix.tolist()] if before else [],
            prefix_names=graph.tokens[:before],
        )
        self.picture.thumbnail = 2 * self.picture.thumbnail
        self.picture.observe(self._choose_patch, "selected")
        return [self.picture]

    # --- the drawing ------------------------------------------------------------------------------

    @property
    def summary(self) -> CircuitSummary:
        """The record that is drawn."""
        return self._summary

    @property
    def change(self) -> CircuitAnswer | None:
        """The last change of the chosen node; None before one. Waits for work that is under way."""
        self.wait()
        return self._change

    def _summarised(self) -> CircuitSummary:
        chosen = (self.node,) if self.node >= 0 else ()
        always = {*self.pinned, *self._path, *chosen}
        return self.circuit.summarise(self.threshold, sorted(always), self.groups)

    def _drawn(self) -> Any:
        summary = self._summary
        place, nodes = summary.place_of, summary.nodes
        targets = np.flatnonzero((nodes.kind == "target").to_numpy()).tolist()
        named = {*targets, place(self.node), *map(place, self.pinned), *map(place, self._path)}
        named |= set(np.flatnonzero((nodes.group != "").to_numpy()).tolist())
        named |= set(self._large())
        marks = Marks(
            chosen=place(self.node),
            pinned=[place(node) for node in self.pinned],
            path=[place(node) for node in self._path],
            # The chosen one first: of two that would touch, the first is written.
            names={
                i: self._label(i)
                for i in sorted(named - {-1}, key=lambda i: i != place(self.node))
                if nodes.kind[i] != "token"
            },
        )
        hovers = [self._hover(i) for i in range(len(nodes))]
        tokens = [self.tokens[p] for p in summary.columns.position]
        return circuit_figure(summary, marks, hovers, tokens)

    def _large(self) -> list[int]:
        """The atoms of most influence, of which something is known besides their number."""
        nodes = self._summary.nodes
        atoms = nodes[nodes.kind == "atom"].sort_values("influence", ascending=False)
        return [i for i in atoms.index[:N_NAMED].tolist() if self._named.words(int(nodes.node[i]))]

    def _label(self, place: int) -> str:
        row = self._summary.nodes.iloc[place]
        return str(row.group) or self._named.name(int(row.node))

    def _hover(self, place: int) -> str:
        row = self._summary.nodes.iloc[place]
        members = [self._named.name(i) for i in self._summary.nodes_at(place)] if row.group else []
        name = str(row.group) or self._named.full(int(row.node))
        return words.hover(self.circuit, row, name, members)

    @reacts("threshold", "pinned", "groups", doing="drawing the circuit")
    def _redraw(self) -> None:
        self._summary = self._summarised()
        self._draw_figure()
        self._conclude()

    def _draw_figure(self) -> None:
        drawn = self._drawn()
        self._points = drawn.points
        draw_circuit(self.plot, drawn)

    def draw_names(self) -> None:
        """Write names anew: a label was changed, or examples came."""
        self._draw_figure()
        self._draw_node()
        self._conclude()

    def _draw(self) -> None:
        self._draw_node()
        self._open_names()
        self._conclude()

    def restyle(self) -> None:
        """Redraw with the current theme's sizes."""
        super().restyle()
        if self._figure is not None:
            self._draw_figure()

    @reacts("node", doing="showing a node")
    def _show_node(self) -> None:
        self._change = None
        self._summary = self._summarised()
        self._draw_figure()
        self._draw()
        self._ask()

    def _draw_node(self) -> None:
        """What the chosen node is, what made it, what it makes, on what else it fires."""
        node, some = self.node, self.node >= 0
        show(self._tables, some)
        if not some:
            show(self._examples, False)
            self._heading.value = f'<div class="sae-nb-empty">{words.NOTHING_CHOSEN}</div>'
        else:
            group = self._group_of(node)
            name = f"{group}: {self._named.full(node)}" if group else self._named.full(node)
            self._heading.value = words.heading(self.circuit, node, name, node in self.pinned)
            for table, found in zip(
                (self.inputs, self.outputs), self.circuit.neighbours(node, N_NEIGHBOURS)
            ):
                self._fill(table, found)  # fmt: skip
            self._show_examples()
        self._show_note()

    def _fill(self, table: RowTable, found: Any) -> None:
        nodes = found["node"].astype(int).tolist()
        # Only atoms have a card.
        cards = [node if self.circuit.kinds[node] == "atom" else -1 for node in nodes]
        table.show(
            words.HEADERS, words.cells(found, self._named), numeric=words.NUMERIC, atoms=cards
        )
        setattr(self, "_in_rows" if table is self.inputs else "_out_rows", nodes)
        table.empty_text = "Nothing: an input, or its causes were not traced."
        if table is self.outputs:
            table.empty_text = "Nothing: it is what is explained."

    _in_rows: Sequence[int] = ()
    _out_rows: Sequence[int] = ()

    def _show_examples(self) -> None:
        book = self._named.book(self.node)
        catalogue = None if book is None else book[0].catalogue
        show(self._examples, self.circuit.kinds[self.node] == "atom" and self.live is not None)
        known = book is not None and catalogue is not None
        self._missing.value = "" if known else escape(self._no_examples())
        show(self._missing, not known)
        if self.view is None and catalogue is not None:
            self.view = examples_view(catalogue.acts.context)
            self.view.component.description = ELSEWHERE
            self._examples.children = (*self._examples.children, self.view.widget)
        if self.view is not None:
            show(self.view.widget, known)
        if book is not None and catalogue is not None:
            found = self._named.examples(self.node, N_EXAMPLES)
            self.view.show(found, float(catalogue.max_strength[book[1]]))

    def _no_examples(self) -> str:
        if not self._named.is_open(self.node):
            return "Examples are on their way …"
        return "No examples of this atom are known: open sw.AtomBrowser(transcoder, acts) once."

    def _open_names(self) -> None:
        """Draw examples of the dictionary of the chosen node, off the main thread."""
        node = self.node
        if node < 0 or self._named.is_open(node):
            return
        self.run_async(
            lambda: self._named.open(node),
            lambda _: self.draw_names(),
            doing="drawing examples",
            channel="names",
        )

    def _send_card(self, atom: int) -> None:
        if self._named.is_open(atom):
            super()._send_card(atom)
            return

        def done(_: None) -> None:
            super(CircuitPanel, self)._send_card(atom)
            self.draw_names()

        self.run_async(lambda: self._named.open(atom), done, channel=f"card {atom}")

    # --- changing an atom -------------------------------------------------------------------------

    def _changed(self) -> list[int]:
        """The atoms that the slider changes: the chosen one, or those of the chosen group."""
        place = self._summary.place_of(self.node) if self.node >= 0 else -1
        nodes = self._summary.nodes_at(place) if place >= 0 else ()
        return [node for node in nodes if self.circuit.kinds[node] == "atom"]

    def _cannot(self) -> str:
        """Why nothing can be changed; empty where it can."""
        if self.live is None:
            return words.SHOWS_ONLY
        if self.live.passes is None or not self.live.passes.measures:
            return words.CANNOT_ASK
        if self.node >= 0 and not self._changed():
            return words.NOT_AN_ATOM
        return ""

    def _show_note(self) -> None:
        why = self._cannot()
        show(self._strength_line, not why and self.node >= 0)
        self._note.value = f'<div class="sae-nb-cardfacts">{why}</div>' if why else ""
        show(self._note, bool(why))

    @reacts("strength", "n_random", "groups", doing="changing an atom")
    def _ask(self) -> None:
        """Run the live model with the chosen atom changed; the newest request wins."""
        live, nodes = self.live, self._changed()
        if live is None or self._cannot() or not nodes:
            self.forget_async("main")
            self._draw_change(None)
            return
        factor, n_random, started = self.strength, self.n_random, time.perf_counter()

        def done(answer: CircuitAnswer) -> None:
            self._seconds = time.perf_counter() - started
            self._draw_change(answer)

        self.run_async(
            lambda: summarise_flow(live, nodes, live.intervene(nodes, factor, n_random=n_random)),
            done,
            doing=f"changing {self._named.short(self.node)}",
            otherwise=lambda: self._draw_change(None),
        )

    @checked
    def intervene(self, factor: float | None = None) -> CircuitAnswer:
        """Run the live model with the chosen atom, or group, at so many times its strength; draw the answer.

        Parameters
        ----------
        factor
            0 takes it out, 1 leaves it; None: the trait `strength`.

        Raises
        ------
        ValueError: If there is no live model, nothing is chosen, or what is chosen is no atom.
        """
        why = self._cannot() or ("" if self.node >= 0 else words.NOTHING_CHOSEN)
        if why:
            raise ValueError(why)
        if factor is not None and factor != self.strength:
            self.strength = factor
        else:
            self._ask()
        self.wait()
        if self._change is None:
            raise RuntimeError(f"There is no answer: {self.status}")
        return self._change

    def _draw_change(self, answer: CircuitAnswer | None) -> None:
        self._change = answer
        show(self._answers, answer is not None)
        self._conclude()
        if answer is None:
            return
        targets, n_random = words.targets_words(self.circuit), len(answer.random)
        luck = f" (random: the largest of {n_random})" if n_random else ""
        self.effects.description = f"change of the score of {targets}{luck}"
        largest = float(max(answer.random, key=abs)) if n_random else float("nan")
        self.effects.show(
            ["live model", "foreseen", "random"],
            [answer.effect, answer.predicted, largest],
            signed=True,
            colours=[LIVE_COLOUR, theme.PREDICTED, theme.CONTROL],
        )
        random = answer.after_random.mean(axis=0) if len(answer.after_random) else None
        self.outcomes.show(
            [visible_token(name) for name in answer.names],
            answer.after.tolist(),
            notes=[format_percent(p, digits=2) for p in answer.after],
            before=answer.before.tolist(),
            control=None if random is None else random.tolist(),
        )
        show(self.outcomes, bool(answer.names))

    def _conclude(self) -> None:
        circuit, answer = self.circuit, self._change
        said, spent = (
            words.overview(circuit, self._summary),
            words.overview_numbers(circuit, self._summary),
        )
        if answer is None:
            self.conclude(said, spent)
            return
        name = self._group_of(self.node) or self._named.in_text(self.node)
        done = words.change_words(answer, name, words.targets_words(circuit))
        if not self._summary.reaches:
            done, said = f"{said} {done}", ""
        numbers = (words.change_numbers(answer, self._seconds), said, spent)
        self.conclude(done, " ".join(filter(None, numbers)))

    # --- choosing ---------------------------------------------------------------------------------

    def _click(self, trace: int, _: Any, points: Any, __: Any) -> None:
        if points.point_inds:
            with self.guarded("choosing a node"):
                place = int(self._points[trace][points.point_inds[0]])
                self.node = int(self._summary.nodes.node.iloc[place])

    def _choose_row(self, table: RowTable, change: t.Bunch) -> None:
        nodes = self._in_rows if table is self.inputs else self._out_rows
        if 0 <= change["new"] < len(nodes):
            with self.guarded("choosing a node"):
                self.node = nodes[change["new"]]

    def _choose_patch(self, change: t.Bunch) -> None:
        grid, patch = self.graph.grid, change["new"][1]
        if grid is not None and patch >= 0:
            with self.guarded("choosing a patch"):
                position = (self.circuit.kinds == "token") & (
                    self.graph.nodes.position.to_numpy() == grid[0] + patch
                )
                self.node = int(np.flatnonzero(position)[0])

    def next(self) -> None:
        """Choose the drawn node of next less influence."""
        self._step(1)

    def previous(self) -> None:
        """Choose the drawn node of next more influence."""
        self._step(-1)

    def _step(self, by: int) -> None:
        nodes = self._summary.nodes
        order = nodes[nodes.kind != "target"].sort_values(
            "influence", ascending=False, kind="stable"
        )
        found = order["node"].astype(int).tolist()
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

    @reacts("pinned", doing="pinning")
    def _mark_pinned(self) -> None:
        self._draw_node()

    @t.validate("pinned")
    def _pins_exist(self, proposal: t.Bunch) -> tuple[int, ...]:
        return or_trait_error(self._nodes, proposal["value"], "pinned")

    def _nodes(self, given: Any, name: str) -> tuple[int, ...]:
        """Nodes of the graph, each once."""
        nodes = tuple(dict.fromkeys(check_integers(list(given), name=name)))
        outside = [node for node in nodes if not 0 <= node < self.n_nodes]
        if outside:
            raise ValueError(
                f"`{name}` must be nodes of the graph, 0 to {self.n_nodes - 1}, got {outside[0]}. See "
                "`panel.graph.nodes`; a pruned graph numbers them anew."
            )
        return nodes

    @checked
    def group(self, nodes: Sequence[int], name: str) -> None:
        """Draw nodes as one, under a name; edges add up, and a change is made of all its atoms together.

        Raises
        ------
        traitlets.TraitError: If a node is no part of the graph, a target, or in another group.
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

    def _group_of(self, node: int) -> str:
        return next((name for name, nodes in self.groups.items() if node in nodes), "")

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

    @checked
    def path(self, source: int, target: int) -> list[int]:
        """Draw the strongest path from one node to another, by the product of shares, and return its nodes.

        Raises
        ------
        ValueError: If no path leads there.
        """
        found = self.graph.path(*self._nodes((source, target), "path"))
        with self.hold_trait_notifications():
            self.path_from, self.path_to = source, target
        return found

    def _path_to_answer(self) -> None:
        if self.node < 0 or self.circuit.kinds[self.node] == "target":
            self.say("Choose where the path begins.")
            return
        weight = np.where(self.circuit.kinds == "target", self.graph.nodes.weight.to_numpy(), -1.0)
        with self.hold_trait_notifications():
            self.path_from, self.path_to = self.node, int(weight.argmax())

    @reacts("path_from", "path_to", doing="finding a path")
    def _draw_path(self) -> None:
        ends = (self.path_from, self.path_to)
        self._path = []
        try:
            if min(ends) >= 0 and ends[0] != ends[1]:
                self._path = self.graph.path(*ends)
        finally:
            self._summary = self._summarised()
            self._draw_figure()
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

    def static_chips(self) -> dict[str, str]:
        """Return the facts beside the question in exports, and which node is chosen."""
        chosen = {"chosen": self._named.full(self.node)} if self.node >= 0 else {}
        return {
            **chosen,
            **self.chips,
            "drawn": f"{format_percent(self.threshold)} of the influence",
        }


def _live(
    graph: AttributionGraph, model: LiveModel | None, transcoders: Any
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
    """What stands under each column: a token, or a place in the image."""
    if graph.grid is None:
        return [visible_token(token) for token in graph.tokens]
    return [name.removeprefix("patch ").replace("register", "reg") for name in graph.tokens]
