"""A matrix in CSR form that knows its CSC form, by a stable sort; scipy's counting sort is quicker."""

from __future__ import annotations

from typing import Any

import numpy as np


class csr_matrix:  # noqa: N801 - scipy's name
    """Data, columns and row starts of a matrix; after `tocsc`, the same with rows for columns."""

    def __init__(self, parts: tuple[Any, Any, Any], shape: tuple[int, int]) -> None:
        self.data, self.indices, self.indptr = map(np.asarray, parts)
        self.shape = shape

    def tocsc(self) -> csr_matrix:
        """The entries column by column, each in the order of the rows."""
        rows = np.repeat(np.arange(self.shape[0], dtype=self.indices.dtype), np.diff(self.indptr))
        order = np.argsort(self.indices, kind="stable")
        counts = np.bincount(self.indices, minlength=self.shape[1])
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(self.indptr.dtype)
        return csr_matrix((self.data[order], rows[order], starts), self.shape)
