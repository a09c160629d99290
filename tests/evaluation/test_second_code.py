"""Which firings another solver keeps: counted anew from dense codes, and against a known truth."""

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import sae_nb as sn
from sae_nb.data import PlantedDictionary
from sae_nb.evaluation import SecondCode, _second_code, _second_code_pass
from sae_nb.evaluation._second_code_pass import (
    PURSUITS,
    Question,
    _Coder,
    _Entries,
    _largest,
    _least_squares,
    _one_of_twins,
    _partners,
    _pursued,
    _refitted,
    _shared,
)
from sae_nb.pursuit import orthogonal_matching_pursuit


def tied(dictionary: torch.Tensor, k: int, scale: float = 1.0) -> sn.TopK:
    """An SAE whose encoder is its dictionary, whose atoms may have another length."""
    n, d = dictionary.shape
    sae = sn.TopK(d, n, k)
    with torch.no_grad():
        sae.operator.weight.copy_(dictionary * scale)
        sae.encoder.weight.copy_(dictionary / scale)
    return sae


@pytest.fixture(scope="module")
def planted() -> PlantedDictionary:
    return sn.data.planted_dictionary(64, 32, 600, 4, seed=0)


@pytest.fixture(scope="module")
def found(planted: PlantedDictionary) -> SecondCode:
    return sn.second_code(tied(planted.dictionary, 4), planted.x, ("omp", "mp", "lasso"))


def test_shares_are_those_of_the_dense_codes(planted, found) -> None:
    mine = tied(planted.dictionary, 4).encode(planted.x).to_dense() != 0
    theirs = orthogonal_matching_pursuit(planted.x, planted.dictionary, 4).to_dense() != 0
    both = mine & theirs
    assert found.table["fires"].tolist() == mine.sum(0).tolist()
    np.testing.assert_allclose(found.table["kept"], (both.sum(0) / mine.sum(0)).numpy(), atol=1e-6)
    assert found.table["found"].tolist() == (theirs & ~mine).sum(0).tolist()
    np.testing.assert_allclose(found.table["chance"], theirs.float().mean(0).numpy(), atol=1e-6)
    shared = (both.sum(1) / (mine | theirs).sum(1)).mean()
    assert found.solvers["shared"][1] == pytest.approx(float(shared), abs=1e-6)


def test_on_known_codes_pursuits_find_the_support_and_the_encoder_does_not(planted, found) -> None:
    truth = planted.codes.to_dense() != 0
    mine = tied(planted.dictionary, 4).encode(planted.x).to_dense() != 0
    theirs = orthogonal_matching_pursuit(planted.x, planted.dictionary, 4).to_dense() != 0
    recall = [float((one & truth).sum() / truth.sum()) for one in (mine, theirs)]
    # Measured with seeds 0 and 1: encoder .76, OMP .99.
    assert recall[0] < 0.85 < 0.95 < recall[1]
    r2 = found.solvers.set_index("code")["R²"]
    assert r2["encoder"] < 0.75 < 0.9 < r2["mp"] <= r2["omp"]


def test_controls_lie_at_both_ends(found) -> None:
    codes = found.solvers.set_index("code")
    assert codes.loc["encoder, rounding", "shared"] > 0.99
    assert codes.loc["encoder, noise of 1 %", "shared"] > 0.97
    assert codes.loc["omp", "chance"] < 0.1 < codes.loc["omp", "shared"]
    tenths = found.strengths
    assert tenths["kept"].iloc[0] > 0.95 > tenths["kept"].iloc[-1]
    assert tenths["n"].sum() == found.table["fires"].sum()


def test_lengths_of_atoms_do_not_count(planted, found) -> None:
    longer = sn.second_code(tied(planted.dictionary, 4, scale=3.0), planted.x, ("omp",))
    np.testing.assert_allclose(longer.table["kept"], found.table["kept"], atol=0.02)
    assert longer.solvers["R²"][1] == pytest.approx(found.solvers["R²"][1], abs=1e-3)


def test_at_equal_r2_a_pursuit_takes_fewer_atoms(planted) -> None:
    equal = sn.second_code(tied(planted.dictionary, 4), planted.x, ("omp",), equal="R²").solvers
    assert equal["R²"][1] >= equal["R²"][0] - 1e-4
    assert equal["l0"][1] < 0.9 * equal["l0"][0]


