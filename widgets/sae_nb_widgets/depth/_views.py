"""The questions about depth: for each strip over the layers, its curves and the sentence that answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae_nb.dynamics import ReadByBlock, directions_of
from sae_nb.figures import theme
from sae_nb.figures.theme import escape, format_number
from sae_nb_widgets.components._curves import Chart, Line
from sae_nb_widgets.depth._figure import KIND_COLOURS
from sae_nb_widgets.depth._state import DepthState

if TYPE_CHECKING:
    from sae_nb.dynamics import ClassBasins, SelfCorrection

THIS, CONTROL = "this one", "control"
APART = 2
"""Blocks between two readings that are told apart. Ours."""

SETTLED, HALF = 0.9, 0.5
"""Similarity to the last state from which a token counts as settled, and as half-way. Ours."""
MOST_ATOMS = 4
COUNTS = ("no", "one", "two", "three", "four", "five", "six")
Along = Float[np.ndarray, " layers"]
"""One value per layer, the embeddings first; NaN where there is none."""


def _always(_: object) -> bool:
    """Nothing is needed."""
    return True


@dataclass(frozen=True)
class Strip:
    """One entry of the menu."""

    words: str
    """In the menu."""

    charts: Callable[[Any], list[Chart]]
    """The charts, for a panel that is ready."""

    answer: Callable[[Any], tuple[str, str]]
    """The sentence that answers, and the expert's numbers behind it."""

    possible: Callable[[Any], bool] = _always
    """Whether a panel has what it needs."""

    needs: str = ""
    """Advice on what to pass if it is not possible."""


def charts_of(panel: DepthState, strip: str) -> list[Chart]:
    """Return the chosen strip, and under it the effect of a perturbation, if there is one."""
    pushed = [] if panel.pushed is None else [_push_chart(panel.pushed, panel.token)]
    return [*STRIPS[strip].charts(panel), *pushed]


def answer_of(panel: DepthState, strip: str) -> tuple[str, str]:
    """Return the answer of the view on screen: about a perturbation, if there is one."""
    if panel.pushed is not None:
        return _fading(panel.pushed, panel.token)
    return STRIPS[strip].answer(panel)


# --- words ----------------------------------------------------------------------------------------


def noun(panel: DepthState) -> str:
    """Return the noun for an input."""
    modality = panel.model.modality
    return "input" if modality.is_plain else str(modality.sample)


def subject(panel: DepthState) -> str:
    """Return the followed token, as the beginning of a sentence."""
    place = panel.view.place(panel.picture, panel.token)
    if panel.model.modality.is_text:
        return str(place)
    known = panel.class_of(panel.picture)
    words = {"cls": "the cls token"}.get(place, place)
    words += f" of this “{known}”" if known else f" of this {noun(panel)}"
    return words[:1].upper() + words[1:]


def _percent(share: float) -> str:
    return format_number(100 * share, "%", digits=2)


def _degrees(radians: float) -> str:
    return f"{format_number(float(np.rad2deg(radians)), digits=2)}°"


def _after(panel: DepthState, layer: int) -> str:
    if not layer:
        return "in the embedding"
    structure = panel.model.structure
    known = "" if structure is None else structure.application(layer - 1)
    return f"after block {layer} ({known})" if known else f"after block {layer}"


def _from_then_on(values: Along, least: float) -> int:
    """First layer from which values stay at `least`; the last one where they never do."""
    below = np.flatnonzero(values[:-1] < least)
    return int(below[-1]) + 1 if len(below) else 0


# --- how near the final state, and how far each block turns it -------------------------------------


def _progress(panel: DepthState) -> list[Chart]:
    lines = _lines(panel, "convergence", 100.0)
    others, title = _like_others(panel), "similarity to its final state"
    if others is not None:
        lines.append(_control(100 * others))
        title += f" (control: other {noun(panel)}s’)"
    # A round number, so that it fits next to the chart.
    low = 10 * np.floor(10 * min(0.0, *(np.nanmin(line.values) / 100 for line in lines)))
    return [_chart(title, lines, low=low, high=100.0, unit="%")]


