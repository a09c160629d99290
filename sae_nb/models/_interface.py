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
    def modality(self) -> Modality:
        """Kind of input as a record: its words, how it is read and shown. Equal to `kind`."""

    @property
    def reads_pixels(self) -> bool:
        """Whether it reads pixel values, of images or of the frames of videos."""

    @property
    def device(self) -> torch.device:
        """Device of its inputs: that of its first parameter; the CPU for a model that runs remotely."""

    @property
    def dtype(self) -> torch.dtype:
        """Number format of its first floating-point parameter."""

    @property
    def streams(self) -> dict[str, Structure]:
        """Paths of the blocks of "encoder" and "decoder"; empty for a model of one stream."""

    @property
    def vocabulary_size(self) -> int | None:
        """Number of token ids it knows; None if it does not read tokens."""

    @property
    def context_length(self) -> int | None:
        """Longest text it can read, tokens; None if unlimited or unknown."""

    @property
    def special_ids(self) -> frozenset[int]:
        """Ids of special tokens."""

    @property
    def beginning_of_text(self) -> int | None:
        """Id of the token a text starts with; None if there is none."""

    @property
    def end_of_text(self) -> int | None:
        """Id of the token that ends a text; None if there is none."""

    @property
    def pad_id(self) -> int:
        """Id written into padding; its output is masked out."""

    @property
    def padding_id(self) -> int | None:
        """Id of the padding token; None where the model has none."""

    @property
    def has_sinks(self) -> bool:
        """Whether the first tokens of texts are attention sinks: in decoders of language."""

    @property
    def generates(self) -> bool:
        """Whether it writes texts, token by token."""

    @property
    def placeholders(self) -> dict[int, str]:
        """Token ids at which a text holds an image's patches, with their kind; empty for other models."""

    @property
    def column_seconds(self) -> float | None:
        """Time from one column of patches, of a spectrogram or a series, to the next; None for other models."""

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
    def structure(self) -> Structure | None:
        """Paths of its blocks and their parts, in the order in which they run; None where none were found."""

    @property
    def order_is_known(self) -> bool:
        """Whether a pass or the configuration has shown in which order blocks run."""

    @property
    def nnsight(self) -> NNsight:
        """The model wrapped by nnsight, for traces of your own; language models take text."""

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
