"""Open panels that answer one question each about an SAE; each is imported from its file on first use.

An SAE writes an activation as a sum of a few directions, its atoms (atom = feature = latent).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sae_nb.exports import lazy_exports
from sae_nb_widgets.panel._browsers import BROWSERS

if TYPE_CHECKING:
    from sae_nb_widgets._deferred import Deferred as Deferred
    from sae_nb_widgets.atom import (
        AtomBrowser as AtomBrowser,
        AtomComparison as AtomComparison,
        WorkList as WorkList,
    )
    from sae_nb_widgets.changes import ChangesPanel as ChangesPanel
    from sae_nb_widgets.circuit import CircuitPanel as CircuitPanel
    from sae_nb_widgets.components import (
        DrawPad as DrawPad,
        PairedBars as PairedBars,
        PictureGrid as PictureGrid,
        SoundRecorder as SoundRecorder,
        Sparkbars as Sparkbars,
        TokenStrip as TokenStrip,
    )
    from sae_nb_widgets.concept_map import ConceptMap as ConceptMap
    from sae_nb_widgets.corpora import CorpusPanel as CorpusPanel
    from sae_nb_widgets.curve import CurvePanel as CurvePanel
    from sae_nb_widgets.dashboards import (
        Dashboard as Dashboard,
        dashboard as dashboard,
        open_dashboard as open_dashboard,
    )
    from sae_nb_widgets.depth import DepthTrajectory as DepthTrajectory
    from sae_nb_widgets.generation import GenerationLens as GenerationLens
    from sae_nb_widgets.heads import HeadsPanel as HeadsPanel
    from sae_nb_widgets.input_lens import InputLens as InputLens
    from sae_nb_widgets.lens import LensPanel as LensPanel
    from sae_nb_widgets.panel import Panel as Panel, theme as theme
    from sae_nb_widgets.patching import PatchingPanel as PatchingPanel
    from sae_nb_widgets.pursuit import PursuitStepper as PursuitStepper
    from sae_nb_widgets.quiz import AtomQuiz as AtomQuiz
    from sae_nb_widgets.report_card import ReportCard as ReportCard
    from sae_nb_widgets.steering import (
        InputSteering as InputSteering,
        SteeringPanel as SteeringPanel,
    )
    from sae_nb_widgets.superposition import SuperpositionToy as SuperpositionToy
    from sae_nb_widgets.temporal import TemporalPanel as TemporalPanel
    from sae_nb_widgets.training import TrainingMonitor as TrainingMonitor
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)


def _browse(*names_and_atom: Any) -> Any:
    from sae_nb_widgets.atom._panel import browser_below

    return browser_below(*names_and_atom)


BROWSERS.append(_browse)  # for "open in browser" under a panel that stands alone
