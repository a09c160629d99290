"""Make the SAEs of a real language model: capture once, train, measure on held-out texts, write their folders.

python -m sae_nb_studies.recipes.saes smollm2-135m/resid_post.16 --texts FOLDER --work FOLDER --out DIR
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sae_nb.activations import Activations, Ragged
from sae_nb.architectures import MatchingPursuit, SparseAutoencoder, TopK, sae_folder
from sae_nb.atoms import AtomCatalogue
from sae_nb.capturing import capture
from sae_nb.codes import SparseCodes
from sae_nb.evaluation import evaluate
from sae_nb.files import write_bytes
from sae_nb.geometry import LayoutSettings, umap_layout
from sae_nb.models import LiveModel, load_model
from sae_nb.pretrained import lens_names, load_lens
from sae_nb.training import TrainConfig, train
from sae_nb_studies.recipes.saes._card import CARD, text_card
from sae_nb_studies.recipes.saes._names import add_names, written_names
from sae_nb_studies.recipes.saes._packing import write_examples
from sae_nb_studies.recipes.saes._shipping import as_shipped, plain
from sae_nb_studies.recipes.saes._texts import SOURCES, mixed_texts

logger = logging.getLogger(__name__)

NAMES = Path(__file__).parent / "names"
"""Names that a reader wrote, by SAE."""

FILES: dict[str, Any] = {"matrices_as": torch.int8, "part_bytes": 4_000_000}
"""Of a shipped SAE: rows of eight bits with a scale each, in files that any host of code takes."""


@dataclass(frozen=True, kw_only=True)
class MoreTexts:
    """A second part of a training, on documents that the first did not read."""

    documents_before: int
    """Documents of the first part, which are left out here."""

    rows: int
    steps: int
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class TextPlan:
    """Size, length and data of the trainings on one model."""

    hook_points: tuple[str, ...]
    """Captured together, in one pass."""

    architecture: Literal["TopK", "MatchingPursuit"] = "TopK"
    n_atoms: int = 4096
    k: int = 32
    steps: int = 6000
    learning_rate: float = 1e-3
    """Optimiser steps of 1024 rows. The architecture's own rate is for shorter trainings: here it left
    15 % of the atoms dead."""

    seed: int = 0
    rows: int = 1_050_000
    held_out_rows: int = 120_000
    """Rows per hook point to train on, and of texts that are held out."""

    rate_rows: int = 300_000
    """Rows that rates and strengths are counted on."""

    judged_rows: int = 6_000
    shown: int = 240
    """Held-out rows that the report is measured on; passages in the store of examples."""

    context_length: int = 128
    dead_after_tokens: int = 100_000
    more: MoreTexts | None = None

    def run(self, hook_point: str) -> str:
        """Name of a training's checkpoints: of the shipped one its hook point, others add how they differ."""
        other = self.architecture if self.architecture != "TopK" else ""
        return "-".join(filter(None, (hook_point, other, str(self.seed or ""))))


TEXT_PLANS = {
    "smollm2-135m": TextPlan(
        hook_points=("resid_post.9", "resid_post.16", "resid_post.23"),
        more=MoreTexts(documents_before=900, rows=1_030_000, steps=4000, learning_rate=7e-4),
    ),
    "gemma-3-270m": TextPlan(hook_points=("resid_post.9",)),
}
"""Plans of the shipped SAEs of real models."""


def make_on_texts(
    name: str, plan: TextPlan, folder: Path, *, texts: Path, work: Path, command: str = ""
) -> None:
    """Make one SAE and write its folder. Captures and checkpoints are in `work`: a killed run continues."""
    model_name, _, hook_point = name.partition("/")
    if hook_point not in plan.hook_points:
        raise ValueError(
            f"`name` must have a hook point of {model_name}'s plan, {', '.join(plan.hook_points)}, got "
            f"{name!r}."
        )
    model = load_model(model_name)
    to_train, held_out = mixed_texts(texts)
    seen = _captured(model, to_train, plan, plan.rows, work / "train")[hook_point]
    sae, training = trained(seen, plan, work / plan.run(hook_point))
    if plan.more is not None:
        seen = _captured_more(model, to_train, plan, plan.more, work)[hook_point]
        training = continued(
            sae, training, seen, plan, plan.more, work / f"{plan.run(hook_point)}-more"
        )
    sae.hook_point, sae.model_name = hook_point, model_name
    fresh = _captured(model, held_out, plan, plan.held_out_rows, work / "held-out")[hook_point]
    write_made(
        name,
        plan,
        folder,
        sae=sae,
        seen=seen,
        fresh=fresh,
        model=model,
        training=training,
        command=command,
    )


