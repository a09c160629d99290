"""Train temporal SAEs of a real language model, and follow what they predict on texts that they never read.

    python -m sae_nb_studies.recipes.saes temporal smollm2-135m/resid_post.16 --texts DIR --work DIR --out DIR

Both forms, from several seeds. Texts are cut in windows of one document each; the model reads a window from
its beginning, and the first token, an attention sink, is left out. Windows, activations, checkpoints and
curves are in `--work`: a killed run continues, and runs of other forms and seeds beside it share the first two.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import math
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_nb.activations import PositionPolicy
from sae_nb.architectures import Temporal, sae_folder
from sae_nb.capturing import capture
from sae_nb.checks import Count, OneOf, Positive, Seed, checked
from sae_nb.data import prose
from sae_nb.files import read_json, read_tensors, write_bytes, write_json, write_tensors
from sae_nb.models import LiveModel, load_model
from sae_nb.temporal import Decomposition, decompose
from sae_nb.training import TrainConfig, TrainRecord, train
from sae_nb_studies.recipes.saes._card import CARD, filled, shown_command, table_of
from sae_nb_studies.recipes.saes._shipping import as_shipped
from sae_nb_studies.recipes.saes._text_recipe import FILES
from sae_nb_studies.recipes.saes._texts import SOURCES, mixed_texts
from sae_nb_studies.temporal import autocorrelation, lag_cosine, permuted_order, unexplained

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[4]
"""The checkout, whose pages are read too."""

FORMS = ("published", "strict")
PRODUCTS = ("highest", "high", "medium")
SIDES = ("train", "held-out")
LAGS = (1, 2, 8, 32)
RECORD = "record.json"
FIRST_POINT, POINTS_PER_OCTAVE, LOG_EVERY = 100, 2, 50
"""First step of a curve, its points for each doubling of the steps, and what they are multiples of. Ours."""


@checked
@dataclass(frozen=True, kw_only=True)
class TemporalPlan:
    """Size, length and data of the trainings."""

    n_atoms: Count = 2048
    k: Count = 16
    bottleneck_factor: Count = 8
    context: Count = 512
    """Tokens of a window that are kept."""

    train_windows: Count = 10_000
    held_out_windows: Count = 10_000
    """Most windows of each side that the model reads; the texts at hand have fewer."""

    steps: Count = 20_000
    batch_size: Count = 4096
    """Optimiser steps, and tokens of each."""

    learning_rate: Positive = 1e-3
    """Published (arXiv 2511.01836); the architecture's own rate is for shorter trainings."""

    grow_k: bool = False
    """Whether the novel atoms of a token grow along the training, 1 → 2 → 4 … → `k`: what both parts could
    hold is then learned by the predicted one first. Ours."""

    products: Annotated[str, OneOf(PRODUCTS)] = "highest"
    """Precision of matrix products in training, by `torch.set_float32_matmul_precision`; what is measured of
    the finished SAE has full precision."""

    dead_after_tokens: Count = 1_000_000
    judged: Count = 96
    """Windows that each point of a curve is measured on, of either side."""

    at_once: Count = 64
    """Windows that the model reads at once."""

    checkpoint_every: Count = 2000


# -------------------------------------------------------------------------------------------------
# Windows of texts.


def write_windows(model: LiveModel, texts: Path, plan: TemporalPlan, work: Path) -> None:
    """Cut documents in windows and write their tokens; `documents.json` says which are held out."""
    seen, held_out = mixed_texts(texts)
    documents = {"train": seen + own_prose(), "held-out": held_out}
    windows, listed = dict[str, Tensor](), dict[str, Any]()
    for side, of_side in documents.items():
        tokens = model.tokenizer(of_side, add_special_tokens=False, verbose=False)["input_ids"]
        cut_ones = cut(tokens, plan.context + 1)
        order = torch.randperm(len(cut_ones), generator=torch.Generator().manual_seed(0))
        windows[side] = cut_ones[order]
        listed[side] = {
            "documents": [hashlib.sha256(text.encode()).hexdigest()[:12] for text in of_side],
            "tokens": sum(map(len, tokens)),
            "windows": len(windows[side]),
        }
    listed["sources"] = (
        f"{SOURCES}; to train on also this project's pages and encyclopaedic paragraphs"
    )
    write_json(work / "documents.json", listed)
    write_tensors(work / "windows.safetensors", windows)


