"""Few edits that change a model's answer: a supervised dictionary next to SAEs, at one place of tiny-gpt.

Stories in the grammar that it learned: a beginning from `sn.data.stories`, one good or bad event, and the start
of an ending whose next word tells how the story went. A counterfactual story differs only in the event.
Attributes: how it went, which ending is asked for, one hero or two, the place, the animal. Dictionaries:
supervised, fitted to 400 such stories; TopK SAEs of 512 atoms, k = 16, trained on all tokens of whole stories,
and of 128 atoms, k = 8, on the last tokens of the 400; as many random atoms as the first SAE, at its mean L0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import sae_nb as sn
from sae_nb.activations import Activations
from sae_nb.evaluation import RandomDictionary
from sae_nb.steering import Answers
from sae_nb_studies.evaluation import SparseControl
from sae_nb_studies.reproductions._recorded_order import (
    edit_success,
    necessity,
    sparse_control,
    sufficiency,
)

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

SHORT = {"fitted": 60, "tested": 16, "texts": 30, "steps": 30, "budgets": (2, 8)}
POINT = "attn_out.3"
HAPPENED = (
    (
        "An angry man took the {thing} away from {whom}.",
        "The {animal} fell ill and would not eat.",
        "A cold storm came and ruined the {place}.",
        "Thieves came to the {place} and burned the gate.",
    ),
    (
        "A kind woman gave {whom} a beautiful {thing}.",
        "The {animal} came home safe and well.",
        "The sun came out and the {place} was full of music.",
        "Old friends came to the {place} with sweet cakes.",
    ),
)
ENDINGS = ("In the end all was", "It was the")
WORDS = ((" lost", " well"), (" worst", " best"))
"""By ending, then by how it went; of a word with several tokens, only the first is asked for."""

LINE = 0.8
Prompts = tuple[list[str], dict[str, list[Any]]]


def run(
    seed: int,
    *,
    fitted: int = 400,
    tested: int = 200,
    texts: int = 300,
    steps: int = 800,
    budgets: tuple[int, ...] = (2, 4, 8, 16, 32),
) -> dict[str, float]:
    """Edit the last token's activation of each test story towards its counterfactual's.

    `fitted`: stories with labels; `tested`: pairs; `texts`: whole stories for the SAE, trained for `steps`;
    `budgets`: largest numbers of atoms edited.
    """
    model = sn.load_model("tiny-gpt")
    shown, labels, _ = prompts(fitted, 5000 + seed)
    stories, told, turned = prompts(tested, 6000 + seed)
    (others, other_told), own = turned, last_rows(model, shown)
    whole = sn.capture(
        model, list(sn.data.stories(texts, seed=7000 + seed).texts), POINT, progress=False
    )
    supervised = sn.supervised_dictionary(own, labels)
    sae = trained(whole, 512, 16, steps, seed)
    saes: dict[str, Any] = {
        "SAE": sae,
        "task SAE": trained(Activations.from_tensor(own), 128, 8, steps, seed),
        "random atoms": RandomDictionary(
            own.shape[1], sae.n_atoms, round(float(sae.encode(own).l0.float().mean())),
            mean=whole.x.mean(dim=0), seed=seed,
        ).fit(whole.x),
    }  # fmt: skip
    pairs = (model, stories, others, POINT)
    controls = {
        name: sparse_control(*pairs, one, budgets=budgets, n_bootstrap=0, seed=seed)
        for name, one in saes.items()
    }
    controls["supervised"] = sparse_control(
        *pairs, supervised, budgets=budgets, attributes=told, target_attributes=other_told,
        n_bootstrap=0, seed=seed,
    )  # fmt: skip
    answers, alternatives = (words(model, one) for one in (told, other_told))
    numbers = agreed(controls, budgets) | edited(model, stories, told, answers, own, labels, seed)
    for name, one in {"supervised": supervised, **saes}.items():
        given = {"attributes": told} if name == "supervised" else {}
        for measure in (sufficiency, necessity):
            found = measure(
                model,
                stories,
                POINT,
                one,
                answers,
                alternatives,
                n_bootstrap=0,
                seed=seed,
                **given,
            )
            numbers[f"{measure.__name__}, {name}"] = found.value
    return numbers


def prompts(n: int, seed: int) -> tuple[list[str], dict[str, list[Any]], Prompts]:
    """Return stories up to the word that is asked for and their labels, and both of their counterfactuals."""
    rng, told = np.random.default_rng(seed), sn.data.stories(n, seed=seed)
    stories: list[str] = []
    others: list[str] = []
    labels: dict[str, list[Any]] = {
        name: [] for name in ("went", "ending", "plural", "place", "animal")
    }
    for i, text in enumerate(told.texts):
        cast = {
            kind: told.entities[int(getattr(told, kind)[i])]
            for kind in ("place", "animal", "thing")
        }
        went, ending = (int(rng.integers(2)) for _ in range(2))
        clauses = told.clauses[(told.clauses.story == i) & (told.clauses.sentiment == 0)]
        begun = text[int(clauses.start[0]) : int(clauses.end[-1])]
        for some, how in ((stories, went), (others, 1 - went)):
            happened = HAPPENED[how][int(rng.integers(4))]
            whom = "them" if told.plural[i] else "him"
            some.append(f"{begun} {happened.format(whom=whom, **cast)} {ENDINGS[ending]}")
        own = (went, ending, int(told.plural[i]), cast["place"], cast["animal"])
        for name, label in zip(labels, own, strict=True):
            labels[name].append(label)
    turned = labels | {"went": [1 - went for went in labels["went"]]}
    return stories, labels, (others, turned)


def words(model: LiveModel, labels: dict[str, list[Any]]) -> list[int]:
    """Return the token that should follow each story."""
    return [
        int(model.tokenizer(WORDS[ending][went], add_special_tokens=False)["input_ids"][0])
        for went, ending in zip(labels["went"], labels["ending"], strict=True)
    ]


def last_rows(model: LiveModel, stories: list[str]) -> torch.Tensor:
    """Capture the activation of every story's last token."""
    acts = sn.capture(model, stories, POINT, progress=False)
    last = np.searchsorted(acts.sample.numpy(), np.arange(1, len(stories) + 1)) - 1
    return acts.x[torch.from_numpy(last)]


