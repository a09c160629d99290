"""Texts with images in them: token ids in which placeholders are the places of image patches.

One stream holds both. Rows are padded on the right, whatever side a processor padded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from sae_nb.models import _facts as facts
from sae_nb.models._inputs import AddBos, Batch, Batches, chunks, described, empty
from sae_nb.models._preprocessing import as_bytes
from sae_nb.models._text_inputs import check_ids, token_batches, warn_of_twice
from sae_nb.models._token_layout import pair

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from sae_nb.checks import Inputs
    from sae_nb.models._interface import Reads, Runs


_OF_PICTURES = ("pixel_values", "input_features", "flattened_patches", "image_patches")


def mixed_batches(
    model: Runs,
    inputs: Inputs,
    *,
    batch_size: int,
    context_length: int | None = None,
    pack: bool = False,
    add_bos: AddBos = "auto",
) -> Batches:
    """Return batches of texts with images: a processor's output, pairs (text, image), or texts alone."""
    policy = {"padding": "right", "special_tokens": sorted(model.special_ids), "truncated": 0}
    if isinstance(inputs, Mapping) and "input_ids" in inputs:
        made = _made(model, [inputs])
        return Batches(made, n_samples=_n_samples(inputs), policy=policy)
    if isinstance(inputs, list | tuple) and not inputs:
        raise empty("text")
    items = [inputs] if _is_pair(inputs) else inputs
    if isinstance(items, list | tuple):
        if all(isinstance(one, Mapping) and "input_ids" in one for one in items):
            n_samples = sum(_n_samples(one) for one in items)
            return Batches(_made(model, items), n_samples=n_samples, policy=policy)
        if all(_is_pair(one) for one in items):
            processed = (_processed(model, chunk) for chunk in chunks(items, batch_size))
            return Batches(_made(model, processed), n_samples=len(items), policy=policy)
    read = token_batches(
        model,
        inputs,
        batch_size=batch_size,
        context_length=context_length,
        pack=pack,
        add_bos=add_bos,
    )
    checked = (_without_placeholders(model, batch) for batch in read)
    return Batches(checked, n_samples=read.n_samples, policy=read.policy)


def _n_samples(given: Mapping[str, Any]) -> int:
    ids = torch.as_tensor(given["input_ids"])
    return 1 if ids.ndim == 1 else len(ids)


def _is_pair(one: object) -> bool:
    if isinstance(one, Mapping):
        return "text" in one and ("image" in one or "images" in one)
    return (
        isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str) and _is_image(one[1])
    )


def _is_image(one: object) -> bool:
    many = isinstance(one, list | tuple) and bool(one) and all(_is_image(part) for part in one)
    is_array = hasattr(one, "__array__") and not isinstance(one, Sequence)  # a data set has many
    return many or isinstance(one, Image.Image | Tensor) or is_array


def _processed(model: Reads, chunk: list[Any]) -> Mapping[str, Any]:
    """Return what the model's processor makes of texts with their images."""
    processor = model.preprocess
    if processor is None:
        raise TypeError(
            f"{model.name} has no processor, so texts with images must be what one made, with input_ids and "
            f"pixel_values, got {described(chunk[0])}. Pass wrap(module, processor), or its output."
        )
    texts, images = [], []
    for one in chunk:
        if isinstance(one, Mapping):
            text, image = one["text"], one.get("image", one.get("images"))
        else:
            text, image = one
        texts.append(_begun_once(model, text))
        images.append(list(image) if isinstance(image, list | tuple) else [image])
    made: Mapping[str, Any] = processor(
        text=texts, images=images, padding=True, return_tensors="pt"
    )
    return made


def _begun_once(model: Reads, text: str) -> str:
    """Return a text without the BOS that its processor puts there anyway."""
    bos, read = model.beginning_of_text, model.tokenizer
    if read is None or bos is None or read(text)["input_ids"][:2] != [bos, bos]:
        return text
    warn_of_twice(model, [bos])
    return text.lstrip().removeprefix(read.bos_token)


def _made(model: Reads, parts: Iterable[Mapping[str, Any]]) -> Iterator[Batch]:
    first = 0
    for part in parts:
        batch = mixed_batch(model, part, first)
        first += batch.n
        yield batch


