"""Where the dictionaries of a graph write, in the order of the model; and the one input that it is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from sae_nb.activations._sites import check_one_place
from sae_nb.checks import shown
from sae_nb.circuits._passes import Layer

if TYPE_CHECKING:
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel
    from sae_nb.models._inputs import Batch


def places_of(model: LiveModel, transcoders: Any) -> tuple[Layer, ...]:
    """Return every place that is written, in the order of the model."""
    given = dictionaries_by_place(model, transcoders)
    order = [str(point) for point in model.hook_points()]
    exact = all(name.startswith("mlp_out.") for name in given)
    places = [name for name in order if name in given or (exact and name.startswith("mlp_out."))]
    layers = []
    for name in places:
        sae, write = given.get(name), model.hook_point(name)
        if sae is None:
            layers.append(Layer(read=None, write=write, sae=None))
            continue
        read = write if sae.writes is None else model.hook_point(str(sae.hook_point))
        layers.append(Layer(read=read, write=write, sae=sae))
    return tuple(layers)


def dictionaries_by_place(model: LiveModel, transcoders: Any) -> dict[str, SparseAutoencoder]:
    """Return the dictionaries by the hook point that each one writes; every one is checked."""
    pairs: list[tuple[Any, Any]]
    if isinstance(transcoders, Mapping):
        pairs = list(transcoders.items())
    else:
        several = transcoders if isinstance(transcoders, Sequence) else [transcoders]
        pairs = [
            (getattr(sae, "target_hook_point", None) or getattr(sae, "hook_point", None), sae)
            for sae in several
        ]
    if not pairs:
        raise ValueError("`transcoders` must hold at least one dictionary, got none.")
    found: dict[str, SparseAutoencoder] = {}
    for name, sae in pairs:
        _check_dictionary(sae, name)
        place = str(model.hook_point(str(name)))
        if place in found:
            raise ValueError(f"`transcoders` must write different places, got two at {place}.")
        found[place] = sae
    return found


def _check_dictionary(sae: SparseAutoencoder, name: Any) -> None:
    if not hasattr(sae, "dictionary"):
        raise TypeError(
            f"`transcoders` must hold dictionaries, or map hook points to them, got {shown(sae)}."
        )
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


def one_input(model: LiveModel, inputs: Any, *, name: str = "inputs") -> Batch:
    """Return the one input, as the model reads it."""
    batches = list(model.batches([inputs] if isinstance(inputs, str) else inputs, batch_size=1))
    if len(batches) != 1:
        raise ValueError(f"`{name}` must be one input, got {len(batches)}. A graph is of one.")
    return batches[0].to(model.device)


def read_by(batch: Batch) -> Tensor:
    """Return the model's input, so that it can be read again: token ids, an image, or a row."""
    for read in (batch.token_ids, batch.pictures):
        if read is not None:
            return read.cpu()
    return next(iter((*batch.args, *batch.kwargs.values()))).cpu()


def position_texts(model: LiveModel, batch: Batch, n: int) -> tuple[str, ...]:
    """Return the text at each of a first sample's n positions, or the name of its patch, or its number."""
    from sae_nb.activations._context import (
        Context,
        token_texts,
    )

    if batch.token_ids is not None and model.tokenizer is not None:
        return tuple(token_texts(model.tokenizer, batch.token_ids[0].tolist()))
    if model.patch_grid is None:
        return tuple(f"{p}" for p in range(n))
    places = Context(
        kind=model.kind, patch_grid=model.patch_grid, prefix_tokens=model.prefix_tokens
    )
    return places.position_names(n)
