"""CircuitPanel: a layered drawing of an attribution graph; an atom is changed, and the answer watched."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as ipw
import numpy as np
import traitlets as t

from sae_nb.atoms import AtomNames
from sae_nb.checks import checked
from sae_nb.figures import format_count, format_number, format_percent, visible_token
from sae_nb.studies.circuits import AttributionGraph, Circuit
from sae_nb_widgets.circuit import _words as words
from sae_nb_widgets.circuit._chosen import ShowsNode
from sae_nb_widgets.circuit._groups import GroupsNodes
from sae_nb_widgets.circuit._names import NodeNames
from sae_nb_widgets.circuit._patches import patches_of, shaded_image
from sae_nb_widgets.circuit._paths import FindsPaths
from sae_nb_widgets.panel import (
    AN_ATOM,
    COLUMNS,
    an_atom,
    control,
    figure_widget,
    line,
    reacts,
    small_button,
)

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

MOST_RECORDED = 40
KEY = (
    "Size: share of the influence on the answer. Width of a line: the share that runs through it. Orange adds "
    "to what it leads to, blue takes from it. A name such as 2/161 is atom number 161 of block 2."
)

NEURONS_QUESTION = "Which neurons turned this answer, and through which path?"
NEURONS_EXPLANATION = (
    "Tokens are below, the answer above, and between them the neurons that turn it, in the row of their MLP "
    "and over their token. Each is named by the outputs that its difference from the contrast raises. A line "
    "is what one adds to another along all ways on which no other node lies, with attention and norms held. "
    "Changing a neuron runs the live model with nothing held: at 0 it is as on the contrast.",
    "A graph explains one pair of inputs. Few neurons take an answer away, many more are needed to bring it "
    "back: graph.faithfulness() shows both. A name along the direct path is a guess where later layers read "
    "the neuron; a lens is better, and “no name yet” means that no output exceeds chance.",
    "RelP, arXiv 2508.21258; “Language models’ circuits are sparse in the neuron basis”, Transluce 2025.",
)
NEURONS_KEY = (
    "A node is a neuron at a token, named by what its difference from the contrast raises; orange adds to the "
    "answer, blue takes from it. Width of a line: the share that runs through it."
)


@checked(leave=("transcoders",))
class CircuitPanel(GroupsNodes, FindsPaths, ShowsNode):
    """Which atoms caused this answer, and through which path?

    Inputs below, a row for every place that atoms write, the targets above. `node` is a trait; a click,
    a row of a table, ← and → set it, and its examples, what made it and what it makes are shown. With
    the live model, `strength` changes the chosen atom in it: the effect is compared with the graph's
    prediction and with random directions of the same size.

    Parameters
    ----------
    graph
        From `sn.circuits.attribution_graph` or `load_graph`; give the whole graph, the panel prunes it.
    model, transcoders
        As the graph was made with, "neurons" for one of neurons; None takes those that the graph knows. A
        graph from a file knows none: without them it is shown, and cannot be asked.
    node
        First one chosen, −1 for none; the atom of most influence when None.
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
        self.tokens, self.crops = _columns(graph), patches_of(graph)
        passes = None if self.live is None else self.live.passes
        layers = () if passes is None else passes.layers
        self._saes = {str(layer.write): layer.sae for layer in layers if layer.sae is not None}
        if graph.of_neurons:
            self.__dict__.update(question=NEURONS_QUESTION, explanation=NEURONS_EXPLANATION)
        super().__init__(chips=self._chips())
        self._named = self.names = NodeNames(graph, self._saes)
        self.threshold = self.circuit.first_threshold() if threshold is None else threshold
        self.node = self._strongest_atom() if node is None else node
        self._summary = self._summarised()
        self._build()
        self._draw()
        self._ask()
        self._test_strongest()

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

    def _chips(self) -> dict[str, str]:
        graph, kinds = self.graph, self.circuit.kinds
        facts = {"model": graph.model_name, "explains": words.targets_words(self.circuit)}
        facts["atoms"] = format_count(int((kinds == "atom").sum()))
        if graph.of_neurons:
            n = format_count(graph.n_units)
            facts["neurons"] = f"{facts.pop('atoms')} of {n} by position"
            if graph.contrast_tokens and graph.grid is None:
                facts["contrast"] = "".join(graph.contrast_tokens).strip()
            facts["names"] = graph.named_by or "none"
            return facts if self.live is not None else facts | {"live model": "none: shows only"}
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
        named = self.graph.of_neurons
        key = NEURONS_KEY if named else KEY
        for trace in drawn.points:
            self.plot.data[trace].on_click(partial(self._click, trace))
        self._build_answers()
        self._build_chosen()
        chosen: list[ipw.Widget] = [self._heading, self._strength_line, self._note, self._answers]
        self.picture = shaded_image(self.circuit)
        if self.picture is not None:
            self.picture.observe(self._choose_patch, "selected")
            # Next to the image, one under the other.
            self._answers.layout.flex_flow = "column"
            chosen = [ipw.Box([self.picture, ipw.VBox(chosen)]).add_class(COLUMNS)]
        else:
            self._answers.add_class(COLUMNS)
        self.arrange(
            controls=self._first_controls(),
            more=self._more_controls(),
            figure=[
                self.plot, ipw.HTML(f'<div class="sae-nb-cardfacts">{key}</div>'), *chosen,
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

    def _more_controls(self) -> list[ipw.Widget]:
        n_random = control(self, "n_random", "random directions", "Compared with every change", 190)
        return [self._path_controls(), self._group_controls(), n_random]

    # --- choosing ---------------------------------------------------------------------------------

    @reacts("node", doing="showing a node")
    def _show_node(self) -> None:
        self._change = None
        self._summary = self._summarised()
        self._draw_figure()
        self._draw()
        self._ask()

    def _draw(self) -> None:
        self._draw_node()
        self._open_names()
        self._conclude()

    def _click(self, trace: int, _: Any, points: Any, __: Any) -> None:
        if points.point_inds:
            with self.guarded("choosing a node"):
                place = int(self._points[trace][points.point_inds[0]])
                self.node = int(self._summary.nodes.node.iloc[place])

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
        """Return the facts next to the question in exports, and which node is chosen."""
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
    """Return the text under each column: a token, or a place in the image."""
    if graph.grid is None:
        return [visible_token(token) for token in graph.tokens]
    return [name.removeprefix("patch ").replace("register", "reg") for name in graph.tokens]
