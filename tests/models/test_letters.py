"""Sequences that are written letter by letter: residues of proteins, bases of DNA."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import sae_nb as sn
from sae_nb.models import Modality, register_modality
from sae_nb.models._kinds import kind_of_texts
from sae_nb.models._modalities import MODALITIES
from tests.small_esm import PROTEINS, small_esm


def alphabet(*tokens: str) -> SimpleNamespace:
    """A tokenizer, as far as its vocabulary goes."""

    class Alphabet(SimpleNamespace):
        def __len__(self) -> int:
            return len(tokens)

        def get_vocab(self) -> dict[str, int]:
            return {token: i for i, token in enumerate(tokens)}

    return Alphabet()


def test_a_model_of_residues_is_of_proteins(tmp_path: Path) -> None:
    """Rows are those of transformers; each is named as biologists do, also of what is saved."""
    model = small_esm()
    assert model.kind == "protein"
    acts = sn.capture(model, PROTEINS, "resid_post.1", progress=False)
    for i, one in enumerate(PROTEINS):
        with torch.no_grad():
            ids = model.tokenizer(one, return_tensors="pt")
            states = model.module(**ids, output_hidden_states=True).hidden_states[2][0]
        torch.testing.assert_close(acts.x[acts.sample == i], states, atol=1e-5, rtol=0)
    assert "3 proteins" in repr(acts)
    acts.save(tmp_path / "acts")
    for found in (acts, sn.load_activations(tmp_path / "acts")):
        assert found.where(14) == "protein 0, residue T14: …LTGKTI⟦T⟧LEVEPS…"
        assert found.where(0) == "protein 0, token 0: ⟦<cls>⟧MQIFVK…"
        assert (found.tokens == "M").sum() == sum(one.count("M") for one in PROTEINS)


def test_a_package_can_add_an_alphabet() -> None:
    """By a record alone."""
    register_modality(Modality(name="marks", place="mark", is_text=True, letters="+-"))
    try:
        assert kind_of_texts(alphabet("+", "-")) == "marks"
        with pytest.raises(ValueError, match="must be of texts"):
            register_modality(Modality(name="other", letters="+-"))
    finally:
        del MODALITIES["marks"]
