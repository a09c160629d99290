"""UMAP of the codes of a sequence, in processes that end with the panel."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sae_nb.geometry.umap import UmapProcess, start_umap


class Unfolding:
    """Layouts on request; closing it ends what still runs."""

    def __init__(self) -> None:
        self._running: list[UmapProcess] = []
        self._lock = threading.Lock()
        self._closed = False

    def layouts(self, codes: Mapping[str, Tensor]) -> dict[str, Any]:
        """Coordinates of every kind of codes, one after the other.

        Parameters
        ----------
        codes
            Rows to lay out, by name.

        Raises
        ------
        RuntimeError
            If this was closed meanwhile.
        """
        return {name: self._layout(rows) for name, rows in codes.items()}

    def _layout(self, rows: Tensor) -> Any:
        with self._lock:
            if self._closed:
                raise RuntimeError("The panel was closed before its UMAP layout was there.")
            process = start_umap(rows)
            self._running.append(process)
        try:
            return process.wait()
        finally:
            process.close()
            with self._lock:
                self._running.remove(process)

    def close(self) -> None:
        """End every process that still runs."""
        with self._lock:
            self._closed, running = True, list(self._running)
        for process in running:
            process.close()
