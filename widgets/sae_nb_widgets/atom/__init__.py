"""AtomBrowser, AtomComparison, WorkList: what makes an atom fire, how two differ, which to look at again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb_widgets.atom._comparison import AtomComparison as AtomComparison
    from sae_nb_widgets.atom._panel import AtomBrowser as AtomBrowser
    from sae_nb_widgets.atom._work_list import WorkList as WorkList
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
