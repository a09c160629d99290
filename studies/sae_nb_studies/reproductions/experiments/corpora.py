"""Natural corpora: what atoms find in them, compared with words, a cosine and atoms of an untrained SAE.

Film reviews, speeches, an encyclopaedia and drama, and positive against negative sentences of reviews,
read by all-MiniLM-L6-v2, a folder. Texts are files of a folder: NLTK's movie reviews, sentence polarity,
State of the Union and inaugural addresses as archives, WikiText-2 (validation) and Shakespeare. All are
in lower case, without digits and without marks that only one of them has, cut into pieces of equal
length. Findings on one half of a corpus are evaluated on the other. A short run uses tiny-gpt, stories
and CPython's texts about itself.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics import average_precision_score

import sae_nb as sn
from sae_nb.corpora import Diff, Documents

SHORT = {"model": "tiny-gpt", "folder": "", "n": 16, "steps": 20, "splits": 2}
N_ATOMS, ACTIVE, ASKED = 512, 16, 5
WORDS = 48
"""Number of words in a piece."""

KINDS = ("films", "speeches", "encyclopaedia", "drama")
OPINIONS = ("good", "bad")
METHODS = ("atoms", "words", "activations", "untrained atoms")
_MARKS = re.compile(r"[a-z]+(?:'[a-z]+)?|[.,;:!?]")


def run(
    seed: int,
    *,
    n: int = 100,
    steps: int = 400,
    splits: int = 20,
    model: str = "minilm",
    folder: str = "text",
) -> dict[str, float]:
    """Draw `n` texts of each kind (of films and opinions twice as many), train on all, compare and retrieve.

    `splits`: pairs of halves of the film reviews.
    """
    live, rng = sn.load_model(model), np.random.default_rng(seed)
    texts = real_texts(Path(folder), n, rng) if folder else bundled_texts(n, rng)
    read = read_twice(live, texts, steps, seed)
    trained, untrained = read["trained"], read["untrained"]
    numbers = halves(trained["films"], untrained["films"], splits, rng)
    kinds = [name for name in texts if name not in OPINIONS]
    for name in kinds:
        some = rng.permutation(len(texts[name]))[:n]
        for docs in (trained, untrained):
            docs[name] = docs[name].subset(some)
    pairs = list(combinations(kinds, 2))
    numbers |= differences("kinds", trained, untrained, pairs, rng)
    numbers |= differences("opinions", trained, untrained, [OPINIONS], rng)
    numbers |= retrievals("kinds", trained, untrained, kinds, kinds, rng)
    return numbers | retrievals("opinions", trained, untrained, OPINIONS, OPINIONS[:1], rng)


# -------------------------------------------------------------------------------------------------
# Texts.


def real_texts(folder: Path, n: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Read pieces of every kind; only one piece of a review or speech, so that no two share a text."""
    films = read_archive(folder / "nltk_movie_reviews.zip", r"/(pos|neg)/.*txt$")
    speeches = [
        text
        for name in ("state_union", "inaugural")
        for text in read_archive(folder / f"nltk_{name}.zip", r"/\d.*txt$")
    ]
    encyclopaedia = (folder / "wikitext2_valid.txt").read_text("utf-8")
    drama = (folder / "tinyshakespeare.txt").read_text("utf-8").splitlines()
    spoken = " ".join(line for line in drama if not line.endswith(":"))
    sentences = {
        name: read_archive(folder / "nltk_sentence_polarity.zip", rf"\.{end}$")[0].splitlines()
        for name, end in zip(OPINIONS, ("pos", "neg"), strict=True)
    }
    return {
        "films": one_piece_each(films, 2 * n, rng),
        "speeches": one_piece_each(speeches, n, rng),
        "encyclopaedia": pieces_of(encyclopaedia.replace("<unk>", ""), n, rng),
        "drama": pieces_of(spoken, n, rng),
        **{name: drawn([plain(one) for one in some], 2 * n, rng) for name, some in sentences.items()},
    }  # fmt: skip


def bundled_texts(n: int, rng: np.random.Generator) -> dict[str, list[str]]:
    """Use stories in place of films, CPython's texts for speeches, good and bad stories for opinions."""
    stories = sn.data.stories(8 * n, seed=int(rng.integers(1000)))
    good = stories.sentiment.numpy() == 1
    named = {"good": good, "bad": ~good}
    opinions = {
        name: [stories.texts[i] for i in np.flatnonzero(named[name])[: 2 * n]] for name in OPINIONS
    }
    films = list(stories.texts[-2 * n :])
    return {
        "films": films,
        "speeches": pieces_of(" ".join(sn.data.prose().texts), n, rng),
    } | opinions


