"""What the temporal SAE that comes with SmolLM2 finds: what lasts, joins of documents, turns, surprise.

One training; a seed draws texts of the documents that it has not read. Rivals: codes of the TopK SAE of the
same place, the activations themselves, and the temporal SAE on tokens in random order. A short run trains a
small SAE of tiny-gpt first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

import sae_nb as sn
from sae_nb.architectures import SparseAutoencoder, Temporal
from sae_nb.models import LiveModel
from sae_nb.statistics import rank_correlation
from sae_nb_studies.recipes.saes._texts import SHAKESPEARE, mixed_texts
from sae_nb_studies.reproductions.experiments.temporal import (
    HOOK_POINT,
    MODEL,
    material_of,
    trained,
)
from sae_nb_studies.temporal import (
    EXAMPLES,
    border_auroc,
    garden_path_surprise,
    lag_cosine,
    permuted_order,
    spliced_documents,
    unexplained,
)
from sae_nb_studies.temporal._turning_points import read_garden_paths

SHORT = {"model": MODEL, "hook_point": HOOK_POINT, "sae": "", "texts": "", "n": 24, "time": 96}
WINDOW = 16
"""Tokens on either side of a border. Ours; read off no result."""


def run(
    seed: int,
    *,
    model: str = "smollm2-135m",
    hook_point: str = "resid_post.16",
    sae: str = "smollm2-135m/temporal.16",
    texts: str = "language",
    n: int = 120,
    time: int = 128,
) -> dict[str, float]:
    """Measure one SAE on `n` spliced texts, `n` stretches of dialogue and `n` // 4 windows, drawn by `seed`.

    `texts`: folder with the corpora; `time`: tokens of a text. Empty `sae` or `texts`: a short training on,
    and texts of, what the package has.
    """
    material = _material(model, hook_point, texts, n, time, seed)
    read = _short_one() if not sae else cast("Temporal", sn.load_sae(sae))
    numbers = _lasting(read, material, seed)
    for name, (x, events) in material.events.items():
        for part, codes in _parts(read, material.topk, x, seed).items():
            numbers[f"{name}, {part}"] = border_auroc(codes, events, WINDOW)
        rivals = [numbers[f"{name}, {one}"] for one in ("TopK", "activations", "novel")]
        numbers[f"{name}, lead"] = numbers[f"{name}, predicted"] - max(rivals)
    return numbers | _surprise(read, material) | _garden_paths(read, hook_point, material)


@dataclass(frozen=True, eq=False)
class Material:
    """Activations of held-out texts, and what the model itself expected of them."""

    model: LiveModel
    topk: SparseAutoencoder
    events: dict[str, tuple[Float[Tensor, "n time d_in"], Int[Tensor, "n time"]]]
    """Texts with known borders, by their kind."""

    windows: Float[Tensor, "m time d_in"]
    nats: Float[Tensor, "m time"]
    """−log p of each token, by the model."""

    log_count: Float[Tensor, "m time"]
    """Log of how often a token is in the held-out documents, and one more."""

    sentences: tuple[Any, ...]


@cache
def _material(model: str, hook_point: str, texts: str, n: int, time: int, seed: int) -> Material:
    live = sn.load_model(model)
    documents = held_out(live, texts)
    read = [torch.tensor(ids) for ids in documents]
    spliced = spliced_documents(read, n=n, piece_tokens=time // 2, pieces=2, seed=seed)
    events = {"joins": (spliced.tokens, spliced.events)}
    if texts:
        tokens, of = drawn(n, seed, *dialogues(live, Path(texts), time))
        events["turns"] = tokens, of
    counts = torch.bincount(torch.cat(read), minlength=live.tokenizer.vocab_size)
    pieces = [
        ids[start : start + time + 1]
        for ids in read
        for start in range(0, len(ids) - time, time + 1)
    ]
    (windows,) = drawn(max(n // 4, 2), seed, torch.stack(pieces))
    sink = read[0][:1]
    return Material(
        live,
        sn.load_sae(f"{model}/{hook_point}"),
        {
            name: (_captured(live, hook_point, torch.cat([sink.expand(len(ids), 1), ids], 1)), of)
            for name, (ids, of) in events.items()
        },
        _captured(live, hook_point, windows),
        torch.stack([_nats(live, ids) for ids in windows]),
        (counts[windows[:, 1:]] + 1).log(),
        tuple(
            one for file in sorted(Path(texts).glob("garden_path_*.tsv")) for one in read_garden_paths(file)
        )
        if texts
        else EXAMPLES,
    )  # fmt: skip


def held_out(model: LiveModel, texts: str) -> list[list[int]]:
    """Return the tokens of documents that no SAE was trained on; `texts` empty: of what the package has."""
    if texts:
        documents = mixed_texts(Path(texts))[1]
    else:
        prose, topics = sn.data.prose("test"), dict[str, list[str]]()
        for topic, text in zip(prose.topic, prose.texts, strict=True):
            topics.setdefault(topic, []).append(text)
        documents = ["\n".join(of) for of in topics.values()]
    ids: list[list[int]] = model.tokenizer(documents, add_special_tokens=False, verbose=False)[
        "input_ids"
    ]
    return ids


def drawn(n: int, seed: int, *rows: Tensor) -> tuple[Tensor, ...]:
    """Return at most `n` rows of tensors of one length, the same of each."""
    order = torch.randperm(len(rows[0]), generator=torch.Generator().manual_seed(seed))[:n]
    return tuple(x[order] for x in rows)


def dialogues(
    model: LiveModel, texts: Path, time: int
) -> tuple[Int[Tensor, "n time"], Int[Tensor, "n time"]]:
    """Return tokens of held-out scenes of Shakespeare's, and the speech each is of; speakers are not named."""
    known = (texts / SHAKESPEARE).read_text(encoding="utf-8")
    scenes = [text for text in mixed_texts(texts)[1] if text[:200] in known]
    tokens, events = [], []
    for scene in scenes:
        speeches = [speech.partition(":\n")[2] or speech for speech in scene.split("\n\n")]
        read = model.tokenizer([f"{one}\n" for one in speeches], add_special_tokens=False)[
            "input_ids"
        ]
        ids = torch.tensor([i for speech in read for i in speech])
        of = torch.arange(len(read)).repeat_interleave(torch.tensor([len(one) for one in read]))
        for start in range(0, len(ids) - time + 1, time):
            tokens.append(ids[start : start + time])
            events.append(of[start : start + time])
    return torch.stack(tokens), torch.stack(events)