def test_twins_share_the_credit(planted) -> None:
    twins = torch.cat([planted.dictionary, 2 * planted.dictionary[:1]])  # of another length, too
    sae = tied(twins, 4)
    table = sn.second_code(sae, planted.x, ("omp",)).table
    mine = sae.encode(planted.x).to_dense() != 0
    pursued = orthogonal_matching_pursuit(planted.x, twins, 4, normalise=True).to_dense() != 0
    either = pursued[:, 0] | pursued[:, 64]
    for atom in (0, 64):
        # A pursuit needs only one of two copies, and which one is a matter of rounding.
        assert table["kept"][atom] == pytest.approx(
            float((mine[:, atom] & either).sum() / mine[:, atom].sum()), abs=1e-6
        )
    assert table["found"][0] == table["found"][64] == int((either & ~mine[:, [0, 64]].any(1)).sum())


def test_opposite_atoms_are_no_twins(planted) -> None:
    both = torch.cat([planted.dictionary, -planted.dictionary[:1]])
    sae = tied(both, 4)
    table = sn.second_code(sae, planted.x, ("omp",)).table
    mine, theirs = sae.encode(planted.x).to_dense() != 0, planted.x
    theirs = orthogonal_matching_pursuit(theirs, both, 4, nonnegative=True).to_dense() != 0
    assert table["found"][64] == int((theirs & ~mine)[:, 64].sum())


def test_the_same_sae_as_another_seed_keeps_all(planted) -> None:
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    other = tied(planted.dictionary[order], 4)
    table = sn.second_code(tied(planted.dictionary, 4), planted.x, ("omp",), other=other).table
    assert table["matched"].min() > 0.99


@pytest.mark.parametrize("kind", [sn.JumpReLU, sn.BatchTopK, sn.MatchingPursuit])
def test_other_encoders(kind, planted) -> None:
    sae = kind(32, 64, 4) if kind is not sn.JumpReLU else kind(32, 64)
    found = sn.second_code(sae, planted.x, ("omp",))
    assert found.table["kept"].dropna().between(0, 1).all()
    if kind is sn.MatchingPursuit:
        first = sn.second_code(sae, planted.x, ("mp",))
        assert first.solvers["shared"][1] > 0.98  # its encoder is this pursuit


def test_zero_rows_and_saved_findings(planted, tmp_path) -> None:
    x = torch.cat([planted.x[:50], torch.zeros(2, 32)])
    found = sn.second_code(tied(planted.dictionary, 4), x, ("omp",))
    silent = sn.second_code(tied(planted.dictionary, 4), planted.x[:1], ("omp",))
    assert silent.table["fires"].min() == 0
    assert silent.sentence(int(silent.table["fires"].idxmin())) == ""
    found.save(tmp_path / "second")
    again = SecondCode.load(tmp_path / "second")
    assert again.table["kept"].equals(found.table["kept"])
    assert repr(again) == repr(found)


def test_kept_entries_of_codes_and_codes_of_others(planted, found) -> None:
    codes = tied(planted.dictionary, 4).encode(planted.x)
    kept = found.keeps(codes)
    theirs = orthogonal_matching_pursuit(planted.x, planted.dictionary, 4).to_dense() != 0
    rows = codes.support.rows
    assert (kept == theirs[rows, codes.atoms.long()].numpy()).all()
    with pytest.raises(ValueError, match="codes"):
        found.keeps(codes.rows(slice(0, 100)))


def test_rows_of_a_report_have_their_control(found) -> None:
    kept, noise = (found.measurements[one] for one in ("kept_by_second_code", "kept_in_noise"))
    assert kept.control == pytest.approx(found.table["chance"].mean())
    assert kept.control < kept.interval[0] < kept.value < kept.interval[1] < noise.value


