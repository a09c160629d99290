"""The base of what studies return: fields that are declared once, and everything made from them.

A subclass is a frozen dataclass without a decorator: it lists its fields, names in `HEADLINE` the
fields it prints, and marks those that are columns of its table.
"""

from __future__ import annotations

import ast
import inspect
import math
import numbers
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from html import escape
from pathlib import Path
from string import Formatter
from types import BuiltinMethodType, MethodType
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

from sae_nb.checks import methods_in_own_modes
from sae_nb.findings._lines import LEFT, aligned, as_html, is_numbered

if TYPE_CHECKING:
    from pandas import DataFrame, Series

    from sae_nb.figures import Chart

    _Derived = property
else:

    class _Derived:
        """A property in whose place a subclass may have a field of that name."""

        def __init__(self, make: Any) -> None:
            self.make, self.__doc__ = make, make.__doc__

        def __get__(self, finding: Any, kind: type | None = None) -> Any:
            return self if finding is None else self.make(finding)


_COLUMN, _INDEX = "column", "index"
_SHOWN_ROWS = 12


def column(title: str = "", *, index: bool = False) -> Mapping[str, Any]:
    """Return the metadata of a field that is a column of the table: `field(metadata=column("R²"))`.

    Parameters
    ----------
    title
        Of the column; empty: the field's name.
    index
        Whether the table's rows are named by it.

    Example
    -------
    >>> column("shuffled")["column"]
    'shuffled'
    """
    return {_COLUMN: title, _INDEX: index}


@dataclass_transform(
    frozen_default=True, kw_only_default=True, eq_default=False, field_specifiers=(field,)
)
@dataclass(frozen=True, eq=False, repr=False)
class Finding:
    """Base of what a study returns: prints as a line, shows as a table, and is saved to a folder.

    A subclass lists its fields with their types, and a docstring below each that gives its meaning and
    unit; the class is then a frozen dataclass. From what it declares come `repr` and `headline`
    (`HEADLINE`, a template over its attributes), `table` and `to_pandas` (fields with `column`, else a row
    per number), the notebook's view, and `save` and `load`. A subclass that prints more than a line puts
    it into `below`: sentences, and tables of a few rows, which `repr` aligns and the notebook shows.

    Example
    -------
    >>> class Agreement(Finding):
    ...     HEADLINE = "{names.len} layers, mean R² {r2.mean:.2f}"
    ...     names: tuple[str, ...] = field(metadata=column("layer"))
    ...     r2: np.ndarray = field(metadata=column("R²"))
    >>> import numpy as np
    >>> found = Agreement(names=("a", "b"), r2=np.array([0.5, 0.7]))
    >>> found
    Agreement(2 layers, mean R² 0.60)
    >>> found.table["R²"].tolist()
    [0.5, 0.7]
    """

    HEADLINE: ClassVar[str] = ""
    """Format of its printed line. `{r2.mean:.3f}` is an attribute, formatted: methods without arguments
    are called, `.len` is the length, several numbers are joined by commas.
    """

    def __init_subclass__(cls, *, kw_only: bool = True, eq: bool = False, **more: Any) -> None:
        super().__init_subclass__(**more)
        for name in vars(cls).get("__annotations__", ()):
            if name not in vars(cls) and isinstance(getattr(cls, name, None), _Derived):
                setattr(cls, name, field())  # else the property would be the field's default
        methods_in_own_modes(cls)
        dataclass(frozen=True, kw_only=kw_only, eq=eq, repr=False)(cls)
        if "HEADLINE" in vars(cls) and "headline" not in vars(cls):
            cls.headline = Finding.headline  # type: ignore[method-assign]  # not that of a base
        known = {one.name for one in fields(cls)}
        for _, path, *_ in Formatter().parse(cls.HEADLINE):
            name = (path or "").partition(".")[0].partition("[")[0]
            if name and name not in known and not hasattr(cls, name):
                raise TypeError(f"The headline of {cls.__name__} names {name!r}, which it has not.")

    @property
    def headline(self) -> str:
        """The result in one line."""
        if self.HEADLINE:
            return self.HEADLINE.format_map(_Filling(self))
        return ", ".join(f"{name} {value:.4g}" for name, value in self._numbers().items())

    @property
    def below(self) -> Sequence[str | DataFrame]:
        """Lines and short tables printed below the headline; none, and the notebook shows `table`."""
        return ()

    def __repr__(self) -> str:
        parts = (part if isinstance(part, str) else aligned(part) for part in self.below)
        return "\n".join([self._line(), *parts])

    def _line(self) -> str:
        return f"{type(self).__name__}({self.headline})"

    def _numbers(self) -> dict[str, Any]:
        """The fields that are single numbers."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {
            name: x
            for name, x in values.items()
            if isinstance(x, numbers.Real) and not isinstance(x, Finding)
        }

    @_Derived
    def table(self) -> DataFrame:
        """Return the fields that are columns, side by side; without such fields a number per row."""
        import pandas as pd

        declared = [one for one in fields(self) if _COLUMN in one.metadata]
        if not declared:
            numbers_ = self._numbers()
            meanings = [self.meanings().get(name, "") for name in numbers_]
            rows = {"name": list(numbers_), "value": list(numbers_.values()), "meaning": meanings}
            return pd.DataFrame(rows)
        named = {one.metadata[_COLUMN] or one.name: getattr(self, one.name) for one in declared}
        columns = {name: _column(values) for name, values in named.items() if values is not None}
        index = [one.metadata[_COLUMN] or one.name for one in declared if one.metadata[_INDEX]]
        table = pd.DataFrame(columns)
        return table.set_index(index) if index else table

    def to_pandas(self) -> DataFrame:
        """`table`, as a method."""
        return self.table

    def _repr_html_(self) -> str:
        parts = [f"<p>{escape(self._line())}</p>"]
        parts += [
            f"<p{LEFT}>{escape(part)}</p>" if isinstance(part, str) else as_html(part)
            for part in self.below
        ]
        if all(isinstance(part, str) for part in self.below):
            values = (getattr(self, one.name) for one in fields(self) if one.name != "table")
            stored = (value for value in values if type(value).__name__ == "DataFrame")
            parts += map(_html, (self.to_pandas(), *stored))
        return "".join(parts)

    @classmethod
    def meanings(cls) -> dict[str, str]:
        """Return the docstring below each field: its meaning, and its unit."""
        kinds: list[Any] = [kind for kind in reversed(cls.__mro__) if issubclass(kind, Finding)]
        return {name: text for kind in kinds for name, text in _docstrings(kind).items()}

    def save(self, folder: str | Path) -> None:
        """Write every field to a folder, in safetensors and JSON, whole or not at all; `load` reads it.

        Raises
        ------
        TypeError: If a field holds what no file can, such as a live model.
        FileExistsError: If the folder holds files that are not ours.
        """
        from sae_nb.findings._saving import write

        write(self, folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a folder that `save` of this class wrote.

        Raises
        ------
        FileNotFoundError, ValueError: If it is not there, damaged, or of another kind.
        """
        from sae_nb.findings._saving import read

        return read(cls, folder)


