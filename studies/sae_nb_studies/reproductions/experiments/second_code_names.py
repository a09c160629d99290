"""Do firings that a second solver keeps have better names and larger effects than others of equal strength?

Firings of one atom are paired, one that orthogonal matching pursuit keeps with one that it drops, of strengths
within a tenth of each other. A firing is named if a rule that was made on other samples holds there; its effect
is the change of the model's answer at its token where it is taken out. The control pairs firings that the
encoder keeps in noise with firings that it does not.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

import sae_nb as sn
from sae_nb.evaluation import RowFacts, induce_rule
from sae_nb.models import run as run_model

SHORT = {"saes": ("tiny-gpt/resid_post.3",), "rows": 2000, "n_atoms": 60, "steps": 100}
SAES = (
    "smollm2-135m/resid_post.9", "smollm2-135m/resid_post.16", "smollm2-135m/resid_post.23",
    "tiny-gpt/resid_post.3",
)  # fmt: skip
ABLATED = {"smollm2-135m/resid_post.16": 20, "tiny-gpt/resid_post.3": 300}
"""SAEs whose firings are taken out, and pairs of a seed: a pass of the model each."""

NOISE, ALIKE, PER_ATOM, ENOUGH = 0.1, 1.1, 10, 8
PLACE, N_ATOMS, K = "resid_post.2", 512, 16
KINDS = {
    "TopK": sn.TopK,
    "BatchTopK": sn.BatchTopK,
    "JumpReLU": sn.JumpReLU,
    "MatchingPursuit": sn.MatchingPursuit,
}


def run(
    seed: int,
    *,
    saes: tuple[str, ...] = SAES,
    rows: int = 2500,
    n_atoms: int = 150,
    steps: int = 200,
) -> dict[str, float]:
    """Pair firings of atoms drawn by the seed, in bundled SAEs and in four kinds trained by the seed."""
    numbers: dict[str, float] = {}
    for name in saes:
        sae, acts = sn.load_sae(name), _acts(name, rows)
        found = _found(name, rows)
        own = _measured(sae, acts, found, seed, n_atoms, ABLATED.get(name, 0))
        numbers |= {f"{name}: {what}": value for what, value in own.items()}
    for kind in KINDS:
        numbers |= {
            f"{kind}: {what}": x for what, x in _trained(kind, seed, steps, n_atoms).items()
        }
    return numbers


@cache
def _acts(name: str, rows: int) -> sn.Activations:
    """Whole samples, so many rows or a few more, of all places of a model's SAEs at once."""
    model_name, place = name.split("/")
    places = [one.split("/")[1] for one in SAES if model_name in one]
    if model_name == "tiny-gpt":
        inputs = tuple(sn.data.stories(400, seed=7).texts)
    else:
        prose = (*sn.data.prose("train").texts, *sn.data.prose("test").texts)
        inputs = tuple(text[:240] for text in prose)
    found = _captured(model_name, tuple(places), inputs[: rows // 30])
    acts = found[place]
    return acts.subset(acts.sample <= acts.sample[min(rows, len(acts)) - 1])


@cache
def _captured(model_name: str, places: tuple[str, ...], inputs: tuple[str, ...]) -> Any:
    return sn.capture(sn.load_model(model_name), list(inputs), list(places), progress=False)


@cache
def _found(name: str, rows: int) -> sn.evaluation.SecondCode:
    return sn.second_code(sn.load_sae(name), _acts(name, rows), ("omp",))


def _trained(kind: str, seed: int, steps: int, n_atoms: int) -> dict[str, float]:
    """Train one kind of SAE of tiny-gpt, and measure what is kept of it and what is named."""
    model = sn.load_model("tiny-gpt")
    train, test = _place(model)
    generator = torch.Generator().manual_seed(seed)
    size = () if kind == "JumpReLU" else (K,)
    sae = KINDS[kind](train.d_in, N_ATOMS, *size, generator=generator)
    sn.train(sae, train, sn.TrainConfig(steps=steps, batch_size=1024, seed=seed), progress=False)
    found = sn.second_code(sae, test, ("omp",), seed=seed)
    codes = found.solvers.set_index("code")
    own = _measured(sae, test, found, seed, n_atoms, 0)
    return own | {
        "kept": float(found.firings["kept"].mean()),
        "L0": float(codes.loc["encoder", "l0"]),
        "R²": float(codes.loc["encoder", "R²"]),
    }


@cache
def _place(model: sn.LiveModel) -> tuple[sn.Activations, sn.Activations]:
    stories = sn.data.stories(1500, seed=0).texts
    return sn.capture(model, stories, PLACE, progress=False).split(0.9, seed=0)


# -------------------------------------------------------------------------------------------------
# Pairs of firings of one atom, of equal strength.


@torch.no_grad()
def _measured(
    sae: Any, acts: sn.Activations, found: Any, seed: int, n_atoms: int, n_ablated: int
) -> dict[str, float]:
    firings = found.firings.copy()
    x = acts.rows(torch.arange(len(acts))).to(sae.dictionary)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    noise *= x.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
    noisy = sae.encode(x + NOISE * noise)
    keys = (noisy.support.rows * sae.n_atoms + noisy.atoms)[noisy.values != 0].numpy()
    firings["robust"] = np.isin(firings["row"] * sae.n_atoms + firings["atom"], keys)
    samples = np.unique(acts.sample.numpy())
    half = np.random.default_rng(seed).permutation(samples)[: len(samples) // 2]
    firings["train"] = np.isin(acts.sample.numpy()[firings["row"]], half)
    named = _named(acts, firings, sae.n_atoms, seed, n_atoms)
    rng = np.random.default_rng(seed)
    pairs, control = (_pairs(named, flag, rng) for flag in ("kept", "robust"))
    gain, noise_gain = (_gain(named, one) for one in (pairs, control))
    coin = rng.integers(0, 2, len(pairs)) * 2 - 1
    flipped = named["named"].to_numpy()[pairs].astype(float) @ np.array([1.0, -1.0])
    numbers = {
        "pairs": float(len(pairs)),
        "named, kept": float(named["named"].to_numpy()[pairs[:, 0]].mean()),
        "named, dropped": float(named["named"].to_numpy()[pairs[:, 1]].mean()),
        "name gain": gain,
        "name gain of the encoder in noise": noise_gain,
        "name gain, flags by a coin": float((coin * flipped).mean()),
    }
    if n_ablated:
        for what, chosen in (("kept", pairs), ("kept in noise", control)):
            some = chosen[rng.permutation(len(chosen))[:n_ablated]]
            effect = _effects(sae, acts, named, some)
            larger = (effect[:, 0] > effect[:, 1]) + 0.5 * (effect[:, 0] == effect[:, 1])
            numbers[f"effect is larger where {what}"] = float(larger.mean())
            numbers[f"effect, {what}, nats"] = float(effect[:, 0].mean())
            numbers[f"effect, not {what}, nats"] = float(effect[:, 1].mean())
    return numbers


def _named(acts: sn.Activations, firings: Any, n_all: int, seed: int, n_atoms: int) -> Any:
    """Firings of some atoms in the other half of the samples, and whether the atom's rule holds there."""
    import pandas as pd

    on_train = np.bincount(firings["atom"][firings["train"]], minlength=n_all)
    test = firings[~firings["train"]]
    kept = np.bincount(test["atom"][test["kept"]], minlength=n_all)
    dropped = np.bincount(test["atom"][~test["kept"]], minlength=n_all)
    able = np.flatnonzero((on_train >= ENOUGH) & (kept > 0) & (dropped > 0))
    drawn = np.random.default_rng(seed).permutation(able)[:n_atoms]
    is_train = np.isin(np.arange(len(acts)), np.unique(firings["row"][firings["train"]]))
    train = acts.subset(torch.from_numpy(is_train))
    place = np.cumsum(is_train) - 1
    seen = firings[firings["train"] & firings["atom"].isin(drawn)]
    z = torch.zeros(len(train), n_all)
    z[torch.from_numpy(place[seen["row"]]), torch.tensor(seen["atom"].tolist())] = 1.0
    codes, facts, every = sn.SparseCodes.from_dense(z), RowFacts.of(train), RowFacts.of(acts)
    parts = []
    for atom in drawn.tolist():
        holds = induce_rule(train, codes, atom, facts=facts).holds(every)
        own = test[test["atom"] == atom]
        parts.append(own.assign(named=holds[own["row"]]))
    return pd.concat(parts, ignore_index=True)


def _pairs(named: Any, flag: str, rng: np.random.Generator) -> Int[np.ndarray, "pairs 2"]:
    """Firings with and without a flag, of one atom and of strengths within a tenth; each in one pair at most."""
    pairs: list[tuple[int, int]] = []
    for _, own in named.groupby("atom"):
        yes, no = (list(own.index[own[flag] == wanted]) for wanted in (True, False))
        strength: Any = own["strength"]
        mine: list[tuple[int, int]] = []
        for one in rng.permutation(no):
            if not yes or len(mine) == PER_ATOM:
                break
            ratios = np.abs(np.log(strength[yes].to_numpy() / strength[one]))
            best = int(ratios.argmin())
            if ratios[best] <= np.log(ALIKE):
                mine.append((yes.pop(best), int(one)))
        pairs += mine
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _gain(named: Any, pairs: Int[np.ndarray, "pairs 2"]) -> float:
    flags: Bool[np.ndarray, " f"] = named["named"].to_numpy()
    return float(flags[pairs[:, 0]].mean() - flags[pairs[:, 1]].mean())


# -------------------------------------------------------------------------------------------------
# What a firing does: the model's answer at its token, with it and without.


@torch.no_grad()
def _effects(
    sae: Any, acts: sn.Activations, named: Any, pairs: Int[np.ndarray, "pairs 2"]
) -> Float[np.ndarray, "pairs 2"]:
    """KL of the answer at the token of each firing, as it is to without the firing; nats."""
    model, unit = sn.load_model(sae.model_name), torch.nn.functional.normalize(sae.dictionary)
    flat = named.iloc[pairs.ravel()]
    rows, atoms = flat["row"].to_numpy(), flat["atom"].to_numpy()
    strength = torch.tensor(flat["strength"].to_numpy().copy())
    ids = acts.context.token_ids
    at = [(int(acts.sample[row]), int(acts.position[row])) for row in rows]
    assert ids is not None  # models of language
    texts = [ids.sample(sample)[: position + 1].tolist() for sample, position in at]
    order = np.argsort([len(text) for text in texts], kind="stable")
    effect = np.zeros(len(texts))
    for some in np.array_split(order, max(1, len(order) // 12)):
        (batch,) = model.batches([texts[i] for i in some], batch_size=len(some))
        last = torch.tensor([len(texts[i]) - 1 for i in some])
        out = strength[some][:, None] * unit[atoms[some]]

        def without(
            x: torch.Tensor, last: torch.Tensor = last, out: torch.Tensor = out
        ) -> torch.Tensor:
            y = x.clone()
            y[torch.arange(len(last)), last] -= out.to(y)
            return y

        clean, ablated = (
            run_model(model, batch, put=put).answer.one().double().log_softmax(dim=-1)
            for put in ({}, {str(sae.hook_point): without})
        )
        effect[some] = (clean.exp() * (clean - ablated)).sum(dim=-1).cpu().numpy()
    return effect.reshape(-1, 2)