def _progress_answer(panel: DepthState) -> tuple[str, str]:
    paths, last = panel.summary.trajectories, panel.n_layers
    own = paths.convergence[panel.picture, :, panel.token].numpy()
    half, settled = _from_then_on(own, HALF), _from_then_on(own, SETTLED)
    only = "only then" if settled else "already then"
    said = (
        f"{subject(panel)} settles {_after(panel, settled)}{f' of {last}' * bool(settled)}: {only} is it "
        f"{_percent(SETTLED)} like its final state"
    )
    others = _like_others(panel)
    if others is not None:
        every = paths.convergence[:, :, panel.token].numpy()
        usual = int(np.median([_from_then_on(one, SETTLED) for one in every]))
        pace = "later" if usual < settled else "earlier"
        most = (
            "as for half of all"
            if usual == settled
            else f"{pace} than usual ({_after(panel, usual)})"
        )
        said += (
            f", {most} (and {_percent(float(others[settled]))} like those of other {noun(panel)}s)"
        )
    norms = paths.norms[panel.picture, [0, last], panel.token].tolist()
    return f"{said}.", (
        f"similarity: cosine γ with the last state, {_percent(HALF)} {_after(panel, half)}; ‖state‖ "
        f"{format_number(norms[0])} in the embedding, {format_number(norms[1])} at the end"
    )


def _like_others(panel: DepthState) -> Along | None:
    """Mean cosine with the last states of the same token in other inputs; None where there are none."""
    if panel.n_inputs < 2:
        return None
    plain = panel.states.as_subclass(Tensor)
    own = directions_of(plain[panel.picture, :, panel.token].float())
    last = directions_of(plain[:, -1, panel.token].float())
    cosines = own @ last.T
    others = cosines.sum(dim=1) - cosines[:, panel.picture]
    return np.asarray((others / (len(last) - 1)).numpy(), np.float64)


def _turns(panel: DepthState) -> list[Chart]:
    return [_chart("turn by each block", _lines(panel, "speed", 180 / np.pi), unit="°")]


def _turns_answer(panel: DepthState) -> tuple[str, str]:
    paths = panel.summary.trajectories
    own = paths.speed[panel.picture, :, panel.token].numpy()
    mean = paths.mean("speed", paths.token_kinds[panel.token]).numpy()
    most = int(own.argmax())
    said = f"Block {most + 1} turns {_inside(subject(panel))} most, by {_degrees(own[most])}"
    said += f" (mean over all: {_degrees(mean[most])}); half of the blocks by at most "
    return f"{said}{_degrees(float(np.median(own)))}.", (
        f"angle between the states before and after a block; {format_number(own[most])} rad at most"
    )


# --- how alike tokens are, and how many directions blocks use --------------------------------------


def _alike(panel: DepthState) -> list[Chart]:
    paths = panel.summary.trajectories
    lines = [
        Line(values=100 * paths.coherence[panel.picture].numpy(), name=THIS),
        _mean(panel, 100 * paths.coherence.mean(dim=0).numpy()),
        _control(np.full(paths.n_layers + 1, 100 * paths.coherence_floor)),
    ]
    title = f"how alike the {_crowd(panel)} are (control: independent directions)"
    return [_chart(title, lines, high=100.0, unit="%")]


def _alike_answer(panel: DepthState) -> tuple[str, str]:
    paths = panel.summary.trajectories
    own = paths.coherence[panel.picture].tolist()
    return (
        f"The {_crowd(panel)} of this {noun(panel)} are {_percent(own[0])} alike in the embedding and "
        f"{_percent(own[-1])} at the end (independent ones: {_percent(paths.coherence_floor)}).",
        "alike: coherence ρ, the length of their mean direction",
    )


def _crowd(panel: DepthState) -> str:
    return "patches" if "patch" in panel.summary.trajectories.kinds else "tokens"


def _ranks(panel: DepthState) -> list[Chart]:
    rank = panel.summary.trajectories.update_rank
    lines = [
        Line(values=_at_layers(panel, rank.effective), name="effective rank"),
        Line(values=_at_layers(panel, rank.stable), name="stable rank", colour=theme.NEUTRAL),
    ]
    return [_chart("directions in which a block changes tokens", lines)]


