"""Do atoms know where places are? Their spatial autocorrelation over cities that time zones are named after.

Names and coordinates come from the time zone database (`tzdata`, public domain). all-MiniLM-L6-v2, a folder,
reads the names in one of six sentences, drawn by the seed; the SAE is trained on the other five. Atoms are
compared with principal components and neurons of the same activations, with untrained atoms, and with the
spelling of the names, since nearby places have names in one language. A short run takes tiny-gpt and fewer
places.
"""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

import sae_nb as sn
from sae_nb.corpora import Documents
from sae_nb_studies.uses import spatial_autocorrelation

SHORT = {"model": "tiny-gpt", "n_places": 60, "steps": 10}
N_ATOMS, ACTIVE, N_COMPONENTS = 512, 16, 20
SENTENCES = (
    "The city of {}.",
    "She lives in {}.",
    "A photograph of {} in summer.",
    "We flew to {} yesterday.",
    "The weather in {} today.",
    "He was born near {}.",
)
_PLACE = re.compile(r"([+-])(\d{2})(\d{2})(\d{2})?([+-])(\d{3})(\d{2})(\d{2})?$")


def run(
    seed: int, *, model: str = "minilm", n_places: int = 1000, steps: int = 400
) -> dict[str, float]:
    """Train on five sentences about each of at most `n_places` places, and judge atoms on the sixth."""
    names, latitude, longitude = places(n_places)
    live = sn.load_model(model)
    point = f"resid_post.{(live.n_layers or 1) * 2 // 3}"
    order = np.random.default_rng(seed).permutation(len(SENTENCES))
    texts = [SENTENCES[i].format(name) for i in order[1:] for name in names]
    acts = sn.capture(live, texts, point, progress=False)
    saes = {kind: fresh(acts.d_in, seed) for kind in ("trained", "untrained")}
    sn.train(saes["trained"], acts, steps=steps, seed=seed, progress=False)
    asked = [SENTENCES[order[0]].format(name) for name in names]
    docs = {
        kind: sn.uses.documents(live, sae.eval(), asked, point, progress=False)
        for kind, sae in saes.items()
    }
    found = {
        kind: spatial_autocorrelation(of, latitude, longitude, seed=seed)
        for kind, of in docs.items()
    }
    spelled = spatial_autocorrelation(
        spelling(docs["trained"], names, seed), latitude, longitude, seed=seed
    )
    simple = found["trained"].simpler.groupby("method").moran.max()
    best = float(found["trained"].table.moran.max())
    letters = float(spelled.simpler[spelled.simpler.method == "component"].moran.max())
    luck = float(np.quantile(found["trained"].luck, 0.95))
    return {
        "best atom": best,
        "luck": luck,
        "beyond luck": best - luck,
        "atoms that know": float((found["trained"].table.q < 0.05).mean()),
        "best untrained atom": float(found["untrained"].table.moran.max()),
        "best component": float(simple["component"]),
        "best neuron": float(simple["neuron"]),
        "best spelling": letters,
        "atom − spelling": best - letters,
        "atom − component": best - float(simple["component"]),
        "places": float(len(names)),
    }


def fresh(d_in: int, seed: int) -> sn.TopK:
    """Create an untrained SAE, the same for the same seed."""
    return sn.TopK(d_in, N_ATOMS, ACTIVE, generator=torch.Generator().manual_seed(seed))


def places(n: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return names, degrees north and degrees east of the first `n` cities that time zones are named after."""
    table = (files("tzdata") / "zoneinfo" / "zone.tab").read_text("utf-8")
    found: dict[str, tuple[float, float]] = {}
    for line in table.splitlines():
        if not line.startswith("#"):
            _, at, zone, *_ = line.split("\t")
            name = zone.rsplit("/", 1)[-1].replace("_", " ")
            found.setdefault(name, _degrees(at))
    # In alphabetical order, so that the first of them are not from one region.
    names = sorted(found)[:n]
    degrees = np.array([found[name] for name in names])
    return names, degrees[:, 0], degrees[:, 1]


def _degrees(at: str) -> tuple[float, float]:
    """Parse ISO 6709: signed degrees, minutes and perhaps seconds, north then east."""
    match = _PLACE.match(at)
    if match is None:
        raise ValueError(f"A place must be written as +DDMM+DDDMM or with seconds, got {at!r}.")
    north, east = match.groups()[:4], match.groups()[4:]
    one, other = (
        (-1.0 if sign == "-" else 1.0) * (int(d) + int(m) / 60 + int(s or 0) / 3600)
        for sign, d, m, s in (north, east)
    )
    return one, other


def spelling(docs: Documents, names: list[str], seed: int) -> Documents:
    """Return the same places with components of letter pairs and triples in place of activations."""
    counts = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3)).fit_transform(names)
    parts: Any = TruncatedSVD(N_COMPONENTS, random_state=seed).fit_transform(counts)
    return replace(docs, means=parts.astype(np.float32))