def mixed_batch(model: Reads, given: Mapping[str, Any], first: int = 0) -> Batch:
    """Return the batch of a processor's output."""
    ids = check_ids(model, torch.as_tensor(given["input_ids"]))
    ids = ids[None] if ids.ndim == 1 else ids
    mask = given.get("attention_mask")
    keep = torch.ones_like(ids, dtype=torch.bool)
    if mask is not None:
        keep = torch.as_tensor(mask).cpu().reshape(ids.shape) > 0
    order = keep.int().argsort(dim=1, descending=True, stable=True)  # padding to the right
    keep, ids = keep.gather(1, order), ids.gather(1, order)
    width = int(keep.sum(dim=1).max())
    keep, ids = keep[:, :width], ids[:, :width]
    names, placed = facts.forward_names(model.module), _is_placed(model, ids) & keep
    features = {
        name: torch.as_tensor(value)
        for name, value in given.items()
        if name not in ("input_ids", "attention_mask", "labels") and value is not None
    }
    pixels = [name for name in features if name.startswith(_OF_PICTURES)]
    _check_placed(model, bool(placed.any()), pixels)
    kwargs: dict[str, Any] = {"input_ids": ids, "attention_mask": keep.long()}
    for name, value in features.items():
        if value.shape == order.shape:  # of tokens
            value = value.cpu().gather(1, order)[:, :width]
        kwargs[name] = value.to(model.dtype) if value.is_floating_point() else value
    if "mm_token_type_ids" in names and "mm_token_type_ids" not in kwargs:
        kwargs["mm_token_type_ids"] = token_types(model, ids)
    if "use_cache" in names:
        kwargs["use_cache"] = False
    images, images_at = _images(model, features, ids, keep, first)
    position = torch.arange(width).expand(ids.shape).masked_fill(~keep, -1)
    sample = torch.arange(first, first + len(ids))[:, None].expand(ids.shape)
    batch = Batch(
        kwargs=kwargs,
        n=len(ids),
        first_sample=first,
        sample=sample.masked_fill(~keep, -1),
        position=position,
        token_ids=ids,
        keep=keep,
        special=torch.isin(ids, torch.tensor(sorted(model.special_ids), dtype=torch.int64))
        & keep
        & ~placed,
        images=images,
        images_at=images_at,
    )
    return batch.to(model.device)


# -------------------------------------------------------------------------------------------------
# The images as displayed, and which placeholders are whose patches.


LARGEST_SIDE = 128
"""Pixels of an image as displayed, at most. Ours."""


def _images(
    model: Reads, features: Mapping[str, Tensor], ids: Tensor, keep: Tensor, first: int
) -> tuple[Tensor, Tensor]:
    """Return the images of a batch as displayed, and their places; none where patches cannot be told apart."""
    nothing = torch.zeros(0, 3, *_shown_size(model), dtype=torch.uint8)
    at = torch.zeros(0, 5, dtype=torch.int64)
    kinds = model.placeholders
    tokens = torch.tensor([one for one, kind in kinds.items() if kind == "image"], dtype=ids.dtype)
    row, column = (torch.isin(ids, tokens) & keep).nonzero(as_tuple=True)
    found = _tiles(model, features)
    if not found or sum(rows * columns for _, rows, columns in found) != len(row):
        return nothing, at
    shown, places, begin = [], [], 0
    numbers: dict[int, int] = {}
    for pixels, rows, columns in found:
        mine = slice(begin, begin + rows * columns)
        begin = mine.stop
        sample, start = int(row[mine][0]), int(column[mine][0])
        run = torch.arange(start, start + rows * columns)
        if bool((row[mine] != sample).any()) or not torch.equal(column[mine], run):
            return nothing, at  # with tokens between its rows
        numbers[sample] = numbers.get(sample, -1) + 1
        shown.append(_displayed(model, pixels))
        places.append([first + sample, start, rows, columns, numbers[sample]])
    return torch.stack(shown), torch.tensor(places)


def _shown_size(model: Reads) -> tuple[int, int]:
    vision = getattr(model.module.config, "vision_config", None)
    size = pair(getattr(vision, "image_size", None)) if model.patch_grid is not None else None
    rows, columns = size or (LARGEST_SIDE, LARGEST_SIDE)
    return min(rows, LARGEST_SIDE), min(columns, LARGEST_SIDE)


