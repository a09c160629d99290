"""The recipe of a real model's SAEs, on a small model and small texts: from nothing to a folder with names."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

import sae_nb as sn
from sae_nb.geometry import pca_layout
from sae_nb.pretrained._bundled import BUNDLED
from sae_nb.pretrained._examples import open_examples
from sae_nb_studies.recipes.saes import (
    _names as naming,
    _recipe as recipe,
    _text_recipe as made,
    mixed_texts,
)
from sae_nb_studies.recipes.saes._texts import REVIEWS, SHAKESPEARE, SPEECHES, WIKITEXT

NAME = "tiny-gpt/resid_post.3"
PLAN = made.TextPlan(
    hook_points=("resid_post.1", "resid_post.3"),
    n_atoms=64,
    k=4,
    steps=60,
    rows=4000,
    held_out_rows=3000,
    rate_rows=3000,
    judged_rows=600,
    shown=12,
    context_length=32,
    more=made.MoreTexts(documents_before=40, rows=3000, steps=30, learning_rate=1e-3),
)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    told = iter(sn.data.stories(1200, seed=5).texts)
    some = ["\n\n".join(next(told) for _ in range(10)) for _ in range(100)]
    (folder / WIKITEXT).write_text(f" = One = \n \n {some[0]} A word <unk> is left out . \n")
    (folder / SHAKESPEARE).write_text(some[1])
    for name, part in ((REVIEWS, some[2:60]), (SPEECHES[0], some[60:80]), (SPEECHES[1], some[80:])):
        with ZipFile(folder / name, "w") as archive:
            for i, text in enumerate(part):
                archive.writestr(f"{i:03}.txt", text)
    return folder


def test_documents_are_whole_and_held_out_ones_are_others(texts: Path) -> None:
    """One of sixteen; sentences with a word left out are gone; a file that is missing is named."""
    to_train, held_out = mixed_texts(texts)
    assert len(held_out) == (len(to_train) + len(held_out)) // 16 > 5
    assert not set(to_train) & set(held_out)
    assert not any("<unk>" in text for text in to_train + held_out)
    with pytest.raises(FileNotFoundError, match=WIKITEXT):
        mixed_texts(texts.parent)


@pytest.mark.slow
def test_a_small_run_makes_a_folder_and_judges_its_names(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captured once, trained, measured, packed by passages; a true name is kept, a false one is not."""
    monkeypatch.setattr(made, "umap_layout", lambda x, _: pca_layout(x))
    monkeypatch.setitem(made.TEXT_PLANS, "tiny-gpt", PLAN)
    monkeypatch.setattr(made, "NAMES", tmp_path / "names")
    monkeypatch.setattr(naming, "PROMPTS", ("Anna lived near the", "The dog"))
    out, work = tmp_path / "sae", tmp_path / "work"
    call = [NAME, "--texts", str(texts), "--work", str(work), "--out", str(out)]
    assert recipe.main(call) == 0

    sae, examples = sn.load_sae(out), open_examples(out, NAME)
    assert (sae.n_atoms, sae.k, sae.model_name, sae.hook_point) == (64, 4, *NAME.split("/"))
    facts = json.loads((out / "examples.json").read_text())
    assert facts["training"]["rows_seen"] == 90 * 1024  # both parts, the second on other documents
    assert facts["training"]["rows"] > PLAN.rows
    assert examples.acts.context.n_samples == 12
    ids = [examples.acts.context.token_ids.sample(i).tolist() for i in range(3)]
    model = sn.load_model("tiny-gpt")
    again = sn.capture(model, ids, sae.hook_point, add_bos=False, progress=False)
    mine = examples.codes.rows(examples.acts.sample < 3)
    apart = sae.encode(again.x).to_dense() - mine.to_dense()
    alike = apart.abs() < 0.02 * float(mine.values.max())
    assert float(alike.float().mean()) > 0.998  # a near tie of two atoms goes either way

    held = sn.load_activations(work / "held-out", hook_point=sae.hook_point)
    codes = sae.encode(held.x)
    tokens = np.array([str(token).strip() for token in held.tokens])
    atom, word = _of_one_word(codes.to_scipy().tocsc(), tokens)
    names = {str(atom): {"name": f"the word {word}", "cues": [word], "steers": True}}
    names[str((atom + 1) % 64)] = {"name": "submarines", "cues": ["submarine"]}
    (tmp_path / "names" / "tiny-gpt").mkdir(parents=True)
    (tmp_path / "names" / f"{NAME}.json").write_text(json.dumps(names))
    assert recipe.main([*call, "--names", "--sisters", "1"]) == 0

    kept = open_examples(out, NAME).labels
    assert dict(kept) == {atom: f"the word {word}"}
    assert kept.evidence(atom).n_sisters == 1
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "2 atoms were named" in card
    assert "1 are kept" in card
    assert f"| the word {word} | {atom} |" in card
    assert "2 trainings, this one and others with other seeds" in card
    assert str(tmp_path) not in card


def test_names_of_places_tell_single_tokens_and_shuffled_ones_do_not() -> None:
    """ "noun after “the”" is looked for by the token before; on another atom the same name says nothing."""
    name = "smollm2-135m/resid_post.16"
    folder = BUNDLED / name
    sae, store = sn.load_sae(name), sn.load_examples(name)
    written = naming.written_names(made.NAMES / f"{name}.json")
    assert written[2058].rule == (("before", (" the", "the", " The", "The")),)
    places = {atom: written[atom] for atom in (2058, 1584, 124, 3225, 2318)}
    codes = naming._strong(sae, store.codes)
    found = naming._judged(sae, store.acts, codes, places)
    other = naming._judged(sae, store.acts, codes, naming._shuffled(places))
    kept = sn.labels(folder, sae)
    for atom in places:
        assert found.evidence(atom).detection > 0.8
        assert found.evidence(atom).detection == kept.evidence(atom).detection
        assert other.evidence(atom).detection < 0.6


def _of_one_word(codes: object, tokens: np.ndarray) -> tuple[int, str]:
    best = (0.0, 0, "")
    for atom in range(codes.shape[1]):  # type: ignore[attr-defined]
        column = codes[:, [atom]]  # type: ignore[index]
        rows, z = column.indices, column.data
        if len(rows) < 60:
            continue
        words, n = np.unique(tokens[rows[z >= 0.5 * z.max()]], return_counts=True)
        there = (tokens == words[n.argmax()]).sum()
        share = float(n.max() / n.sum()) * float(n.max() / there)
        if words[n.argmax()].isalpha():
            best = max(best, (share, atom, str(words[n.argmax()])))
    return best[1], best[2]
