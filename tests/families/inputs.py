"""Inputs for a tiny model of any class: as a capture takes them, and as the module itself does."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sae_nb.models import LiveModel
from tests.families.settings import VOCABULARY

N, TOKENS = 2, 6
"""Samples, and tokens of each where they are texts."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """One way of calling a model."""

    given: Any
    """What a capture gets."""

    arguments: Mapping[str, Any]
    """The same, as arguments of the module's forward."""

    words: str
    """Kind of what it reads, on the page."""


def inputs(model: LiveModel) -> Iterator[Inputs]:
    """Yield ways of calling a model, the fullest first."""
    module: Any = model.module
    if model.streams:
        for source in _sources(model):
            start = _start(module)
            targets = torch.tensor([[5, 6, 7], [8, 9, 10]])
            ids = torch.cat([torch.full((N, 1), start), targets], dim=1)
            given: Any = (
                {**source.given, "decoder_input_ids": ids}
                if isinstance(source.given, Mapping)
                else [(one, row) for one, row in zip(source.given, targets, strict=True)]
            )
            arguments = {**source.arguments, "decoder_input_ids": ids}
            yield Inputs(given=given, arguments=arguments, words=f"{source.words}, and a text")
    elif model.kind == "multimodal":
        yield from _mixed(model)
    else:
        yield from _sources(model)


def _start(module: Any) -> int:
    """Return the id that the decoder's text begins with."""
    get = getattr(module.config, "get_text_config", None)
    places = (getattr(module, "generation_config", None), get() if callable(get) else module.config)
    for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        for place in places:
            if isinstance(found := getattr(place, name, None), int):
                return found
    return 0


def _sources(model: LiveModel) -> Iterator[Inputs]:
    module: Any = model.module
    if model.kind == "audio":
        yield from _sounds(model)
    elif model.kind == "video":
        side = next((s for s in _sides(module.config)), 32)
        values = torch.rand(N, 4, 3, side, side)
        arguments = {module.main_input_name: values}
        yield Inputs(given=arguments, arguments=arguments, words="videos")
    elif model.kind == "vision":
        for side in dict.fromkeys((*_sides(module.config), 32, 64, 224)):
            channels = getattr(module.config, "num_channels", 3)
            values = torch.rand(N, channels if isinstance(channels, int) else 3, side, side)
            name = "pixel_values" if "pixel_values" in takes(module) else module.main_input_name
            yield Inputs(given=values, arguments={name: values}, words="images")
    else:
        yield _text(model)
        ids = _ids(model)
        if "attention_mask" in takes(module):
            yield Inputs(given=ids, arguments={"input_ids": ids}, words="texts")


def takes(module: Any) -> set[str]:
    """Return the names of what a module's forward takes."""
    return set(inspect.signature(type(module).forward).parameters)


def _ids(model: LiveModel) -> Tensor:
    most = min(model.vocabulary_size or VOCABULARY, VOCABULARY)
    free = [i for i in range(5, most) if i not in model.placeholders and not 55 <= i <= 62]
    return torch.tensor(free[: N * TOKENS]).view(N, TOKENS)


def _text(model: LiveModel) -> Inputs:
    ids = _ids(model)
    mask = (
        {"attention_mask": torch.ones_like(ids)} if "attention_mask" in takes(model.module) else {}
    )
    name = "input_ids" if "input_ids" in takes(model.module) else model.module.main_input_name
    return Inputs(given=ids, arguments={name: ids, **mask}, words="texts")


def _sides(config: Any) -> Iterator[int]:
    for part in (config, getattr(config, "vision_config", None), getattr(config, "encoder", None)):
        for name in ("image_size", "crop_size", "input_size"):
            size = getattr(part, name, None)
            size = size[0] if isinstance(size, list | tuple) and size else size
            if isinstance(size, int):
                yield size


# -------------------------------------------------------------------------------------------------
# Sounds.


