"""The samples behind captured rows: their tokens, pictures and sounds, gathered batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from sae_nb.activations._context import (
    Context,
    join_columns,
    placed_images,
    ragged_sounds,
    ragged_tokens,
)
from sae_nb.activations._modality import LANGUAGE
from sae_nb.activations.tokens import describe_ids
from sae_nb.models._states import TokenAxes

if TYPE_CHECKING:
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch


class ContextBuilder:
    """Gathers the samples behind the rows, batch by batch; `encoder`: as the encoder reads them."""

    def __init__(self, model: LiveModel, *, encoder: bool = False) -> None:
        self._model, self._encoder = model, encoder
        # A decoder has tokens, whatever its encoder reads.
        self._kind = LANGUAGE.name if model.streams and not encoder else model.kind
        self.n_samples = 0
        self._tokens: list[Tensor] = []
        self._pictures: list[Tensor] = []
        self._sounds: list[Tensor] = []
        self._images: list[tuple[Tensor, Tensor]] = []
        self._size: tuple[int, ...] | None = None
        self._n_texts, self._n_bos = 0, 0
        self.vocabulary: dict[int, str] = {}

    @property
    def bos(self) -> Literal["all", "some", "none"] | None:
        """Whether all, some or none of the texts begin with the beginning-of-text token; None without text."""
        if not self._n_texts:
            return None
        if self._n_bos == self._n_texts:
            return "all"
        return "some" if self._n_bos else "none"

    def add(self, batch: Batch) -> None:
        """Add the samples of one batch."""
        if self._encoder and batch.encoder is not None:
            batch = batch.encoder
        self.n_samples = max(self.n_samples, int(batch.sample.max()) + 1)
        self._add_tokens(batch)
        if batch.sounds is not None:
            self._sounds += batch.sounds
        if batch.images is not None and batch.images_at is not None:
            self._images.append((batch.images, batch.images_at))
        if batch.pictures is None:
            return
        size = tuple(batch.pictures.shape[1:])
        if self._size not in (None, size):
            raise ValueError(
                f"Images of one capture must have one size, got {self._size} and {size}. Resize them "
                "to one size, or capture each size by itself."
            )
        self._size = size
        self._pictures.append(batch.pictures.cpu())

    def _add_tokens(self, batch: Batch) -> None:
        if batch.token_ids is None:
            return
        ids = batch.token_ids.cpu()
        keep = torch.ones_like(ids, dtype=torch.bool) if batch.keep is None else batch.keep.cpu()
        position = batch.position.cpu()[keep]
        columns = [batch.sample.cpu()[keep], position, ids[keep]]
        columns += [of.cpu()[keep] for of in (batch.role, batch.turn) if of is not None]
        self._tokens.append(torch.stack(columns))
        first = ids[keep][position == 0]
        self._n_texts += len(first)
        begin = self._model.beginning_of_text
        self._n_bos += 0 if begin is None else int((first == begin).sum())
        new = sorted(set(torch.unique(ids[keep]).tolist()) - self.vocabulary.keys())
        if self._model.tokenizer is not None:
            self.vocabulary |= describe_ids(self._model.tokenizer, new)

    def take(self) -> dict[str, Tensor]:
        """Return and forget the tokens and images gathered since the last call."""
        taken = {}
        if self._tokens:
            taken["tokens"] = join_columns(self._tokens)
        if self._pictures:
            taken["pictures"] = torch.cat(self._pictures)
        if self._sounds:
            taken["sounds"] = torch.cat(self._sounds)
            taken["sound_lengths"] = torch.tensor([len(sound) for sound in self._sounds])
        if self._images:
            taken["images"] = torch.cat([images for images, _ in self._images])
            taken["images_at"] = torch.cat([at for _, at in self._images])
        self._tokens, self._pictures, self._sounds, self._images = [], [], [], []
        return taken

    def build(
        self,
        layout: TokenAxes,
        policy: Mapping[str, Any] | None = None,
        taken: Mapping[str, Tensor] | None = None,
    ) -> Context:
        """Return the context of rows of a layout."""
        grid, policy = layout.grid, dict(policy or {})
        if layout.features is not None:
            policy["features"] = layout.features
        taken = self.take() if taken is None else taken
        model, tokens = self._model, taken.get("tokens")
        patches = grid is None and self._kind == model.kind
        return Context(
            kind=self._kind,
            n_samples=self.n_samples,
            pictures=taken.get("pictures"),
            sounds=ragged_sounds(taken),
            images=placed_images(taken),
            **({} if tokens is None else ragged_tokens(tokens, self.n_samples)),  # type: ignore[arg-type]
            vocabulary=self.vocabulary,
            patch_grid=model.patch_grid if patches else grid,
            prefix_tokens=model.prefix_tokens if patches else 0,
            placeholders=model.placeholders,
            frames=model.frames if patches else None,
            time_last=model.time_last and patches,
            seconds_per_step=layout.seconds,
            policy=policy,
        )
