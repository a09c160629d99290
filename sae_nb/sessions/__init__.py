"""Sessions and annotations: a record of what you viewed, wrote and did with an SAE, in a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.sessions._session import open_session as open_session
else:
    __getattr__, __dir__, __all__ = door(__name__)

if TYPE_CHECKING:  # for the other rooms
    from sae_nb.sessions._annotations import (
        Annotations as Annotations,
        annotations_of as annotations_of,
    )
    from sae_nb.sessions._names import names_of as names_of
    from sae_nb.sessions._panels import OPENERS as OPENERS
    from sae_nb.sessions._session import Session as Session, save_session as save_session
    from sae_nb.sessions._verdicts import keep_verdicts as keep_verdicts
