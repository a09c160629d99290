"""Load a model, capture its activations, train a sparse autoencoder (SAE), look at its atoms, steer with them.

An SAE writes each activation as a sum of a few directions, its *atoms*. Papers also call them features
or latents: atom = feature = latent. This module names what users import; each name is loaded from its
package on first use.

Nothing heavy is imported here: `import sae_nb` touches neither torch, numba, nnsight nor umap, so it
costs milliseconds. A public function and a submodule never share a name, because the import system
would replace the one by the other.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if sys.version_info < (3, 11):  # noqa: UP036 - pip asks, but a folder on the path is not asked
    raise ImportError(
        f"sae_nb needs Python 3.11 or newer, got {sys.version.split()[0]}. "
        "Make a new environment with a newer Python and install it there."
    )

from sae_nb._hooks import answered_by as _answered_by
from sae_nb.exports import imported as _imported, lazy_exports, studies as _studies

# OpenMP's threads wait for each other by counting, 300 000 steps by default: with other work on the same
# cores they count while the one that they wait for has none. 1 000 is what libgomp itself takes where there
# are more threads than cores. It reads this once, when torch brings it in.
if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:
    from sae_nb_widgets import (
        AtomBrowser as AtomBrowser,
        AtomComparison as AtomComparison,
        AtomQuiz as AtomQuiz,
        ChangesPanel as ChangesPanel,
        CircuitPanel as CircuitPanel,
        ConceptMap as ConceptMap,
        CorpusPanel as CorpusPanel,
        CurvePanel as CurvePanel,
        Deferred as Deferred,
        DepthTrajectory as DepthTrajectory,
        GenerationLens as GenerationLens,
        HeadsPanel as HeadsPanel,
        InputLens as InputLens,
        InputSteering as InputSteering,
        LensPanel as LensPanel,
        PatchingPanel as PatchingPanel,
        PursuitStepper as PursuitStepper,
        ReportCard as ReportCard,
        SteeringPanel as SteeringPanel,
        SuperpositionToy as SuperpositionToy,
        TemporalPanel as TemporalPanel,
        TrainingMonitor as TrainingMonitor,
        WorkList as WorkList,
        dashboard as dashboard,
        open_dashboard as open_dashboard,
    )

    from sae_nb import (
        architectures as architectures,
        atoms as atoms,
        capturing as capturing,
        circuits as circuits,
        classical as classical,
        corpora as corpora,
        data as data,
        diffing as diffing,
        dynamics as dynamics,
        evaluation as evaluation,
        figures as figures,
        findings as findings,
        generation as generation,
        geometry as geometry,
        interop as interop,
        labelling as labelling,
        lenses as lenses,
        models as models,
        monitoring as monitoring,
        pretrained as pretrained,
        pursuit as pursuit,
        serving as serving,
        sessions as sessions,
        site as site,
        steering as steering,
        sweeps as sweeps,
        temporal as temporal,
        training as training,
    )
    from sae_nb.activations import (
        Activations as Activations,
        align as align,
        concatenate as concatenate,
        load_activations as load_activations,
    )
    from sae_nb.architectures import (
        AbsTopK as AbsTopK,
        Archetypal as Archetypal,
        BatchTopK as BatchTopK,
        Crosscoder as Crosscoder,
        CrossLayerTranscoder as CrossLayerTranscoder,
        Gated as Gated,
        JumpReLU as JumpReLU,
        MatchingPursuit as MatchingPursuit,
        Matryoshka as Matryoshka,
        OrthogonalMatchingPursuit as OrthogonalMatchingPursuit,
        ReLU as ReLU,
        SkipTranscoder as SkipTranscoder,
        SpaDE as SpaDE,
        SparseAutoencoder as SparseAutoencoder,
        Temporal as Temporal,
        TopK as TopK,
        Transcoder as Transcoder,
        UniversalSAE as UniversalSAE,
        sparse_code as sparse_code,
    )
    from sae_nb.capturing import capture as capture, stream as stream
    from sae_nb.classical import (
        ITDA as ITDA,
        SemiNMF as SemiNMF,
        fit_classical as fit_classical,
        supervised_dictionary as supervised_dictionary,
    )
    from sae_nb.codes import SparseCodes as SparseCodes
    from sae_nb.corpora import contrast as contrast, top_atoms as top_atoms
    from sae_nb.diagnosis import doctor as doctor
    from sae_nb.diffing import diff_models as diff_models
    from sae_nb.evaluation import (
        check_fit as check_fit,
        evaluate as evaluate,
        second_code as second_code,
        which_sae as which_sae,
    )
    from sae_nb.interop import published as published
    from sae_nb.interrupts import Interrupted as Interrupted, interrupted as interrupted
    from sae_nb.labelling import label as label, labels as labels
    from sae_nb.lenses import Lens as Lens, fit_lens as fit_lens
    from sae_nb.models import (
        HookPoint as HookPoint,
        HookPointNotFound as HookPointNotFound,
        LiveModel as LiveModel,
        load_model as load_model,
        wrap as wrap,
    )
    from sae_nb.monitoring import monitor as monitor
    from sae_nb.pretrained import (
        ExampleStore as ExampleStore,
        load_examples as load_examples,
        load_lens as load_lens,
        load_sae as load_sae,
        pretrained_names as pretrained_names,
    )
    from sae_nb.pursuit import (
        gradient_pursuit as gradient_pursuit,
        matching_pursuit as matching_pursuit,
        orthogonal_matching_pursuit as orthogonal_matching_pursuit,
    )
    from sae_nb.sessions import open_session as open_session
    from sae_nb.steering import (
        ablate as ablate,
        best_effect as best_effect,
        calibrate_strength as calibrate_strength,
        direction as direction,
        dose_response as dose_response,
        forecast as forecast,
        random_direction as random_direction,
        splice as splice,
        steer as steer,
    )
    from sae_nb.sweeps import sweep as sweep
    from sae_nb.training import (
        TrainConfig as TrainConfig,
        TrainingRun as TrainingRun,
        start_training as start_training,
        train as train,
    )
    from sae_nb_studies import lab as lab, minkowski as minkowski, uses as uses, vision as vision
    from sae_nb_studies.architectures import (
        TSAE as TSAE,
        FeatureChoice as FeatureChoice,
        GradientSAE as GradientSAE,
        GroupBiasAdaptation as GroupBiasAdaptation,
        GroupSparse as GroupSparse,
        Lorsa as Lorsa,
        MaskedSAE as MaskedSAE,
        MutualChoice as MutualChoice,
        OrtSAE as OrtSAE,
        PolySAE as PolySAE,
        TopAFA as TopAFA,
        TreeSAE as TreeSAE,
        VariationalSAE as VariationalSAE,
    )
    from sae_nb_studies.evaluation import certificate as certificate
    from sae_nb_studies.steering import steering_cost as steering_cost

    studies: Any
else:
    _find, __dir__, __all__ = lazy_exports(__name__)

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib import metadata

            return metadata.version("sae-nb")
        if name == "studies":
            return _studies()
        return _find(name)


# What lower packages ask of higher ones, by the name of the hook: who answers is imported when it is asked.


def _card() -> None:
    import sae_nb.kernels._cuda  # noqa: F401


def _names() -> None:
    import sae_nb.sessions._names  # noqa: F401


def _loading() -> None:
    import sae_nb.pretrained._loading  # noqa: F401


def _examples() -> None:
    import sae_nb.pretrained._examples  # noqa: F401


def _starts() -> None:
    import sae_nb.training._starts  # noqa: F401


def _saelens() -> None:
    import sae_nb.interop._publishing
    import sae_nb.interop._saelens_layout  # noqa: F401


def _panels() -> None:
    _imported("sae_nb_widgets.dashboards._open_panels")


def _recipes() -> None:
    import sae_nb.steering._export  # noqa: F401


def _kinds() -> None:
    import sae_nb.models._modalities  # noqa: F401


def _texts() -> None:
    import sae_nb.models._generation
    import sae_nb.models._text_inputs  # noqa: F401


_answered_by(
    card_decoding=_card,
    card_encoding=_card,
    card_topk_among=_card,
    continue_texts=_texts,
    kinds=_kinds,
    known_catalogue=_examples,
    misfit=_loading,
    saelens_tensors=_saelens,
    session_panels=_panels,
    shown_names=_names,
    starting_atoms=_starts,
    token_table=_texts,
    upload=_saelens,
    write_lm_eval=_recipes,
    write_vectors=_recipes,
)
