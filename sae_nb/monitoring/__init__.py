"""A watch on a live model: how far each token lies along directions, and what a whole text amounts to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.monitoring._attention import (
        AttentionProbe as AttentionProbe,
        attention_probe as attention_probe,
    )
    from sae_nb.monitoring._cascade import Cascade as Cascade
    from sae_nb.monitoring._monitor import Monitor as Monitor, monitor as monitor
    from sae_nb.monitoring._readings import Readings as Readings
    from sae_nb.monitoring._report import MonitorReport as MonitorReport
    from sae_nb.monitoring._watching import Watch as Watch
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
