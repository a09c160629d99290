"""The texts of a CircuitPanel: its answer, the cut below it, the heading of a node, the rows of its tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sae_nb.figures import visible_token
from sae_nb.figures.theme import escape, format_count, format_number, format_percent
from sae_nb_widgets.circuit._story import other_text, plain_word
from sae_nb_widgets.circuit._summary import Circuit, CircuitAnswer, CircuitStory, CircuitSummary
from sae_nb_widgets.components._base import atom_mark

if TYPE_CHECKING:
    import pandas as pd
    from pandas import DataFrame

    from sae_nb_widgets.circuit._names import NodeNames

INPUTS, OUTPUTS = ("node", "adds to it", "share of all"), ("node", "it adds", "its share there")
"""Headers of what drives a node, and of what the node drives."""
NUMERIC = (False, True, True)
LONGEST_HEADLINE = 52
MENTIONED = 0.25
"""Share of what is added from which on a second input is named."""

NEURONS_QUESTION = "Which neurons turned this answer, and through which path?"
NEURONS_EXPLANATION = (
    "Tokens are below, the answer above, and between them the neurons that turn it, in the row of their block "
    "and over their token. Each is named by the outputs that its difference from the contrast raises. A line "
    "is what one adds to another along all ways on which no other node lies, with attention and norms held. "
    "Changing a neuron runs the live model with nothing held: at 0 it is as on the contrast.",
    "A graph explains one pair of inputs. Few neurons take an answer away, many more are needed to bring it "
    "back: graph.faithfulness() shows both. A name along the direct path is a guess where later layers read "
    "the neuron; a lens is better, and “no name yet” means that no output exceeds chance.",
    "RelP, arXiv 2508.21258; “Language models’ circuits are sparse in the neuron basis”, Transluce 2025.",
)

BUBBLES = ("atoms, by their names", "neurons, by words they raise (“on …”: words they fire on)")

SHOWS_ONLY = (
    "This graph was read without a live model, so it shows and cannot be asked. Pass the model and the "
    "transcoders: CircuitPanel(graph, model, transcoders)."
)
CANNOT_ASK = (
    "The target of this graph is an atom or a function that no file keeps, so a change has nothing to be "
    "measured by. Make the graph with a class or token as target."
)
NOT_AN_ATOM = "Only atoms can be changed; choose one with an outline, or a group of them."
NOTHING_CHOSEN = "Choose a node in the drawing: what it is, what made it and what it makes."


# --- the top --------------------------------------------------------------------------------------


def target_names(circuit: Circuit) -> list[str]:
    """Return what is explained, the heaviest first, each in quotation marks."""
    targets = circuit.graph.nodes[circuit.kinds == "target"].sort_values(
        "weight", ascending=False, kind="stable"
    )
    return [
        name.replace("“ ", "“") if name.startswith("“") else f"“{name.strip()}”"
        for name in targets["name"]
    ]


def targets_words(circuit: Circuit) -> str:
    """Name what is explained, the heaviest first; of a difference its two answers."""
    names = [name.replace(" − ", " rather than ") for name in target_names(circuit)]
    if len(names) < 3:
        return " and ".join(names)
    return f"{names[0]}, {names[1]} and {len(names) - 2} other answers"


def first_answer(circuit: Circuit) -> str:
    """Return the heaviest answer in words: of a difference the first of the two."""
    return target_names(circuit)[0].partition(" − ")[0].strip("“”")


def headline(circuit: Circuit, story: CircuitStory, names: NodeNames) -> str:
    """Return the input with the answer that is explained, and who decides it where changing them turns it and
    no random change moves it as far: "The keys to the cabinet → are: 8 neurons at “keys” decide".
    """
    graph, answer = circuit.graph, first_answer(circuit)
    where = f" {names.at(story.stations[0][0])}" if story.n < story.n_all else ""
    who = f": {_counted(circuit, story)}{where} decide{'s' * (story.n == 1)}" * story.decides
    if graph.grid is not None:
        return f"The image is answered with “{answer}”{who}"
    text = "".join(token for token in graph.tokens if not token.startswith("<|")).strip()
    text = visible_token(" ".join(text.split()))
    if len(text) > LONGEST_HEADLINE:
        text = f"…{text[-LONGEST_HEADLINE:].partition(' ')[2]}"
    return f"{text} → {answer}{who}"


def _counted(circuit: Circuit, story: CircuitStory) -> str:
    return f"{story.n} {'neuron' if circuit.graph.of_neurons else 'atom'}{'s' * (story.n > 1)}"


def places_words(circuit: Circuit) -> str:
    """Return which parts of the model are nodes: "neurons of all 30 MLPs"."""
    graph, n = circuit.graph, len(circuit.graph.places)
    mlps = all(place.startswith(("mlp_out.", "mlp_post.")) for place in graph.places)
    where = f"{n} MLP{'s' * (n != 1)}" if mlps else f"{n} place{'s' * (n != 1)}"
    return f"{'neurons' if graph.of_neurons else 'atoms'} of {where}"


# --- the answer -----------------------------------------------------------------------------------


def overview(circuit: Circuit, summary: CircuitSummary, names: NodeNames) -> tuple[str, list[str]]:
    """State who speaks for the answer and who against it.

    Returns
    -------
    The sentence, and the words in it that a reader should take away.
    """
    if not summary.reaches:
        share = format_percent(summary.threshold)
        return f"At {share} no path leads to the answer: raise “keep”.", []
    what = "Neurons" if circuit.graph.of_neurons else "Atoms"
    answer = f"“{first_answer(circuit)}”"
    (where, says), (there, _) = (_speakers(circuit, summary, names, s) for s in (1, -1))
    if not (where or there):
        return f"{what} push neither for {answer} nor against it.", []
    if not where:
        return f"{what} {there} push against {answer}, and none for it.", []
    raised = f", and raise {says}" if says else ""
    return f"{what} {where} push for {answer}{raised}.", [says]


def story_words(circuit: Circuit, story: CircuitStory) -> tuple[str, list[str]]:
    """State what the model says with the story's nodes as on the contrast, or without them, in one short
    sentence; empty before it was asked.
    """
    if not story.answers:
        return "", []
    these = _counted(circuit, story)
    these = f"these {these}" if story.n > 1 else f"this{these[1:]}"
    other = other_text(circuit)
    edit = f"With {these} as in {other}" if other else f"Without {these}"
    before, after = map(plain_word, story.says)
    none, tried = story.beyond_chance, bool(len(story.random))
    if before != after:
        # What random changes make it say is not known, only how far they move the answer.
        asked = f"“{plain_word(story.answers[0])}”"
        chance = f"{'no random change moves' if none else 'random changes move'} {asked} as far"
        comma, p = "," * bool(other), format_percent(story.says_shares[1], digits=2)
        said = f"{edit}{comma} its likeliest answer is “{after}” ({p})"
        return f"{said}{f'; {chance}' * tried}.", [after]
    chance = "no random change does that" if none else "random changes do as much"
    shares = (format_percent(float(p[0]), digits=2) for p in (story.before, story.without))
    return f"{edit}: {' → '.join(shares)}{f'; {chance}' * tried}.", []


def story_numbers(story: CircuitStory) -> str:
    """State the probabilities of a story, and those under random changes."""
    parts = []
    for i, name in enumerate(story.answers):
        drawn = story.random[:, i]
        before, after, low, high = (
            format_percent(float(v), digits=2)
            for v in (story.before[i], story.without[i], drawn.min(), drawn.max())
        )
        parts.append(f"P(“{plain_word(name)}”) {before} → {after}, at random {low} to {high}")
    return f"{'; '.join(parts)}. Random: {len(story.random)} changes of the same sizes at the same places."


def _speakers(
    circuit: Circuit, summary: CircuitSummary, names: NodeNames, sign: int
) -> tuple[str, str]:
    """Return the inputs over which most is added, or taken, and what the strongest neuron there writes."""
    nodes = summary.nodes
    atoms = nodes[(nodes.kind == "atom") & (sign * nodes.adds > 0)]
    if not len(atoms):
        return "", ""
    shares = (atoms.groupby("position").adds.sum() / atoms.adds.sum()).sort_values(
        ascending=False, kind="stable"
    )
    second = shares[1:2]
    positions = sorted(map(int, [shares.index[0], *second.index[second >= MENTIONED]]))
    here = atoms[atoms.position.isin(positions)].sort_values(
        "adds", ascending=sign < 0, kind="stable"
    )
    where = " and ".join(filter(None, [names.at(positions[0]), *map(names.token, positions[1:])]))
    # A word that several write comes before the strongest one's.
    weight: dict[str, float] = defaultdict(float)
    for node, adds in zip(here["node"].astype(int), here.adds.abs(), strict=True):
        text, quiet = names.pill(node)
        weight[text] += 0.0 if quiet else float(adds)
    says = max(weight, key=lambda text: weight[text])
    return where, says if circuit.graph.of_neurons and weight[says] > 0 else ""


def overview_numbers(circuit: Circuit, summary: CircuitSummary) -> str:
    """State the numbers about the graph for experts."""
    graph = circuit.graph
    drawn, kept = len(summary.edges), summary.n_edges
    edges = (
        f"the {format_count(drawn)} strongest of {format_count(kept)}" if drawn < kept else "all"
    )
    shown = f"{format_count(summary.n_nodes)} nodes carry {format_percent(summary.threshold)} of the influence"
    if graph.of_neurons:
        return (
            f"{shown}; {format_count(int((circuit.kinds == 'atom').sum()))} of "
            f"{format_count(graph.n_units)} neurons, by position, are nodes; {edges} edges are kept. "
            f"Names: {graph.named_by or 'none, the model has no unembedding'}."
        )
    linear = "" if graph.exact else " Between the dictionaries the model is taken by its slope."
    return (
        f"{shown}. Replacement {format_percent(graph.replacement)} (share of the influence that reaches the "
        f"inputs and does not end in what atoms miss); completeness {format_percent(graph.completeness)}; "
        f"{edges} edges are kept.{linear}"
    )


# --- the cut --------------------------------------------------------------------------------------


def cut_html(answer: CircuitAnswer, name: str) -> str:
    """Return what was changed, as escaped HTML, and whether chance does as much."""
    named = f"<b>{escape(name)}</b>"
    done = f"Cut {named}"
    if answer.factor:
        done = f"{named} at {escape(format_number(answer.factor))} × its strength"
    beyond = answer.is_beyond_luck or not len(answer.random)
    luck = "" if beyond else ": no more than chance does"
    return f"<div>{done}{luck}</div>"


def change_words(answer: CircuitAnswer, name: str, targets: str) -> str:
    """Describe the effect of a change, with the prediction and with chance."""
    done = (
        f"Without {name}"
        if answer.factor == 0
        else f"With {name} at {format_number(answer.factor)} times its strength"
    )
    way = "rises" if answer.effect > 0 else "falls"
    moved = f"the score of {targets} {way} by {_size(answer.effect)}"
    if answer.effect == 0:
        moved = f"the score of {targets} stays"
    return f"{done}, {moved}; the graph foresaw {_signed(answer.predicted)}; {_luck(answer)}."


def change_numbers(answer: CircuitAnswer, seconds: float) -> str:
    """State the numbers behind that sentence."""
    sizes = ", ".join(_signed(one) for one in answer.random)
    return (
        f"Scores are logits above the mean of all, weighted as the targets are. Foreseen straight "
        f"{_signed(answer.direct)}, over all paths {_signed(answer.predicted)}; random directions of the "
        f"same size at the same place: {sizes}; {seconds * 1000:.0f} ms."
    )


def _luck(answer: CircuitAnswer) -> str:
    if not len(answer.random):
        return "no random direction was tried"
    most = float(np.abs(answer.random).max())
    n = len(answer.random)
    beyond = "" if answer.is_beyond_luck else ": no more than luck does"
    return f"{n} random directions of that size move it by up to {_size(most)}{beyond}"


def _size(value: float) -> str:
    return format_number(abs(value), digits=2)


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{format_number(value, digits=2)}"


# --- nodes ----------------------------------------------------------------------------------------


def hover(circuit: Circuit, row: pd.Series, name: str, members: Sequence[str] = ()) -> str:
    """Return the tooltip of a node in the drawing."""
    value = circuit.graph.nodes.value.iat[row.node]
    lines = [name]
    if members:
        lines += [", ".join(members[:6]) + (" …" if len(members) > 6 else "")]
    if row.kind == "target":
        return "\n".join([*lines, f"score {format_number(value)}"])
    lines.append(f"influence {format_percent(row.influence)}")
    lines.append(f"adds {_signed(row.adds)} to the answer, over all its paths")
    if row.kind == "atom" and not members:
        lines.append(f"strength {format_number(value)}")
    return "\n".join(lines)


def heading(circuit: Circuit, node: int, name: str, pinned: bool) -> str:
    """Write the heading of the chosen node, as escaped HTML."""
    row = circuit.graph.nodes.iloc[node]
    facts = [f"influence {format_percent(circuit.influence[node])}"]
    if row.kind == "atom":
        way = "above" if row.value >= 0 else "below"
        facts.append(
            f"{format_number(abs(row.value))} {way} its value in the contrast"
            if circuit.graph.of_neurons
            else f"strength {format_number(row.value)}"
        )
    if row.kind == "target":
        facts = [f"score {format_number(row.value)}", f"weight {format_number(row.weight)}"]
    else:
        facts.append(f"adds {_signed(float(circuit.adds[node]))} to the answer")
    if pinned:
        facts.append("pinned")
    title = atom_mark(node, name) if row.kind == "atom" else escape(name)
    return (
        f'<div class="sae-nb-cardtitle">{title} '
        f'<span class="sae-nb-cardfacts">{escape(" · ".join(facts))}</span></div>'
    )


def cells(found: DataFrame, names: NodeNames) -> list[list[str]]:
    """Write the rows of a table of neighbours."""
    return [
        [names.in_row(int(row.node)), _signed(row.weight), format_percent(row.share, digits=2)]
        for row in found.itertuples()
    ]
