"""An attribution graph as it is asked: its record, and what can be asked of it, each in a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, overload

import numpy as np

from sae_nb.checks import Between, Seed, at_least, check_integer, checked
from sae_nb.circuits._attention_edges import attention_edges
from sae_nb.circuits._decomposing import Decomposition, Method, decompose
from sae_nb.circuits._faithfulness import Faithfulness, Flow, faithfulness, intervene
from sae_nb.circuits._files import fields_of, save_graph, write_circuit_tracer
from sae_nb.circuits._heads import head_flow
from sae_nb.circuits._kept_lost import FaithfulnessCurve, curve, live_units, set_neurons
from sae_nb.circuits._neuron_examples import groups_of
from sae_nb.circuits._record import Graph
from sae_nb.circuits._reviving import revived

if TYPE_CHECKING:
    from pandas import DataFrame

    from sae_nb.checks import Inputs
    from sae_nb.circuits._graph_sites import Transcoders
    from sae_nb.models import LiveModel


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AttributionGraph(Graph):
    """The atoms that caused an answer, and the paths; made by `attribution_graph`."""

    @overload
    def faithfulness(
        self, k: None = None, *, n_random: int = 5, seed: Seed = 0
    ) -> Faithfulness: ...  # of a graph of neurons a curve, too

    @overload
    def faithfulness(
        self, k: Sequence[int], *, n_random: int = 5, seed: Seed = 0
    ) -> FaithfulnessCurve: ...

    @checked
    def faithfulness(
        self,
        k: Sequence[int] | None = None,
        *,
        n_random: Annotated[int, at_least(0)] = 5,
        seed: Seed = 0,
    ) -> Faithfulness | FaithfulnessCurve:
        """Run the model with the atoms of this graph alone, the others taken out.

        The graph must have been pruned: what counts as another atom is any that fires on the input. Of a
        graph of neurons the result is a `FaithfulnessCurve` instead: for each of several numbers k, the k
        neurons that speak most for the answer alone, and all others without them. It needs no pruning, and
        may take more neurons than the graph has as nodes.

        Parameters
        ----------
        k
            Numbers of neurons, of graphs of neurons only; None: up to 500.
        n_random
            Draws of as many random atoms, of neurons as many that differ between input and contrast.

        Raises
        ------
        ValueError: If the graph was read from a file, `k` is given for a graph of atoms, or is too large.
        KeyboardInterrupt: If interrupted; nothing of a curve is kept.
        """
        if self.of_neurons:
            return curve(self, k, n_random=n_random, seed=seed)
        if k is not None:
            raise ValueError(
                f"`k` must be None for a graph of atoms, whose own number is tested, got {list(k)}. Use "
                'graph.prune(…).faithfulness(), or attribution_graph(model, "neurons", …).'
            )
        return faithfulness(self, n_random=n_random, seed=seed)

    @checked
    def intervene(
        self,
        node: int | Sequence[int],
        factor: float = 0.0,
        *,
        n_random: Annotated[int, at_least(0)] = 5,
        seed: Seed = 0,
    ) -> Flow:
        """Change the strength of one atom, or of several, in the running model, and say what the graph foresaw.

        See `Flow`; `factor` 0 removes the atom, 2 doubles it. Of a neuron it is the difference from the
        contrast that is multiplied: at 0 it is as strong as there. For comparison there are `n_random`
        random directions of the same size at the same place.
        """
        if self.of_neurons:
            return set_neurons(self, node, factor, n_random=n_random, seed=seed)
        return intervene(self, node, factor, n_random=n_random, seed=seed)

    @checked
    def decompose(
        self,
        *,
        share: Annotated[float, Between(0, 1, "()")] = 0.9,
        method: Method = "groups",
        parts: Annotated[int, at_least(2)] = 4,
        n_random: Annotated[int, at_least(0)] = 5,
        seed: Seed = 0,
    ) -> Decomposition:
        """Find the atoms that the answer needs, in the running model, from groups to single atoms.

        The atoms of each place and position are taken out together, then parts of the groups that matter, down
        to single atoms; what costs the answer little goes, and only what stays is divided further. Atoms are
        taken out as by `faithfulness`. Nothing is trained.

        Parameters
        ----------
        share
            Of what all atoms do to the targets, to be kept, in (0, 1); no more than 2 − `share` is kept either.
        method
            "groups"; or, to compare with: "sweep" takes out every atom once, that of least influence first, if
            the answer can miss it; "greedy" again and again the atom without which most is left (n² / 2 runs).
        parts
            Into how many a group is divided, at least 2.
        n_random
            Random sets of the same number of atoms to compare with, anywhere and at the same places.

        Raises
        ------
        ValueError: If the graph was read from a file, explains an atom, does not keep that share by itself, or
            its atoms do not move the targets.

        Source
        ------
        After Uddin et al., arXiv 2601.12879 (HAGD): coarse groups first, and recursion into what matters. Their
        network that ranks groups is left out; the groups and the tests in the running model are ours.

        Example
        -------
        >>> import sae_nb as sn
        >>> modular = sn.load_model("tiny-modular")
        >>> neurons = sn.circuits.neuron_transcoders(modular)
        >>> graph = sn.circuits.attribution_graph(modular, neurons, "3 + 5 =", target="8", drop_first=False)
        >>> found = graph.decompose()
        >>> len(found.kept) < found.n_atoms / 5, found.n_runs < found.n_atoms / 2
        (True, True)
        """
        self._check_of_atoms("decompose", "faithfulness(k=…)")
        return decompose(
            self, share=share, method=method, parts=parts, n_random=n_random, seed=seed
        )

    @checked(leave=("transcoders",))
    def with_model(self, model: LiveModel, transcoders: Transcoders) -> AttributionGraph:
        """Return a graph that was read from a file with its live model, so that it can be asked again.

        Parameters
        ----------
        model, transcoders
            Those that the graph was made with, as for `attribution_graph`; "neurons" of a graph of neurons.

        Raises
        ------
        ValueError: If they are not those: another name, other places, atoms that do not fire as in the graph.
        """
        return revived(self, model, transcoders)

    @checked(leave=("inputs",))
    def groups(
        self, inputs: Inputs | None = None, *, least: Annotated[float, Between(0, 1, "()")] = 0.8
    ) -> dict[str, tuple[int, ...]]:
        """Return neurons that fire together, by a name: those of one position that push the same way.

        Neurons are joined while the mean correlation of their values stays at `least` or above (average
        linkage). A panel draws and changes each group as one: `panel.groups = graph.groups(texts)`.

        Parameters
        ----------
        inputs
            Inputs over whose positions values are correlated. None: the input and its contrast alone, which
            are few; pass texts for groups that hold elsewhere.

        Raises
        ------
        ValueError: If the graph is of dictionaries, or was read from a file.

        Example
        -------
        >>> import sae_nb as sn
        >>> gpt, texts = sn.load_model("tiny-gpt"), sn.data.stories(4, seed=0).texts
        >>> pair = ("One day she was", "One day he was")
        >>> graph = sn.circuits.attribution_graph(gpt, "neurons", pair[0], contrast=pair[1], target=" her")
        >>> all(len(nodes) > 1 for nodes in graph.groups(texts, least=0.5).values())
        True
        """
        if not self.of_neurons:
            raise ValueError(
                "`groups` must be asked of a graph of neurons, got one of dictionaries. Use "
                "sn.circuits.probe_prompts(model, transcoders, prompts)."
            )
        return groups_of(self, live_units(self), inputs, least)

    def heads(self) -> DataFrame:
        """Return what of the targets flows through each attention head: `layer`, `head`, `flow`.

        Heads are not nodes, but in the edges; with attention held, the targets' weighted measure
        changes by `flow` × r if a head's output changes by its r-th part, along all paths through atoms
        and later heads that the traced graph has, however it was pruned.

        Raises
        ------
        ValueError: If the graph was read from a file, explains an atom, or the model's heads cannot be read.
        """
        self._check_of_atoms("heads", "sn.circuits.head_contributions(model, …)")
        return head_flow(self)

    @checked(leave=("sources",))
    def attention(self, target: int, sources: Sequence[int] | None = None) -> DataFrame:
        """Return the attention heads that edges into a node go through.

        Parameters
        ----------
        target, sources
            Nodes by number; None: the five that add most to the target.

        Returns
        -------
        `source`, `layer`, `head`, `flow` in units of the edge, `share` of it, `position` from which the head
        looks; heads with a twentieth of their edge at least. Shares of heads in a row on one path add up to
        more than 1, what goes along the stream alone is missing, and of a pruned graph paths through nodes
        that were left out count. Why such a head looks there: `sn.circuits.qk`.

        Raises
        ------
        ValueError: If the graph was read from a file, or a node is not there.

        Example
        -------
        >>> import sae_nb as sn
        >>> gpt = sn.load_model("tiny-gpt")
        >>> pair = ("One day she was", "One day he was")
        >>> graph = sn.circuits.attribution_graph(gpt, "neurons", pair[0], contrast=pair[1], target=" her")
        >>> graph.attention(len(graph) - 1).columns.tolist()
        ['source', 'layer', 'head', 'flow', 'share', 'position']
        """
        for name, node in (("target", target), *(("sources", one) for one in sources or ())):
            if not 0 <= check_integer(node, name=name) < len(self.nodes):
                raise ValueError(
                    f"`{name}` must be nodes from 0 to {len(self.nodes) - 1}, got {node}."
                )
        if sources is None:
            row = self.matrix[target].toarray()[0]
            sources = [int(i) for i in np.argsort(-np.abs(row))[:5] if row[i]]
        return attention_edges(self, target, list(sources))

    def _check_of_atoms(self, name: str, instead: str) -> None:
        if self.of_neurons:
            raise ValueError(
                f"`{name}` must be asked of a graph of dictionaries, got one of neurons. Use {instead}."
            )

    @checked
    def save(self, folder: str | Path) -> None:
        """Write the graph to a folder, replacing a graph that was there; `load_graph` reads it.

        Raises
        ------
        FileExistsError: If the folder holds files that are not ours.
        """
        save_graph(self, folder)

    @checked
    def to_circuit_tracer(self, folder: str | Path, name: str) -> Path:
        """Write `name`.json and its line in graph-metadata.json, as circuit-tracer's viewers open them.

        Prune first: a viewer draws every edge. Written after its classes (frontend/graph_models.py,
        version 1); features carry names here, and no examples.

        Raises
        ------
        ValueError: If `name` cannot be the name of a file.
        """
        return write_circuit_tracer(self, folder, name)


@checked
def load_graph(folder: str | Path) -> AttributionGraph:
    """Read a graph that was saved.

    It has no live model: it can be viewed and pruned, but methods that run the model are refused.
    `graph.with_model(model, transcoders)` gives the model and its transcoders back.

    Raises
    ------
    FileNotFoundError, ValueError: If there is no such folder, or it is not a graph, or damaged.
    """
    return AttributionGraph(**fields_of(folder))
