"""States: what a module gives or gets at a hook point, the tensor in it, and how that is laid out in places.

The layout is decided here and nowhere else. A sample's *places* are its tokens, its patches after cls
and registers, the cells of a convolution's map row by row, or one place alone if a vector represents
all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from sae_nb.models._hook_points import HookPoint
    from sae_nb.models._inputs import Batch
    from sae_nb.models._live_model import LiveModel


# -------------------------------------------------------------------------------------------------
# The tensor in what a module gives or gets.


def read_tensor(value: Any, point: HookPoint | None = None) -> Tensor:
    """Return the tensor in what a module gave or got: itself, or one element of a tuple or record."""
    if isinstance(value, Tensor):
        return value
    return cast(Tensor, _elements(value)[_position(value, point)])


def replace_tensor(value: Any, new: Tensor, point: HookPoint | None = None) -> Any:
    """Return `value` with the tensor that `read_tensor` would give exchanged for `new`."""
    if isinstance(value, Tensor):
        return new
    position = _position(value, point)
    if isinstance(value, Mapping):
        key = list(value)[position]
        if type(value) is dict:
            return {**value, key: new}
        # A Hugging Face output record: item and attribute must change together.
        value[key] = new  # type: ignore[index]
        return value
    changed = [new if i == position else element for i, element in enumerate(value)]
    if hasattr(value, "_fields"):
        return type(value)(*changed)
    return type(value)(changed)


def _elements(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, (tuple, list)) else []


def _position(value: Any, point: HookPoint | None) -> SupportsIndex:
    elements = _elements(value)
    index = point.index if point is not None else None
    if index is not None and index < len(elements) and isinstance(elements[index], Tensor):
        return index
    for position, element in enumerate(elements):
        if index is None and isinstance(element, Tensor):
            return position
    where = f' at hook point "{point}"' if point is not None else ""
    raise TypeError(
        f"A module must give a tensor, or a tuple holding one, to be read{where}, got "
        f"{type(value).__name__}. Choose a module whose output is a tensor."
    )


def first_input(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], point: HookPoint | None = None
) -> int | str:
    """Return which argument a module's input is: a position, or a keyword.

    The first positional argument if there is one, else ``hidden_states``, else the first tensor.
    """
    if args:
        return 0
    if "hidden_states" in kwargs:
        return "hidden_states"
    for name, value in kwargs.items():
        if isinstance(value, Tensor):
            return name
    where = f' at hook point "{point}"' if point is not None else ""
    raise TypeError(f"A module must get a tensor to be read{where}, got {list(kwargs)}.")


def module_input(args: tuple[Any, ...], kwargs: Mapping[str, Any], point: HookPoint) -> Any:
    """Return what a module got at an input-side hook point."""
    where = first_input(args, kwargs, point)
    return args[where] if isinstance(where, int) else kwargs[where]


def with_input(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], point: HookPoint, new: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a module's arguments with its input exchanged."""
    where = first_input(args, kwargs, point)
    if isinstance(where, int):
        return (new, *args[1:]), dict(kwargs)
    return args, {**kwargs, where: new}


# -------------------------------------------------------------------------------------------------
# Its layout.


def check_samples_first(
    x: Tensor, n: int | None, point: str, module: nn.Module | None = None
) -> None:
    """Refuse a state whose first axis is time: (time, batch, d), as `nn.MultiheadAttention` has it by default.

    Where there are as many samples as places, the shape does not tell; then the module does.

    Raises
    ------
    ValueError: If samples come second, or it cannot be told.
    """
    if x.ndim != 3 or n is None or x.shape[1] != n:
        return
    if x.shape[0] != n:
        raise ValueError(
            f"Activations at `{point}` must have samples first, (batch, time, d), got {tuple(x.shape)} of "
            f"{n} samples: "
            "time comes first. Build the module with batch_first=True, or choose a hook point outside of it."
        )
    if module is not None and any(_time_first(part) for part in module.modules()):
        raise ValueError(
            f"Activations at `{point}` have shape {tuple(x.shape)}, of which it is unknown whether samples "
            "or time come "
            "first: its attention takes time first. Use another batch_size= to find out."
        )


