"""States: what a module gives or gets at a hook point, the tensor in it, and how that is laid out in places.

The layout is decided here and nowhere else. A sample's *places* are its tokens, its patches after cls
and registers, the steps in time of a 1-d convolution, the cells of a 2-d convolution's map row by row, or
one place alone if a vector represents all of it.

The module that makes a state decides which axis holds its features: convolutions, the norms between them
and pooling have channels second; linear layers, layer norms, embeddings and attention have features last.
Tensors are read with features last, (batch, time, d), and are given back in the module's own form; maps of
2-d convolutions stay (batch, channels, height, width).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sae_nb.models import _facts as facts

if TYPE_CHECKING:
    from sae_nb.models._hook_points import Features, HookPoint
    from sae_nb.models._inputs import Batch
    from sae_nb.models._interface import Reads


# -------------------------------------------------------------------------------------------------
# The tensor in what a module gives or gets.


def read_tensor(value: object, point: HookPoint | None = None) -> Tensor:
    """Return the tensor in what a module gave or got; a sequence as (batch, time, d), streams side by side."""
    x = _tensor_in(value, point)
    form = None if point is None else point.form
    if point is not None and point.parts > 1 and x.ndim == 3:
        return x.reshape(-1, point.parts * x.shape[1], x.shape[2])
    if form == "time first" and x.ndim == 3:
        return x.transpose(0, 1)
    if form == "streams" and x.ndim == 4:
        return x.flatten(2)
    if form == "streams first" and x.ndim == 4:
        return x.movedim(0, 2).flatten(2)
    return x.movedim(*_AS_READ[x.ndim]) if _is_turned(x, point) else x


def _as_given(new: Tensor, old: Tensor, point: HookPoint | None) -> Tensor:
    """Return a state as it is read in the form in which the module has it."""
    form = None if point is None else point.form
    if point is not None and point.parts > 1 and old.ndim == 3:
        return new.reshape(-1, *old.shape[1:])
    if form == "time first" and old.ndim == 3:
        return new.transpose(0, 1)
    if form == "streams" and old.ndim == 4:
        return new.reshape(*new.shape[:2], old.shape[2], -1)
    if form == "streams first" and old.ndim == 4:
        return new.reshape(*new.shape[:2], old.shape[0], -1).movedim(2, 0)
    return new.movedim(*reversed(_AS_READ[new.ndim])) if _is_turned(old, point) else new


def replace_tensor(value: object, new: Tensor, point: HookPoint | None = None) -> object:
    """Return `value` with the tensor that `read_tensor` would give exchanged for `new`."""
    new = _as_given(new, _tensor_in(value, point), point)
    return _exchanged(value, new, point)


def _exchanged(value: Any, new: Tensor, point: HookPoint | None) -> Any:
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
    changed = [
        _exchanged(element, new, point) if i == position else element
        for i, element in enumerate(value)
    ]
    if hasattr(value, "_fields"):
        return type(value)(*changed)
    return type(value)(changed)


def _tensor_in(value: object, point: HookPoint | None) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return _tensor_in(_elements(value)[_position(value, point)], point)


# From where a module has the features to where they are read, by the number of axes.
_AS_READ = {3: (1, 2), 4: (3, 1)}


def _is_turned(x: Tensor, point: HookPoint | None) -> bool:
    """Whether a state is read with its axes in another order than the module has them."""
    if point is None:
        return False
    if x.ndim == 3:
        return axis_of(tuple(x.shape), point) == "channels"
    return x.ndim == 4 and not point.maps and (point.features == "last" or point.series)


def axis_of(shape: tuple[int, ...], point: HookPoint) -> Features:
    """Return the axis that holds the features of a sequence as the module has it, (batch, …, …)."""
    if point.features is not None:
        return point.features
    only_second = shape[1] == point.channels != shape[2]
    return "channels" if only_second else "last"


def _elements(value: object) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, (tuple, list)) else []


def _position(value: object, point: HookPoint | None) -> SupportsIndex:
    elements = _elements(value)
    index = point.index if point is not None else None
    if index is not None and index < len(elements) and isinstance(elements[index], Tensor):
        return index
    for position, element in enumerate(elements):
        if index is None and isinstance(element, Tensor):
            return position
    if index is None and elements and isinstance(elements[0], tuple | list) and elements[0]:
        return 0  # what a block gives, and the size of its map
    where = f' at hook point "{point}"' if point is not None else ""
    raise TypeError(
        f"A module must give a tensor, or a tuple holding one, to be read{where}, got "
        f"{type(value).__name__}. Choose a module whose output is a tensor."
    )


def first_input(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], point: HookPoint | None = None
) -> int | str:
    """Return a module's input: the first positional argument, else ``hidden_states``, else the first tensor."""
    if args:
        return 0
    if "hidden_states" in kwargs:
        return "hidden_states"
    for name, value in kwargs.items():
        if isinstance(value, Tensor):
            return name
    where = f' at hook point "{point}"' if point is not None else ""
    raise TypeError(f"A module must get a tensor to be read{where}, got {list(kwargs)}.")