def _tiles(model: Reads, features: Mapping[str, Tensor]) -> list[tuple[Tensor, int, int]]:
    """Return the pixels of every image, or part of an image, that has patches of its own; and their grid."""
    values = features.get("pixel_values")
    if values is None or not values.is_floating_point():
        return []
    if "image_grid_thw" in features:
        return _unfolded(model, values, features["image_grid_thw"])
    grid = model.patch_grid
    if grid is None or values.ndim not in (4, 5):
        return []
    tiles = values.flatten(0, 1) if values.ndim == 5 else values
    # Processors fill up texts with fewer images by images of zeros.
    kept = [tile for tile in tiles if values.ndim == 4 or bool((tile != 0).any())]
    return [(tile, *grid) for tile in kept]


def _unfolded(model: Reads, values: Tensor, grids: Tensor) -> list[tuple[Tensor, int, int]]:
    """Return images from patches end to end, as Qwen2-VL's processor cuts them: merged ones side by side."""
    config: PretrainedConfig = model.module.config
    names = ("spatial_merge_size", "patch_size", "temporal_patch_size")
    sizes: list[Any] = [getattr(config.vision_config, name, None) for name in names]
    if None in sizes:  # cut in another way: no face is better than a scrambled one
        return []
    merge, side, frames = map(int, sizes)
    found, begin = [], 0
    for time, rows, columns in grids.tolist():
        n = time * rows * columns
        patches, begin = values[begin : begin + n], begin + n
        high, wide = rows // merge, columns // merge
        shape = (time, high, wide, merge, merge, -1, frames, side, side)
        if time != 1 or len(patches) != n or patches[0].numel() % (shape[6] * side * side):
            return []
        # time, rows, columns, row and column in what is merged, channels, frames, pixels
        pixels = patches.reshape(shape)[0, :, :, :, :, :, 0]
        pixels = pixels.permute(4, 0, 2, 5, 1, 3, 6).reshape(-1, rows * side, columns * side)
        found.append((pixels, high, wide))
    return found


def _displayed(model: Reads, pixels: Tensor) -> Tensor:
    """Return bytes of an image's pixel values: normalising undone where its mean is known."""
    prepare = getattr(model.preprocess, "image_processor", model.preprocess)
    mean, std = (getattr(prepare, name, None) for name in ("image_mean", "image_std"))
    shown = pixels.detach().float().cpu()
    if mean is not None and std is not None and len(mean) == len(shown):
        shown = shown * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)
    elif shown.min() < 0 or shown.max() > 1:  # its own range
        shown = (shown - shown.min()) / (shown.max() - shown.min()).clamp(min=1e-12)
    size = _shown_size(model)
    if tuple(shown.shape[1:]) != size:
        shown = torch.nn.functional.interpolate(
            shown[None], size=size, mode="bilinear", antialias=True, align_corners=False
        )[0]
    return as_bytes(shown.expand(3, -1, -1))


def token_types(model: Reads, ids: Tensor) -> Tensor:
    """Return 0 at tokens of text, 1 at image patches, 2 at patches of videos."""
    types = torch.zeros_like(ids)
    for token, kind in model.placeholders.items():
        types[ids == token] = {"image": 1, "video": 2}.get(kind, 0)
    return types


def _is_placed(model: Reads, ids: Tensor) -> Tensor:
    return torch.isin(ids, torch.tensor(list(model.placeholders), dtype=ids.dtype))


def _check_placed(model: Reads, placed: bool, pixels: list[str]) -> None:
    if placed and not pixels:
        raise ValueError(
            f"An image placeholder must come with its image for {model.name}, got one of the ids "
            f"{sorted(model.placeholders)} and no pixel_values. Pass what the processor returned, or leave the "
            "placeholder out."
        )
    if pixels and not placed and model.placeholders:
        raise ValueError(
            f"Images must have placeholders in the text of {model.name}, got {pixels[0]} and none of the ids "
            f"{sorted(model.placeholders)}. Write the processor's image token where the image is."
        )


def check_no_image(model: Reads, ids: Tensor) -> None:
    """Refuse placeholders of images in a text that comes alone."""
    _check_placed(model, bool(_is_placed(model, ids).any()), [])


def _without_placeholders(model: Reads, batch: Batch) -> Batch:
    if batch.token_ids is not None:
        check_no_image(model, batch.token_ids.cpu())
    none = torch.zeros(0, 3, *_shown_size(model), dtype=torch.uint8)
    return replace(batch, images=none, images_at=torch.zeros(0, 5, dtype=torch.int64))