def test_a_call_that_was_killed_goes_on_to_the_same_numbers(planted, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("sae_nb.evaluation._second_code_pass._ROWS", 128)
    acts = sn.Activations(
        planted.x, sample=torch.arange(600), position=torch.zeros(600, dtype=torch.int64)
    )
    acts.save(tmp_path / "store")
    store, sae = sn.load_activations(tmp_path / "store"), tied(planted.dictionary, 4)
    asked = {"solvers": ("lasso", "omp"), "seed": 3}
    whole = sn.second_code(sae, store, **asked)
    solve, calls = orthogonal_matching_pursuit, []

    def dying(*args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return solve(*args, **options)

    monkeypatch.setitem(PURSUITS, "omp", dying)
    with pytest.raises(KeyboardInterrupt):
        sn.second_code(sae, store, **asked, folder=tmp_path / "work")
    assert len(list((tmp_path / "work").glob("rows-*"))) == 2
    again = sn.second_code(sae, store, **asked, folder=tmp_path / "work")
    assert len(calls) == 3 + 3  # the third batch to the fifth
    for name in ("table", "solvers", "strengths", "firings"):
        assert getattr(again, name).equals(getattr(whole, name)), name
    sn.second_code(sae, store, **asked, folder=tmp_path / "work")
    assert len(calls) == 6
    with pytest.raises(ValueError, match="folder"):
        sn.second_code(sae, store, ("omp",), folder=tmp_path / "work")


def test_a_refit_lies_between_encoder_and_pursuit(planted) -> None:
    found = sn.second_code(tied(planted.dictionary, 4), planted.x, ("refit", "omp"))
    r2 = found.solvers.set_index("code")["R²"]
    assert r2["encoder"] < r2["refit"] < r2["omp"] + 1e-3
    assert found.solvers["l0"][1] <= 4
    truth = planted.codes.to_dense() != 0
    kept = found.firings[found.firings["kept"]]
    right = truth[kept["row"].to_numpy(), kept["atom"].to_numpy()].float().mean()
    every = truth[found.firings["row"].to_numpy(), found.firings["atom"].to_numpy()].float().mean()
    assert right > every + 0.1  # what a refit drops is more often wrong


def test_a_temporal_sae_has_its_novel_part_coded_and_no_noise() -> None:
    acts = sn.capture(
        sn.load_model("tiny-gpt"), sn.data.stories(6, seed=0).texts, "resid_post.3", progress=False
    )
    sae = sn.Temporal(acts.d_in, 32, 4, generator=torch.Generator().manual_seed(0))
    found = sn.second_code(sae, acts, ("omp",))
    assert found.solvers["code"].tolist() == ["encoder", "omp"]
    assert found.table["noise"].isna().all()
    assert "noise not measured" in found.sentence(int(found.table["fires"].idxmax()))
    assert set(found.measurements) == {"kept_by_second_code"}


def test_a_varying_k_is_the_encoders_in_every_row(planted) -> None:
    sae = sn.JumpReLU(32, 64, generator=torch.Generator().manual_seed(0))
    found = sn.second_code(sae, planted.x, ("mp", "refit"))
    assert sae.encode(planted.x).l0.unique().numel() > 3
    l0 = found.solvers.set_index("code")["l0"]
    assert l0["mp"] <= l0["encoder"] + 1e-9
    assert l0["refit"] <= l0["encoder"] + 1e-9


def test_where_the_encoder_has_nothing_no_solver_has(planted) -> None:
    sae = sn.JumpReLU(32, 64)
    with torch.no_grad():
        sae.operator.weight.copy_(planted.dictionary)
        sae.encoder.weight.copy_(planted.dictionary)
        sae.encoder.bias.zero_()
        sae.log_threshold.fill_(-0.7)
    loud = planted.x[:100]
    both = torch.cat([loud, 0.01 * loud, torch.zeros(3, 32)])
    assert sae.encode(both).l0[100:].max() == 0
    solvers = ("omp", "mp", "gp", "lasso", "refit")
    alone, more = (sn.second_code(sae, x, solvers) for x in (loud, both))
    for code in ("encoder", *solvers[:3], "refit"):
        one, two = (found.solvers.set_index("code").loc[code, "l0"] for found in (alone, more))
        assert two * 203 == pytest.approx(one * 100)
    assert more.table["fires"].equals(alone.table["fires"])
    assert more.table["kept"].equals(alone.table["kept"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu_the_same_firings_are_kept(planted, found) -> None:
    there = sn.second_code(tied(planted.dictionary, 4).cuda(), planted.x.cuda(), ("omp", "mp"))
    apart = (there.table["kept"] - found.table["kept"]).abs() * found.table["fires"]
    assert apart.sum() < 0.002 * found.table["fires"].sum()


# By hand


def test_entries_of_twins_are_one_and_those_of_strength_zero_none() -> None:
    """Atoms 0 and 2 are twins of lengths 1 and 3; key = row · n_atoms + atom."""
    z = torch.tensor([[1.0, 0, 2, 0], [0, -4, 0, 5], [0, 0, 3, 0]])
    codes = sn.SparseCodes.from_dense(z)
    codes = codes.with_values(torch.where(codes.values == 5, 0.0, codes.values))
    norms = torch.tensor([1.0, 2, 3, 1])
    one_of = np.array([0, 1, 0, 3])
    found = _Entries(codes, norms, 4, one_of)
    assert (found.keys.tolist(), found.values.tolist()) == ([0, 5, 8], [7, 8, 9])
    assert found.n_entries == 3
    assert found.counts(one_of).tolist() == [2, 1, 2, 0]
    assert found.counts(one_of, np.array([True, False, False])).tolist() == [1, 0, 1, 0]
    has, strength = found.at(np.array([8, 0, 7, 5, 11]))
    assert has.tolist() == [True, True, False, True, False]
    assert strength.tolist() == [9, 7, 0, 8, 0]
    plain = _Entries(codes, norms, 4, None)
    assert plain.keys.tolist() == [0, 2, 5, 10]
    assert plain.counts(None).tolist() == [1, 1, 2, 0]
    empty = _Entries(codes.only(codes.values > 9), norms, 4, None)
    assert [part.tolist() for part in empty.at(np.array([3]))] == [[False], [0]]


def test_what_two_codes_share_is_the_overlap_of_their_atoms() -> None:
    """Rows {0 1} and {1 2}: a third; {} and {}: all; {3} and {}: nothing. Of the next row's code: 0 + 0 + ½."""
    own, other = np.array([0, 1, 11]), np.array([1, 2])
    assert _shared(own, other, 4, np.arange(3)) == pytest.approx(1 / 3 + 1)
    moved = np.array([1, 2, 0])  # the code of row 0 beside row 1, that of row 1 beside row 2
    assert _shared(own, other, 4, moved) == pytest.approx(0)
    assert _shared(own, np.array([3, 4, 5]), 4, np.array([2, 0, 1])) == pytest.approx(1 + 1 + 1)


def test_twins_are_copies_of_one_sign() -> None:
    unit = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0], [0, 1], [1, 1e-3], [-1, 0], [0, -1], [-1, 1e-3]]), dim=1
    )
    assert _one_of_twins(unit).tolist() == [0, 1, 0, 3, 4, 3]
    assert _one_of_twins(torch.eye(3)) is None