def _captured(
    model: LiveModel, hook_point: str, ids: Int[Tensor, "n longer"]
) -> Float[Tensor, "n time d_in"]:
    acts = sn.capture(
        model, list(ids.long()), hook_point, keep_special=True, drop_massive=False, max_rows=None,
        batch_size=8, progress=False,
    )  # fmt: skip
    return acts.x.reshape(len(ids), ids.shape[1] - 1, -1)


@torch.no_grad()
def _nats(model: LiveModel, ids: Int[Tensor, " longer"]) -> Float[Tensor, " time"]:
    logits = model([ids.long()]).float().log_softmax(dim=-1)[0, :-1]
    return -logits.gather(1, ids[1:, None].long())[:, 0]


def _short_one() -> Temporal:
    material = material_of(sn.load_model(MODEL), HOOK_POINT, 100)
    sae = sn.Temporal(
        material.train.shape[2], 256, 8, bottleneck_factor=2,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    trained(sae, material.train, 60, 0)
    sae.hook_point = HOOK_POINT
    return sae


@torch.no_grad()
def _parts(
    sae: Temporal, topk: SparseAutoencoder, x: Float[Tensor, "n time d_in"], seed: int
) -> dict[str, Tensor]:
    """Return what borders are looked for in, by name."""
    parts = sn.temporal.decompose(sae, x)
    shuffled = sn.temporal.decompose(sae, permuted_order(x, seed))
    return {
        "predicted": parts.predicted_codes,
        "novel": parts.novel_codes.to_dense().reshape(*x.shape[:2], -1),
        "TopK": topk.encode(x).to_dense().reshape(*x.shape[:2], -1),
        "activations": x,
        "shuffled": shuffled.predicted_codes,
    }


@torch.no_grad()
def _lasting(sae: Temporal, material: Material, seed: int) -> dict[str, float]:
    """Return how alike each set of codes is from one token to the next, and what share is predicted."""
    sets = _parts(sae, material.topk, material.windows, seed)
    numbers = {f"lag-1, {name}": lag_cosine(codes) for name, codes in sets.items()}
    numbers["lag-1, order lost"] = lag_cosine(permuted_order(sets["predicted"], seed))
    rivals = [numbers[f"lag-1, {one}"] for one in ("novel", "TopK", "activations")]
    numbers["lag-1, lead"] = numbers["lag-1, predicted"] - max(rivals)
    energy = (material.windows - sae.bias).square().sum()
    for name, x in {
        "": material.windows,
        "shuffled ": permuted_order(material.windows, seed),
    }.items():
        parts = sn.temporal.decompose(sae, x, predicted_codes=False)
        numbers[f"{name}share"] = float(parts.predicted.square().sum() / energy)
        numbers[f"{name}FVU"] = unexplained(x, parts.x_hat)
    return numbers


@torch.no_grad()
def _surprise(sae: Temporal, material: Material) -> dict[str, float]:
    """Return rank correlations with surprisal within a window, plain and with a token's frequency held fixed."""
    parts = sn.temporal.decompose(sae, material.windows, predicted_codes=False)
    lengths = {
        "novel": parts.novel.norm(dim=-1),
        "predicted": parts.predicted.norm(dim=-1),
        "error": parts.error.norm(dim=-1),
        "activations": (material.windows - sae.bias).norm(dim=-1),
    }
    numbers = dict[str, float]()
    for name, length in lengths.items():
        rows = [
            (rank_correlation(a, b), partial(a, b, c))
            for a, b, c in zip(
                length.numpy(), material.nats.numpy(), material.log_count.numpy(), strict=True
            )
        ]
        plain, held = np.mean(rows, axis=0)
        numbers |= {
            f"surprise, {name}": float(plain),
            f"surprise at one count, {name}": float(held),
        }
    numbers["surprise, lead"] = numbers["surprise at one count, novel"] - max(
        numbers[f"surprise at one count, {name}"] for name in ("predicted", "error", "activations")
    )
    return numbers


def partial(
    a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"], given: Float[np.ndarray, " n"]
) -> float:
    """Return the rank correlation of two numbers with a third held fixed.

    (r_ab − r_ac r_bc) / √((1 − r_ac²)(1 − r_bc²)), of ranks.
    """
    ab, ac, bc = (rank_correlation(*pair) for pair in ((a, b), (a, given), (b, given)))
    return float((ab - ac * bc) / np.sqrt((1 - ac**2) * (1 - bc**2)))


def _garden_paths(sae: Temporal, hook_point: str, material: Material) -> dict[str, float]:
    found = garden_path_surprise(material.model, sae, material.sentences, hook_point)
    numbers = {"garden paths": float(len(material.sentences))}
    for what in ("nats", "novel_energy", "novel_share"):
        mean, error = found.effect(what)
        name = what.replace("_", " ")
        numbers |= {f"garden path, {name}": mean, f"garden path, {name}, errors": mean / error}
    return numbers
