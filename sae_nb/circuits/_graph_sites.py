"""Where the dictionaries of a graph write, in the order of the model; and the one input that it is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

from sae_nb.activations._sites import check_one_place
from sae_nb.activations.tokens import token_texts
from sae_nb.checks import as_dictionary, shown
from sae_nb.circuits._passes import Layer

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.checks import Inputs
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch

Transcoders: TypeAlias = (
    "SparseAutoencoder | str | Sequence[SparseAutoencoder | str] | Mapping[str, SparseAutoencoder]"
)
"""Dictionaries, or by the hook point that each one writes; "neurons", or a list of it and dictionaries."""


def places_of(model: LiveModel, transcoders: Transcoders) -> tuple[Layer, ...]:
    """Return every place that is written, in the order of the model."""
    given = dictionaries_by_place(model, transcoders)
    order = [str(point) for point in model.hook_points()]
    exact = all(name.startswith("mlp_out.") for name in given)
    places = [name for name in order if name in given or (exact and name.startswith("mlp_out."))]
    return tuple(layer_at(model, name, given.get(name)) for name in places)


def layer_at(model: LiveModel, name: str, sae: SparseAutoencoder | None) -> Layer:
    """Return a place that is written, and where what writes it reads."""
    write = model.hook_point(name)
    read = None
    if sae is not None:
        read = write if sae.writes is None else model.hook_point(str(sae.hook_point))
    return Layer(read=read, write=write, sae=sae)


def dictionaries_by_place(
    model: LiveModel, transcoders: Transcoders
) -> dict[str, SparseAutoencoder]:
    """Return the dictionaries by the hook point that each one writes; every one is checked."""
    pairs: list[tuple[object, SparseAutoencoder | str]]
    if isinstance(transcoders, Mapping):
        pairs = list(transcoders.items())
    else:
        several = [transcoders] if not isinstance(transcoders, Sequence) else transcoders
        pairs = [
            (getattr(sae, "target_hook_point", None) or getattr(sae, "hook_point", None), sae)
            for sae in several
        ]
    if not pairs:
        raise ValueError("`transcoders` must hold at least one dictionary, got none.")
    found: dict[str, SparseAutoencoder] = {}
    for name, given in pairs:
        sae = as_dictionary(given, model, name)
        if isinstance(sae, str) or not hasattr(sae, "dictionary"):
            raise TypeError(
                f"`transcoders` must hold dictionaries, or map hook points to them, got {shown(sae)}."
            )
        _check_dictionary(sae, name)
        place = str(model.hook_point(str(name)))
        if place in found:
            raise ValueError(f"`transcoders` must write different places, got two at {place}.")
        found[place] = sae
    return found


def _check_dictionary(sae: SparseAutoencoder, name: object) -> None:
    check_one_place(sae, may_write=True)
    if sae.reads_sequences or not sae.additive:
        raise ValueError(
            f"A graph needs atoms that read one position and add up, and those of {type(sae).__name__} do "
            "not. Use a Transcoder, or an SAE such as TopK."
        )
    if name is None:
        raise ValueError(
            f"`{type(sae).__name__}.hook_point` must say where it was trained, and is None. Pass a mapping "
            "from hook points to dictionaries."
        )


def one_by_one(model: LiveModel, inputs: Inputs) -> list[Batch]:
    """Return each input as a batch by itself, on the model's device."""
    one = [inputs] if isinstance(inputs, str) else inputs
    return [batch.to(model.device) for batch in model.batches(one, batch_size=1)]


def one_input(model: LiveModel, inputs: Inputs, *, name: str = "inputs") -> Batch:
    """Return the one input as a batch on the model's device; refuse several, by the argument's `name`."""
    batches = one_by_one(model, inputs)
    if len(batches) != 1:
        raise ValueError(f"`{name}` must be one input, got {len(batches)}. A graph is of one.")
    return batches[0]


def kept_input(model: LiveModel, batch: Batch) -> Tensor:
    """Return what the model reads: token ids, pixel values, a sound, or a row."""
    read = batch.as_inputs(model)
    return read if isinstance(read, Tensor) else read["pixel_values"]


def given_again(model: LiveModel, kept: Tensor) -> Tensor | dict[str, Tensor]:
    """Return what was kept in the form that the model reads; older files have an image's bytes."""
    return {"pixel_values": kept} if model.reads_pixels and kept.is_floating_point() else kept


def position_texts(model: LiveModel, batch: Batch, n: int) -> tuple[str, ...]:
    """Return the text at each of a first sample's n positions, or the name of its patch, or its number."""
    if batch.token_ids is not None and model.tokenizer is not None:
        return tuple(token_texts(model.tokenizer, batch.token_ids[0].tolist()))
    if model.patch_grid is None:
        return tuple(f"{p}" for p in range(n))
    return model.places.position_names(n)


def grid_of(model: LiveModel) -> tuple[int, int, int] | None:
    """Return, of images, the tokens before the first patch, then rows and columns of patches."""
    return None if model.patch_grid is None else (model.prefix_tokens, *model.patch_grid)


def check_equal_tokens(model: LiveModel, one: Batch, other: Batch, names: str) -> None:
    """Refuse two texts of unequal token counts, by their lists; `names`: of the arguments that gave them."""
    if one.token_ids is None or other.token_ids is None:
        return
    first, second = (
        list(position_texts(model, batch, ids.shape[1]))
        for batch, ids in ((one, one.token_ids), (other, other.token_ids))
    )
    if len(first) != len(second):
        raise ValueError(
            f"{names} must have equally many tokens, got {len(first)} and {len(second)}: {first} and {second}. "
            "Change words to others of equally many tokens."
        )