def cut(documents: Sequence[Sequence[int]], size: int) -> Int[Tensor, "n size"]:
    """Cut each document in as few windows as cover it, evenly spaced; shorter documents are left out.

    Example
    -------
    >>> cut([[0, 1, 2, 3, 4], [5], [6, 7, 8]], 3).tolist()
    [[0, 1, 2], [2, 3, 4], [6, 7, 8]]
    """
    windows = []
    for ids in documents:
        n, last = math.ceil(len(ids) / size), len(ids) - size
        for i in range(n if last >= 0 else 0):
            start = round(i * last / max(n - 1, 1))
            windows.append(torch.tensor(ids[start : start + size], dtype=torch.int32))
    return torch.stack(windows)


def own_prose() -> list[str]:
    """Return this project's pages, and the paragraphs of each topic that it brings along."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    pages = [
        (ROOT / name).read_text(encoding="utf-8") for name in listed.stdout.split("\0") if name
    ]
    paragraphs, topics = prose("train"), dict[str, list[str]]()
    for topic, text in zip(paragraphs.topic, paragraphs.texts, strict=True):
        topics.setdefault(topic, []).append(text)
    return pages + ["\n".join(texts) for texts in topics.values()]


# -------------------------------------------------------------------------------------------------
# Activations of windows.


def write_activations(model: LiveModel, hook_point: str, plan: TemporalPlan, work: Path) -> None:
    """Read windows and write their activations; one that has a massive or a lost token is left out."""
    most = {"train": plan.train_windows, "held-out": plan.held_out_windows}
    for side, all_ids in read_tensors(work / "windows.safetensors").items():
        file, store = work / f"{side}.safetensors", work / f"{side}-capture"
        if file.is_file():
            continue
        ids = all_ids[: most[side]]
        acts = capture(
            model,
            list(ids.long()),
            hook_point,
            keep_special=True,
            max_rows=None,
            batch_size=plan.at_once,
            dtype=torch.float16,
            store=store,
            progress=False,
        )
        whole = torch.bincount(acts.sample, minlength=len(ids)) == ids.shape[1] - 1
        x = acts.x[whole[acts.sample]].reshape(int(whole.sum()), -1, acts.d_in)
        logger.info("%s: %d of %d windows", side, len(x), len(ids))
        write_tensors(file, {"x": x, "window": whole.nonzero().flatten()})
        shutil.rmtree(store)


def read_activations(work: Path, side: str) -> Float[Tensor, "n time d_in"]:
    """Return the activations of one side's windows."""
    return read_tensors(work / f"{side}.safetensors")["x"]


# -------------------------------------------------------------------------------------------------
# One training, with its curve.


def points(steps: int) -> list[int]:
    """Return the steps of a curve: two for each doubling, and the last.

    Example
    -------
    >>> points(500)
    [100, 150, 200, 300, 400, 500]
    """
    n = int(POINTS_PER_OCTAVE * math.log2(max(steps / FIRST_POINT, 1))) + 1
    found = (FIRST_POINT * 2 ** (i / POINTS_PER_OCTAVE) for i in range(n))
    rounded = (LOG_EVERY * round(step / LOG_EVERY) for step in found)
    return sorted({min(step, steps) for step in rounded} | {steps})


