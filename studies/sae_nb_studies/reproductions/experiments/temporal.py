"""E5 (ii, iii), time on a live model: codes predicted from the past are smooth, codes a token adds are not.

tiny-gpt's last block on English prose, 96 tokens at a time; held-out texts spliced from three documents have
known borders. Also: do activations use more directions at later positions?
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder, Temporal

if TYPE_CHECKING:
    from sae_nb.models import LiveModel
    from sae_nb.temporal import Decomposition


_Sae = TypeVar("_Sae", bound=SparseAutoencoder)

SHORT = {"steps": 60, "windows": 100}
PARTS = ("predicted", "novel")
MODEL, HOOK_POINT = "tiny-gpt", "resid_post.3"
TIME, ATOMS, K, BOTTLENECK = 96, 256, 8, 2
BATCH = 960
SPLICED = 64


def run(seed: int, *, steps: int = 150, windows: int = 400) -> dict[str, float]:
    """Train every kind on text and measure it; also measure the stationarity of the activations.

    `steps` of 960 tokens; `windows`: texts of 96 tokens to train on.
    """
    material = _material(windows)
    return on_text(material, seed, steps) | stationarity(material, seed)


# --- text ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Material:
    """Activations of one hook point, sequence by sequence."""

    train: Float[Tensor, "n time d_in"]
    test: Float[Tensor, "m time d_in"]
    spliced: Float[Tensor, "p time d_in"]
    """Held-out texts put together of three documents."""

    events: Int[Tensor, "p time"]
    """Which document each of their tokens is from."""


@cache
def _material(windows: int) -> Material:
    return material_of(sn.load_model(MODEL), HOOK_POINT, windows)


def material_of(model: LiveModel, hook_point: str, windows: int) -> Material:
    """Run a language model on prose: windows of one document, and texts spliced from three.

    `windows`: at most this many texts to train on; held-out texts come from another split.
    """
    train, test = (_documents(model, split) for split in ("train", "test"))
    read = _windows(train)[:windows]
    held_out = _windows(test)
    spliced = sn.studies.temporal.spliced_documents(test, n=SPLICED, piece_tokens=TIME // 3, seed=0)
    first = torch.stack([torch.as_tensor(train[0][:1])] * SPLICED)
    ids = torch.cat([first, spliced.tokens], dim=1)
    found = {
        name: _captured(model, hook_point, texts)
        for name, texts in (("train", read), ("test", held_out), ("spliced", list(ids)))
    }
    return Material(**found, events=spliced.events)


def _documents(model: LiveModel, split: str) -> list[Tensor]:
    """Return the token ids of each topic's paragraphs, one after the other."""
    prose = sn.data.prose(split)  # type: ignore[arg-type]
    topics: dict[str, list[str]] = {}
    for topic, text in zip(prose.topic, prose.texts, strict=True):
        topics.setdefault(topic, []).append(text)
    read = model.tokenizer(
        ["\n".join(texts) for texts in topics.values()], add_special_tokens=False, verbose=False
    )
    return [torch.tensor(ids) for ids in read["input_ids"]]


def _windows(documents: list[Tensor]) -> list[Tensor]:
    """Cut pieces with one token more than is kept: the first of each is an attention sink."""
    size = TIME + 1
    return [ids[i : i + size] for ids in documents for i in range(0, len(ids) - size + 1, size)]


def _captured(model: LiveModel, hook_point: str, texts: list[Tensor]) -> Tensor:
    acts = sn.capture(model, texts, hook_point, progress=False, drop_first=True, drop_massive=False)
    return acts.x.reshape(len(texts), TIME, -1)


def on_text(material: Material, seed: int, steps: int) -> dict[str, float]:
    """Train every kind on the same tokens for the same number of steps, and measure each on held-out text.

    `steps` of 960 tokens.
    """
    numbers = {
        "raw lag-1": sn.studies.temporal.lag_cosine(material.test),
        "raw path": sn.studies.temporal.path_ratio(material.test),
        "raw event gap": sn.studies.temporal.event_gap(material.spliced, material.events).gap,
    }
    for name, sae in makers(material.test.shape[2], seed).items():
        trained(sae, material.train, steps, seed)
        numbers |= {f"{name} {k}": v for k, v in measured(sae, material, seed).items()}
    for name in ("temporal", "strict"):
        numbers[f"{name} FVU over TopK"] = numbers[f"{name} FVU"] / numbers["topk FVU"]
        numbers[f"{name} lag-1 over TopK"] = numbers[f"{name} lag-1"] - numbers["topk lag-1"]
    return numbers | _forecasts(material)


def makers(d_in: int, seed: int) -> dict[str, SparseAutoencoder]:
    """Create the SAEs that are compared, untrained, by name."""

    def drawn() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    return {
        "topk": sn.TopK(d_in, ATOMS, K, generator=drawn()),
        "batch_topk": sn.BatchTopK(d_in, ATOMS, K, generator=drawn()),
        "temporal": sn.Temporal(d_in, ATOMS, K, bottleneck_factor=BOTTLENECK, generator=drawn()),
        "strict": sn.Temporal(
            d_in, ATOMS, K, strict=True, bottleneck_factor=BOTTLENECK, generator=drawn()
        ),
    }


