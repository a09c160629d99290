"""What lies on the shelf: names, sizes, checksums; whole or refused, by name."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.pretrained import _bundled as shelf, _examples as examples_in
from sae_nb.sessions import names_of

TEMPORAL = "smollm2-135m/temporal.16"
PLAIN = [name for name in sn.pretrained_names() if "/mlp." not in name and name != TEMPORAL]
REAL = [name for name in PLAIN if name.startswith(("smollm2-135m/", "gemma-3-270m/"))]
NAMES = [name for name in PLAIN if name not in REAL]
TRANSCODERS = [name for name in sn.pretrained_names() if "/mlp." in name]
LARGEST = 3_800_000  # bytes of all pretrained SAEs together
LARGEST_REAL = 36_000_000  # of the three SAEs of SmolLM2 and the one of Gemma 3
LARGEST_FILE = 4 * 2**20  # of any file in the repository
LARGEST_TEMPORAL = 14_000_000
LARGEST_TRANSCODERS = 4 * 2**20  # of all transcoders together; their weights are within 3 MiB


def test_all_together_are_small() -> None:
    sizes = (
        (NAMES, LARGEST),
        (TRANSCODERS, LARGEST_TRANSCODERS),
        (REAL, LARGEST_REAL),
        ([TEMPORAL], LARGEST_TEMPORAL),
    )
    for names, largest in sizes:
        files = [f for name in names for f in (shelf.BUNDLED / name).iterdir()]
        assert sum(f.stat().st_size for f in files) <= largest
        assert max(f.stat().st_size for f in files) <= LARGEST_FILE
    weights = [shelf.BUNDLED / name / "sae.safetensors" for name in TRANSCODERS]
    assert sum(f.stat().st_size for f in weights) <= 3 * 2**20


@pytest.mark.parametrize("name", [*NAMES, *REAL])
def test_a_name_opens_a_top_k_sae(name: str) -> None:
    """In eval mode and fp32, unit atoms, and it knows where it belongs and how strong it is."""
    sae = sn.load_sae(name)
    model_name, _, hook_point = name.partition("/")
    assert isinstance(sae, sn.TopK)
    assert not sae.training
    assert (sae.model_name, sae.hook_point) == (model_name, hook_point)
    assert {p.dtype for p in sae.parameters()} == {torch.float32}
    assert torch.allclose(sae.dictionary.norm(dim=1), torch.ones(sae.n_atoms), atol=1e-5)
    assert len(sae.strength_p99) == sae.n_atoms
    assert np.allclose(sae.strength_p99, sn.load_examples(name).p99, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NAMES, *REAL])
def test_examples_fit_their_sae(name: str) -> None:
    sae, examples = sn.load_sae(name), sn.load_examples(name)
    assert len(examples.acts) == len(examples.codes)
    assert examples.acts.d_in == sae.d_in
    assert examples.xy.shape == (sae.n_atoms, 2)
    assert len(examples.frequency) == len(examples.p99) == examples.codes.n_atoms == sae.n_atoms
    with torch.no_grad():
        assert torch.allclose(examples.acts.x, sae.decode(examples.codes), atol=1e-3)
    assert "reconstruction" in repr(examples)
    assert examples.acts.tokens is not None


@pytest.mark.parametrize("name", NAMES)
def test_matches_labels_and_misses_tell_one_story(name: str) -> None:
    """A factor is found or missed, labels name factors, coordinates and rates are numbers."""
    examples = sn.load_examples(name)
    found = {match.factor for match in examples.matches}
    assert found
    assert not found & set(examples.missed)
    assert all(match.found for match in examples.matches)
    scores = [match.f1 for match in examples.matches]
    assert scores == sorted(scores, reverse=True)
    assert set(examples.labels.values()) <= found | set(examples.missed)
    assert all("F1" in examples.labels.note(atom) for atom in examples.labels)
    assert np.isfinite(examples.xy).all()
    assert np.unique(examples.xy.round(3), axis=0).shape[0] > 0.9 * len(examples.xy)
    assert (examples.frequency >= 0).all()
    assert (examples.frequency <= 1).all()
    assert ((examples.p99 > 0) == (examples.frequency > 0)).all()
    with pytest.raises(KeyError, match="must be one that an atom of"):
        examples.match("a factor nobody knows")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_catalogue_reads_stored_codes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is encoded, R² is the measured one, and near misses are honestly unknown."""
    sae, examples = sn.load_sae(name), sn.load_examples(name)

    def encode(*_: object, **__: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(sae, "encode", encode)
    catalogue = examples.catalogue(sae)
    atom = examples.matches[0].atom
    summary = catalogue.summary(atom)
    assert summary.n_fired == int((examples.codes.atoms == atom).sum())
    assert catalogue.r2 == examples.r2
    assert catalogue.near_misses_known
    assert "raw activations" in catalogue.near_misses(atom)
    assert catalogue.labels[atom]
    with pytest.raises(ValueError, match=f"{examples.codes.n_atoms} atoms, got one with 7"):
        examples.catalogue(sn.TopK(d_in=4, n_atoms=7, k=2))


@pytest.mark.slow
def test_every_mlp_has_a_transcoder() -> None:
    """Of tiny-gpt and tiny-vit; each knows what it reads and writes, and which model's it is."""
    for model_name in ("tiny-gpt", "tiny-vit"):
        model = sn.load_model(model_name)
        names = [f"{model_name}/mlp.{layer}" for layer in range(model.n_layers)]
        assert {name for name in TRANSCODERS if name.startswith(model_name)} == set(names)
        for layer, name in enumerate(names):
            sae = sn.load_sae(name)
            assert isinstance(sae, sn.Transcoder)
            assert (sae.n_atoms, sae.model_name) == (512, model_name)
            assert (sae.hook_point, sae.target_hook_point) == (
                f"mlp_in.{layer}",
                f"mlp_out.{layer}",
            )
            assert len(sae.strength_p99) == 512


@pytest.mark.parametrize("name", TRANSCODERS)
def test_a_transcoder_keeps_what_the_model_does(name: str) -> None:
    """What was measured with it in the MLP's place: cross-entropy kept, or right answers lost.

    Most MLPs of tiny-vit can be left out at little cost, so a share of that cost says nothing of them.
    """
    facts = json.loads((shelf.BUNDLED / name / "examples.json").read_text(encoding="utf-8"))
    report = {row: m.get("value") for row, m in facts["report"].items()}
    if name.startswith("tiny-gpt"):
        assert report["ce_recovered_mean"] >= 0.95
    else:
        assert report["accuracy"] >= report["accuracy_clean"] - 0.02
    assert report["r2"] >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-gpt/mlp.1", "tiny-vit/mlp.9"])
def test_examples_of_a_transcoder_are_drawn(name: str) -> None:
    """The live model reads the samples: what goes in, what comes out, and codes of that; R² as measured."""
    sae, examples = sn.load_sae(name), sn.load_examples(name)
    assert examples.is_drawn
    assert "drawn anew" in repr(examples)
    x, y = examples.acts.x, examples.acts.target.x
    assert torch.equal(examples.codes.values, sae.encode(x).values)
    with torch.no_grad():
        missed = (y - sae.decode(examples.codes)).square().sum() / (
            y - y.mean(dim=0)
        ).square().sum()
    assert 1 - float(missed) == pytest.approx(examples.r2, abs=0.05)
    assert examples.xy.shape == (sae.n_atoms, 2)
    atom = int(examples.codes.atoms.mode().values)
    assert examples.catalogue(sae).summary(atom).n_fired > 0
    assert not examples.steered


def test_the_temporal_sae_of_a_real_model() -> None:
    """It knows its place, is at hand where a panel is given none, and has no examples: it reads whole texts."""
    sae = sn.load_sae(TEMPORAL)
    assert isinstance(sae, sn.Temporal)
    assert (sae.model_name, sae.hook_point) == ("smollm2-135m", "resid_post.16")
    assert (sae.d_in, sae.n_atoms, sae.k, sae.strict) == (576, 2048, 16, False)
    assert shelf.bundled_name(sae) == TEMPORAL
    assert examples_in.examples_of(sae) is None
    with pytest.raises(ValueError, match=r"SAE with examples.*TemporalPanel"):
        sn.load_examples(TEMPORAL)


def test_the_temporal_sae_keeps_the_record_of_what_it_predicts() -> None:
    """On held-out windows its predicted codes are slower than the new ones, the states, and random order."""
    record = json.loads((shelf.BUNDLED / TEMPORAL / "record.json").read_text(encoding="utf-8"))
    found = record["held-out"]
    slow = found["lag-1"]
    assert slow - found["novel lag-1"] > 0.3
    assert slow - found["raw lag-1"] > 0.1
    assert slow - found["order lost lag-1"] > 0.3
    assert sn.load_sae(TEMPORAL).measured["r2"] == pytest.approx(1 - found["FVU"])


def test_names_of_the_temporal_sae_told_tokens_of_unread_documents() -> None:
    """Few and true: each by its rule, far above words of another atom; panels say them."""
    sae = sn.load_sae(TEMPORAL)
    names = json.loads((shelf.BUNDLED / TEMPORAL / "record.json").read_text(encoding="utf-8"))[
        "names"
    ]
    found = sn.labels(shelf.BUNDLED / TEMPORAL / "labels.json")
    assert len(found) == names["kept"] > 10 * names["by chance"]
    evidence = [found.evidence(atom) for atom in found]
    assert all(one.by == "rule" and one.standing == "holds" for one in evidence)
    assert min(one.detection for one in evidence) >= names["tells"] > 0.5 + 0.3
    atom = max(found, key=lambda one: found.evidence(one).detection)
    assert names_of(sae).name(atom) == f"{atom} · {found[atom]}"


def test_names_do_not_lead_elsewhere() -> None:
    for name in ("tiny-vit/../tiny-vit/resid_post.6", "../saes/tiny-vit/resid_post.6", ""):
        assert shelf.bundled_folder(name) is None
        with pytest.raises(FileNotFoundError):
            sn.load_examples(name)


def test_a_folder_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sn.TopK(d_in=4, n_atoms=8, k=2).save(tmp_path / "tiny-vit" / "resid_post.6")
    assert sn.load_sae("tiny-vit/resid_post.6").n_atoms == 8


@pytest.mark.slow
def test_opening_imports_nothing_heavy() -> None:
    code = (
        "import sys, sae_nb as sn\n"
        f"for name in {NAMES}:\n"
        "    sae, examples = sn.load_sae(name), sn.load_examples(name)\n"
        "    examples.catalogue(sae).summary(examples.matches[0].atom)\n"
        "heavy = {'umap', 'sklearn', 'nnsight', 'transformers', 'numba', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name", ["tiny-gpt/resid_post.3", "tiny-vit/resid_post.6", "tiny-audio/resid_post.4"]
)
def test_every_label_of_a_bundled_sae_has_its_evidence(name: str) -> None:
    """Detection, another label's score, returns of three sisters; the file is one that `sn.labels` reads."""
    examples, sae = sn.load_examples(name), sn.load_sae(name)
    read = sn.labels(shelf.BUNDLED / name, sae)
    assert dict(read) == dict(examples.labels)
    for atom in examples.labels:
        found, kept = examples.labels.evidence(atom), read.evidence(atom)
        assert (found.detection, found.control, found.n) == (kept.detection, kept.control, kept.n)
        assert 0.5 < found.f1 <= 1
        assert found.fits > found.fits_floor > 0
        assert found.by == "attribute"
        assert 0 <= found.detection <= 1
        assert 0.3 < found.control < 0.7
        assert 0 <= found.returns <= found.n_sisters == 3
    assert read.floor < 0.01


def test_a_digit_is_on_as_many_images_as_were_drawn() -> None:
    """Of the thousand on which names were judged 79 show a 7."""
    labels = sn.load_examples("tiny-vit/resid_post.6").labels
    assert labels[217] == "digit 7"
    assert labels.evidence(217).fits_floor == pytest.approx(0.079)


def test_real_models_have_saes() -> None:
    """Of the layers and sizes that were promised, without the models being there."""
    places = [f"smollm2-135m/resid_post.{layer}" for layer in (16, 23, 9)]
    assert sorted(REAL) == ["gemma-3-270m/resid_post.9", *places]
    for name in REAL:
        sae = sn.load_sae(name)
        width = 640 if name.startswith("gemma") else 576
        assert (sae.d_in, sae.n_atoms, sae.k) == (width, 4096, 32)


@pytest.mark.parametrize("name", REAL)
def test_most_atoms_of_a_real_model_have_examples(name: str) -> None:
    """The passages are chosen for that: three quarters of the atoms that ever fire have four or more."""
    examples = sn.load_examples(name)
    fired = np.bincount(examples.codes.atoms.numpy(), minlength=examples.codes.n_atoms)
    assert (fired[examples.frequency > 0] >= 4).mean() > 0.75


@pytest.mark.parametrize("name", REAL)
def test_names_of_a_real_model_held_on_fresh_texts(name: str) -> None:
    """Every name that is shown detects better than other atoms' names, by more than the error."""
    examples, sae = sn.load_examples(name), sn.load_sae(name)
    assert len(examples.labels) >= (50 if name.startswith("gemma") else 200)
    assert dict(sn.labels(shelf.BUNDLED / name, sae)) == dict(examples.labels)
    for atom in examples.labels:
        found = examples.labels.evidence(atom)
        assert found.standing == "holds"
        assert found.detection > found.control


@pytest.mark.parametrize(
    ("name", "layers", "n_layers", "judged"),
    [("smollm2-135m", (9, 16, 23), 30, "16"), ("gemma-3-270m", (9,), 18, "9")],
)
def test_the_lens_of_a_real_model_opens_without_it(
    name: str, layers: tuple[int, ...], n_layers: int, judged: str
) -> None:
    lens = sn.load_lens(name)
    assert (lens.layers, lens.n_layers, lens.model_name) == (layers, n_layers, name)
    score = lens.facts["scores"][judged]
    assert score["correlation"] > 0.85 > 0.5 > score["direct"]


def test_examples_are_not_evaluated_as_if_they_were_activations() -> None:
    """Their rows are reconstructions, which the SAE explains nearly whole; the refusal names both ways."""
    name = "tiny-gpt/resid_post.3"
    acts = sn.load_examples(name).acts
    assert f"reconstructions by {name}" in repr(acts)
    for rows in (acts, acts[:500], acts.split(0.5, seed=0)[0]):
        with pytest.raises(
            ValueError, match=r"must be activations of the model.*'resid_post\.3'.*report"
        ):
            sn.evaluate(sn.load_sae(name), rows)


def test_examples_that_are_open_share_their_rows_until_a_file_changes(tmp_path: Path) -> None:
    folder = tmp_path / "sae"
    shutil.copytree(shelf.BUNDLED / "tiny-gpt" / "resid_post.3", folder)
    first, second = (examples_in.open_examples(folder, "x") for _ in range(2))
    assert first.acts is second.acts
    assert first.labels is not second.labels
    assert torch.equal(first.acts.x, sn.load_examples("tiny-gpt/resid_post.3").acts.x)
    os.utime(folder / "sae.safetensors", ns=(1, 1))
    assert examples_in.open_examples(folder, "x").acts is not first.acts
    held = len(examples_in._held)
    del first, second
    gc.collect()
    assert len(examples_in._held) < held


@pytest.mark.parametrize("name", ["smollm2-135m/resid_post.16", "tiny-gpt/mlp.0"])
def test_an_sae_has_one_r2_and_says_of_which_rows(name: str) -> None:
    """Printed, in its examples and in panels it is that of held-out rows; its training's last batch has another."""
    sae, examples = sn.load_sae(name), sn.load_examples(name)
    assert f"R² {examples.r2:.3f} on held-out rows".replace(" 0.", " .") in repr(sae)
    assert sae.measured["r2"] == examples.r2
