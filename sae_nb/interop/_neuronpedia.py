"""write_neuronpedia: an SAE and what its atoms fire on, as a tree Neuronpedia imports in bulk."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sae_nb.atoms import AtomCatalogue, AtomSummary
from sae_nb.atoms._atom import describe_atom
from sae_nb.atoms._records import Band, Example
from sae_nb.checks import Count, checked
from sae_nb.checks._hook_point_names import lens_name
from sae_nb.files._atomic import new_folder, write_bytes

if TYPE_CHECKING:
    from sae_nb.activations import Activations
    from sae_nb.architectures import SparseAutoencoder
    from sae_nb.models import LiveModel


BATCH = 128
"""Atoms per file."""

_SHARES: dict[Band, float] = {"99 %": 0.01, "50 %": 0.5}


@checked(leave=("acts",))
def write_neuronpedia(
    sae: SparseAutoencoder,
    acts: Activations | AtomCatalogue,
    folder: str | Path,
    *,
    model: LiveModel | None = None,
    set_name: str = "sae_nb",
    n_examples: Count = 10,
) -> Path:
    """Write the bulk-import tree of one SAE: features, activations, and the four files that name them.

    `{model}/{layer}-{set}/release.jsonl, model.jsonl, sourceset.jsonl, source.jsonl,
    features/*.jsonl.gz, activations/*.jsonl.gz`. Numbers are rounded to five decimals and there is no
    NaN. The format knows no images: patches appear by name ("patch 3,4").

    Parameters
    ----------
    sae
        Trained, with `model_name` and `hook_point` known.
    acts
        Activations that its atoms fire on; or a catalogue of it, encoded already.
    folder
        Gets the tree; must not exist, and appears only when complete.
    model
        A language model, for the tokens each atom raises and lowers.
    n_examples
        Strongest examples per atom; a third as many are drawn from each lower band.

    Raises
    ------
    ValueError: If model or hook point of the SAE are not known, or the parts do not fit.
    FileExistsError: If the folder exists.

    Source
    ------
    hijohnnylin/neuronpedia 2.0 (prisma schema) and SAEDashboard neuronpedia/*.py.
    """
    model_id, hook_point = sae.model_name, sae.hook_point
    if not model_id or not hook_point:
        raise ValueError(
            "`sae` must know its model and hook point to be published, got "
            f"model_name={model_id!r}, hook_point={hook_point!r}. Set sae.model_name and "
            "sae.hook_point."
        )
    catalogue = acts if isinstance(acts, AtomCatalogue) else AtomCatalogue(sae, acts)
    source = f"{str(hook_point).rpartition('.')[2]}-{set_name}"
    names = _Names(str(model_id).replace("/", "_"), source, set_name, lens_name(str(hook_point)))
    folder = Path(folder)
    with new_folder(folder) as partial:
        root = partial / names.model / source
        for name, row in _headers(names).items():
            _write_lines(root / f"{name}.jsonl", [row])
        for number, start in enumerate(range(0, sae.n_atoms, BATCH)):
            atoms = range(start, min(start + BATCH, sae.n_atoms))
            records = [_records(catalogue, atom, model, n_examples) for atom in atoms]
            features = [_feature(names, catalogue, bands[0]) for bands in records]
            activations = [row for bands in records for row in _activations(names, bands)]
            _write_lines(root / "features" / f"batch-{number}.jsonl.gz", features)
            _write_lines(root / "activations" / f"batch-{number}.jsonl.gz", activations)
    return folder


class _Names(NamedTuple):
    """The fields that every row repeats."""

    model: str
    source: str
    set_name: str
    hook: str


def _headers(names: _Names) -> dict[str, dict[str, Any]]:
    release = f"{names.model}-{names.set_name}"
    return {
        "release": {"name": release, "description": f"SAEs of {names.model}", "creatorName": ""},
        "model": {"id": names.model, "displayName": names.model, "displayNameShort": names.model},
        "sourceset": {
            "modelId": names.model,
            "name": names.set_name,
            "releaseName": release,
            "description": f"Sparse autoencoders at {names.hook}",
            "hasDashboards": True,
        },
        "source": {
            "id": names.source,
            "modelId": names.model,
            "setName": names.set_name,
            "hookPointOfSource": names.hook,
            "hasDashboards": True,
        },
    }


def _records(
    catalogue: AtomCatalogue, atom: int, model: LiveModel | None, n_examples: int
) -> list[AtomSummary]:
    lower = max(1, n_examples // 3)
    top = describe_atom(catalogue, atom, n_examples=n_examples, model=model)
    return [top, *(describe_atom(catalogue, atom, band=b, n_examples=lower) for b in _SHARES)]


def _feature(names: _Names, catalogue: AtomCatalogue, record: AtomSummary) -> dict[str, Any]:
    edges, counts = record.histogram.edges, record.histogram.counts
    return {
        "modelId": names.model,
        "layer": names.source,
        "index": str(record.atom),
        "sourceSetName": names.set_name,
        "hookName": names.hook,
        "maxActApprox": _number(record.max_strength),
        "frac_nonzero": _number(record.frequency),
        "hasVector": True,
        "vector": _numbers(catalogue.dictionary[record.atom].tolist()),
        "vectorDefaultSteerStrength": _number(2 * record.p99),
        "topkCosSimIndices": record.nearest_atoms.tolist(),
        "topkCosSimValues": _numbers(record.nearest_cosines),
        "pos_str": [token for token, _ in record.logits_up],
        "pos_values": _numbers(value for _, value in record.logits_up),
        "neg_str": [token for token, _ in record.logits_down],
        "neg_values": _numbers(value for _, value in record.logits_down),
        "freq_hist_data_bar_values": _numbers((edges[1:] + edges[:-1]) / 2),
        "freq_hist_data_bar_heights": counts.tolist(),
    }


def _activations(names: _Names, records: list[AtomSummary]) -> Iterator[dict[str, Any]]:
    for record in records:
        top = record.band == "top"
        share = -1.0 if top else _SHARES[record.band]
        for place, example in enumerate(record.examples):
            tokens, values, at = _tokens(example)
            strength = _number(example.strength)
            yield {
                "id": f"{names.model}-{names.source}-{record.atom}-{record.band}-{place}",
                "modelId": names.model,
                "layer": names.source,
                "index": str(record.atom),
                "dataSource": example.place,
                "dataIndex": str(example.sample),
                "tokens": tokens,
                "values": values,
                "maxValue": max(values, default=0.0),
                "maxValueTokenIndex": int(np.argmax(values)) if values else 0,
                "minValue": min(values, default=0.0),
                "qualifyingTokenIndex": at,
                "binMin": -1.0 if top else strength,
                "binMax": _number(record.max_strength) if top else strength,
                "binContains": share,
            }


def _tokens(example: Example) -> tuple[list[str], list[float], int]:
    if example.token_strengths is not None:
        at = example.position - example.first_position
        return list(example.tokens), _numbers(example.token_strengths), at
    if example.heat is not None:
        names = [name for name, _ in example.prefix]
        rows, columns = example.heat.shape
        names += [f"patch {r},{c}" for r in range(rows) for c in range(columns)]
        values = [value for _, value in example.prefix] + example.heat.flatten().tolist()
        return names, _numbers(values), example.position
    return [example.place], [_number(example.strength)], 0


def _number(value: float) -> float:
    return round(float(value), 5) if math.isfinite(value) else 0.0


def _numbers(values: Iterable[float]) -> list[float]:
    return [_number(value) for value in values]


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    content = lines.encode()
    # mtime 0: the same atoms give the same bytes.
    write_bytes(path, gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
