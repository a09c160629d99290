"""Lenses on a real language model: layers against the model's answer, and atoms against the running model.

Run `python benchmarks/lenses.py PART --model FOLDER --store STORE`, where FOLDER holds a Hugging Face
checkpoint such as SmolLM2-135M, and each part keeps in STORE what it did, so that a stopped run continues:

- `fit`: a Jacobian lens of all blocks on texts of 25 tokens, kept also after 4, 8 and 16 of them;
- `measure`: per layer and seed an SAE (TopK, 2 048 atoms, 250 steps on 4 800 rows), 24 of its atoms that
  fire on six texts, and 24 random directions of the same sizes, each added to the running model there;
- `tables`: agreement and KL per layer on ten other texts; rank correlation and hits of ten for the direct
  path and for the lens after each number of texts; what prompts read as;
- `cards`: what three atoms of an SAE raise, by the direct path, by the lens and measured;
- `speed`: CPU seconds of a text's fit next to a plain loop over numbers of the state, and of all effects.

`vision` scores tiny-vit instead, on five sets of images.
"""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

from sae_nb_studies.reproductions.experiments.lens_effects_language import (
    LENGTH,
    N_MEASURED,
    SKIPPED,
    measured,
    texts_of,
)

LAYERS, SEEDS = (4, 12, 22), range(5)
N_HELD_OUT, N_ROW_TEXTS = 10, 200
KEPT = (4, 8, 16)
PROMPTS = ("The opposite of hot is", "The capital of France is")


def fit(model: Any, store: Path, n_texts: int) -> None:
    """Fit all blocks, and keep the lens after some of the texts."""
    import sae_nb as sn

    folder = store / "lens"
    begin = time.process_time()

    def keep(record: Any) -> None:
        seconds = time.process_time() - begin
        print(
            f"{record.n_done} texts, halves agree {record.measure:.3f}, {seconds:.0f} CPU s",
            flush=True,
        )
        before = record.n_done - 1  # what the last checkpoint holds
        if before in KEPT and not (store / f"lens-{before}").exists():
            shutil.copytree(folder, store / f"lens-{before}")

    texts = texts_of(model, "train")[:n_texts]
    sn.fit_lens(model, texts, context_length=LENGTH, store=folder, progress=keep)


def measure(model: Any, store: Path, n_texts: int) -> None:
    """Train an SAE per layer and seed, and measure its atoms and random directions."""
    texts, held_out = texts_of(model, "train"), texts_of(model, "test")
    rows = texts[n_texts : n_texts + N_ROW_TEXTS]
    for seed in SEEDS:
        some = held_out[N_MEASURED * seed : N_MEASURED * (seed + 1)]
        for layer in LAYERS:
            file = store / f"measured-{layer}-{seed}.safetensors"
            measured(model, f"resid_post.{layer}", rows, some, seed, 250, file)
            print(f"layer {layer}, seed {seed}: measured", flush=True)


def scored(guess: Any, truth: Any) -> tuple[float, float]:
    """Return mean rank correlation, and share of the ten most raised outputs that are found."""
    from sae_nb.statistics import rank_correlation

    pairs = list(zip(guess, truth, strict=True))
    hits = [
        len(set(a.topk(10).indices.tolist()) & set(b.topk(10).indices.tolist())) / 10
        for a, b in pairs
    ]
    correlations = [rank_correlation(a.numpy(), b.numpy()) for a, b in pairs]
    return sum(correlations) / len(pairs), sum(hits) / len(pairs)


def tables(model: Any, store: Path) -> None:
    """Print what the lens reads, and how far its effects hold."""
    import pandas as pd

    import sae_nb as sn
    from sae_nb.files import read_tensors

    lenses = {
        n: sn.load_lens(store / f"lens-{n}", model) for n in KEPT if (store / f"lens-{n}").exists()
    }
    whole = sn.load_lens(store / "lens", model)
    lenses[whole.n_done] = whole
    print(f"{whole}\n{whole.curve.iloc[1::2].round(3).to_string()}")
    held_out = texts_of(model, "test")[-N_HELD_OUT:]
    print(whole.check(held_out, context_length=LENGTH).table.round(3).to_string())
    lines = []
    for file in sorted(store.glob("measured-*.safetensors")):
        layer, seed = map(int, file.stem.split("-")[1:])
        kept = read_tensors(file)
        truth, n = kept["truth"].float(), len(kept["truth"]) // 2
        by: dict[Any, Any] = {"direct path": whole.plain(), **lenses}
        for name, lens in by.items():
            effects = lens.effects(kept["added"], layer)
            for kind, part in (("atoms", slice(0, n)), ("random", slice(n, None))):
                correlation, hits = scored(effects[part], truth[part])
                lines.append((layer, seed, str(name), kind, correlation, hits))
    found = pd.DataFrame(lines, columns=["layer", "seed", "by", "of", "correlation", "hits"])
    grouped = found.groupby(["layer", "of", "by"], sort=False)[["correlation", "hits"]]
    print(grouped.agg(["mean", "std"]).round(3).to_string())
    print(found[found.by == str(whole.n_done)].round(3).to_string())
    for prompt in PROMPTS:
        print(f"{prompt}\n{whole.read(prompt).grid().to_string()}")