def _ranks_answer(panel: DepthState) -> tuple[str, str]:
    rank = panel.summary.trajectories.update_rank
    effective = rank.effective.numpy()
    most, least = int(effective.argmax()), int(effective.argmin())
    return (
        f"Block {most + 1} changes tokens in the most directions, about "
        f"{round(float(effective[most]))} of {panel.states.shape[-1]}; block {least + 1} in the "
        f"fewest, about {round(float(effective[least]))}.",
        f"effective rank of the updates; stable rank {format_number(float(rank.stable[most]))} and "
        f"{format_number(float(rank.stable[least]))}",
    )


# --- classes, phases, atoms ------------------------------------------------------------------------


def _classes(panel: DepthState) -> list[Chart]:
    basins = cast("ClassBasins", panel.summary.trajectories.basins)  # inputs have classes
    lines = [Line(values=100 * basins.gap, name="labels"), _control(100 * basins.floor)]
    low = min(0.0, float(100 * basins.gap.min()))
    title = "how much more alike one class is (control: shuffled labels)"
    return [_chart(title, lines, low=low, unit="%")]


def _classes_answer(panel: DepthState) -> tuple[str, str]:
    basins = cast("ClassBasins", panel.summary.trajectories.basins)  # inputs have classes
    end, half = float(basins.gap[-1]), _from_then_on(basins.gap, float(basins.gap[-1]) / 2)
    chance = float(basins.floor[-1])
    then = f"; half of that is there {_after(panel, half)} of {panel.n_layers}" * (end > chance)
    return (
        f"At the end the likeness of {noun(panel)}s of one class is that of two {round(100 * end):+} points "
        f"(shuffled labels: {round(100 * chance):+}){then}.".replace("-", "−"),
        f"mean cosine within a class {format_number(float(basins.within[-1]))}, between classes "
        f"{format_number(float(basins.between[-1]))}",
    )


def _phases_answer(panel: DepthState) -> tuple[str, str]:
    phases = panel.summary.phases[panel.similarity][panel.k]
    numbers = f"contrast {format_number(phases.contrast)} (0: a smooth drift)"
    if panel.k == 1:
        return "One phase holds every block: nothing is cut. Choose more phases.", numbers
    blocks = ", ".join(f"{a + 1}–{b}" if b > a + 1 else f"{b}" for a, b in pairwise(phases.cuts))
    evidence = panel.summary.evidence(panel.similarity, panel.k)
    count = COUNTS[panel.k]
    who = f"{count.capitalize()} phases"
    does = "and a smooth drift does not"
    if not evidence.supported:
        # Those that are not more than chance are named, and not drawn.
        who = f"No {count} phases are claimed: the best"
        banded = evidence.p_banded > evidence.level or not np.isfinite(phases.contrast)
        does = f"but {'a smooth drift does' if banded else 'shuffled layers do'} as well"
    contrast = ""
    if np.isfinite(phases.contrast):
        contrast = f" (contrast {format_number(phases.contrast, digits=2)})"
    return (
        f"{who} (blocks {blocks}) explain {_percent(phases.gain)} of the layer differences, {does}{contrast}."
        f"{_copy_answer(panel, phases.cuts)}",
        f"{numbers}; p {format_number(evidence.p_banded)} against a smooth drift, "
        f"{format_number(evidence.p_shuffled)} against shuffled layers",
    )


def _atoms(panel: DepthState) -> list[Chart]:
    return [
        _chart(
            f"{panel.names.name(atom)}: energy, of its peak",
            [Line(values=100 * share, name="")],
            high=100.0,
            unit="%",
            atom=atom,
        )
        for atom, share in _shares(panel)
    ]


def _atoms_answer(panel: DepthState) -> tuple[str, str]:
    shares = _shares(panel)
    if not shares:
        return "No atom is followed. Choose some in the field “atoms”.", ""
    peaks = [
        f"{panel.names.in_text(a)} {_after(panel, int(share.argmax()))}" for a, share in shares
    ]
    said = ", ".join(peaks[:-1]) + " and " + peaks[-1] if len(peaks) > 1 else peaks[0]
    return f"Strongest of {panel.n_layers} blocks: {said}.", (
        f"mean squared strength over tokens, states scaled to the length after block {panel.depths.home}"
    )


