"""Places in a live model where activations are read and edited, and how their names are understood.

A hook point is a string ("resid_post.6") that knows its module path, its side and its layer. Three
spellings mean the same place: the standard name, TransformerLens' name
("blocks.6.hook_resid_post") and the raw module path, optionally ending in ".input" or ".output".
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Sequence
from dataclasses import InitVar, dataclass, field, replace
from typing import Any, Literal, cast

from sae_nb._hints import near
from sae_nb.checks import check_hook_name, check_integers, checked, one_of, shown
from sae_nb.checks._hook_point_names import standard_name

Side = Literal["input", "output"]

Features = Literal["last", "channels"]
"""Axis of a state that holds its features: its last, or the one behind the samples."""

Form = Literal["time first", "streams", "streams first"]
"""Form of a state other than (batch, time, d): (time, batch, d); (batch, time, streams, d), as
hyper-connections have it, which is read with a token's streams side by side; (streams, batch, time, d).
"""

Place = tuple[str, Side]
"""Module path and side: where a value is read or changed, whatever its names."""

Step = int | Literal["last"]
"""Application of a module within one pass, counted from 0."""


class HookPointNotFound(ValueError):  # noqa: N818 - a public name, given by the contract
    """No hook point of that name; the message lists the near ones."""


@checked
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HookPoint(str):
    """A named place in a model: behaves as its name, and carries where that is.

    Example
    -------
    >>> point = HookPoint("resid_post.6", path="transformer.h.6", layer=6)
    >>> point, point.path, point.side, point == "resid_post.6"
    ('resid_post.6', 'transformer.h.6', 'output', True)
    """

    name: InitVar[str] = field(kw_only=False)
    path: str
    side: Side = "output"
    """Whether the module's output or its first input is meant."""

    layer: int | None = None
    index: int | None = None  # type: ignore[assignment]  # hides str.index, which names do not need
    """Element of a tuple output; None: the first tensor, found when the model runs."""

    writable: bool = True
    """False where the module sees a copy that is used elsewhere too, so that an edit there would change only
    part of the network: ``resid_mid`` of pre-norm blocks."""

    features: Features | None = None
    """Axis of a state that holds its features: "last", or "channels" for the one behind the samples, as
    convolutions have it; None: not known, and taken from the shape."""

    channels: int | None = None
    """Channels that a module of unknown layout gives, by which its shape may decide."""

    maps: bool = False
    """Whether its module makes maps, (batch, channels, height, width), which keep that form."""

    series: bool = False
    """Whether its module works on sequences alone, so that a state of four axes has features last."""

    step: Step | tuple[int, ...] | None = None
    """Application of the module within one pass, counted from 0, or "last", or several; None: every one."""

    once: bool = False
    """Whether there is one state per pass: the module runs once, or `step` names a time it always runs."""

    runs: int | None = None
    """Number of times that the module runs in one pass, where that is known."""

    encoder: bool = False
    """Whether it is in the encoder of an encoder–decoder, whose rows are of its own input."""

    form: Form | None = None
    """Form of its states, where it is another than (batch, time, d); see `Form`."""

    tokens_from: int | None = None
    """Place of the first token in states that have more places than tokens, −1 where tokens are the last;
    None: they have none."""

    parts: int = 1
    """Number of parts of a sample that the module sees as samples, one after the other, such as frames."""

    def __new__(cls, name: str = "", *_: object, **__: object) -> HookPoint:
        """Make the string; its fields follow."""
        return super().__new__(cls, name)

    def __post_init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"`name` must be text, got {shown(name)}.")

    def changed(self, **fields: Any) -> HookPoint:
        """Return the same hook point with other fields."""
        return replace(self, **{"name": str(self), **fields})

    @property
    def times(self) -> tuple[int, ...] | None:
        """Applications of the module that are meant, counted from 0; None: every one.

        Raises
        ------
        ValueError: If the last one is meant, and it is not known which that is.
        """
        if self.step == "last":
            if self.runs is None:
                raise ValueError(
                    f'"{self}" must be known by its number before the model runs. Write "{self.path}@0", '
                    f'"{self.path}@1" …; `sn.capture(model, inputs, "{self.path}")` counts its applications.'
                )
            return (self.runs - 1,)
        return (self.step,) if isinstance(self.step, int) else self.step

    def check_writable(self) -> None:
        """Refuse to edit a hook point where an edit would reach only part of the network."""
        if not self.writable:
            raise ValueError(
                f'"{self}" can be read but not edited: the module there sees one of two uses of this '
                f'value. Edit "attn_out.{self.layer}" (its sum with resid_pre is this value) or '
                f'"resid_post.{self.layer}".'
            )

    @property
    def kind(self) -> str:
        """The name without its layer: "resid_post" for "resid_post.6"; a raw path is itself."""
        if self.layer is None and not str(self).startswith("exit_gate."):
            return str(self)
        return str(self).rpartition(".")[0]

    @property
    def place(self) -> tuple[str, Side, Step | tuple[int, ...] | None]:
        """Module path, side and application: equal for two names of one state."""
        return self.path, self.side, self.step