def read_archive(path: Path, inside: str) -> list[str]:
    """Read the texts of an archive whose names match."""
    with zipfile.ZipFile(path) as opened:
        names = sorted(name for name in opened.namelist() if re.search(inside, name))
        return [opened.read(name).decode("latin-1") for name in names]


def plain(text: str) -> str:
    """Reduce a text to words and common marks in lower case, separated by one space."""
    return " ".join(_MARKS.findall(re.sub(r"\s+'", "'", text.lower().replace("@", " "))))


def drawn(texts: Sequence[str], n: int, rng: np.random.Generator) -> list[str]:
    """Draw texts of at least five words, in random order."""
    longer = [text for text in texts if len(text.split()) >= 5]
    return [longer[i] for i in rng.permutation(len(longer))[:n]]


def one_piece_each(texts: Sequence[str], n: int, rng: np.random.Generator) -> list[str]:
    """Cut the middle words out of randomly drawn texts."""
    words = [plain(texts[i]).split() for i in rng.permutation(len(texts))[:n]]
    starts = [max(0, (len(one) - WORDS) // 2) for one in words]
    return [" ".join(one[start : start + WORDS]) for one, start in zip(words, starts, strict=True)]


def pieces_of(text: str, n: int, rng: np.random.Generator) -> list[str]:
    """Draw pieces of a long text that do not overlap."""
    words = plain(text).split()
    starts = rng.permutation(len(words) // WORDS)[:n] * WORDS
    return [" ".join(words[start : start + WORDS]) for start in starts]


# -------------------------------------------------------------------------------------------------
# Documents.


def read_twice(
    live: sn.models.LiveModel, texts: Mapping[str, Sequence[str]], steps: int, seed: int
) -> dict[str, dict[str, Documents]]:
    """Read every kind with an SAE that was trained on all of them, and with the same one before training."""
    point = f"resid_post.{(live.n_layers or 1) * 2 // 3}"
    everything = [text for some in texts.values() for text in some]
    acts = sn.capture(live, everything, point, progress=False)
    saes = {kind: fresh(acts.d_in, seed) for kind in ("trained", "untrained")}
    sn.train(saes["trained"], acts, steps=steps, seed=seed, progress=False)
    ends = np.cumsum([len(some) for some in texts.values()])
    read = {}
    for kind, sae in saes.items():
        docs = sn.uses.documents(live, sae.eval(), everything, point, progress=False)
        read[kind] = {
            name: docs.subset(slice(int(end) - len(some), int(end)))
            for (name, some), end in zip(texts.items(), ends, strict=True)
        }
    return read


def fresh(d_in: int, seed: int) -> sn.TopK:
    """Build an untrained SAE; the same seed gives the same one."""
    return sn.TopK(d_in, N_ATOMS, ACTIVE, generator=torch.Generator().manual_seed(seed))


# -------------------------------------------------------------------------------------------------
# Differences.


def halves(
    trained: Documents, untrained: Documents, splits: int, rng: np.random.Generator
) -> dict[str, float]:
    """Return the share of pairs of halves of one corpus in which any atom, or any word, has q < 0.05."""
    found: dict[str, list[bool]] = {"atoms": [], "words": [], "untrained atoms": []}
    for _ in range(splits):
        first, other = np.array_split(rng.permutation(len(trained)), 2)
        result = sn.uses.diff(trained.subset(first), trained.subset(other))
        control = sn.uses.diff(untrained.subset(first), untrained.subset(other))
        tables = (result.table, result.simpler, control.table)
        for name, table in zip(found, tables, strict=True):
            found[name].append(bool((table["q"] < 0.05).any()))
    return {f"halves: {name}": float(np.mean(values)) for name, values in found.items()}


def differences(
    what: str,
    trained: Mapping[str, Documents],
    untrained: Mapping[str, Documents],
    pairs: Iterable[tuple[str, ...]],
    rng: np.random.Generator,
) -> dict[str, float]:
    """Count each pair's differences on all texts; test one half's surest atom and word on the other."""
    rows: dict[str, list[float]] = {}
    for first, other in pairs:
        whole = sn.uses.diff(trained[first], trained[other])
        for name, table in (("atoms", whole.table), ("words", whole.simpler)):
            surest = (table["q"] < 0.05).to_numpy()
            rows.setdefault(f"pairs with {name}", []).append(float(surest.any()))
            rows.setdefault(f"share of {name}", []).append(float(surest.mean()))
        sides = [halved(len(trained[name]), rng) for name in (first, other)]
        for kind, docs in (("", trained), ("untrained ", untrained)):
            made, held = (
                sn.uses.diff(docs[first].subset(sides[0][i]), docs[other].subset(sides[1][i]), min_count=count)
                for i, count in ((0, 5), (1, 1))
            )  # fmt: skip
            rows.setdefault(f"best {kind}atom", []).append(held_out(made, held, "atom"))
            if not kind:
                rows.setdefault("best word", []).append(held_out(made, held, "word"))
    numbers = {f"{what}: {name}": float(np.mean(values)) for name, values in rows.items()}
    best = numbers[f"{what}: best atom"]
    numbers[f"{what}: best atom − word"] = best - numbers[f"{what}: best word"]
    numbers[f"{what}: best atom − untrained"] = best - numbers[f"{what}: best untrained atom"]
    return numbers


def halved(n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Split n items into two random halves."""
    return np.array_split(rng.permutation(n), 2)


def held_out(made: Diff, held: Diff, column: str) -> float:
    """Return the surest item's difference of shares on unseen texts, in the direction found before."""
    surest, unseen = (
        result.table if column == "atom" else result.simpler for result in (made, held)
    )
    if surest.empty:
        return 0.0
    same = unseen[unseen[column] == surest[column].iloc[0]]["difference"]
    return float(np.sign(surest["difference"].iloc[0]) * same.sum())


# -------------------------------------------------------------------------------------------------
# Retrieval.


def retrievals(
    what: str,
    trained: Mapping[str, Documents],
    untrained: Mapping[str, Documents],
    among: Sequence[str],
    wanted: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, float]:
    """Measure MAP of each wanted kind: a query is made from one half of all texts, and ranks the other."""
    sides = {name: halved(len(trained[name]), rng) for name in among}
    made, held = (
        [[docs[name].subset(sides[name][i]) for name in among] for docs in (trained, untrained)]
        for i in (0, 1)
    )
    rows: dict[str, list[float]] = {name: [] for name in METHODS}
    numbers: dict[str, float] = {}
    for name in wanted:
        here = among.index(name)
        relevant = np.repeat([other == name for other in among], [len(docs) for docs in held[0]])
        scores = {
            "atoms": by_atoms(made[0], held[0], here),
            "words": by_words(made[0], held[0], here),
            "activations": by_activations(made[0], held[0], here),
            "untrained atoms": by_atoms(made[1], held[1], here),
        }
        for method, values in scores.items():
            rows[method].append(float(average_precision_score(relevant, values)))
            numbers[f"{name}: MAP of {method}"] = rows[method][-1]
        numbers[f"{name}: share wanted"] = float(relevant.mean())
    numbers |= {f"{what}: MAP of {method}": float(np.mean(rows[method])) for method in METHODS}
    shares = [numbers[f"{name}: share wanted"] for name in wanted]
    numbers[f"{what}: share wanted"] = float(np.mean(shares))
    ahead = numbers[f"{what}: MAP of atoms"]
    for method in METHODS[1:]:
        numbers[f"{what}: atoms − {method}"] = ahead - numbers[f"{what}: MAP of {method}"]
    return numbers


def compared(made: Sequence[Documents], here: int) -> Diff:
    """Compare one kind with all others."""
    return sn.uses.diff(made[here], together([docs for i, docs in enumerate(made) if i != here]))


def together(several: Sequence[Documents]) -> Documents:
    """Stack documents that were read by the same SAE."""
    first = several[0]
    matrix: csr_matrix = vstack([docs.matrix for docs in several], format="csr")
    parts: dict[str, Any] = {
        name: np.concatenate([getattr(docs, name) for docs in several])
        for name in ("position", "n_rows", "means", "sample")
    }
    return replace(first, matrix=matrix, **parts)


def by_atoms(made: Sequence[Documents], held: Sequence[Documents], here: int) -> np.ndarray:
    """Return scores by the surest atoms that are more frequent in the kind, equally weighted."""
    table = compared(made, here).table
    atoms = table[table["difference"] > 0]["atom"].head(ASKED).tolist()
    return sn.uses.retrieve(together(held), atoms).scores


def by_words(made: Sequence[Documents], held: Sequence[Documents], here: int) -> np.ndarray:
    """Return scores by the summed TF-IDF of as many words, chosen in the same way."""
    table = compared(made, here).simpler
    words = table[table["difference"] > 0]["word"].head(ASKED).tolist()
    counts, names = together(held).words
    columns = np.flatnonzero(np.isin(names, words))
    return np.asarray(TfidfTransformer().fit_transform(counts)[:, columns].sum(axis=1)).ravel()


def by_activations(made: Sequence[Documents], held: Sequence[Documents], here: int) -> np.ndarray:
    """Return scores by the cosine of mean activations with the kind's mean minus the mean of all others."""
    others = np.concatenate([docs.means for i, docs in enumerate(made) if i != here])
    direction = made[here].means.mean(axis=0) - others.mean(axis=0)
    means = np.concatenate([docs.means for docs in held])
    centred = means - np.concatenate([docs.means for docs in made]).mean(axis=0)
    return centred @ direction / np.maximum(np.linalg.norm(centred, axis=1), 1e-12)