def trained(acts: Activations, n_atoms: int, k: int, steps: int, seed: int) -> sn.TopK:
    """Train a TopK SAE with `n_atoms` atoms, `k` of them per row."""
    sae = sn.TopK(acts.d_in, n_atoms, k, generator=torch.Generator().manual_seed(seed))
    sn.train(sae, acts, sn.TrainConfig(steps=steps, batch_size=512, seed=seed), progress=False)
    return sae


def agreed(controls: dict[str, SparseControl], budgets: tuple[int, ...]) -> dict[str, float]:
    """Return how often edits give the counterfactual's answer, by dictionary and number of edited atoms."""
    numbers = {
        f"agreement, {name}, {k} atoms": found[k].value
        for name, found in controls.items()
        for k in budgets
    }
    for name, found in controls.items():
        fewest = found.fewest(LINE)
        numbers[f"atoms for 80 %, {name}"] = float(2 * budgets[-1] if fewest is None else fewest)
        numbers[f"left after 2 atoms, {name}"] = float(found.left[:, 0].mean())
    swap = controls["supervised"][2]
    return numbers | {
        "agreement, no edit": float(swap.floor or 0.0),
        "agreement, random direction as long": float(swap.control or 0.0),
        "supervised − SAE, 2 atoms": swap.value - controls["SAE"][2].value,
    }


def edited(
    model: LiveModel,
    stories: list[str],
    told: dict[str, list[Any]],
    answers: list[int],
    own: torch.Tensor,
    labels: dict[str, list[Any]],
    seed: int,
) -> dict[str, float]:
    """Measure how often an edit brings the other word: by values that are read, and a difference of means."""
    numbers = {}
    went = {"went": labels["went"]}
    for name, s in {
        "edit": sn.supervised_dictionary(own, labels),
        "difference of means": sn.supervised_dictionary(own, went, method="mean"),
    }.items():
        flips = []
        for value in (0, 1):
            rows = [i for i, one in enumerate(told["went"]) if one != value]
            ending = [told["ending"][i] for i in rows]
            wanted = words(model, {"went": [value] * len(rows), "ending": ending})
            found = edit_success(
                model, [stories[i] for i in rows], POINT, s, "went", value, wanted,
                was=[1 - value] * len(rows) if name == "difference of means" else None,
                n_bootstrap=0, seed=seed,
            )  # fmt: skip
            flips.append(found.value)
        numbers[f"flipped, {name}"] = float(np.mean(flips))
    right = np.mean(
        [
            model_answer == word
            for model_answer, word in zip(clean(model, stories), answers, strict=True)
        ]
    )
    return numbers | {"answered right": float(right)}


def clean(model: LiveModel, stories: list[str]) -> list[int]:
    """Return the likeliest next token of every story."""
    return Answers(model, stories, POINT, positions="last").clean.argmax(dim=1).tolist()