def module_input(args: tuple[Any, ...], kwargs: Mapping[str, Any], point: HookPoint) -> object:
    """Return what a module got at an input-side hook point."""
    where = first_input(args, kwargs, point)
    return args[where] if isinstance(where, int) else kwargs[where]


def with_input(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], point: HookPoint, new: object
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a module's arguments with its input exchanged."""
    where = first_input(args, kwargs, point)
    if isinstance(where, int):
        return (new, *args[1:]), dict(kwargs)
    return args, {**kwargs, where: new}


# -------------------------------------------------------------------------------------------------
# The axis of its features, decided by the module that makes it.

_CHANNELS_SECOND = (
    nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.InstanceNorm1d, nn.GroupNorm, nn.LocalResponseNorm,
    nn.MaxPool1d, nn.MaxUnpool1d, nn.AvgPool1d, nn.LPPool1d, nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d,
    nn.Dropout1d, nn.Upsample, nn.ReflectionPad1d, nn.ReplicationPad1d, nn.ZeroPad1d, nn.ConstantPad1d,
    nn.CircularPad1d,
)  # fmt: skip
_OF_MAPS = (
    nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d,
    nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d, nn.Dropout2d, nn.Conv3d,
)  # fmt: skip
_FEATURES_LAST = (
    nn.Linear, nn.Bilinear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.MultiheadAttention, nn.RNNBase,
    nn.TransformerEncoderLayer, nn.TransformerDecoderLayer,
)  # fmt: skip
# Of other packages, by the name of the class: GPT-2's Conv1D is a linear layer.
_LAST_BY_NAME = ("LayerNorm", "RMSNorm", "Conv1D", "Attention", "Linear")


def layout_at(root: nn.Module, point: HookPoint) -> HookPoint:
    """Return a hook point with the form of its states and the axis of its features, where its module decides.

    A container has the axis of what ends it, or begins it on the input side; an activation function that of its
    neighbours; a module of another class that on which all its parts agree.
    """
    form, tokens_from = facts.form_at(root, point.path), facts.tokens_from(root, point.path)
    parts = facts.parts_of_sample(root, point.path)
    if form is not None or tokens_from is not None or parts > 1:
        point = point.changed(form=form, tokens_from=tokens_from, parts=parts)
    if point.features is not None or point.channels is not None:
        return point
    try:
        part = root.get_submodule(point.path)
    except AttributeError:
        return point
    axis = _axis(part, of_input=point.side == "input") or _by_neighbours(root, point.path)
    if axis == "maps":
        # A sequence that is made of a map, as by a patch embedding, is (batch, places, features) by custom.
        return point.changed(features="last", maps=True)
    if axis is not None or point.side == "input":
        return point.changed(features=axis)
    channels = [one for one in part.modules() if isinstance(one, nn.Conv1d | nn.ConvTranspose1d)]
    kinds = {_axis(one) for one in part.modules() if _decides(one)}
    # Linear layers next to norms over channels, as PatchTST has them: only sequences pass through both.
    series = kinds == {"last", "channels"}
    return point.changed(channels=channels[-1].out_channels if channels else None, series=series)