def trained(
    form: str,
    seed: int,
    x: Float[Tensor, "n time d_in"],
    fresh: Float[Tensor, "m time d_in"],
    plan: TemporalPlan,
    folder: Path,
) -> tuple[Temporal, list[dict[str, float]]]:
    """Train one form from one seed; return the SAE and the curve of what was measured along the way.

    `fresh`: windows of held-out documents; checkpoints and the curve so far are in `folder`.
    """
    sae = Temporal(
        x.shape[2],
        plan.n_atoms,
        plan.k,
        strict=form == "strict",
        bottleneck_factor=plan.bottleneck_factor,
        context=plan.context,
        generator=torch.Generator().manual_seed(seed),
    ).to(x.device)
    file, due = folder / "curve.json", set(points(plan.steps))
    curve: list[dict[str, float]] = read_json(file) if file.is_file() else []
    judged = {"": fresh[: plan.judged].float(), "train ": x[: plan.judged].float()}

    def look(record: TrainRecord) -> None:
        if record.step not in due:
            return
        found: dict[str, float] = {
            "step": record.step,
            "tokens": record.tokens,
            "seconds": record.seconds,
        }
        found |= {"learning rate": record.learning_rate, "dead fraction": record.dead_fraction}
        for side, windows in judged.items():
            found |= {f"{side}{name}": value for name, value in measured(sae, windows).items()}
        curve[:] = [point for point in curve if point["step"] < record.step] + [found]
        write_json(file, curve)
        words = ("share", "previous token share", "FVU", "train FVU", "lag-1", "novel lag-1")
        said = ", ".join(f"{word} {found[word]:.3f}" for word in words)
        logger.info("%s %d, step %d, %.0f s: %s", form, seed, record.step, record.seconds, said)

    train(
        sae,
        x,
        TrainConfig(
            steps=plan.steps,
            batch_size=plan.batch_size,
            seed=seed,
            learning_rate=plan.learning_rate,
            grow_k=plan.grow_k,
            dead_after_tokens=plan.dead_after_tokens,
            log_every=LOG_EVERY,
            checkpoint=folder / "checkpoints",
            checkpoint_every=plan.checkpoint_every,
        ),
        callbacks=look,
        progress=False,
    )
    return sae, curve


@torch.no_grad()
def measured(sae: Temporal, x: Float[Tensor, "n time d_in"], seed: int = 0) -> dict[str, float]:
    """Measure what of windows is predicted and how slow each part is, and the same with the order lost.

    Shares are of ‖x − b‖², so that the error counts. "order lost": codes in random order;
    "shuffled": tokens in random order before they are taken apart; "previous token" and "running mean":
    shares of those guesses.
    """
    parts, energies = decompose(sae, x), (x - sae.bias).square().sum(dim=-1)
    energy = energies.sum()
    shuffled = decompose(sae, permuted_order(x, seed))
    numbers = {
        "FVU": unexplained(x, parts.x_hat),
        "predicted FVU": unexplained(x, parts.predicted + sae.bias),
        "share": float(parts.predicted.square().sum() / energy),
        "novel share": float(parts.novel.square().sum() / energy),
        "error share": float((x - parts.x_hat).square().sum() / energy),
        "shuffled share": float(shuffled.predicted.square().sum() / energy),
        "shuffled FVU": unexplained(permuted_order(x, seed), shuffled.x_hat),
        "bias share": float(
            len(x) * x.shape[1] * (sae.bias - x.mean(dim=(0, 1))).square().sum() / energy
        ),
    }
    numbers |= {
        f"{guess} share": float((shares * energies).sum() / energy)
        for guess, shares in parts.plain_shares.items()
    }
    lags = [lag for lag in LAGS if lag < x.shape[1]]
    numbers |= {f"raw lag-{n}": value for n, value in autocorrelation(x, lags).items()}
    for part, of, of_shuffled in zip(
        ("", "novel "), codes_of(parts), codes_of(shuffled), strict=True
    ):
        numbers |= {f"{part}lag-{n}": value for n, value in autocorrelation(of, lags).items()}
        numbers[f"order lost {part}lag-1"] = lag_cosine(permuted_order(of, seed))
        numbers[f"shuffled {part}lag-1"] = lag_cosine(of_shuffled)
    return numbers