def name_on_texts(
    name: str, plan: TextPlan, folder: Path, *, texts: Path, work: Path, sisters: int = 0
) -> None:
    """Judge the names that were written for an SAE's atoms, and put those that hold into its folder."""
    model_name, _, hook_point = name.partition("/")
    model = load_model(model_name)
    to_train, held_out = mixed_texts(texts)
    fresh = _captured(model, held_out, plan, plan.held_out_rows, work / "held-out")[hook_point]
    others = [sister(model, to_train, plan, hook_point, work, i + 1) for i in range(sisters)]
    add_names(
        folder,
        written_names(NAMES / f"{name}.json"),
        fresh,
        model=model,
        lens=load_lens(model_name) if model_name in lens_names() else None,
        sisters=others,
    )


def sister(
    model: LiveModel, texts: list[str], plan: TextPlan, hook_point: str, work: Path, n: int
) -> SparseAutoencoder:
    """Train another SAE from nothing, from the nth seed after the plan's.

    Where the plan has a second part, on its texts alone and with as many steps: an atom that returns there
    returns on other documents too.
    """
    if plan.more is None:
        seen = _captured(model, texts, plan, plan.rows, work / "train")[hook_point]
    else:
        seen = _captured_more(model, texts, plan, plan.more, work)[hook_point]
        plan = replace(plan, steps=plan.more.steps)
    on = replace(plan, seed=plan.seed + n)
    return trained(seen, on, work / on.run(hook_point))[0]


def _captured_more(
    model: LiveModel, texts: list[str], plan: TextPlan, more: MoreTexts, work: Path
) -> dict[str, Activations]:
    return _captured(model, texts[more.documents_before :], plan, more.rows, work / "train-more")


def _captured(
    model: LiveModel, texts: list[str], plan: TextPlan, rows: int, store: Path
) -> dict[str, Activations]:
    return capture(
        model,
        texts,
        list(plan.hook_points),
        pack=True,
        context_length=plan.context_length,
        dtype=torch.float16,
        max_rows=rows,
        batch_size=16,
        store=store,
    )


def trained(
    acts: Activations, plan: TextPlan, checkpoint: Path | None
) -> tuple[SparseAutoencoder, dict[str, Any]]:
    """Return an SAE trained on a plan, and what was done."""
    generator = torch.Generator().manual_seed(plan.seed)
    kind = MatchingPursuit if plan.architecture == "MatchingPursuit" else TopK
    sae = kind(acts.d_in, plan.n_atoms, plan.k, generator=generator)
    return sae, _trained_on(sae, acts, plan, plan, checkpoint)


def continued(
    sae: SparseAutoencoder,
    done: dict[str, Any],
    acts: Activations,
    plan: TextPlan,
    more: MoreTexts,
    checkpoint: Path | None,
) -> dict[str, Any]:
    """Train an SAE further, in place, and return what was done in both parts."""
    last = _trained_on(sae, acts, plan, more, checkpoint)
    return last | {name: done[name] + last[name] for name in ("rows", "rows_seen", "seconds")}


def _trained_on(
    sae: SparseAutoencoder,
    acts: Activations,
    plan: TextPlan,
    part: TextPlan | MoreTexts,
    checkpoint: Path | None,
) -> dict[str, Any]:
    config = TrainConfig(
        steps=part.steps,
        learning_rate=part.learning_rate,
        seed=plan.seed,
        dead_after_tokens=plan.dead_after_tokens,
        checkpoint=checkpoint,
        checkpoint_every=500,
    )
    last = train(sae, acts, config).history[-1]
    logger.info("trained %d steps: R² %.4f on the last batch", last.step, last.r2)
    done = {"rows": len(acts), "rows_seen": last.tokens, "seconds": round(last.seconds, 1)}
    return done | {"threads": torch.get_num_threads()}