def speed(model: Any) -> None:
    """Print CPU seconds of one text, of a loop over some numbers of the state, and of all atoms' effects."""
    import torch

    import sae_nb as sn

    text = texts_of(model, "train")[:1]
    begin = time.process_time()
    lens = sn.fit_lens(model, text, context_length=LENGTH, progress=False)
    ours = time.process_time() - begin
    inputs = model.tokenizer(text[0], return_tensors="pt")["input_ids"][:, :LENGTH]
    module, n, d = model.module, 12, lens.d
    begin = time.process_time()
    states = module.model(inputs, output_hidden_states=True).hidden_states[1:]
    target = states[-1][0, SKIPPED : LENGTH - 1].sum(dim=0)
    for number in range(n):
        torch.autograd.grad(target[number], states[:-1], retain_graph=True)
    loop = (time.process_time() - begin) * d / n
    threads = torch.get_num_threads()
    print(
        f"{ours:.1f} CPU s a text, plain loop {loop:.1f} ({loop / ours:.1f} times), {threads} threads"
    )
    for n_atoms in (2048, 4096):
        atoms = torch.randn(n_atoms, d)
        begin, clock = time.process_time(), time.perf_counter()
        lens.effects(atoms, 12)
        spent = time.process_time() - begin
        print(f"effects of {n_atoms} atoms: {spent:.2f} CPU s, {time.perf_counter() - clock:.2f} s")


def cards(model: Any, store: Path, folder: Path, atoms: list[int]) -> None:
    """Print the eight tokens that atoms raise most, in bold those that are among ten by measurement."""
    import sae_nb as sn
    from sae_nb.lenses import layer_of, measured_effects
    from sae_nb.statistics import rank_correlation

    sae, lens = sn.load_sae(folder), sn.load_lens(store / "lens", model)
    layer, point = layer_of(sae), str(sae.hook_point)
    some = texts_of(model, "test")[:N_MEASURED]
    acts = sn.capture(model, some, point, context_length=LENGTH, progress=False)
    size = 0.3 * float(acts.x[acts.position >= SKIPPED].norm(dim=1).median())
    directions = sae.dictionary[atoms]
    truth = measured_effects(model, some, point, directions, size, context_length=LENGTH)
    ways = {"direct path": lens.plain(), "Jacobian lens": lens}
    found = {name: way.effects(directions, layer) for name, way in ways.items()}
    for i, atom in enumerate(atoms):
        confirmed = set(truth[i].topk(10).indices.tolist())
        for name, effects in {**found, "measured": truth}.items():
            top = effects[i].topk(8).indices.tolist()
            names = lens.names(top)
            words = [
                f"**{names[one].strip()}**" if one in confirmed else names[one].strip()
                for one in top
            ]
            correlation = rank_correlation(effects[i].numpy(), truth[i].numpy())
            print(f"| {atom} | {name} | {', '.join(words)} | {correlation:.2f} |")


def vision() -> None:
    """Print the score of tiny-vit's atoms at block 6, on five sets of images."""
    import sae_nb as sn

    model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    for seed in range(5):
        images = sn.data.scenes(48, seed=10 + seed, split="train").images
        held_out = sn.data.scenes(48, seed=20 + seed, split="test").images
        lens = sn.fit_lens(model, images, layers=[6], progress=False)
        found = lens.check(held_out, sae, n_atoms=80, seed=seed)
        print(f"seed {seed}\n{found.atoms_by_kind.round(3).T.to_string()}")


def main() -> None:
    """Carry out one part."""
    import sae_nb as sn

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["fit", "measure", "tables", "cards", "speed", "vision"])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--texts", type=int, default=24, help="texts of the fit")
    parser.add_argument("--sae", type=Path, help="of `cards`")
    parser.add_argument("--atoms", type=int, nargs="+", default=[2918, 3101, 3343])
    given = parser.parse_args()
    if given.part == "vision":
        vision()
        return
    model = sn.load_model(str(given.model))
    if given.part == "speed":
        speed(model)
        return
    given.store.mkdir(parents=True, exist_ok=True)
    if given.part == "fit":
        fit(model, given.store, given.texts)
    elif given.part == "measure":
        measure(model, given.store, given.texts)
    elif given.part == "cards":
        cards(model, given.store, given.sae, given.atoms)
    else:
        tables(model, given.store)


if __name__ == "__main__":
    main()