def test_strengths_of_a_support_are_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(7, 5, generator=generator), dim=1)
    x = torch.randn(4, 5, generator=generator)
    used = torch.tensor(
        [[1, 0, 1, 0, 0, 1, 0], [0] * 7, [0, 0, 0, 0, 0, 0, 1], [0, 1, 1, 1, 0, 0, 0]]
    )
    found = _least_squares(x, unit, sn.SparseCodes.from_dense(used.float())).to_dense()
    for i in range(4):
        atoms = unit[used[i].bool()].T
        wanted = torch.zeros(7)
        wanted[used[i].bool()] = torch.linalg.lstsq(atoms, x[i]).solution
        torch.testing.assert_close(found[i], wanted, atol=1e-4, rtol=1e-4)
    copies = _least_squares(torch.tensor([[2.0, 0]]), torch.tensor([[1.0, 0], [1, 0]]),
                            sn.SparseCodes.from_dense(torch.ones(1, 2)))  # fmt: skip
    assert copies.values.tolist() == pytest.approx([1, 1], abs=1e-3)


def test_a_row_keeps_as_many_entries_as_it_may() -> None:
    z = torch.tensor([[3.0, -5, 1], [2, 1, 0], [1, 1, 1]])
    kept = _largest(sn.SparseCodes.from_dense(z), torch.tensor([2, 1, 0])).to_dense()
    assert kept.tolist() == [[3, -5, 0], [2, 0, 0], [0, 0, 0]]


def test_rows_of_one_size_are_pursued_together() -> None:
    """Each row by as many atoms as it may have; or until what is left is as short as it is with the encoder."""
    x = torch.tensor([[3.0, 2, 1], [5, 4, 0], [1, 2, 3], [7, 0, 0]])
    sizes = torch.tensor([2, 1, 0, 3])
    found = _pursued(orthogonal_matching_pursuit, x, torch.eye(3), sizes, None, False).to_dense()
    assert found.tolist() == [[3, 2, 0], [5, 0, 0], [0, 0, 0], [7, 0, 0]]
    lengths = torch.tensor([1.1, 4.1, 0.9, 8.0])
    found = _pursued(
        orthogonal_matching_pursuit,
        x,
        torch.eye(3),
        torch.ones(4, dtype=torch.long),
        lengths,
        False,
    ).to_dense()
    assert found.tolist() == [[3, 2, 0], [5, 0, 0], [1, 2, 3], [0, 0, 0]]