@torch.no_grad()
def measured(sae: SparseAutoencoder, material: Material, seed: int) -> dict[str, float]:
    """Measure FVU, smoothness and event gap of an SAE's codes on held-out text."""
    test, time = material.test, sn.studies.temporal
    numbers = {
        "FVU": time.unexplained(test, sae(test)),
        "parameters": float(sum(p.numel() for p in sae.parameters())),
    }
    if not isinstance(sae, Temporal):
        codes = sae.encode(test).to_dense()
        gap = time.event_gap(sae.encode(material.spliced).to_dense(), material.events)
        return numbers | _smoothness(codes) | {"event gap": gap.gap}
    parts, spliced = sn.temporal.decompose(sae, test), sn.temporal.decompose(sae, material.spliced)
    shuffled = sn.temporal.decompose(sae, time.permuted_order(test, seed))
    numbers |= {"share": predicted_share(parts), "predicted FVU": _predicted_fvu(sae, parts, test)}
    numbers |= _smoothness(dense_codes(parts, "predicted"))
    numbers |= {f"novel {k}": v for k, v in _smoothness(dense_codes(parts, "novel")).items()}
    numbers["lag-1 lead"] = numbers["lag-1"] - numbers["novel lag-1"]
    numbers["path share"] = numbers["path"] / numbers["novel path"]
    for part in ("predicted", "novel"):
        gap = time.event_gap(dense_codes(spliced, part), material.events)
        numbers[f"{part} event gap"], numbers[f"{part} matched event gap"] = gap.gap, gap.matched
    numbers["event gap lead"] = numbers["predicted event gap"] - numbers["novel event gap"]
    return numbers | _nulls(parts, shuffled, seed)


def _smoothness(codes: Tensor) -> dict[str, float]:
    return {
        "lag-1": sn.studies.temporal.lag_cosine(codes),
        "path": sn.studies.temporal.path_ratio(codes),
    }


def _nulls(parts: Decomposition, shuffled: Decomposition, seed: int) -> dict[str, float]:
    """Measure smoothness with tokens in random order: shuffled after decomposing (a), and before (b)."""
    found = {}
    order = {
        part: sn.studies.temporal.permuted_order(dense_codes(parts, part), seed) for part in PARTS
    }
    before = {part: dense_codes(shuffled, part) for part in PARTS}
    for name, codes in (("order lost", order), ("input shuffled", before)):
        lags = {part: sn.studies.temporal.lag_cosine(codes[part]) for part in PARTS}
        paths = {part: sn.studies.temporal.path_ratio(codes[part]) for part in PARTS}
        found[f"{name} lag-1 lead"] = lags["predicted"] - lags["novel"]
        found[f"{name} path share"] = paths["predicted"] / paths["novel"]
    return found


def _forecasts(material: Material) -> dict[str, float]:
    """Return the variance that two forecasts without an SAE leave unexplained."""
    time, test = sn.studies.temporal, material.test
    linear = time.fit_autoregression(material.train, 3)
    average = time.fit_average(material.train)
    return {
        "autoregression FVU": time.unexplained(test, linear.predict(test)),
        "average FVU": time.unexplained(test, average.predict(test)),
    }


# --- stationarity ---------------------------------------------------------------------------


def stationarity(material: Material, seed: int) -> dict[str, float]:
    """Measure dimension by position, with random order as control, and a token's share in the past's span."""
    time = sn.studies.temporal
    numbers = {}
    x = material.train
    at = list(range(0, TIME, 8))
    for name, rows in {"": x, ", order lost": time.permuted_order(x, seed)}.items():
        numbers[f"text growth{name}"] = trend(time.dimension_by_position(rows, at))
    first, last = time.dimension_by_position(x, [0, TIME - 1]).values()
    numbers |= {"text dimension, first": first, "text dimension, last": last}
    share, chance = time.context_projection(x, 90, [8])[8]
    return numbers | {"projection": share, "projection, excess": share - chance}


def trend(values: dict[int, float]) -> float:
    """Return Spearman's correlation of position and value."""
    from scipy.stats import spearmanr

    return float(spearmanr(list(values), list(values.values())).statistic)


# --- shared by all parts --------------------------------------------------------------------------


def trained(
    sae: _Sae, x: Tensor, steps: int, seed: int, *, learning_rate: float | None = None
) -> _Sae:
    """Train an SAE on sequences, or on their tokens if it does not read sequences.

    `steps` of 960 tokens; `learning_rate`: None for the recipe's.
    """
    config = sn.TrainConfig(steps=steps, batch_size=BATCH, seed=seed, learning_rate=learning_rate)
    sn.train(sae, x if isinstance(sae, Temporal) else x.flatten(0, 1), config, progress=False)
    return sae


def dense_codes(parts: Decomposition, which: str) -> Float[Tensor, "batch time n_atoms"]:
    """Return the codes of one part, with their zeros.

    `parts`: decomposed sequences of one length.
    """
    if which == "predicted":
        return parts.predicted_codes
    return parts.novel_codes.to_dense().reshape(*parts.novel.shape[:2], -1)


def predicted_share(parts: Decomposition) -> float:
    """Return the predicted share of the energy of both parts; what the SAE misses is left out."""
    energy = parts.rows(parts.energy).sum(dim=0)
    return float(energy[0] / energy.sum())


def _predicted_fvu(sae: Temporal, parts: Decomposition, x: Tensor) -> float:
    """Return the FVU of the predicted part alone."""
    return sn.studies.temporal.unexplained(x, parts.predicted + sae.bias)


def look(
    seed: int = 0, *, steps: int = 80, windows: int = 120
) -> tuple[Material, dict[str, SparseAutoencoder]]:
    """Train TopK and both forms of Temporal briefly on text.

    `steps` of 960 tokens; `windows`: texts to train on; returns the activations for training and
    testing, and the SAEs by name: "topk", "temporal", "strict".
    """
    material = _material(windows)
    saes = makers(material.train.shape[2], seed)
    del saes["batch_topk"]
    for sae in saes.values():
        trained(sae, material.train, steps, seed)
        sae.hook_point, sae.model_name = HOOK_POINT, MODEL
    return material, saes