def _shares(panel: DepthState) -> list[tuple[int, Along]]:
    """Energy of the atoms followed, as shares of their peaks."""
    energy = panel.depths.energy
    return [(a, energy[a] / max(float(energy[a].max()), 1e-12)) for a in panel.atoms[:MOST_ATOMS]]


# --- what is drawn over the path -------------------------------------------------------------------


def _raptor(panel: DepthState) -> list[Chart]:
    if panel.rolled is None:
        return []
    line = Line(
        values=np.rad2deg(_raptor_angles(panel, panel.rolled)),
        name="Raptor",
        colour=theme.PREDICTED,
        dashed=True,
    )
    return [_chart("angle between Raptor's state and the model's", [line], unit="°")]


def _raptor_answer(panel: DepthState) -> tuple[str, str]:
    if panel.rolled is None:
        return "", ""
    angles = _raptor_angles(panel, panel.rolled)
    worst = int(angles.argmax())
    return (
        f"Raptor ends {_degrees(angles[-1])} from where {_inside(subject(panel))} really ends; it is "
        f"furthest away {_after(panel, worst)}, by {_degrees(angles[worst])} (unrelated states: 90°).",
        "angle between the roll-out's state and the model's own",
    )


def _copy_answer(panel: DepthState, cuts: Sequence[int]) -> str:
    """Return how well one block a phase, applied again and again, copies the token's path."""
    own = tuple(getattr(panel.runs.raptor, "cuts", ()))
    if panel.rolled is None or not own:
        return ""
    if own != tuple(cuts):
        return f" Raptor is cut after blocks {', '.join(map(str, own[1:-1]))}, so it tests other phases."
    copied = _raptor_angles(panel, panel.rolled)[-1]
    unchanged = _raptor_angles(panel, panel.states[panel.picture, :1].float())[-1]
    return (
        f" A copy with one block a phase (Raptor) ends {_degrees(copied)} from where "
        f"{_inside(subject(panel))} really ends, and the embedding is {_degrees(unchanged)} from it."
    )


def _raptor_angles(panel: DepthState, rolled: Tensor) -> Along:
    own = panel.states[panel.picture, :, panel.token].float()
    u, v = directions_of(rolled[:, panel.token]), directions_of(own)
    angles = 2 * torch.atan2((u - v).norm(dim=-1), (u + v).norm(dim=-1))
    return np.asarray(angles.numpy(), np.float64)


def _push_chart(pushed: SelfCorrection, token: int) -> Chart:
    angles, alone = (
        np.rad2deg(x[0, :, token].numpy()).astype(np.float64)
        for x in (pushed.angles, pushed.norm_only)
    )
    angles[: pushed.layer], alone[: pushed.layer] = np.nan, np.nan
    lines = [Line(values=angles, name="pushed", colour=theme.NOVEL), _control(alone)]
    title = "how far the push is still felt (control: if later blocks did nothing)"
    return _chart(title, lines, unit="°")


def _fading(pushed: SelfCorrection, token: int) -> tuple[str, str]:
    """Return the remaining size of a perturbation."""
    angles, alone = (x[0, :, token] for x in (pushed.angles, pushed.norm_only))
    start, end, control = (float(v) for v in (angles[pushed.layer], angles[-1], alone[-1]))
    return (
        f"A random push of {_degrees(start)} at layer {pushed.layer} ends as {_degrees(end)} "
        f"({_degrees(control)} if later blocks did nothing).",
        f"{format_number(start)} rad, {format_number(end)} rad at the end; control: the state grows, "
        f"the push does not ({format_number(control)} rad)",
    )


# --- lines ----------------------------------------------------------------------------------------


