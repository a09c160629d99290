"""Garden paths: where the word stands, benchmark files, and what a model makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sae_nb as sn
from sae_nb_studies.temporal import EXAMPLES, garden_path_surprise
from sae_nb_studies.temporal._turning_points import read_garden_paths
from tests.refusing import refused

COUNTS = {"nps": 19, "npz": 43, "vawip": 28}


def test_both_forms_have_the_word_where_they_say() -> None:
    for one in EXAMPLES:
        for which in ("garden", "control"):
            assert getattr(one, which)[one.place(which) :].startswith(f"{one.word} ")
        after = one.garden[one.place("garden") :], one.control[one.place("control") :]
        assert after[0] == after[1]
        assert one.garden != one.control


@pytest.mark.parametrize("kind", list(COUNTS))
def test_benchmark_files_are_read(assets: Path, kind: str) -> None:
    found = read_garden_paths(assets / "data" / "text" / f"garden_path_{kind}.tsv")
    assert len(found) == COUNTS[kind]
    for one in found:
        for which in ("garden", "control"):
            assert getattr(one, which)[one.place(which) :].startswith(one.word)
        assert "  " not in one.garden + one.control
        assert one.garden.endswith(".")


@pytest.mark.slow
def test_surprise_is_the_models_own() -> None:
    """−log p of the word's tokens, as the logits say; energies of the SAE's own parts."""
    model = sn.load_model("tiny-gpt")
    sae = sn.Temporal(128, 32, 4, generator=torch.Generator().manual_seed(0)).eval()
    found = garden_path_surprise(model, sae, EXAMPLES[:2], "resid_post.1")
    one = EXAMPLES[0]
    read = model.tokenizer(one.garden, return_offsets_mapping=True)
    ids, spans = torch.tensor(read["input_ids"]), read["offset_mapping"]
    at = [
        t
        for t, (a, b) in enumerate(spans)
        if a < one.place("garden") + 3 and b > one.place("garden")
    ]
    log_p = model([ids])[0].log_softmax(dim=-1)
    by_hand = -sum(float(log_p[t - 1, ids[t]]) for t in at)
    assert float(found.nats[0, 0]) == pytest.approx(by_hand, abs=1e-4)
    assert bool(((found.novel_share >= 0) & (found.novel_share <= 1)).all())
    mean, error = found.effect("nats")
    assert mean == pytest.approx(float((found.nats[:, 0] - found.nats[:, 1]).mean()))
    assert error >= 0
    refused("0 sentences", garden_path_surprise, model, sae, [], "resid_post.1")
