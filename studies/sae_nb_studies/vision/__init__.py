"""The concepts of a vision model, where they are, and which of them its answer depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_studies.vision._annotate import Annotations as Annotations, annotate as annotate
    from sae_nb_studies.vision._attribution import (
        AttributionStability as AttributionStability,
        PixelAttribution as PixelAttribution,
        attribution as attribution,
        attribution_stability as attribution_stability,
    )
    from sae_nb_studies.vision._blindspots import Blindspots as Blindspots, blindspots as blindspots
    from sae_nb_studies.vision._bottleneck import (
        ConceptBottleneck as ConceptBottleneck,
        ConceptPlaces as ConceptPlaces,
        concept_bottleneck as concept_bottleneck,
    )
    from sae_nb_studies.vision._bridge import BridgeView as BridgeView, bridge_view as bridge_view
    from sae_nb_studies.vision._complexity import (
        FeatureComplexity as FeatureComplexity,
        complexity_of as complexity_of,
        feature_complexity as feature_complexity,
    )
    from sae_nb_studies.vision._craft import Craft as Craft, craft as craft
    from sae_nb_studies.vision._curves import (
        ConceptCurves as ConceptCurves,
        concept_curves as concept_curves,
    )
    from sae_nb_studies.vision._discovery import Discovery as Discovery, discover as discover
    from sae_nb_studies.vision._fidelity import (
        PixelFidelity as PixelFidelity,
        pixel_fidelity as pixel_fidelity,
    )
    from sae_nb_studies.vision._harmonising import (
        MapAgreement as MapAgreement,
        harmonise as harmonise,
        map_agreement as map_agreement,
    )
    from sae_nb_studies.vision._heads import (
        ConceptHead as ConceptHead,
        concept_head as concept_head,
    )
    from sae_nb_studies.vision._maximise import maximise as maximise
    from sae_nb_studies.vision._maximised import Coordinated as Coordinated, Maximised as Maximised
    from sae_nb_studies.vision._memorised import Memorised as Memorised, memorised as memorised
    from sae_nb_studies.vision._robustness import (
        Robustness as Robustness,
        corrupt as corrupt,
        robustness as robustness,
    )
    from sae_nb_studies.vision._sobol import SobolIndices as SobolIndices, sobol as sobol
    from sae_nb_studies.vision._verified import (
        VerifiedAttribution as VerifiedAttribution,
        attacked as attacked,
        verified_attribution as verified_attribution,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