def _lines(
    panel: DepthState, quantity: Literal["convergence", "speed", "norms"], scale: float
) -> list[Line]:
    """The token and its mean over inputs; kinds in the colours of the paths where those mean kinds."""
    paths = panel.summary.trajectories
    own: Tensor = getattr(paths, quantity)[panel.picture, :, panel.token]
    lines = [Line(values=scale * _at_layers(panel, own), name=THIS)]
    if panel.color_by == "token type" and len(paths.kinds) > 1:
        means = {kind: paths.mean(quantity, kind) for kind in paths.kinds}
        return lines + [
            Line(values=scale * _at_layers(panel, mean), name=kind, colour=KIND_COLOURS[kind])
            for kind, mean in means.items()
        ]
    mean = paths.mean(quantity, paths.token_kinds[panel.token])
    return [*lines, _mean(panel, scale * _at_layers(panel, mean))]


def _mean(panel: DepthState, values: Along) -> Line:
    name = f"mean of {panel.n_inputs} {noun(panel)}s"
    return Line(values=values, name=name, colour=theme.NEUTRAL)


def _control(values: Along) -> Line:
    return Line(values=values, name=CONTROL, colour=theme.CONTROL, dashed=True)


def _at_layers(panel: DepthState, values: Tensor) -> Along:
    """Put what blocks do at the layer they put out."""
    array = values.numpy().astype(np.float64)
    return array if len(array) == panel.n_layers + 1 else np.concatenate([[np.nan], array])


def _chart(
    title: str,
    lines: Sequence[Line],
    *,
    low: float = 0.0,
    high: float | None = None,
    unit: str = "",
    atom: int = -1,
) -> Chart:
    tops = [float(np.nanmax(line.values)) for line in lines if np.isfinite(line.values).any()]
    top = high if high is not None else max(tops, default=1.0)
    return Chart(title=title, lines=lines, low=low, high=max(top, low + 1e-6), unit=unit, atom=atom)


def _inside(words: str) -> str:
    """The same inside a sentence."""
    return words[:1].lower() + words[1:]


# --- the menu -------------------------------------------------------------------------------------


def _everything(panel: DepthState) -> list[Chart]:
    found = [s for name, s in STRIPS.items() if name not in ("phases", "all") and s.possible(panel)]
    return [chart for strip in found for chart in strip.charts(panel)]


# --- what its own output layers would answer ------------------------------------------------------

READ_COLOURS = (theme.WARM, theme.BLUE)
"""Of the first two output layers; a third is left out, as two lines and their controls fill the chart."""


def _shown_heads(read: ReadByBlock) -> list[int]:
    """Return the two output layers that are drawn and spoken of: those read first, else the first."""
    last = len(read.right[0])
    by = [last if one is None else one for one in read.read_by]
    return sorted(range(len(by)), key=lambda i: (by[i], i))[: len(READ_COLOURS)]


def _named(panel: DepthState) -> list[Chart]:
    read = panel.read
    if read is None:
        return []
    lines = []
    for i, colour in zip(_shown_heads(read), READ_COLOURS):
        lines.append(Line(values=100 * read.right[i], name=f"its {read.names[i]}", colour=colour))
    for i in _shown_heads(read):
        chance = Line(
            values=100 * read.control[i],
            name=f"of another {noun(panel)}",
            dashed=True,
            colour=theme.CONTROL,
        )
        lines.append(chance)
    title = f"{noun(panel)}s that its output layers name right"
    if read.own:
        title = f"{noun(panel)}s whose answer is the last one"
    return [_chart(title, lines, high=100.0, unit="%")]


def _either(read: ReadByBlock) -> str:
    return " or ".join(read.names[i] for i in _shown_heads(read))


def read_title(read: ReadByBlock) -> str:
    """Return by which block what is read, nine times in ten from there on."""
    shown = [(read.names[i], read.read_by[i]) for i in _shown_heads(read)]
    known = [(name, by) for name, by in shown if by is not None]
    if read.own:
        said = ", its ".join(f"{name} is settled by block {by}" for name, by in known)
        return f"Its {said}" if known else ""
    if not known:
        return f"After no block does it name the {_either(read)} nine times in ten"
    if len(known) == 1 or known[1][1] - known[0][1] >= APART:
        return f"It reads {', '.join(f'the {name} by block {by}' for name, by in known)}"
    return f"It reads {known[0][0]} and {known[1][0]} by block {known[1][1]}"


