"""The main job in one table: what was captured, trained, checked and steered, and what it cost."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sae_nb.checks import checked
from sae_nb.evaluation.report._report import RECOVERED
from sae_nb.findings import Finding

if TYPE_CHECKING:
    import pandas as pd

    from sae_nb.activations import Activations
    from sae_nb.evaluation import Report
    from sae_nb.models import LiveModel
    from sae_nb.steering._dose_response import BestEffect


class SessionSummary(Finding, eq=True):
    """One sitting: the figures a reader asks for first, each with its floor or control."""

    HEADLINE = "{rows[model]} at {rows[hook point]}"

    rows: Mapping[str, str | float]
    """Name of a figure → its value."""

    @property
    def table(self) -> pd.DataFrame:
        """One row per figure, as pandas."""
        import pandas as pd

        return pd.DataFrame({"value": dict(self.rows)})

    @property
    def below(self) -> tuple[pd.DataFrame]:
        """Every figure."""
        return (self.table,)


@checked
def summarise_session(
    model: LiveModel,
    acts: Activations,
    report: Report,
    effect: BestEffect | None = None,
    *,
    started: float | None = None,
) -> SessionSummary:
    """Collect a sitting's figures.

    Parameters
    ----------
    model, acts
        Samples that were viewed, and the rows captured from them.
    report
        From `evaluate`; the row on the spliced model is the first that it has of cross-entropy, KL
        or cosine recovered.
    started
        `time.perf_counter()` at the start; seconds are left out without it.
    """
    rows: dict[str, str | float] = {
        "model": model.name,
        "hook point": str(acts.hook_point),
        "rows captured": len(acts),
        "R²": report["r2"].value,
        "R², random atoms": _known(report["r2"].control),
        "L0": report["l0"].value,
    }
    name = next((n for n in RECOVERED if n in report), None)
    if name is not None:
        rows[f"recovered in the model ({report[name].definition})"] = report[name].value
        rows["recovered, floor"] = _known(report[name].floor)
        rows["recovered, random atoms"] = _known(report[name].control)
    if effect is not None:
        rows[f"best steering effect (atom {effect.atom}, {effect.measure})"] = effect.effect
        rows["steering effect, random directions (p95)"] = effect.control_p95
    if started is not None:
        rows["seconds"] = time.perf_counter() - started
    memory = peak_memory()
    if memory is not None:
        rows["peak memory (GB)"] = memory / 1e9
    return SessionSummary(rows=rows)


@checked
def peak_memory() -> int | None:
    """Return the most bytes this process has had in memory, or None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _known(value: float | None) -> float:
    return float("nan") if value is None else value
