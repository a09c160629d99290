"""A graph as a folder of ours, read back; and as the JSON that circuit-tracer's viewers open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sae_nb.circuits._record import Graph
from sae_nb.files._atomic import read_json, read_manifest, write_json
from sae_nb.files._tensors import read_tensors, write_folder

if TYPE_CHECKING:
    from pandas import Series

KIND = "attribution graph"
NODES, MATRIX = "nodes.json", "graph.safetensors"
_WORDS = ("kind", "place", "layer", "position", "atom", "name", "read", "says", "fires")
_NUMBERS = ("value", "bias", "weight")
_EDGES = ("data", "indices", "indptr")
_INPUTS = ("inputs", "picture", "contrast")


def save_graph(graph: Graph, folder: str | Path) -> None:
    """See `AttributionGraph.save`."""
    matrix = graph.matrix.tocsr()
    facts = {
        "model_name": graph.model_name,
        "tokens": graph.tokens,
        "places": graph.places,
        "exact": graph.exact,
        "grid": graph.grid,
        "left_out": None if graph.left_out is None else dict(graph.left_out),
        "outcomes": graph.outcomes,
        "contrast_tokens": graph.contrast_tokens,
        "n_units": graph.n_units,
        "named_by": graph.named_by,
    }
    words = {name: graph.nodes[name].tolist() for name in _WORDS if name in graph.nodes}
    tensors = {name: torch.tensor(graph.nodes[name].to_numpy(float)) for name in _NUMBERS}
    tensors |= {name: torch.tensor(getattr(matrix, name)) for name in _EDGES}
    for name in _INPUTS:
        if (given := getattr(graph, name)) is not None:
            tensors[name] = given.contiguous()
    write_folder(folder, KIND, json={NODES: {**facts, "nodes": words}}, tensors={MATRIX: tensors})


def fields_of(folder: str | Path) -> dict[str, Any]:
    """Read the fields of a graph that `save_graph` wrote."""
    import pandas as pd
    from scipy.sparse import csr_matrix

    read_manifest(folder, KIND)
    record, tensors = read_json(Path(folder) / NODES), read_tensors(Path(folder) / MATRIX)
    nodes = pd.DataFrame(record["nodes"]).assign(
        **{name: tensors[name].numpy() for name in _NUMBERS}
    )
    n = len(nodes)
    return {
        "nodes": nodes,
        "matrix": csr_matrix(tuple(tensors[name].numpy() for name in _EDGES), shape=(n, n)),
        "model_name": record["model_name"],
        "tokens": tuple(record["tokens"]),
        "places": tuple(record["places"]),
        "exact": bool(record["exact"]),
        "left_out": None
        if (out := record.get("left_out")) is None
        else {place: tuple(some) for place, some in out.items()},
        **{name: tensors.get(name) for name in _INPUTS},
        "contrast_tokens": tuple(record.get("contrast_tokens", ())),
        "n_units": int(record.get("n_units", 0)),
        "named_by": str(record.get("named_by", "")),
        "grid": None if (grid := record.get("grid")) is None else (grid[0], grid[1], grid[2]),
        "outcomes": tuple(
            None if one is None else tuple(one) for one in record.get("outcomes", ())
        ),
    }


def write_circuit_tracer(graph: Graph, folder: str | Path, name: str) -> Path:
    """See `AttributionGraph.to_circuit_tracer`."""
    if not name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"`name` must be of letters, digits, - and _, got {name!r}.")
    about = {
        "slug": name,
        "scan": graph.model_name,
        "transcoder_list": [],
        "prompt_tokens": list(graph.tokens),
        "prompt": "".join(graph.tokens),
        "node_threshold": None,
        "schema_version": 1,
    }
    influence, ids = graph.influence, [_id(row) for _, row in graph.nodes.iterrows()]
    found = graph.matrix.tocoo()
    links = [
        {"source": ids[s], "target": ids[t], "weight": float(w)}
        for s, t, w in zip(found.col, found.row, found.data, strict=True)
    ]
    nodes = [
        _node(row, ids[i], float(influence[i])) for i, (_, row) in enumerate(graph.nodes.iterrows())
    ]
    shown = {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""}
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / f"{name}.json",
        {"metadata": about, "qParams": shown, "nodes": nodes, "links": links},
    )
    index = folder / "graph-metadata.json"
    known = read_json(index)["graphs"] if index.is_file() else []
    write_json(index, {"graphs": [*(g for g in known if g["slug"] != name), about]})
    return folder / f"{name}.json"


_TYPES = {
    "atom": "cross layer transcoder",
    "error": "mlp reconstruction error",
    "token": "embedding",
    "target": "logit",
}


def _layer(row: Series[Any]) -> str:
    if row.kind == "token":
        return "E"
    return str(int(row.layer) + (row.kind == "target"))


def _id(row: Series[Any]) -> str:
    """<layer>_<atom>_<position>; tokens and targets are numbered by their row."""
    number = row.atom if row.kind == "atom" else -1 if row.kind == "error" else row.name
    return f"{_layer(row)}_{number}_{row.position}"


def _node(row: Series[Any], name: str, influence: float) -> dict[str, Any]:
    target = row.kind == "target"
    layer, atom = int(row.layer), int(row.atom)
    paired = (layer + atom) * (
        layer + atom + 1
    ) // 2 + atom  # Cantor's, as circuit-tracer's nodes have it
    return {
        "node_id": name,
        "jsNodeId": f"{name.rpartition('_')[0]}-{0 if row.kind == 'atom' else row.position}",
        "feature": paired
        if row.kind == "atom"
        else -1
        if row.kind == "error"
        else int(row.position),
        "layer": _layer(row),
        "ctx_idx": int(row.position),
        "feature_type": _TYPES[row.kind],
        "token_prob": float(row.weight) if target else 0.0,
        "is_target_logit": target,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "clerp": str(row["name"]),
        "influence": influence,
        "activation": None if np.isnan(row.value) else float(row.value),
    }
