"""What files below `LiveModel` know of it: what readers of inputs ask, and what runs and edits ask besides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from sae_nb._hooks import Hook
from sae_nb.activations._modality import Modality
from sae_nb.models._families import Structure
from sae_nb.models._lock import ModelLock

if TYPE_CHECKING:
    import pandas as pd
    from nnsight import NNsight

    from sae_nb.checks import Inputs


class Reads(Protocol):
    """A model as readers of its inputs know it."""

    name: str
    kind: str
    module: nn.Module
    tokenizer: Any
    preprocess: Any
    causal: bool
    sample_rate: float | None
    prefix_tokens: int
    patch_grid: tuple[int, int] | None
    frames: int | None

    @property
    def modality(self) -> Modality: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def streams(self) -> dict[str, Structure]: ...
    @property
    def vocabulary_size(self) -> int | None: ...
    @property
    def context_length(self) -> int | None: ...
    @property
    def special_ids(self) -> frozenset[int]: ...
    @property
    def beginning_of_text(self) -> int | None: ...
    @property
    def end_of_text(self) -> int | None: ...
    @property
    def pad_id(self) -> int: ...
    @property
    def padding_id(self) -> int | None: ...
    @property
    def has_sinks(self) -> bool: ...
    @property
    def generates(self) -> bool: ...
    @property
    def placeholders(self) -> dict[int, str]: ...
    @property
    def column_seconds(self) -> float | None: ...

    def batches(self, inputs: Inputs, *, batch_size: int | None = None) -> Any:
        """Return batches of checked inputs."""


class Runs(Reads, Protocol):
    """A model as runs and edits of its module know it."""

    class_names: Sequence[str] | None
    given_nnsight: NNsight
    remote: bool | str
    n_passes: int
    lock: ModelLock
    interventions: list[Any]
    editing: Any

    @property
    def structure(self) -> Structure | None: ...
    @property
    def order_is_known(self) -> bool: ...
    @property
    def nnsight(self) -> NNsight: ...

    def note_turns(self, turns: Any) -> None:
        """Take the order of a pass over the whole network for that of every pass."""

    def forward(self, batch: Any, *, grad: bool = False, method: str = "__call__") -> Any:
        """Run the module on one batch."""

    def main_output(self, raw: object) -> Tensor:
        """Return the tensor that counts in a raw output."""

    def hook_points(self) -> Sequence[Any]:
        """Return the standard hook points."""


Generated = str | Tensor | list[str] | list[Tensor]

continue_texts: Hook[..., Generated] = Hook("continue_texts")
token_table: Hook[[Runs, object], pd.DataFrame] = Hook("token_table")
"""What is done with a model stands above it; users type these two as methods."""
