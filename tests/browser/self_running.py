"""A JupyterLab set up as on Binder: it runs the notebooks its settings name when they are opened."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from lab import Lab

BINDER = Path(__file__).parents[2] / "binder" / "jupyter"


class SelfRunningLab(Lab):
    """`Lab` with Binder's extension and settings; `run_all` is for the extension to do."""

    named = True
    seconds_to_open = 0.0

    def _environment(self) -> dict[str, str]:
        env = super()._environment()
        settings = self._scratch / "binder" / "labconfig"
        shutil.copytree(BINDER / "labconfig", settings)
        # The notebook opened is a copy with a name of its own.
        named = [self._copy.name] if self.named else ["another.ipynb"]
        (settings / "page_config.json").write_text(json.dumps({"saeNbRunOnOpen": named}))
        env["JUPYTER_CONFIG_PATH"] = str(settings.parent)
        env["JUPYTER_PATH"] = str(BINDER)
        return env

    def _open(self) -> None:
        self.opened = time.monotonic()
        super()._open()
        self.seconds_to_open = time.monotonic() - self.opened

    def all_ran(self) -> bool:
        """Whether every code cell has been executed and the kernel rests."""
        state = self.state()
        return state is not None and state["kernel"] == "idle" and _all_counted(state)

    def until(self, holds: Any, what: str) -> float:
        """Wait until `holds()`; return the seconds since the page was asked for."""
        self._until(holds, what)
        return time.monotonic() - self.opened


def _all_counted(state: dict[str, Any]) -> bool:
    return all(cell["count"] is not None or cell["empty"] for cell in state["cells"])