_Axis = Literal["last", "channels", "maps"]


def _axis(part: nn.Module, *, of_input: bool = False) -> _Axis | None:
    if isinstance(part, _OF_MAPS):
        return "maps"
    if isinstance(part, _CHANNELS_SECOND):
        return "channels"
    if isinstance(part, _FEATURES_LAST) or type(part).__name__.endswith(_LAST_BY_NAME):
        return "last"
    children = list(part.children())
    if isinstance(part, nn.Sequential):
        ordered = children if of_input else children[::-1]
        found = (_axis(child, of_input=of_input) for child in ordered)
        return next((axis for axis in found if axis is not None), None)
    axes = {_axis(one) for one in part.modules() if _decides(one)}
    if axes == {"last", "maps"}:
        return "maps"
    return axes.pop() if len(axes) == 1 else None


def _decides(part: nn.Module) -> bool:
    named = type(part).__name__.endswith(_LAST_BY_NAME)
    return named or isinstance(part, _CHANNELS_SECOND + _OF_MAPS + _FEATURES_LAST)


def _by_neighbours(root: nn.Module, path: str) -> _Axis | None:
    """Return the axis that a part without one of its own keeps from what runs before it in a `Sequential`."""
    above, _, name = path.rpartition(".")
    part = root.get_submodule(path)
    if not path or any(True for _ in part.parameters()) or any(True for _ in part.children()):
        return None
    holder = root.get_submodule(above)
    if isinstance(holder, nn.Sequential):
        names = [one for one, _ in holder.named_children()]
        before, after = names[: names.index(name)], names[names.index(name) + 1 :]
        axes = [_axis(holder.get_submodule(one)) for one in reversed(before)]
        axes += [_axis(holder.get_submodule(one), of_input=True) for one in after]
        return next((axis for axis in axes if axis is not None), None)
    return _axis(holder) if above else None


# -------------------------------------------------------------------------------------------------
# Its layout.


def check_samples_first(
    x: Tensor, n: int | None, point: str, model: nn.Module | None = None, path: str = ""
) -> None:
    """Refuse a state whose first axis is time: (time, batch, d), the default of `nn.MultiheadAttention`.

    Where there are as many samples as places, it is unknown if a part near the module takes time first.
    """
    if x.ndim != 3 or n is None or x.shape[1] != n:
        return
    if x.shape[0] != n:
        raise ValueError(
            f"Activations at `{point}` must have samples first, (batch, time, d), got {tuple(x.shape)} of "
            f"{n} samples: "
            "time comes first. Build the module with batch_first=True, or choose a hook point outside of it."
        )
    recurrent = nn.MultiheadAttention | nn.RNNBase
    near = () if model is None else _around(model, path)
    if any(isinstance(part, recurrent) and not part.batch_first for part in near):
        raise ValueError(
            f"Activations at `{point}` have shape {tuple(x.shape)}, of which it is unknown whether samples "
            "or time come "
            "first: a part of the model takes time first. Use another batch_size= to find out."
        )


def _around(model: nn.Module, path: str) -> Iterator[nn.Module]:
    """Return the parts of a module, and the children of all that hold it."""
    yield from model.get_submodule(path).modules()
    while path:
        path = path.rpartition(".")[0]
        yield from model.get_submodule(path).children()


@dataclass(frozen=True, kw_only=True)
class TokenAxes:
    """Which axes of a state are tokens or places, beyond its width."""

    columns: int | None
    """Places per sample; None: one per token of the batch."""

    grid: tuple[int, int] | None = None
    """Rows and columns of cells, where the state is a convolution's map."""

    seconds: float | None = None
    """Time from one place to the next, where places are steps in time and a sample rate is known."""

    features: Literal["channels", "unknown"] | None = None
    """"channels": a sequence whose module has its features second. "unknown": they were taken from the last
    axis of what a module of unknown layout gave."""

    first: int | None = None
    """Place of the first token, where a state has more places than the batch has tokens."""

    def grid_of(self, model: Reads) -> tuple[int, int] | None:
        """Return rows and columns of its patches or cells; None where they are not known."""
        return model.patch_grid if self.grid is None else self.grid


