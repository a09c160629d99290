"""A JupyterLab set up as on Binder: it runs the notebooks its settings name when they are opened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lab import Lab

BINDER = Path(__file__).parents[2] / "binder" / "jupyter"


class SelfRunningLab(Lab):
    """`Lab` with Binder's extension and settings; `run_all` is for the extension to do."""

    def _environment(self) -> dict[str, str]:
        env = super()._environment()
        settings = self._scratch / "binder" / "labconfig"
        shutil.copytree(BINDER / "labconfig", settings)
        # The notebook opened is a copy with a name of its own.
        named = json.dumps({"saeNbRunOnOpen": [self._copy.name]})
        (settings / "page_config.json").write_text(named)
        env["JUPYTER_CONFIG_PATH"] = str(settings.parent)
        env["JUPYTER_PATH"] = str(BINDER)
        return env

    def all_ran(self) -> bool:
        """Whether every code cell has been executed and the kernel rests."""
        state = self.state()
        return state is not None and state["kernel"] == "idle" and _all_counted(state)

    def until(self, holds: Any, what: str) -> None:
        """Wait until `holds()`."""
        self._until(holds, what)


def _all_counted(state: dict[str, Any]) -> bool:
    return all(cell["count"] is not None or cell["empty"] for cell in state["cells"])
