"""What whole documents cost: `documents` against capture and encode of the same rows, and large corpora.

Run `python benchmarks/uses.py`. The first table is in CPU seconds, alternating, the median of ratios; goal
1.15.
The second is of a planted corpus that never saw a model: 50 000 documents of at most 64 of 65 536 atoms, and
of 64 words, drawn by Zipf's law; goals 10 s for `diff` and for `cooccurrence`. `diff` of texts is run a second
time as it was, each text joined and read by itself, in the same process; both must find the same.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import resource
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from capture import cpu_seconds, language_case
from pandas.testing import assert_frame_equal
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

import sae_nb as sn
from sae_nb.activations import Context, Ragged
from sae_nb.corpora import Documents
from sae_nb.files import SaeIdentity
from sae_nb.models import LiveModel

STORIES = 96
POINT = "resid_post.3"
N_DOCUMENTS, N_ATOMS, N_WORDS, A_DOCUMENT, WIDTH = 50_000, 65_536, 20_000, 64, 64


def cases() -> dict[str, tuple[LiveModel, Any, sn.SparseAutoencoder]]:
    """A model, its inputs and an SAE, by a name for the table."""
    wide = language_case(256, 6, 1, 32, 128)
    sae = sn.TopK(256, 8192, 32, generator=torch.Generator().manual_seed(0))
    return {
        f"tiny-gpt, {STORIES} stories, 1 024 atoms": (
            sn.load_model("tiny-gpt"),
            sn.data.stories(STORIES, seed=0).texts,
            sn.load_sae(f"tiny-gpt/{POINT}"),
        ),
        "GPT-2 shape d 256, 6 blocks, 32 × 128 tokens, 8 192 atoms": (wide.model, wide.inputs, sae),
    }


def ways(
    model: LiveModel, inputs: Any, sae: sn.SparseAutoencoder, pool: str
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Capture and encode; documents."""

    def plain() -> Any:
        with torch.no_grad():
            return sae.encode(sn.capture(model, inputs, POINT, batch_size=16, progress=False).x)

    def ours() -> Any:
        return sn.uses.documents(model, sae, inputs, POINT, pool, batch_size=16, progress=False)  # type: ignore[arg-type]

    return plain, ours


def ratio(plain: Callable[[], Any], ours: Callable[[], Any], repeats: int) -> list[float]:
    """Return [seconds of the plain way, the median of the ratios, their middle half's ends]."""
    plain(), ours()
    pairs = []
    for turn in range(repeats):
        # Whoever comes second finds warmer caches: take turns.
        first = cpu_seconds(ours if turn % 2 else plain)
        second = cpu_seconds(plain if turn % 2 else ours)
        pairs.append((second, first) if turn % 2 else (first, second))
    low, middle, high = statistics.quantiles((b / a for a, b in pairs), n=4)
    return [statistics.median(a for a, _ in pairs), middle, low, high]


def corpus(
    n: int, *, texts: bool, seed: int, shift: float = 1.0, n_atoms: int = N_ATOMS
) -> Documents:
    """Documents whose atoms, and words, are drawn by Zipf's law; 64 atoms become `shift` times as frequent."""
    rng = np.random.default_rng(seed)
    chances = 1 / (10 + np.random.default_rng(0).permutation(n_atoms))
    chances[:64] *= shift
    drawn = rng.choice(n_atoms, size=(n, A_DOCUMENT), p=chances / chances.sum())
    data = rng.exponential(size=drawn.size).astype(np.float32)
    matrix = csr_matrix((data, drawn.ravel(), np.arange(n + 1) * A_DOCUMENT), (n, n_atoms))
    matrix.sum_duplicates()
    position = rng.integers(0, A_DOCUMENT, matrix.nnz).astype(np.int32)
    return Documents(
        matrix=matrix,
        position=position,
        n_rows=np.full(n, A_DOCUMENT),
        means=rng.normal(size=(n, WIDTH)).astype(np.float32),
        sample=np.arange(n),
        context=_texts(n, rng) if texts else Context(kind="vision", n_samples=n),
        pool="max",
        hook_point=POINT,
        model_name="planted",
        identity=SaeIdentity(
            architecture="TopK",
            n_atoms=n_atoms,
            d_in=WIDTH,
            hook_point=POINT,
            model_name="planted",
            fingerprint="0000",
        ),
        dictionary=torch.randn(n_atoms, WIDTH, generator=torch.Generator().manual_seed(0)),
    )