class Plotted(Finding):
    """A finding that is drawn: it declares in `chart` which of its numbers, `plot` draws them."""

    @property
    def chart(self) -> Chart:
        """The drawing: the series, and the titles of the axes."""
        raise NotImplementedError

    def plot(self) -> Any:
        """Draw `chart` as a plotly figure."""
        from sae_nb.figures import draw_chart

        return draw_chart(self.chart)


def _html(table: DataFrame) -> str:
    """The first rows of a table."""
    html: str = table.to_html(
        index=not is_numbered(table), max_rows=_SHOWN_ROWS, float_format="{:.4g}".format, na_rep=""
    )
    return html


def _column(values: Any) -> Series | Any:
    """One value per row; tensors as arrays of numpy."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else values


@cache
def _docstrings(kind: Any) -> dict[str, str]:
    """The docstrings of a class's own fields; fields in a row share the one below the last."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    except (OSError, TypeError):
        return {}
    found: dict[str, str] = {}
    waiting: list[str] = []
    for node in getattr(body, "body", ()):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            waiting.append(node.target.id)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found |= dict.fromkeys(waiting, " ".join(str(node.value.value).split()))
            waiting = []
        else:
            waiting = []
    return found


# -------------------------------------------------------------------------------------------------
# The line that a finding prints: a template in which its own numbers are filled in.


class _Part:
    """A value as a template writes it; `{r2.mean:.3f}` is the mean of `r2` in three decimals.

    Methods without arguments are called; `.len` is the length, `.nanmean` the mean of what is known, and
    `.counts` how often each value is there. Several values are joined by commas, a mapping as "name value".
    """

    def __init__(self, value: Any) -> None:
        self._value = value() if isinstance(value, MethodType | BuiltinMethodType) else value

    def __getattr__(self, name: str) -> _Part:
        if name == "len":
            return _Part(len(self._value))
        if name == "nanmean":
            known = [float(x) for x in self._value if not math.isnan(x)]
            return _Part(sum(known) / len(known) if known else math.nan)
        if name == "counts":
            return _Part([f"{n} {value}" for value, n in Counter(self._value).items()])
        return _Part(getattr(self._value, name))

    def __getitem__(self, key: int | str) -> _Part:
        last = isinstance(key, str) and key.startswith("-")  # `format` takes it for a name
        return _Part(self._value[int(key) if last else key])

    def __format__(self, spec: str) -> str:
        value = self._value
        if isinstance(value, Mapping):
            pairs = (
                (name if isinstance(name, str) else f"{name}:", one) for name, one in value.items()
            )
            return ", ".join(f"{name} {_Part(one):{spec}}" for name, one in pairs)
        if getattr(value, "shape", None) == ():  # a number of torch or numpy
            value = value.item()
        if hasattr(value, "__len__") and not isinstance(value, str):
            return ", ".join(format(_Part(one), spec) for one in value)
        return str(value) if value is None else format(value, spec)


class _Filling(Mapping[str, _Part]):
    """The attributes of an object, as a template asks for them."""

    def __init__(self, of: object) -> None:
        self._of = of

    def __getitem__(self, name: str) -> _Part:
        return _Part(getattr(self._of, name))

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self._of))

    def __len__(self) -> int:
        return len(vars(self._of))
