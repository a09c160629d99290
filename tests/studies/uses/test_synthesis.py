"""Texts for atoms that a set lacks: what counts is what the unedited model's atoms do on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb_studies.uses import fill_gaps
from sae_nb_studies.uses._synthesis import strengths, usual_strengths

PLACE = "resid_post.3"


def test_usual_is_the_median_where_an_atom_fires_often_enough() -> None:
    dense = torch.zeros(8, 2)
    dense[:5, 0] = torch.tensor([1.0, 2, 3, 4, 9])
    dense[:4, 1] = 1.0
    assert usual_strengths(SparseCodes.from_dense(dense)).tolist() == [3.0, np.inf]


@pytest.mark.slow
def test_texts_are_judged_as_the_unedited_model_reads_them() -> None:
    gpt, sae = sn.load_model("tiny-gpt"), sn.load_sae(f"tiny-gpt/{PLACE}")
    stories, prose = list(sn.data.stories(40, seed=0).texts), list(sn.data.prose("test").texts[:20])
    made = fill_gaps(gpt, sae, stories, prose, PLACE, n_atoms=5, n_each=2, length=1.0)
    assert made.table.texts.tolist() == [10, 10, 10]
    assert not gpt.interventions
    usual = usual_strengths(sae.encode(sn.capture(gpt, prose, PLACE, progress=False).x))
    there = sae.encode(sn.capture(gpt, stories, PLACE, progress=False).x).detach().to_scipy()
    assert (there.max(axis=0).toarray()[0][made.atoms] < usual[made.atoms]).all()
    assert len(made.kept()) == int(made.texts[made.texts.way == "atoms"].fires.sum())
    assert made.figure().data[0].y.tolist() == made.table.covered.tolist()
    row = torch.tensor(gpt.tokens(prose[0])["id"].to_numpy()[:30])
    found = strengths(gpt, sae, PLACE, [row[:6]], [row[6:]])
    acts = sn.capture(gpt, [row], PLACE, progress=False)
    late = sae.encode(acts.x[np.asarray(acts.position) >= 6]).to_dense().detach().amax(dim=0)
    assert np.allclose(found[0], late.clamp_min(0).numpy(), atol=1e-4)