def layout_of(
    x: Tensor, batch: Batch, point: str | None = None, prefix_tokens: int | None = None
) -> TokenAxes | None:
    """Return how a state of a batch, as it is read at `point`, is laid out; None: a shape that is not known.

    (batch, d) has one place per sample, or is (batch · time, d), as of OPT's MLP and mixtures of experts. A
    state of another number of places than the image has tokens is a stage's, which has its own grid.
    """
    batch = batch.at(point)
    width = batch.sample.shape[1]
    n_tokens = None if batch.token_ids is None else width
    if x.ndim == 2:
        flat = n_tokens is not None and n_tokens > 1 and x.shape[0] == batch.n * n_tokens
        return TokenAxes(columns=None if flat else 1)
    folded = x.shape[0] // batch.n if batch.n_values is not None and batch.sounds is None else 1
    if x.ndim == 3 and folded > 1 and x.shape[0] == folded * batch.n:
        # The channels of a series one after the other, as if they were samples.
        return TokenAxes(columns=folded * x.shape[1], grid=(folded, x.shape[1]))
    if x.ndim == 3 and (n_tokens is None or x.shape[1] == n_tokens):
        columns = None if x.shape[1] == width else x.shape[1]
        is_stage = columns is not None and prefix_tokens is not None and columns > 1 < width
        if is_stage and columns != width - (prefix_tokens or 0):
            return TokenAxes(columns=columns, grid=_stage_grid(x, batch))
        return TokenAxes(columns=columns, features=_noted(x, columns, point))
    if x.ndim == 4 and n_tokens is None:
        return TokenAxes(columns=x.shape[2] * x.shape[3], grid=(x.shape[2], x.shape[3]))
    if _has_more_places(x, n_tokens, point):
        return TokenAxes(columns=None, first=_first_token(x, n_tokens, point))
    return None


def _stage_grid(x: Tensor, batch: Batch) -> tuple[int, int] | None:
    """Return rows and columns of a stage's cells, of the shape that the image has; None if they do not fit."""
    values = (*batch.args, *batch.kwargs.values())
    picture = next((one for one in values if isinstance(one, Tensor) and one.ndim == 4), None)
    if picture is None:
        return None
    height, width = picture.shape[2:]
    rows = round((x.shape[1] * height / width) ** 0.5)
    columns = x.shape[1] // max(rows, 1)
    fits = rows * columns == x.shape[1] and rows * width == columns * height
    return (rows, columns) if fits else None


def _has_more_places(x: Tensor, n_tokens: int | None, point: str | None) -> bool:
    """Whether a state has places besides those of the tokens: padding to a window, a prompt of the model's."""
    known = getattr(point, "tokens_from", None) is not None and n_tokens is not None
    return known and x.ndim == 3 and x.shape[1] > n_tokens  # type: ignore[operator]


def _first_token(x: Tensor, n_tokens: int | None, point: str | None) -> int:
    first: int = getattr(point, "tokens_from", 0)
    return x.shape[1] - (n_tokens or 0) if first < 0 else first


def at_tokens(x: Tensor, n_tokens: int | None, point: str | None) -> Tensor:
    """Return the places of a state that are tokens, as a view; all of them where it has no others."""
    if n_tokens is None or not _has_more_places(x, n_tokens, point):
        return x
    first = _first_token(x, n_tokens, point)
    return x[:, first : first + n_tokens]


def with_tokens(new: Tensor, x: Tensor, n_tokens: int | None, point: str | None) -> Tensor:
    """Return a state with the places that are tokens exchanged."""
    if n_tokens is None or not _has_more_places(x, n_tokens, point):
        return new
    first = _first_token(x, n_tokens, point)
    return torch.cat([x[:, :first], new, x[:, first + n_tokens :]], dim=1)