def _sounds(model: LiveModel) -> Iterator[Inputs]:
    module, config = model.module, model.module.config
    names = takes(module)
    inner = next(
        (p for p in ("encoder", "audio_config", "encoder_config") if hasattr(config, p)), None
    )
    audio: Any = getattr(config, inner) if inner else config
    if "input_values" in names and model.preprocess.extractor is None:
        waves = torch.randn(N, 8_000)
        yield Inputs(given=list(waves), arguments={"input_values": waves}, words="waveforms")
    places = getattr(audio, "max_source_positions", None) or getattr(
        config, "max_source_positions", None
    )
    bins = next(
        (
            n
            for of in (audio, config)
            for name in ("num_mel_bins", "feature_projection_input_dim", "input_feat_per_channel", "input_dim",
                         "mel_bins", "num_mels", "n_mels")
            if isinstance(n := getattr(of, name, None), int)
        ),
        80,
    )  # fmt: skip
    name = "input_features" if "input_features" in names else module.main_input_name
    lengths = [2 * places] if isinstance(places, int) else []
    lengths += [getattr(config, "max_length", 64) or 64, 64, 100, 48]
    for length in dict.fromkeys(lengths):
        for shape in ((N, bins, length), (N, length, bins)):
            values = torch.randn(shape)
            arguments: dict[str, Any] = {name: values}
            yield Inputs(given=arguments, arguments=arguments, words="features")
            if "attention_mask" in names:
                mask = torch.ones(N, length, dtype=torch.long)
                arguments = {**arguments, "attention_mask": mask}
                yield Inputs(given=arguments, arguments=arguments, words="features")


# -------------------------------------------------------------------------------------------------
# Texts with images in them.


def _mixed(model: LiveModel) -> Iterator[Inputs]:
    for pictures in _pictures(model.module):
        yield from _placed(model, pictures)
    yield _text(model)


def _pictures(module: Any) -> Iterator[dict[str, Any]]:
    """Yield images in the forms in which classes take them, one image per text."""
    config, names = module.config, takes(module)
    if not names & {"pixel_values", "flattened_patches"}:
        return
    vision: Any = getattr(config, "vision_config", None) or config
    patch = _setting(vision, ("patch_size", "spatial_patch_size"), 8)
    grid = 2 * _setting(vision, ("spatial_merge_size", "merge_size"), 2)
    yield from _on_grids(vision, names, patch, grid)
    if "target_sizes" in names:  # one image after the other, its patches in a row
        wide = torch.rand(1, 3, patch, N * grid * grid * patch)
        yield {"pixel_values": wide, "target_sizes": torch.tensor([[grid, grid]] * N)}
    if "flattened_patches" in names:
        yield from _flattened(patch)
        return
    if "image_patches" in names:
        yield {"image_patches": torch.rand(N, grid * grid, 3 * patch**2)}
    if "spatial_shapes" in names:
        values = torch.rand(N, grid * grid, 3 * patch**2)
        mask = torch.ones(N, grid * grid, dtype=torch.long)
        yield {
            "pixel_values": values,
            "pixel_attention_mask": mask,
            "spatial_shapes": torch.tensor([[grid, grid]] * N),
        }
    for side in dict.fromkeys((*_sides(config), 32, 64)):
        yield from _whole(names, side)


def _setting(config: Any, names: Sequence[str], otherwise: int) -> int:
    """Return the first of some settings that is a whole number, or the first side of a pair."""
    given = (getattr(config, name, None) for name in names)
    found = (one if isinstance(one, int) else one[0] for one in given if _is_size(one))
    return next(found, otherwise)


def _is_size(given: Any) -> bool:
    return bool(given) and isinstance(given, int | list | tuple)