def test_a_refit_adds_the_nearest_atoms_and_keeps_the_largest() -> None:
    """The encoder has atom 0 of each row; of what is left the largest coordinate is added, and one of two kept."""
    x = torch.tensor([[1.0, 3, 2], [4, 1, -9], [2, -1, -3]])
    own = sn.SparseCodes.from_dense(torch.tensor([[1.0, 0, 0]] * 3))
    sizes = torch.ones(3, dtype=torch.long)
    plain = _refitted(x, torch.eye(3), own, sizes, False).to_dense()
    torch.testing.assert_close(
        plain, torch.tensor([[0, 3.0, 0], [4, 0, 0], [2, 0, 0]]), atol=1e-4, rtol=0
    )
    signed = _refitted(x, torch.eye(3), own, sizes, True).to_dense()
    torch.testing.assert_close(
        signed, torch.tensor([[0, 3.0, 0], [0, 0, -9], [0, 0, -3]]), atol=1e-4, rtol=0
    )


def test_an_atom_that_points_away_from_what_is_left_is_not_added() -> None:
    """Of (0.3, −0.8) atom (1, 0) leaves (0, −0.8); with (−0.6, 0.8) both would be below zero: −1, and 0.3 − 0.6."""
    x, unit = torch.tensor([[0.3, -0.8]]), torch.tensor([[1.0, 0.0], [-0.6, 0.8]])
    own = sn.SparseCodes.from_dense(torch.tensor([[0.3, 0.0]]))
    found = _refitted(x, unit, own, torch.tensor([1]), False).to_dense()
    torch.testing.assert_close(found, torch.tensor([[0.3, 0.0]]), atol=1e-4, rtol=0)


