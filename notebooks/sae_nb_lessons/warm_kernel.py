"""Extension of a Jupyter server: the demo's kernel starts, and imports, while its page is still being loaded.

`jupyter lab demo.ipynb --ServerApp.jpserver_extensions="{'sae_nb_lessons.warm_kernel': True}"`, as `make demo`
does. The page finds the session of its notebook and takes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

WARM = "from sae_nb_lessons import demo; demo.warm()"


def _load_jupyter_server_extension(server: Any) -> None:
    if server.file_to_run:
        server.io_loop.add_callback(_start, server)


async def _start(server: Any) -> None:
    """Start the kernel of the notebook that the server was called with."""
    notebook = Path(server.file_to_run).resolve()
    path = notebook.relative_to(Path(server.root_dir).resolve()).as_posix()
    session = await server.session_manager.create_session(
        path=path, name=notebook.name, type="notebook", kernel_name="python3"
    )
    client = server.kernel_manager.get_kernel(session["kernel"]["id"]).client()
    client.start_channels()
    client.execute(WARM, silent=True, store_history=False)
    server.io_loop.call_later(60, client.stop_channels)