def write_made(
    name: str,
    plan: TextPlan,
    folder: Path,
    *,
    sae: SparseAutoencoder,
    seen: Activations,
    fresh: Activations,
    model: LiveModel,
    training: dict[str, Any],
    command: str = "",
) -> None:
    """Measure a trained SAE as its files give it back, and write its folder."""
    shipped = as_shipped(sae, **FILES)
    firings = AtomCatalogue(shipped, _first(seen, plan.rate_rows))
    shipped.strength_p99 = torch.from_numpy(firings.p99)
    per_atom = {
        "frequency": firings.frequency,
        "p99": firings.p99,
        "xy": umap_layout(shipped.dictionary, LayoutSettings(seed=plan.seed)),
    }
    report = evaluate(shipped, _first(fresh, plan.judged_rows), model=model)
    shown, codes = _passages(shipped, fresh, plan)
    facts: dict[str, Any] = {
        "name": name,
        "command": command,
        "date": date.today().isoformat(),
        "torch": torch.__version__,
        "plan": asdict(plan),
        "training": {
            **training,
            "data": SOURCES,
            "silent_fraction": float(1 - firings.alive.mean()),
            "rate_rows": min(plan.rate_rows, len(seen)),
        },
        "judged_on": f"{min(plan.judged_rows, len(fresh))} rows of held-out texts of the same kinds",
        "enough": ENOUGH,
        "shown": f"{plan.shown} passages of {plan.context_length} tokens of the held-out texts",
        "r2": report["r2"].value,
        "report": {row: plain(m) for row, m in report.items()},
        "matches": [],
        "missed": [],
        "nearly": [],
        "read": [],
        "steering": [],
    }
    with sae_folder(shipped, folder, **FILES) as partial:
        write_examples(partial, shown, codes, per_atom, facts)
        write_bytes(partial / CARD, text_card(facts).encode())
    size = sum(file.stat().st_size for file in folder.iterdir())
    logger.info("wrote %s, %d kB", folder, size // 1000)


def _first(acts: Activations, rows: int) -> Activations:
    """Return the rows of the first passages, which are in random order, as many as make up `rows`."""
    return acts[:rows] if len(acts) > rows else acts


ENOUGH = 8
"""Firings of an atom among the examples after which further ones count for nothing."""


def _passages(
    sae: SparseAutoencoder, acts: Activations, plan: TextPlan
) -> tuple[Activations, SparseCodes]:
    """Return held-out passages with their codes, so chosen that as many atoms as can be have examples.

    Greedy: the passage next that adds most firings of atoms which have fewer than `ENOUGH`.
    """
    passages = _whole_passages(acts, plan.context_length)
    codes = sae.encode(acts.x)
    fired = codes.to_scipy() != 0
    counts = np.stack([np.asarray(fired[rows].sum(axis=0)).ravel() for rows, _ in passages])
    have, chosen = np.zeros(sae.n_atoms), np.zeros(len(passages), dtype=bool)
    for _ in range(min(plan.shown, len(passages))):
        gain = np.minimum(counts, np.maximum(ENOUGH - have, 0)).sum(axis=1)
        best = int(np.argmax(np.where(chosen, -1, gain)))
        chosen[best] = True
        have += counts[best]
    kept = [passages[i] for i in np.flatnonzero(chosen)]
    rows = np.concatenate([mine for mine, _ in kept])
    sample = np.repeat(np.arange(len(kept)), [len(mine) for mine, _ in kept])
    ids = torch.stack([tokens for _, tokens in kept])
    offsets = torch.arange(len(kept) + 1) * plan.context_length
    names = set(ids.flatten().tolist())
    context = replace(
        acts.context,
        n_samples=len(kept),
        token_ids=Ragged(ids.flatten(), offsets),
        vocabulary={i: text for i, text in acts.context.vocabulary.items() if i in names},
    )
    position = _place_in_pack(acts)[rows] % plan.context_length
    shown = Activations(
        acts.rows(rows.tolist()),
        sample=torch.from_numpy(sample),
        position=torch.from_numpy(position),
        hook_point=acts.hook_point,
        model_name=acts.model_name,
        context=context,
    )
    return shown, codes[rows]


def _place_in_pack(acts: Activations) -> np.ndarray:
    """Return the place of every row in the texts end to end, as they were packed."""
    tokens = acts.context.token_ids
    if tokens is None:
        raise ValueError("The held-out activations must be of texts.")
    return (tokens.offsets[acts.sample] + acts.position).numpy()


def _whole_passages(acts: Activations, length: int) -> list[tuple[np.ndarray, torch.Tensor]]:
    """Return rows and tokens of the passages that the model read as one and that lie in one text."""
    place, sample = _place_in_pack(acts), acts.sample.numpy()
    starts = np.flatnonzero(np.diff(place // length, prepend=-1))
    found = []
    for rows in np.split(np.arange(len(acts)), starts[1:]):
        first = int(place[rows[0]]) // length * length
        tokens = acts.context.token_ids
        if tokens is None or not (sample[rows] == sample[rows[0]]).all():
            continue
        begin, end = (int(tokens.offsets[sample[rows[0]] + i]) for i in (0, 1))
        if begin <= first and first + length <= end:
            found.append((rows, tokens.ids[first : first + length]))
    return found
