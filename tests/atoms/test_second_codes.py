"""What an SAE remembers of the firings that another solver keeps."""

import numpy as np
import torch

import sae_nb as sn
from sae_nb.atoms import KeptFirings
from tests.evaluation.test_second_code import tied


def weak() -> KeptFirings:
    return KeptFirings(
        solver="mp", n_rows=90, fires=np.array([12, 0, 9]), kept=np.array([1, 0, 1]),
        chance=np.array([0.2, 0, 0]), noise=np.array([np.nan, 0, 9]),
    )  # fmt: skip


def test_the_sentence_advises_where_less_than_half_is_kept() -> None:
    said = "Another solver (matching pursuit) keeps 1 of 12 firings (chance 0, noise not measured)"
    assert weak().sentence(0) == f"{said}: read its strongest ones only."
    assert weak().sentence(1) == ""
    assert "strongest" not in weak().sentence(2)  # nine firings are too few


def test_the_sae_knows_what_was_found_until_it_is_trained_on(tmp_path) -> None:
    planted = sn.data.planted_dictionary(64, 32, 600, 4, seed=0)
    sae = tied(planted.dictionary, 4)
    found = sn.second_code(sae, planted.x, ("omp",))
    sn.second_code(sae, planted.x, ("mp",), k=2)  # another question: cards do not show it
    known = KeptFirings.of(sae)
    assert known.sentence(3) == found.sentence(3)
    rows = found.firings.query("atom == 3")
    dropped = known.dropped(3, rows["row"].to_numpy(), 600)
    assert (dropped == ~rows["kept"]).all()
    assert known.dropped(3, rows["row"].to_numpy(), 601) is None
    assert known.dropped(3, rows["row"].to_numpy()[1:], 600) is None
    sae.save(tmp_path)
    known.keep(sae, tmp_path)
    again = KeptFirings.of(sn.load_sae(tmp_path))
    assert again.sentence(3) == known.sentence(3)
    assert again.dropped(3, rows["row"].to_numpy(), 600) is None  # of a file numbers alone
    with torch.no_grad():
        sae.operator.weight.copy_(sae.operator.weight.flip(0))
    assert KeptFirings.of(sae) is None