def _on_grids(vision: Any, names: set[str], patch: int, grid: int) -> Iterator[dict[str, Any]]:
    """Yield patches with the grid that each image has of them, also over time."""
    long = _setting(vision, ("temporal_patch_size", "patch_temporal"), 1)
    for thw in ("image_grid_thw", "image_grid_hws", "image_grid_hw", "grid_thw"):
        if thw not in names:
            continue
        for width in dict.fromkeys((3 * long * patch**2, 3 * patch**2)):
            values = torch.rand(N * grid * grid, width)
            sizes = torch.tensor([[1, grid, grid]] * N)
            known = {thw: sizes if thw in ("image_grid_thw", "grid_thw") else sizes[:, 1:]}
            if "image_merge_sizes" in names:
                known["image_merge_sizes"] = torch.tensor([grid // 2] * N)
            yield {"pixel_values": values, **known}
            patches = torch.rand(N * grid * grid, 3, patch, patch)
            yield {"pixel_values": patches, **known}


def _flattened(patch: int) -> Iterator[dict[str, Any]]:
    """Yield patches as vectors that begin with their row and column."""
    places = torch.arange(1, 9).view(1, 8, 1).expand(N, 8, 2).float()
    patches = torch.cat([places, torch.rand(N, 8, 3 * patch**2)], dim=2)
    yield {
        "flattened_patches": patches,
        "width": torch.full((N,), 8),
        "height": torch.full((N,), 1),
    }
    yield {"flattened_patches": patches}


def _whole(names: set[str], side: int) -> Iterator[dict[str, Any]]:
    """Yield whole images of one side, alone, in lists of one, and of several tiles."""
    plain = torch.rand(N, 3, side, side)
    more: dict[str, Any] = {}
    if "image_sizes" in names:
        more["image_sizes"] = torch.tensor([[side, side]] * N)
    for known in (more, {}) if more else ({},):
        yield {"pixel_values": plain, **known}
        yield {"pixel_values": plain[:, None], **known}
    if more:
        yield {"pixel_values": plain[:, None].expand(-1, 2, -1, -1, -1), **more}
        yield {"pixel_values": plain[:, None].expand(-1, 3, -1, -1, -1), **more}


def _placed(model: LiveModel, pictures: Mapping[str, Any]) -> Iterator[Inputs]:
    """Yield texts with as many placeholders as their images have features."""
    module: Any = model.module
    token = next((t for t, kind in model.placeholders.items() if kind == "image"), None)
    if token is None and not model.placeholders:
        yield _beside(model, pictures)
    if token is None:
        return
    count = _count(module, pictures)
    if count is None:
        return
    text = _ids(model)
    config = module.config
    before = [
        i
        for name in ("vision_start_token_id", "image_start_token_id", "boi_token_id")
        if isinstance(i := getattr(config, name, None), int) and 0 <= i < VOCABULARY
    ][:1]
    after = [
        i
        for name in ("vision_end_token_id", "image_end_token_id", "eoi_token_id")
        if isinstance(i := getattr(config, name, None), int) and 0 <= i < VOCABULARY
    ][:1]
    middle = torch.tensor([*before, *[token] * count, *after]).expand(N, -1)
    ids = torch.cat([text[:, :2], middle, text[:, 2:]], dim=1)
    extra: dict[str, Any] = {}
    if "qformer_input_ids" in takes(module):
        extra["qformer_input_ids"] = text
    types = torch.zeros_like(ids)
    types[ids == token] = 1
    for name in ("mm_token_type_ids", "token_type_ids"):
        if name in takes(module):
            extra[name] = types
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **pictures, **extra}
    yield Inputs(given=given, arguments=given, words="images in texts")


def _beside(model: LiveModel, pictures: Mapping[str, Any]) -> Inputs:
    """Return texts with an image each that no placeholder stands for."""
    module: Any = model.module
    ids = _ids(model)
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **pictures}
    names, config = takes(module), module.config
    if "image_attention_mask" in names:
        given["image_attention_mask"] = torch.ones(N, TOKENS, 1, dtype=torch.long)
    if "image_embeds_position_mask" in names:
        mask = torch.zeros_like(ids)
        mask[:, : int(getattr(config, "latent_query_num", 4))] = 1
        given["image_embeds_position_mask"] = mask
    if "aspect_ratio_ids" in names:
        given["aspect_ratio_ids"] = torch.ones(N, 1, dtype=torch.long)
        given["aspect_ratio_mask"] = torch.ones(N, 1, 4, dtype=torch.long)
        given["cross_attention_mask"] = torch.ones(N, TOKENS, 1, 4, dtype=torch.long)
    return Inputs(given=given, arguments=given, words="texts with images")


def _count(module: Any, pictures: Mapping[str, Any]) -> int | None:
    """Return how many features an image has, as the class's own method gives them."""
    for part in (module, getattr(module, "model", None)):
        find = getattr(part, "get_image_features", None)
        if not callable(find):
            continue
        wanted = set(inspect.signature(find).parameters)
        known = {name: value for name, value in pictures.items() if name in wanted}
        if "qformer_input_ids" in wanted:
            known["qformer_input_ids"] = torch.arange(5, 5 + N * TOKENS).view(N, TOKENS)
        try:
            with torch.no_grad():
                found = find(**known)
        except Exception:  # noqa: BLE001  (another form of images, then)
            continue
        n = _rows(found)
        if n is not None and n and n % N == 0:
            return n // N
    return None


def _rows(found: Any) -> int | None:
    pooled = getattr(found, "pooler_output", None)
    found = found if pooled is None else pooled
    if isinstance(found, Mapping):
        found = next(iter(found.values()))
    if isinstance(found, list | tuple):
        found = found[0] if found and isinstance(found[0], list | tuple) else found
        parts = [one for one in found if isinstance(one, Tensor)]
        return sum(one.numel() // one.shape[-1] for one in parts) if parts else None
    if isinstance(found, Tensor) and found.ndim > 1:
        return found.numel() // found.shape[-1]
    return None


def runs(module: nn.Module, arguments: Mapping[str, Any], **more: Any) -> Any:
    """Return what the module gives by itself."""
    torch.manual_seed(0)
    with torch.no_grad():
        return module(**{**arguments, **more})