def read_answer(read: ReadByBlock, noun: str) -> tuple[str, str]:
    """Return the shares right after the block by which the first was read, or at the end."""
    shown = _shown_heads(read)
    layer = read.read_by[shown[0]]
    at = read.right.shape[1] - 1 if layer is None else layer
    when = "At the end" if layer is None else f"After block {at}"
    parts = [f"the {read.names[i]} of {_percent(float(read.right[i, at]))}" for i in shown]
    chance = " and ".join(_percent(float(read.control[i, at])) for i in shown)
    if read.own and len(read.truth[0]) == 1:
        since = [
            f"its {read.names[i]} from block {_from_then_on(read.right[i], 1.0)} on" for i in shown
        ]
        return (
            f"The answer for this {noun} stays what it is at the end: {', '.join(since)}.",
            "one input: no other to compare with",
        )
    if read.own:
        finals = [
            f"the final {read.names[i]} for {_percent(float(read.right[i, at]))}" for i in shown
        ]
        return (
            f"{when} its own output layers name {', '.join(finals)} of the {noun}s. Those of another {noun} "
            f"would be named by chance in {chance}.",
            f"settled by a block: final for nine in ten of {read.truth.shape[1]} {noun}s from there on",
        )
    return (
        f"{when} its own output layers name {', '.join(parts)} of the {noun}s. Those of another "
        f"{noun} would be named by chance in {chance}.",
        f"read by a block: right for nine in ten of {read.truth.shape[1]} {noun}s from there on",
    )


def _named_answer(panel: DepthState) -> tuple[str, str]:
    return ("", "") if panel.read is None else read_answer(panel.read, noun(panel))


def answers_html(read: ReadByBlock, picture: int, names: Mapping[str, Sequence[str]]) -> str:
    """Return what each output layer would answer for one input after each block, the same answers together and
    those filled that are right, as escaped HTML.
    """
    rows = []
    for i, colour in zip(_shown_heads(read), READ_COLOURS):
        called, answers = names.get(read.names[i]), read.answers[i, :, picture].tolist()
        steps = [0, *(at for at in range(1, len(answers)) if answers[at] != answers[at - 1])]
        cells = [f"<span>its {escape(read.names[i])}</span>"]
        for begin, end in pairwise([*steps, len(answers)]):
            said = str(called[answers[begin]] if called else answers[begin])
            right = ' class="sae-nb-right"' * (answers[begin] == int(read.truth[i, picture]))
            blocks = "–".join(dict.fromkeys(str(at or "start") for at in (begin, end - 1)))
            cells.append(
                f'<b style="--n: {end - begin}"{right}>{escape(said)}<small>{blocks}</small></b>'
            )
        rows.append(f'<div class="sae-nb-byblock" style="--tone: {colour}">{"".join(cells)}</div>')
    return "".join(rows)


STRIPS = {
    "named": Strip(
        "what it would answer by then",
        _named,
        _named_answer,
        lambda panel: (
            panel.read is not None or (panel.summary is None and panel.model.modality.is_image)
        ),
        "a classifier of images whose answer is one projection of its last states",
    ),
    "progress": Strip("how near its final state", _progress, _progress_answer),
    "turns": Strip("how far each block turns it", _turns, _turns_answer),
    "phases": Strip("phases: which blocks act alike", _turns, _phases_answer),
    "classes": Strip(
        "when classes separate",
        _classes,
        _classes_answer,
        lambda panel: (
            panel.has_classes
            and (panel.summary is None or panel.summary.trajectories.basins is not None)
        ),
        "labels of two classes or more. Pass labels= to the panel",
    ),
    "alike": Strip("how alike its tokens are", _alike, _alike_answer),
    "ranks": Strip("in how many directions blocks work", _ranks, _ranks_answer),
    "atoms": Strip(
        "atoms over depth",
        _atoms,
        _atoms_answer,
        lambda panel: panel.n_atoms > 0,
        "an SAE. Pass sae= to the panel",
    ),
    "raptor": Strip(
        "Raptor against the model",
        _raptor,
        _raptor_answer,
        lambda panel: panel.runs.raptor is not None,
        "a surrogate. Pass raptor= to the panel",
    ),
    "all": Strip("everything (for experts)", _everything, _progress_answer),
}
"""Names of the trait `strip`, in the order of the menu."""
