"""Studies: a paper or a question each, built on the tool, which knows none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import check_version, lazy_exports

check_version("sae-nb-studies")

if TYPE_CHECKING:
    from sae_nb_studies import (
        architectures as architectures,
        circuits as circuits,
        data as data,
        dynamics as dynamics,
        evaluation as evaluation,
        geometry as geometry,
        lab as lab,
        minkowski as minkowski,
        models as models,
        pretrained as pretrained,
        steering as steering,
        temporal as temporal,
        uses as uses,
        vision as vision,
    )
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