def _noted(
    x: Tensor, columns: int | None, point: str | None
) -> Literal["channels", "unknown"] | None:
    """Return what is to be stated of a sequence's axis of features."""
    features, channels = (getattr(point, name, None) for name in ("features", "channels"))
    if features == "channels" or (features is None and channels == x.shape[2] != x.shape[1]):
        return "channels"
    guessed = features is None and columns is not None and point is not None
    return "unknown" if guessed and min(x.shape[1:]) > 1 and hasattr(point, "path") else None


def seconds_per_step(
    module: nn.Module, path: str, n_steps: int, n_values: int, sample_rate: float
) -> float:
    """Return the time between two steps of a state, seconds, of a trace of `n_values` at a sample rate.

    By the strides of convolutions and pools up to the module, if they lead to about as many steps; else evenly.
    """
    stride, inside = 1.0, f"{path}." if path else ""
    named = list(module.named_modules())
    last = max(i for i, (name, _) in enumerate(named) if name == path or name.startswith(inside))
    for _, part in named[: last + 1]:
        if isinstance(part, nn.ConvTranspose1d):
            stride /= part.stride[0]
        elif isinstance(part, nn.Conv1d | nn.MaxPool1d | nn.AvgPool1d):
            step = part.stride
            stride *= step if isinstance(step, int) else step[0]
    even = n_values / n_steps
    return (stride if 0.5 < even / stride < 2 else even) / sample_rate


def timed_layout(layout: TokenAxes, model: Reads, batch: Batch, point: HookPoint) -> TokenAxes:
    """Return a layout with the time between its steps, where a batch is of traces of a known rate."""
    if model.column_seconds is not None:  # of patches of a spectrogram, or of a series
        row = layout.grid is None and model.patch_grid is None and layout.columns is not None
        grid = (1, layout.columns) if row and batch.pictures is not None else layout.grid
        return replace(layout, seconds=model.column_seconds, grid=grid)  # type: ignore[arg-type]
    if model.frames is not None:  # of a video's tubelets
        is_timed = layout.grid is None and batch.sample_rate is not None
        spent = (batch.n_values or 1) / (batch.sample_rate or 1)
        return replace(layout, seconds=spent / model.frames) if is_timed else layout
    batch = batch.at(point)
    n_steps = batch.sample.shape[1] if layout.columns is None else layout.columns
    if layout.grid is not None:
        n_steps = layout.grid[1]
    rate, n_values = batch.sample_rate, batch.n_values
    if n_values is None:
        trace = next((one for one in batch.args if isinstance(one, Tensor)), None)
        n_values = None if trace is None else trace.shape[-1]
    if rate is None or n_values is None or n_steps < 2:
        return layout
    future = [v for k, v in batch.kwargs.items() if k.startswith("future_") and v.ndim > 1]
    if n_steps != batch.n_values and any(value.shape[1] == n_steps for value in future):
        return replace(layout, seconds=1 / rate)  # values of which there is no image
    step = seconds_per_step(model.module, point.path, n_steps, n_values, rate)
    if batch.pictures is None or batch.longest is None:
        return replace(layout, seconds=step)
    if layout.grid is not None:
        return replace(layout, seconds=step)
    more = round((batch.longest - n_values) / (step * rate))
    return replace(layout, seconds=step, grid=(1, n_steps + more))


def by_place(
    x: Float[Tensor, "n ..."], tokens: tuple[int, int] | None = None
) -> Float[Tensor, "n places d"]:
    """Return a state with one axis of places; by `tokens`, samples and tokens, rows end to end are told."""
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


def patches_of(x: Float[Tensor, "n ..."], model: Reads) -> Float[Tensor, "n patches d"]:
    """Return the places of a state that are patches or cells, or the single place that represents all.

    `x`: As a module has it, (n, places, d) or a map (n, d, height, width); class tokens and registers are left
    out.
    """
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
    batch: Batch, layout: TokenAxes, prefix_tokens: int, point: str
) -> tuple[Int[Tensor, "batch places"], Int[Tensor, "batch places"]]:
    """Return the sample and the position of every place; `point` names it in errors."""
    batch = batch.at(point)
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
