"""Estimate of a graph's memory before the work: backward passes are made in blocks that are bounded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sae_nb.checks import available_memory, check_memory

if TYPE_CHECKING:
    from sae_nb.circuits._passes import Passes, Trace

logger = logging.getLogger(__name__)

MOST_ROWS, BLOCK_BYTES = 128, 2**29
"""Backward passes that are made together, and what one block of them takes, at most."""

STREAMS = {True: 8, False: 32}
"""Gradients under way in a pass, in widths of the stream: through attention alone, or through MLPs, too."""

KEPT_STREAMS = 40
"""Memory of a layer and position in the two forward passes, in widths of the stream: an MLP four times
as wide and its gate, queries, keys, values, norms. Patterns of attention are kept once.
"""

SHORTER = "Pass a shorter text, or a smaller image."


def check_forward(passes: Passes) -> None:
    """Refuse an input whose forward passes, patterns of attention included, would not fit."""
    model, time = passes.model, _positions(passes)
    layers, heads = int(model.n_layers or 1), int(model.n_heads or 1)
    width = int(model.width(str(passes.start)) or 0)
    needed = 4 * layers * (heads * time * time + KEPT_STREAMS * time * width)
    check_memory(needed, f"The passes of a graph over {time} positions", SHORTER)


def rows_together(trace: Trace, n_nodes: int, n_traced: int) -> int:
    """Return how many backward passes a block has, and say what the whole will take.

    A pass takes a gradient at every place that is written, and those under way; the matrix a number and a
    column for every node of a traced row, twice while it is put together.
    """
    time, width = trace.leaves[0].shape[1:]
    per_row = 4 * time * width * (len(trace.leaves) + STREAMS[trace.exact])
    free = available_memory()
    room = BLOCK_BYTES if free is None else min(BLOCK_BYTES, free // 4)
    rows = int(min(max(room // per_row, 1), MOST_ROWS))
    matrix = 16 * n_traced * n_nodes
    check_memory(matrix + rows * per_row, f"A graph of {n_nodes} nodes", "Lower `max_nodes`.")
    logger.info(
        "A graph of %d nodes, the causes of %d of them traced in blocks of %d backward passes: about %s of "
        "memory, %s of it for a block",
        n_nodes,
        n_traced,
        rows,
        _size(matrix + rows * per_row),
        _size(rows * per_row),
    )
    return rows


def _positions(passes: Passes) -> int:
    """Return the number of positions the model reads: words, patches and the tokens before them, or one
    row.
    """
    ids, model = passes.batch.token_ids, passes.model
    if ids is not None:
        return int(ids.shape[1])
    if model.patch_grid is None:
        return 1
    return model.prefix_tokens + model.patch_grid[0] * model.patch_grid[1]


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.3g} MiB"
