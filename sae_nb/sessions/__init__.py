"""Sessions and annotations: a record of what you viewed, wrote and did with an SAE, in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb.exports import lazy_exports

if TYPE_CHECKING:
    from sae_nb.sessions._annotations import Annotations as Annotations
    from sae_nb.sessions._names import names_of as names_of
    from sae_nb.sessions._session import (
        Session as Session,
        open_session as open_session,
        save_session as save_session,
        session_panels as session_panels,
    )
    from sae_nb.sessions._summary import (
        SessionSummary as SessionSummary,
        peak_memory as peak_memory,
        summarise_session as summarise_session,
    )
    from sae_nb.sessions._verdicts import keep_verdicts as keep_verdicts
else:
    __getattr__, __dir__, __all__ = lazy_exports(__name__)