def test_a_weight_of_the_lasso_is_the_least_with_as_many_atoms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of rows that each lose an atom at 10/3 and 6, two in the mean are left from 10/3 on, by ten halvings of 8."""
    x = torch.tensor([[8.0, 10 / 3, 10 / 3], [6.0, 6, 1.0]])

    def lasso(x: torch.Tensor, unit: torch.Tensor, weight: float, signed: bool) -> Any:
        assert signed
        return SimpleNamespace(l0=(x > weight).sum(dim=1))

    monkeypatch.setattr(_second_code_pass, "_lasso", lasso)
    weight = _second_code_pass._lasso_weight(x, torch.eye(3), torch.tensor([1, 2]), True)
    assert weight == math.ceil(10 / 3 * 128) / 128


def test_firings_are_counted_by_atom_and_by_tenths_of_their_strength(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twelve firings of two atoms; a pursuit keeps those above 5 but 11, noise every third."""
    values = np.array([12.0, 1, 11, 2, 10, 3, 9, 4, 8, 5, 7, 6])
    strength = np.array([0.0, 0, 0, 0, 0, 0, 4, 9, 3, 9, 1, 2])
    part = {
        "rows": np.arange(12), "atoms": np.array([0] * 6 + [2] * 6), "values": values,
        "strength": strength, "has.omp": (values > 5) & (values != 11),
        "has.noise": values % 3 == 0, "found": np.array([7, 5, 9]), "counts": np.array([6, 3, 12]),
    }  # fmt: skip
    found = _second_code_pass.CodedRows([part], 3, 24)
    tenths = _second_code._by_strength(found, "omp")
    assert tenths.tenth.tolist() == [*range(1, 11)]
    assert tenths.n.tolist() == [2, 2, *[1] * 8]
    assert tenths.kept.tolist() == [0.5, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert tenths.noise.tolist() == [0.5, 0.5, 0, 0, 1, 0, 0, 1, 0, 0]
    # Of the second atom 9, 8, 7 and 6 are kept, of which two change places: 1 − 6 · 2 / (4 · 15).
    monkeypatch.setattr(_second_code, "AT_LEAST", 4)
    table = _second_code._atom_table(found, ["omp"])
    expected = {
        "fires": [6, 0, 6], "kept": [2 / 6, np.nan, 4 / 6], "noise": [2 / 6, np.nan, 2 / 6],
        "found": [7, 5, 9], "chance": [0.25, np.nan, 0.5], "rank": [np.nan, np.nan, 0.8],
    }  # fmt: skip
    for name, column in expected.items():
        assert table[name].tolist() == pytest.approx(column, nan_ok=True), name


def test_solvers_have_as_many_atoms_as_fire() -> None:
    """An entry of strength zero is none, one of strength one is; or k, where that is asked for."""
    sae: Any = tied(torch.eye(4), 2)
    x = torch.tensor([[1.0, 5, 3, 2], [6, 4, 2, 1]])
    codes = sn.SparseCodes.from_dense(torch.tensor([[1.0, 5, 3, 0], [6, 0, 0, 1]]))
    codes = codes.with_values(torch.where(codes.values == 3, 0.0, codes.values))
    for k, l0 in ((None, [2, 2]), (3, [3, 3])):
        asked = Question(sae, sn.Activations.from_tensor(x), ("omp",), k, False, None, 0)
        found = [*_Coder(asked)._all_codes(np.arange(2), x, codes, x * 0)]
        assert [name for name, *_ in found] == ["own", "omp", "noise", "rounding"]
        _, theirs, norms, rest = found[1]
        assert theirs.l0.tolist() == l0
        torch.testing.assert_close(rest, x - theirs.to_dense())
        assert norms.tolist() == [1] * 4


def test_r2_is_of_what_varies_around_the_mean() -> None:
    """Rows (0 1) and (2 3): Σ‖y‖² = 14, ‖Σy‖² / 2 = 10, so that an error of 1 leaves 3/4."""
    part = {
        "rows": np.array([0]), "atoms": np.array([0]), "values": np.ones(1),
        "total": np.array([2.0, 4.0]), "squares": np.array([14.0]),
        "sums.omp": np.array([1.0, 0.5, 3.0, 1.0]),
    }  # fmt: skip
    found = _second_code_pass.CodedRows([part], 2, 2).means("omp")
    assert found == {"shared": 0.5, "chance": 0.25, "l0": 1.5, "R²": 0.75}
    part["squares"] = np.array([10.0])
    assert math.isnan(_second_code_pass.CodedRows([part], 2, 2).means("omp")["R²"])


def test_a_copy_that_is_nearly_opposite_is_no_twin() -> None:
    unit = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [-1, 0.02], [1, 0.03]]), dim=1)
    assert _one_of_twins(unit).tolist() == [0, 1, 0]


def test_atoms_that_are_matched_with_none_have_no_partner() -> None:
    own, other = (SimpleNamespace(dictionary=torch.eye(3)[rows]) for rows in ([0, 1], [2, 1, 0]))
    other.n_atoms = 3
    assert _partners(own, other).tolist() == [-1, 1, 0]


def test_rows_are_scaled_to_the_encoder_s_error_but_not_beyond_a_millionth_of_themselves() -> None:
    seen = []

    def pursuit(rows: torch.Tensor, unit: torch.Tensor, k: int, **options: Any) -> sn.SparseCodes:
        seen.append((rows.tolist(), k, options["tolerance"]))
        return sn.SparseCodes.from_dense(rows)

    x = torch.tensor([[0.0, 2048], [0, 6], [0, 0], [4, 0]])
    lengths = torch.tensor([0.0, 3, 0, 2])
    sizes = torch.tensor([1, 1, 1, 1])
    found = _pursued(pursuit, x, torch.eye(8)[:, :2], sizes, lengths, False).to_dense()
    ((rows, k, tolerance),) = seen
    assert rows == [[0, pytest.approx(1e6)], [0, 2], [0, 0], [2, 0]]
    assert (k, tolerance) == (4, 1.0)
    torch.testing.assert_close(found, x)


def test_an_atom_that_never_fires_has_no_firings_in_noise(found) -> None:
    """Atoms that fire four times, once and never, of which noise keeps half, all, and nothing known."""
    table = pd.DataFrame(
        {"fires": [4, 1, 0], "kept": [0.75, 1, np.nan], "noise": [0.5, 1, np.nan],
         "chance": [0.25, 0.5, np.nan]}
    )  # fmt: skip
    kept = dataclasses.replace(found, table=table).by_atom
    assert kept.noise.tolist() == [2, 1, 0]
    assert kept.kept.tolist() == [3, 1, 0]
    assert kept.chance.tolist() == [1, 0.5, 0]
