"""One input as people see it: its batch, its image or sound, the names of its positions and of outcomes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int16, UInt8

from sae_nb.activations._context import Context, PlacedImages
from sae_nb.activations.tokens import describe_ids, token_texts
from sae_nb.models._inputs import Batch
from sae_nb.models._states import TokenAxes, timed_layout

if TYPE_CHECKING:
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel


def as_batch(model: LiveModel, inputs: Inputs) -> Batch:
    """Return the batch of one sample; a batch of one, or a list of it, is taken as it is."""
    batches = [inputs] if isinstance(inputs, Batch) else inputs
    if not isinstance(batches, list) or not batches or not isinstance(batches[0], Batch):
        batches = list(model.batches(inputs, batch_size=1))
    if len(batches) != 1 or batches[0].n != 1:
        raise ValueError(
            f"One input must be given at a time, got {sum(batch.n for batch in batches)}. Pass a "
            "slice of one, such as inputs[3:4]."
        )
    return batches[0]


def outcome_names(model: LiveModel, ids: Iterable[int]) -> list[str]:
    """Return what classes or tokens are called."""
    ids = [int(i) for i in ids]
    if model.modality.is_text or model.streams:
        if model.tokenizer is None:
            return [f"id {i}" for i in ids]
        texts = describe_ids(model.tokenizer, ids)
        return [texts[i] for i in ids]
    names = model.class_names or ()
    return [str(names[i]) if i < len(names) else f"class {i}" for i in ids]


def layout_in(model: LiveModel, batch: Batch, n_tokens: int, hook_point: str) -> TokenAxes:
    """Return how a sample's places at a hook point are laid out: their grid, and the time between them."""
    layout, point = TokenAxes(columns=n_tokens, grid=model.patch_grid), model.hook_point(hook_point)
    batch = batch.at(point)
    if batch.sample_rate is None:
        return layout
    # Padding is part of the trace by which time is counted, also where its places are left out.
    padded = batch.keep is not None and _count(batch) == n_tokens
    columns = batch.sample.shape[1] if padded else n_tokens
    bare = TokenAxes(columns=columns)
    timed = timed_layout(bare, model, batch, point)
    grid = model.patch_grid or (None if timed.grid is None else (1, n_tokens))
    return replace(layout, seconds=timed.seconds, grid=grid)


def token_names(
    model: LiveModel, batch: Batch, n_tokens: int, layout: TokenAxes | None = None
) -> tuple[str, ...]:
    """Return the name of every position of a sample, in the half of a model that has as many."""
    if batch.encoder is not None and _count(batch) != n_tokens == _count(batch.encoder):
        batch = batch.encoder
    if batch.token_ids is not None and batch.images is not None and len(batch.images):
        return _names_with_patches(model, batch)
    if batch.token_ids is not None:
        ids = batch.token_ids[0] if batch.keep is None else batch.token_ids[0][batch.keep[0]]
        if model.tokenizer is not None:
            return tuple(token_texts(model.tokenizer, ids.tolist()))
        return tuple(outcome_names(model, ids.cpu().numpy()))
    return places_of(model, layout).position_names(n_tokens)


def _names_with_patches(model: LiveModel, batch: Batch) -> tuple[str, ...]:
    """Return the tokens of a text, and the patches of its images by name."""
    names = list(token_names(model, replace(batch, images=None), 0))
    images = placed_in(batch)
    if images is not None:
        context = Context(kind=model.kind, n_samples=1, images=images)
        for image in images.of_sample(0):
            for position in images.patches(image):
                names[position] = context.patch_of_image(image, position)
    return tuple(names)


def placed_in(batch: Batch) -> PlacedImages | None:
    """Return the images of a batch of one text; None where it has none."""
    if batch.images is None or batch.images_at is None or not len(batch.images):
        return None
    first = torch.tensor([batch.first_sample, 0, 0, 0, 0])
    return PlacedImages(batch.images, batch.images_at - first)


def places_of(model: LiveModel, layout: TokenAxes | None) -> Context:
    """Return names and places of the positions of a model's samples, at states of a layout."""
    if layout is None:
        return model.places
    return replace(model.places, patch_grid=layout.grid, seconds_per_step=layout.seconds)


def _count(batch: Batch) -> int:
    return batch.sample.shape[1] if batch.keep is None else int(batch.keep[0].sum())


def patch_map(
    values: Float[np.ndarray, " positions"], places: Context
) -> Float[np.ndarray, "rows columns"] | None:
    """Return the patches among values by position, as a map over a sample's face; None without patches."""
    grid, n_prefix = places.patch_grid, places.prefix_tokens
    if grid is None or len(values) - n_prefix != grid[0] * grid[1]:
        return None
    return places.on_face(values[n_prefix:])


def with_place(model: LiveModel, text: str) -> str:
    """Return a text with a place for its image: in front, where it has none."""
    token = str(getattr(model.preprocess, "image_token", "<image>"))
    return text if token in text else f"{token} {text}"


def shown_picture(batch: Batch) -> UInt8[np.ndarray, "3 height width"] | None:
    """Return the image of a batch of one, where it has one."""
    return None if batch.pictures is None else batch.pictures[0].cpu().numpy()


def played_sound(batch: Batch) -> Int16[np.ndarray, " length"] | None:
    """Return the sound of a batch of one as it is played, where it is one."""
    return None if batch.sounds is None else batch.sounds[0].cpu().numpy()
