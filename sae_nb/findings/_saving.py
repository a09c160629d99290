"""A finding as a folder: arrays as safetensors, everything else as JSON that states its kind."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from sae_nb.codes import SparseCodes
from sae_nb.files._atomic import json_object, read_manifest
from sae_nb.files._tensors import read_tensors, write_folder

if TYPE_CHECKING:
    from pandas import DataFrame, Index, Series
    from scipy.sparse import csr_matrix

    from sae_nb.findings._finding import Finding

    Found = TypeVar("Found", bound=Finding)

KIND = "finding"
_JSON, _TENSORS = "finding.json", "finding.safetensors"
_CODES = ("values", "atoms", "offsets", "n_atoms", "leading_shape")
_CSR = ("data", "indices", "indptr", "shape")


def write(finding: Finding, folder: str | Path) -> None:
    """Write every field of a finding to a folder, whole or not at all."""
    tensors: dict[str, Tensor] = {}
    content = _fields_of(finding, type(finding).__name__, tensors)
    facts = {"class": type(finding).__name__, "fields": content}
    write_folder(folder, KIND, json={_JSON: facts}, tensors={_TENSORS: tensors})


def read(kind: type[Found], folder: str | Path) -> Found:
    """Read a finding of a kind from a folder."""
    read_manifest(folder, KIND)
    content = json_object(Path(folder) / _JSON)
    if content.get("class") != kind.__name__:
        raise ValueError(
            f"`folder` must hold a {kind.__name__}, got a {content.get('class')}: {str(folder)!r}. Load it "
            "by the class that wrote it."
        )
    tensors = read_tensors(Path(folder) / _TENSORS)
    try:
        return _made(kind, content["fields"], tensors)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{str(folder)!r} must hold the fields of a {kind.__name__}, and does not ({error}). It was "
            "altered, or written by another version; save it again."
        ) from error


def _fields_of(record: Any, path: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    there = {one.name: getattr(record, one.name) for one in fields(record) if one.init}
    records = _records(type(record))
    return {
        name: _plain(value, f"{path}.{name}", tensors, records) for name, value in there.items()
    }


def _records(kind: type) -> dict[str, type]:
    """The records that fields of a class may hold: those that its module, or that of a base, knows."""
    known: dict[str, type] = {}
    for base in reversed(kind.__mro__):
        names = vars(sys.modules[base.__module__])
        known |= {n: v for n, v in names.items() if isinstance(v, type) and is_dataclass(v)}
    return known


def _plain(
    value: Any, path: str, tensors: dict[str, Tensor], records: Mapping[str, type]
) -> dict[str, Any] | Any:
    """A value as JSON; its arrays go among the tensors, under the path of the field."""

    def inside(part: Any, name: object) -> Any:
        return _plain(part, f"{path}.{name}", tensors, records)

    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and not is_dataclass(value):  # a measurement is both
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        tensors[path] = torch.from_numpy(np.array(value, order="C"))
        return {"array": path, "shape": list(value.shape)}
    if isinstance(value, np.ndarray | list | tuple):
        name = "tuple" if isinstance(value, tuple) else "list"
        return {name: [inside(part, i) for i, part in enumerate(value)]}
    if isinstance(value, Mapping):
        items = [[inside(k, f"{i}k"), inside(v, i)] for i, (k, v) in enumerate(value.items())]
        return {"mapping": items}
    if isinstance(value, SparseCodes):
        return {"codes": {name: inside(getattr(value, name), name) for name in _CODES}}
    if type(value).__name__ == "csr_matrix":
        return {"csr": {name: inside(getattr(value, name), name) for name in _CSR}}
    if type(value).__name__ == "DataFrame":
        parts = {"columns": list(value.columns), "index": _listed(value.index)}
        parts |= {"index_name": value.index.name}
        data = [_listed(value.iloc[:, i]) for i in range(value.shape[1])]
        return {"table": inside(parts | {"data": data}, "table")}
    if type(value).__name__ == "Series":
        return {"series": inside(value.to_frame("values"), "series"), "name": value.name}
    if is_dataclass(value) and records.get(type(value).__name__) is type(value):
        return {"record": type(value).__name__, "fields": _fields_of(value, path, tensors)}
    raise TypeError(
        f"A finding to be saved must hold numbers, texts, tables and records of them, got {path}, a "
        f"{type(value).__name__}. Save what you need of it, such as `table`, with pandas."
    )


def _listed(values: Index | Series) -> np.ndarray | list[object]:
    array = values.to_numpy()
    return array if array.dtype.kind in "biuf" else array.tolist()


def _made(kind: type[Any], content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    records = _records(kind)
    return kind(**{name: _value(part, tensors, records) for name, part in content.items()})


def _value(part: Any, tensors: Mapping[str, Tensor], records: Mapping[str, type]) -> Any:
    """Return the value that `_plain` was given."""
    if not isinstance(part, dict):
        return part

    def inside(some: Any) -> Any:
        return _value(some, tensors, records)

    def several(some: Mapping[str, Any]) -> dict[str, Any]:
        return {name: inside(one) for name, one in some.items()}

    if "record" in part:
        return _made(records[part["record"]], part["fields"], tensors)
    readers: dict[str, Callable[[Any], Any]] = {
        "float": float,
        "tensor": tensors.__getitem__,
        "array": lambda path: tensors[path].numpy().reshape(part["shape"]),
        "tuple": lambda parts: tuple(map(inside, parts)),
        "list": lambda parts: list(map(inside, parts)),
        "mapping": lambda items: {_key(inside(k)): inside(v) for k, v in items},
        "codes": lambda parts: SparseCodes(**several(parts)),
        "csr": lambda parts: _csr(**several(parts)),
        "table": lambda table: _table(**inside(table)),
        "series": lambda table: inside(table)["values"].rename(part["name"]),
    }
    name = next(name for name in part if name in readers)
    return readers[name](part[name])


def _key(key: object) -> object:
    return tuple(key) if isinstance(key, list) else key


def _csr(
    data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int]
) -> csr_matrix:
    from scipy.sparse import csr_matrix

    return csr_matrix((data, indices, indptr), shape=shape)


def _table(
    columns: list[str], index: np.ndarray, index_name: str | None, data: list[np.ndarray]
) -> DataFrame:
    import pandas as pd

    there = pd.Index(index, name=index_name)
    parts = [pd.Series(values, index=there) for values in data]
    table = pd.concat(parts, axis=1) if parts else pd.DataFrame(index=there)
    table.columns = columns
    return table