def codes_of(parts: Decomposition) -> tuple[Tensor, Tensor]:
    """Return the predicted and the novel codes of windows of one length, with their zeros."""
    novel = parts.novel_codes.to_dense().reshape(*parts.novel.shape[:2], -1)
    return parts.predicted_codes, novel


# -------------------------------------------------------------------------------------------------
# The card of one SAE, from its record.


def temporal_card(record: dict[str, Any]) -> str:
    """Return the card in Markdown."""
    plan, found, curve = record["plan"], record["held-out"], record["curve"]
    model, _, hook_point = record["name"].partition("/")
    windows = record["windows"]
    about = (
        f"A temporal SAE ({record['form']} form) of {plan['n_atoms']} atoms, {plan['k']} novel ones per token, "
        f"on the activations of {model} at {hook_point}. Weights have eight bits and a scale per row; numbers "
        "are of them as loaded."
    )
    products = plan.get("products", "highest")
    rounded = f"matrix products of {products} precision, " if products != "highest" else ""
    made = [
        f"**Data**: {windows['train']} windows of {plan['context']} tokens of {record['texts']['sources']}. "
        "Windows lie within a document; their first tokens, and windows with a massive token, are left out. "
        f"One document of sixteen is held out ({windows['held-out']} windows).",
        f"**Training**: {plan['steps']} steps of {plan['batch_size']} tokens, learning rate "
        f"{plan['learning_rate']:g}, {rounded}seed {record['seed']}; "
        f"{curve[-1]['seconds']:.0f} s on {record['device']}; torch {record['torch']}, {record['date']}.",
        "**Licence**: that of this project.",
    ]
    measured_here = table_of(
        ["", "as they are", "tokens shuffled", "codes shuffled"],
        [
            ["share of the activations' energy that is predicted"]
            + [f"{found[name]:.3f}" for name in ("share", "shuffled share")]
            + [""],
            [
                "the same of the previous token alone",
                f"{found['previous token share']:.3f}",
                "",
                "",
            ],
            ["the same of the mean of all before", f"{found['running mean share']:.3f}", "", ""],
            *(
                [words]
                + [f"{found[f'{how}{part}lag-1']:.3f}" for how in ("", "shuffled ", "order lost ")]
                for words, part in (
                    ("cosine of a token's predicted code and the last one's", ""),
                    ("the same of novel codes", "novel "),
                )
            ),
            ["the same of the activations themselves", f"{found['raw lag-1']:.3f}", "", ""],
            ["unexplained (FVU)", f"{found['FVU']:.3f}", f"{found['shuffled FVU']:.3f}", ""],
        ],
    )
    points_of = table_of(
        ["steps", "share", "FVU", "on training windows: share", "FVU", "lag-1, predicted", "novel"],
        [
            [f"{point['step']:.0f}"]
            + [
                f"{point[name]:.3f}"
                for name in ("share", "FVU", "train share", "train FVU", "lag-1", "novel lag-1")
            ]
            for point in curve
        ],
    )
    parts = [
        f"# {record['name']}, temporal, {record['form']} form, seed {record['seed']}",
        filled(about),
        "\n".join(
            [*(filled(text, "- ") for text in made), f"- **Command**: `{record['command']}`"]
        ),
        "## On held-out windows",
        measured_here,
        "## Along the training",
        filled(
            f"Of {min(plan['judged'], windows['held-out'])} held-out windows, and as many of training."
        ),
        points_of,
    ]
    if names := record.get("names"):
        told = (
            f"{names['kept']} atoms have a name: the words at which {names['covered']:.0%} or more of their "
            f"strong firings in {names['seen']} windows of documents trained on are. Of {names['tried']} such "
            "atoms those are named whose words tell tokens at which they fire from others with a balanced "
            f"accuracy of {names['tells']} or more, in {names['fresh']} held-out windows "
            f"({names['detection']:.3f} on average); with words of another atom {names['by chance']} would be. "
            "What the others do has no name."
        )
        parts += ["## Names", filled(told)]
    return "\n\n".join(parts) + "\n"