# `__new__`, which makes the string, would hide the fields from `help`.
_parameters = list(inspect.signature(HookPoint.__init__).parameters.values())[1:]
HookPoint.__signature__ = inspect.Signature(_parameters)  # type: ignore[attr-defined]


def find_hook_point(
    name: str,
    points: Sequence[HookPoint],
    module_paths: Collection[str],
    *,
    model_name: str = "this model",
) -> HookPoint:
    """Return the hook point a name means: standard, TransformerLens or raw module path.

    A standard name wins over a module path, a module that is called "output" over the suffix.
    """
    whole, at, step = str(check_hook_name(name)).rpartition("@")
    if at:
        found = find_hook_point(whole, points, module_paths, model_name=model_name)
        return _application(name, found, step)
    wanted = standard_name(str(name))
    for point in points:
        if point == wanted:
            return point
    if wanted and wanted in module_paths:
        return HookPoint(name, path=wanted)
    path, _, side = wanted.rpartition(".")
    if side in ("input", "output") and path in module_paths and path:
        return HookPoint(name, path=path, side=cast(Side, side))
    raise HookPointNotFound(_not_found(name, wanted, points, module_paths, model_name))


def _application(name: str, every: HookPoint, step: str) -> HookPoint:
    """Return one application of a module, whose own hook point has all of them."""
    if step != "last" and not step.isdecimal():
        raise HookPointNotFound(
            f'A hook point\'s application must be a number counted from 0, or "last", got "{name}". Write '
            f'"{every}@0" or "{every}@last".'
        )
    if every.step is not None:
        raise HookPointNotFound(
            f'"{every}" is one application already, got "{name}". Write "{every}", or "{every.path}@{step}" '
            "for another application of the same module."
        )
    asked: Step = "last" if step == "last" else int(step)
    return HookPoint(
        name,
        path=every.path,
        side=every.side,
        index=every.index,
        writable=every.writable,
        step=asked,
        once=True,
    )


def near_names(
    name: str, names: Collection[str], count: int = 5, *, likeness: float = 0.5
) -> list[str]:
    """Return up to `count` names spelled most like `name`, the nearest first."""
    return near(name, dict.fromkeys(names), count, likeness=likeness)


def _not_found(
    name: str,
    wanted: str,
    points: Sequence[HookPoint],
    module_paths: Collection[str],
    model_name: str,
) -> str:
    kind, _, layer = wanted.rpartition(".")
    layers = [point.layer for point in points if point.kind == kind and point.layer is not None]
    own = wanted.removeprefix("decoder.")
    other = next((point for point in points if point == f"encoder.{own}"), None)
    if other is not None:
        own_ends = [point for point in points if point.startswith("decoder.resid_post.")]
        near = f'Only the encoder has "{other}"; a name without a stream is the decoder\'s'
        if own_ends:
            near += f', which ends at "{own_ends[-1]}"'
    elif layers and layer.lstrip("-").isdigit():
        ends = dict.fromkeys((min(layers), max(layers)))
        near = "It has " + " … ".join(f'"{kind}.{end}"' for end in ends)
    elif " " in name.strip():
        near = "That is a text; hook points are names such as " + ", ".join(
            f'"{p}"' for p in points[:2]
        )
    else:
        names = near_names(wanted, [*points, *filter(None, module_paths)]) or [
            str(p) for p in points[:5]
        ]
        quoted = ", ".join(f'"{n}"' for n in names)
        near = f"Near: {quoted}" if quoted else "It has none"
    return (
        f'No hook point "{name}" in {model_name}. {near}; call `model.hook_points()` to list all '
        "(raw module paths work too)."
    )


def check_step(point: HookPoint, step: object) -> Step | tuple[int, ...] | None:
    """Return applications that are asked for, of a hook point that does not name one itself."""
    if step is None:
        return None
    if point.step is not None:
        raise ValueError(
            f'`step` must be None at "{point}", which is one application already, got {step!r}. Name the '
            f'module\'s path, "{point.path}", to choose among its applications.'
        )
    if isinstance(step, str):
        one_of(step, ("last",), name="step")
        return "last"
    several = isinstance(step, Iterable)
    numbers = check_integers(step if several else [step], name="step")
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise ValueError(
            f"`step` must be applications of a module, counted from 0, each once, or 'last', got {step!r}."
        )
    return tuple(sorted(int(number) for number in numbers))