def _texts(n: int, rng: np.random.Generator) -> Context:
    chances = 1 / (10 + np.arange(N_WORDS))
    ids = rng.choice(N_WORDS, size=n * A_DOCUMENT, p=chances / chances.sum())
    offsets = torch.arange(n + 1) * A_DOCUMENT
    return Context(
        kind="language",
        n_samples=n,
        token_ids=Ragged(torch.from_numpy(ids), offsets),
        vocabulary={i: f" word{i}" for i in range(N_WORDS)},
    )


class OneByOne(Documents):
    """Documents whose words are read as they were: a text at a time, and an atom at a time."""

    @classmethod
    def of(cls, docs: Documents) -> OneByOne:
        """The same documents, nothing read yet."""
        return cls(**{field.name: getattr(docs, field.name) for field in fields(Documents)})

    @cached_property
    def words(self) -> tuple[csr_matrix, tuple[str, ...]]:  # type: ignore[override]
        """Counted by scikit-learn."""
        counter = CountVectorizer(token_pattern=r"\w+")
        counts = counter.fit_transform([self.text(i) for i in range(len(self))])
        return counts, tuple(counter.get_feature_names_out())

    @cached_property
    def read(self) -> dict[int, list[str]]:
        """The word of every token of the texts that were asked about."""
        return {}

    def peak_words(self, atoms: Sequence[int]) -> list[str]:
        """An atom at a time."""
        return [self._peak(int(atom)) for atom in atoms]

    def _peak(self, atom: int) -> str:
        documents, entries = self._strongest(atom, 5)
        words = Counter[str]()
        for document, position in zip(documents.tolist(), self.position[entries].tolist()):
            if document not in self.read:
                self.read[document] = words_of_tokens(self._tokens(document))
            words[self.read[document][position]] += 1
        return words.most_common(1)[0][0] if words else ""


def words_of_tokens(tokens: list[str]) -> list[str]:
    """The word that each token belongs to; tokens keep their spaces."""
    whole, found, at = "".join(tokens), [], 0
    spans = [(w.start(), w.end(), w.group()) for w in re.finditer(r"\w+", whole.lower())]
    for begin, end in itertools.pairwise([0, *itertools.accumulate(map(len, tokens))]):
        while at < len(spans) and spans[at][1] <= begin:
            at += 1
        found.append(spans[at][2] if at < len(spans) and spans[at][0] < end else "")
    return found


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=("documents", "corpora"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    print(f"torch {torch.__version__}, {options.threads} thread(s), load {load:.1f}")
    if options.only != "corpora":
        print(f"{'case':60} {'capture + encode':>18} {'documents':>24}")
        for name, (model, inputs, sae) in cases().items():
            for pool in ("max", "mean", "count"):
                base, middle, low, high = ratio(*ways(model, inputs, sae, pool), options.repeats)
                print(
                    f"{name + ', ' + pool:60} {base:16.3f} s {middle:7.2f}× ({low:.2f} … {high:.2f})",
                    flush=True,
                )
    if options.only != "documents":
        for texts in (False, True):
            _compare(texts)


def _compare(texts: bool) -> None:
    a, b = (
        corpus(N_DOCUMENTS // 2, texts=texts, seed=seed, shift=shift)
        for seed, shift in ((1, 1.5), (2, 1.0))
    )
    whole = corpus(N_DOCUMENTS, texts=texts, seed=3)
    word = "texts" if texts else "images"
    print(f"{N_DOCUMENTS} {word}: {whole}")
    for name, work in {
        "diff": lambda: sn.uses.diff(a, b),
        "cooccurrence": lambda: sn.uses.cooccurrence(whole),
        "redundancy": lambda: sn.uses.redundancy(whole),
        "select of 100": lambda: sn.uses.select(whole, 100),
    }.items():
        begin = time.process_time()
        found = work()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"  {name:14} {time.process_time() - begin:6.1f} CPU s, process at most {peak:.1f} GiB; {found}",
            flush=True,
        )
    if texts:
        _beside_former(a, b)


def _beside_former(a: Documents, b: Documents) -> None:
    """`diff` of texts that nobody has read yet, and as it was."""
    seconds, found = [], []
    for kind in (Documents.subset, lambda docs, _: OneByOne.of(docs)):
        fresh = [kind(docs, slice(None)) for docs in (a, b)]
        begin = time.process_time()
        found.append(sn.uses.diff(*fresh))
        seconds.append(time.process_time() - begin)
    for name in ("table", "simpler"):
        assert_frame_equal(*(getattr(one, name) for one in found))
    now, before = seconds
    print(
        f"  diff of texts {now:6.1f} CPU s, as it was {before:.1f} s: {before / now:.1f}× faster, tables alike",
        flush=True,
    )


if __name__ == "__main__":
    main()