def _time_first(part: nn.Module) -> bool:
    return isinstance(part, nn.MultiheadAttention) and not part.batch_first


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Layout of a state, beyond its width."""

    columns: int | None
    """Places per sample; None: one per token of the batch."""

    grid: tuple[int, int] | None = None
    """Rows and columns of cells, where the state is a convolution's map."""

    def grid_of(self, model: LiveModel) -> tuple[int, int] | None:
        """Return rows and columns of its patches or cells; None where they are not known."""
        return model.patch_grid if self.grid is None else self.grid


def layout_of(x: Tensor, batch: Batch) -> Layout | None:
    """Return how a state of a batch is laid out; None: a shape that is not known.

    (batch, time, d) has a place per token. (batch, d) has one place per sample, or is (batch · time, d): some
    blocks (OPT's MLP, mixtures of experts) see the tokens of a batch end to end. (batch, channels, height,
    width) is a convolution's map.
    """
    width = batch.sample.shape[1]
    n_tokens = None if batch.token_ids is None else width
    if x.ndim == 2:
        flat = n_tokens is not None and n_tokens > 1 and x.shape[0] == batch.n * n_tokens
        return Layout(columns=None if flat else 1)
    if x.ndim == 3 and (n_tokens is None or x.shape[1] == n_tokens):
        return Layout(columns=None if x.shape[1] == width else x.shape[1])
    if x.ndim == 4 and n_tokens is None:
        return Layout(columns=x.shape[2] * x.shape[3], grid=(x.shape[2], x.shape[3]))
    return None


def by_place(
    x: Float[Tensor, "n ..."], tokens: tuple[int, int] | None = None
) -> Float[Tensor, "n places d"]:
    """Return a state with one axis of places.

    Parameters
    ----------
    tokens
        Samples and tokens of each, where they are known: rows end to end are then told from vectors.
    """
    if x.ndim == 3:
        return x
    if x.ndim == 4:  # channels come second
        return x.flatten(2).transpose(1, 2)
    if x.ndim == 2:
        end_to_end = tokens is not None and len(x) == tokens[0] * tokens[1]
        return x.view(*tokens, -1) if tokens is not None and end_to_end else x[:, None]
    if x.ndim < 2:
        raise ValueError(
            f"`inputs` must give activations (batch, …, d_in), got {tuple(x.shape)}. Look at "
            "their shape."
        )
    return x.reshape(len(x), -1, x.shape[-1])


def patches_of(x: Float[Tensor, "n ..."], model: LiveModel) -> Float[Tensor, "n patches d"]:
    """Return the places of a state that are patches or cells, or the single place that represents all."""
    places, prefix = by_place(x), 0 if x.ndim == 4 else model.prefix_tokens
    return places[:, prefix:] if places.shape[1] > prefix else places


def like_state(places: Float[Tensor, "m places d"], x: Float[Tensor, "n ..."]) -> Tensor:
    """Return places in the form that a state has, also of more samples than it has."""
    if x.ndim == 3:
        return places
    if x.ndim == 4:
        return places.transpose(1, 2).reshape(len(places), -1, *x.shape[2:])
    return places.flatten(0, 1) if x.ndim == 2 else places.reshape(-1, *x.shape[1:])


def where_from(
    batch: Batch, layout: Layout, prefix_tokens: int, point: str
) -> tuple[Int[Tensor, "batch places"], Int[Tensor, "batch places"]]:
    """Return the sample and the position of every place; `point` names it in errors."""
    sample, position = batch.sample.cpu(), batch.position.cpu()
    width, n_columns = sample.shape[1], layout.columns
    if n_columns is None:
        return sample, position
    column = torch.arange(n_columns)
    patches_only = n_columns == width - prefix_tokens and n_columns > 1
    if patches_only and layout.grid is None:
        # Patch embeddings before cls and registers join them: named as the patches they are.
        column = column + prefix_tokens
    elif n_columns > 1 and width > 1 and layout.grid is None:
        raise ValueError(
            f"Activations at `{point}` must have {width} tokens per sample like the inputs, got "
            f"{n_columns}. Choose another hook point, or check `patch_grid` and `prefix_tokens`."
        )
    if batch.keep is not None and bool((sample != sample[:, :1])[batch.keep.cpu()].any()):
        raise ValueError(
            f"Activations at `{point}` have no token axis, and a packed window holds several texts, "
            "so it is unknown whose they are. Use pack=False."
        )
    return sample[:, :1].expand(-1, n_columns), column.expand(len(sample), -1)
