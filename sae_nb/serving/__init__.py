"""The toolkit as tools of an agent: `sae-nb mcp` speaks the Model Context Protocol over stdin and stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sae_nb._lazy import door

if TYPE_CHECKING:
    from sae_nb.serving._bounds import MAX_CHARACTERS as MAX_CHARACTERS, MAX_INPUTS as MAX_INPUTS
    from sae_nb.serving._server import server as server, tool_names as tool_names
    from sae_nb.serving._shelf import Shelf as Shelf
else:
    __getattr__, __dir__, __all__ = door(__name__)