# -------------------------------------------------------------------------------------------------
# All trainings of a call.


def make_temporal(
    name: str,
    plan: TemporalPlan,
    folder: Path,
    *,
    texts: Path | None,
    work: Path,
    model: str = "",
    forms: Sequence[str] = FORMS,
    seeds: Sequence[Seed] = (0, 1, 2),
    device: torch.device,
    command: str = "",
) -> None:
    """Train every form from every seed, and write each SAE with its record, measured as its files give it back.

    `model`: a folder with the weights, where they do not lie in this package's cache; `texts` may be None
    where `work` has the windows.
    """
    model_name, _, hook_point = name.partition("/")
    if not all((work / f"{side}.safetensors").is_file() for side in SIDES):
        cut_before = (work / "windows.safetensors").is_file()
        if texts is None and not cut_before:
            raise ValueError("`texts` must be a folder where `work` has no windows yet, got None.")
        live = load_model(model or model_name, device=device)
        if texts is not None and not cut_before:
            write_windows(live, texts, plan, work)
        write_activations(live, hook_point, plan, work)
    if not seeds:
        return
    x, fresh = (read_activations(work, side).to(device) for side in SIDES)
    about = {
        "name": name,
        "command": command,
        "date": date.today().isoformat(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "plan": asdict(plan),
        "texts": read_json(work / "documents.json"),
        "windows": {"train": len(x), "held-out": len(fresh)},
    }
    for form in forms:
        for seed in seeds:
            run = f"{form}-{seed}"
            torch.set_float32_matmul_precision(plan.products)
            sae, curve = trained(form, seed, x, fresh, plan, work / run)
            torch.set_float32_matmul_precision("highest")
            sae.hook_point, sae.model_name = hook_point, model_name
            sae.position_policy = PositionPolicy(drop_first=True, source="training")
            record = about | {"form": form, "seed": seed, "curve": curve}
            shipped = as_shipped(sae.cpu(), **FILES)
            record["held-out"] = measured(shipped.to(device), fresh.float())
            shipped.measured = {"r2": 1 - record["held-out"]["FVU"], "held_out": 1.0}
            with sae_folder(shipped.cpu(), folder / run, **FILES) as partial:
                write_json(partial / RECORD, record)
                write_bytes(partial / CARD, temporal_card(record).encode())


def main(arguments: Sequence[str]) -> None:
    """Read the command line: `temporal NAME --texts DIR --work DIR --out DIR`."""
    defaults = TemporalPlan()
    parser = argparse.ArgumentParser(
        prog="python -m sae_nb_studies.recipes.saes temporal",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("name", help="model/hook point, such as smollm2-135m/resid_post.16")
    for option in ("work", "out"):
        parser.add_argument(f"--{option}", type=Path, required=True, help="folder")
    parser.add_argument(
        "--texts", type=Path, help="folder with the corpora; not needed again later"
    )
    parser.add_argument("--model", default="", help="folder with the model's weights")
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=FORMS)
    parser.add_argument(
        "--seeds", nargs="*", type=int, default=(0, 1, 2), help="none: capture alone"
    )
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    for field in fields(defaults):
        value = getattr(defaults, field.name)
        option = f"--{field.name.replace('_', '-')}"
        if isinstance(value, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=value)
        else:
            parser.add_argument(option, type=type(value), default=value)
    given = vars(parser.parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    plan = TemporalPlan(**{field.name: given.pop(field.name) for field in fields(defaults)})
    hidden = ("--texts", "--work", "--out", "--model")
    given["work"].mkdir(parents=True, exist_ok=True)
    name, folder = given.pop("name"), given.pop("out")
    command = shown_command(["temporal", *arguments], hidden=hidden)
    make_temporal(name, plan, folder, command=command, **given)
