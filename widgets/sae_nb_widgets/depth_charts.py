"""The strips of a DepthTrajectory: measurements over layers as charts, the selected token among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from sae_nb.dynamics.perturbation import SelfCorrection
from sae_nb.dynamics.trajectory import Quantity, Trajectories
from sae_nb.summaries.depth import DepthSummary
from sae_nb.summaries.depth_atoms import AtomDepths
from sae_nb_widgets.components.curves import Chart, Line
from sae_nb_widgets.figures.depth import KIND_COLOURS
from sae_nb_widgets.figures.theme import CONTROL, NOVEL, OKABE_ITO, PREDICTED, category_style

THIS = "this one"
ATOM_COLOURS = tuple(category_style(i)[0] for i in (5, 4, 2, 3))


def measured_charts(summary: DepthSummary, picture: int, token: int) -> list[Chart]:
    """Charts of everything that is measured of the states themselves.

    Parameters
    ----------
    summary
        Of all inputs.
    picture, token
        Drawn in the page's ink beside the means by kind of token.
    """
    paths = summary.trajectories
    charts = [
        _by_kind(paths, "convergence", "direction to the end γ", picture, token),
        _by_kind(paths, "speed", "angular speed, rad", picture, token),
        _coherence(paths, picture),
        _ranks(paths),
    ]
    if paths.basins is not None:
        basins = paths.basins
        lines = [
            Line(values=basins.gap, colour=PREDICTED),
            Line(values=basins.floor, name="floor", colour=CONTROL, dashed=True),
        ]
        title = "classes apart"
        charts.append(_chart(title, lines, low=min(0.0, float(basins.gap.min()))))
    return charts


def push_chart(pushed: SelfCorrection, token: int) -> Chart:
    """How far the push of one input's token is still felt.

    Parameters
    ----------
    pushed
        Of one input.
    token
        Which token.
    """
    angles, control = (x[0, :, token].numpy().copy() for x in (pushed.angles, pushed.norm_only))
    angles[: pushed.layer], control[: pushed.layer] = np.nan, np.nan
    lines = [
        Line(values=angles, name="pushed", colour=NOVEL),
        Line(values=control, name="if blocks ignored the push", colour=CONTROL, dashed=True),
    ]
    return _chart("angle to no push, rad", lines)


def rolled_chart(angles: Float[np.ndarray, " layers"]) -> Chart:
    """How far Raptor's own roll-out is from the states.

    Parameters
    ----------
    angles
        Radians at each layer.
    """
    line = Line(values=angles, name="Raptor", colour=PREDICTED, dashed=True)
    return _chart("angle of Raptor, rad", [line])


def atoms_chart(depths: AtomDepths, atoms: Sequence[int]) -> Chart:
    """Energy of some atoms over depth, each as a share of its peak.

    Parameters
    ----------
    depths
        Of all atoms.
    atoms
        Up to four are drawn.
    """
    shown = list(atoms)[: len(ATOM_COLOURS)]
    lines = []
    for atom, colour in zip(shown, ATOM_COLOURS):
        energy = depths.energy[atom]
        lines.append(
            Line(
                values=energy / max(float(energy.max()), 1e-12), name=f"atom {atom}", colour=colour
            )
        )
    return _chart("atoms, share of peak", lines, high=1.0)


def _by_kind(
    paths: Trajectories, quantity: Quantity, title: str, picture: int, token: int
) -> Chart:
    lines = [
        Line(
            values=_from_embeddings(paths.mean(quantity, kind), paths.n_layers),
            name=kind,
            colour=KIND_COLOURS[kind],
        )
        for kind in paths.kinds
    ]
    own: Tensor = getattr(paths, quantity)[picture, :, token]
    lines.append(Line(values=_from_embeddings(own, paths.n_layers), name=THIS))
    low = min(0.0, *(float(np.nanmin(line.values)) for line in lines))
    # A round number, so that it fits beside the chart.
    low = float(np.floor(10 * low)) / 10
    high = 1.0 if quantity == "convergence" else None
    return _chart(title, lines, low=low, high=high)


def _coherence(paths: Trajectories, picture: int) -> Chart:
    floor = np.full(paths.n_layers + 1, paths.coherence_floor)
    colour = KIND_COLOURS["patch" if "patch" in paths.kinds else "token"]
    word = "patches" if "patch" in paths.kinds else "tokens"
    lines = [
        Line(values=paths.coherence.mean(dim=0).numpy(), colour=colour),
        Line(values=paths.coherence[picture].numpy(), name=THIS),
        Line(values=floor, name="floor", colour=CONTROL, dashed=True),
    ]
    return _chart(f"coherence ρ of {word}", lines, high=1.0)


def _ranks(paths: Trajectories) -> Chart:
    lines = [
        Line(values=_from_embeddings(paths.update_rank.effective, paths.n_layers), colour=CONTROL),
        Line(
            values=_from_embeddings(paths.update_rank.stable, paths.n_layers), colour=OKABE_ITO[5]
        ),
    ]
    return _chart("update rank", lines)


def _from_embeddings(values: Tensor, n_layers: int) -> Float[np.ndarray, " layers"]:
    """Put what blocks do at the layer they put out."""
    array = values.numpy().astype(np.float64)
    return array if len(array) == n_layers + 1 else np.concatenate([[np.nan], array])


def _chart(title: str, lines: list[Line], *, low: float = 0.0, high: float | None = None) -> Chart:
    tops = [float(np.nanmax(line.values)) for line in lines if np.isfinite(line.values).any()]
    top = high if high is not None else max(tops, default=1.0)
    return Chart(title=title, lines=lines, low=low, high=max(top, low + 1e-6))
