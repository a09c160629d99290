"""Corpora that nobody here planted: film reviews, speeches, good and bad reviews, read by MiniLM."""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.corpora import Documents

N = 30
"""Documents of each kind: the sixty words in the middle of a review; sixty words of a speech."""

WORDS = 60
POINT = "resid_post.3"


def _texts(archive: Path, inside: str, begin: int | None = None) -> list[str]:
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in sorted(opened.namelist()) if re.search(inside, name)]
        some = names[:: max(1, len(names) // N)][:N]
        texts = [opened.read(name).decode("latin-1").lower() for name in some]
    # Reviews come in lower case, with punctuation as words: speeches are written so too.
    words = [re.sub(r"([.,;:!?])", r" \1", text).split() for text in texts]
    starts = [len(one) // 2 if begin is None else begin for one in words]
    return [" ".join(one[start : start + WORDS]) for one, start in zip(words, starts)]


@pytest.fixture(scope="module")
def corpora(assets: Path, open_real: Callable[[str], Any]) -> tuple[Documents, ...]:
    """Good reviews, bad reviews, speeches: by the atoms of an SAE of 256 that was trained on them."""
    folder, model = assets / "data" / "text", open_real("minilm")
    films = folder / "nltk_movie_reviews.zip"
    speeches = _texts(folder / "nltk_state_union.zip", r"\.txt$", 400)
    texts = _texts(films, r"/pos/.*txt$") + _texts(films, r"/neg/.*txt$") + speeches
    acts = sn.capture(model, texts, POINT, progress=False)
    sae = sn.TopK(acts.d_in, 256, 16, generator=torch.Generator().manual_seed(0))
    sn.train(sae, acts, steps=60, batch_size=512, progress=False)
    docs = sn.uses.documents(model, sae, texts, POINT, progress=False)
    return *(docs.subset(slice(at, at + N)) for at in (0, N, 2 * N)), docs


@pytest.mark.timeout(600)
def test_what_reviews_and_speeches_show(
    corpora: tuple[Documents, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Film against politics is found by atoms and words; good against bad by neither, at this size."""
    good, bad, speeches, docs = corpora
    subject = sn.uses.diff(docs.subset(slice(2 * N)), speeches)
    opinion = sn.uses.diff(good, bad)
    numbers = np.arange(3 * N)
    found = {
        "speech": _retrieved(docs, numbers >= 2 * N),
        "good": _retrieved(docs.subset(slice(2 * N)), numbers[: 2 * N] < N),
    }
    with capsys.disabled():
        sys.stdout.write(f"\n{subject}\n{subject.table.head(5)}\n{subject.simpler.head(5)}\n")
        sys.stdout.write(f"{opinion}\n{found}\n")
    assert (subject.table["q"] < 0.05).sum() > 5
    assert max(subject.table["q"][0], subject.simpler["q"][0]) < 1e-3
    assert (opinion.table["q"] < 0.05).mean() < 0.02
    assert found["speech"]["atoms"] > found["speech"]["words"]
    assert found["speech"]["atoms"] > 0.8
    assert found["good"]["atoms"] < 0.8


def _retrieved(docs: Documents, wanted: np.ndarray) -> dict[str, float]:
    """MAP on every second document of a query made from the others: their five surest atoms, or words."""
    half = np.arange(len(docs)) % 2 == 0
    made = sn.uses.diff(docs.subset(half & wanted), docs.subset(half & ~wanted))
    atoms = made.table[made.table["difference"] > 0]["atom"].head(5).tolist()
    judged = sn.uses.retrieve(docs.subset(~half), atoms, relevant=wanted[~half])
    return {str(k): float(v) for k, v in judged.table.set_index("method")["map"].items()}
