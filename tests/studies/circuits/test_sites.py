"""Places and their units, edits of copies, parts that are split, and pairs taken out: on a few numbers, by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.circuits import (
    _head_scores as head_scores,
    _heads as heads,
    _neuron_graph as neuron_graph,
    _passes as passes_of,
    _patching as patching,
    _query_key as query_key,
)
from sae_nb.circuits._passes import AtomTarget, Layer, Trace
from sae_nb.circuits._patching import Patching, of_each
from sae_nb.circuits._sites import AtomSite, NeuronSite


def acted(puts: list[tuple[str, Any]], x: Tensor) -> Tensor:
    ((_, act),) = puts
    return act(x)


# Units of a place


@pytest.fixture
def site() -> NeuronSite:
    """Three neurons over two positions, of which three values differ from the contrast."""
    made = object.__new__(NeuronSite)
    made.layer, made.place, made.n_units = None, "mlp_post.0", 3
    made._last = nn.Linear(3, 2, bias=False)
    made._last.weight.data = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
    now, then = torch.tensor([[1.0, 2, 3], [4.0, 5, 6]]), torch.tensor([[1.0, 0, 3], [4.0, 7, 9]])
    made.note({"mlp_post.0": now[None]}, {"mlp_post.0": then[None]})
    return made


def test_neurons_that_differ_are_entries_and_answer_as_on_the_contrast(site: NeuronSite) -> None:
    e = site.entries
    assert (e.position.tolist(), e.unit.tolist()) == ([0, 1, 1], [1, 1, 2])
    assert (e.now.tolist(), e.then.tolist()) == ([2, 5, 6], [0, 7, 9])
    assert site.slopes(torch.arange(6.0).view(2, 3)).tolist() == [1, 4, 5]
    assert site.written(e).tolist() == [[0, 3], [0, 3], [2, 1]]
    x = torch.full((2, 2, 3), 8.0)
    free = torch.tensor([[True, False, False], [False, False, True]])
    only = acted(site.freed(free, rest=False), x)
    assert only.tolist() == [[[1, 8, 3], [4, 7, 9]], [[1, 0, 3], [4, 7, 8]]]
    without = acted(site.freed(~free, rest=True), x)
    assert without.tolist() == [[[8, 0, 8], [8, 8, 8]], [[8, 8, 8], [8, 8, 9]]]
    two = e.chosen(torch.tensor([0, 2]))
    moved = acted(site.set_to(two, torch.tensor([[-1.0, -2.0]]), [1]), x)
    assert moved[0].tolist() == x[0].tolist()
    assert moved[1].tolist() == [[8, -1, 8], [8, 8, -2]]
    cut = acted(site.cut(two), x[:1])
    assert site.values.tolist() == [8, 8]
    assert cut.tolist() == [[[8, 2, 8], [8, 8, 6]]]
    drawn = acted(site.moved(1, 0.5, torch.Generator().manual_seed(0), [0]), x) - x
    assert not drawn[:, 0].any()
    assert not drawn[1].any()
    assert float((drawn[0, 1] @ site._last.weight.T).norm()) == pytest.approx(0.5, rel=1e-4)
    site.note({"mlp_post.0": torch.tensor([[[0.0, 2.0, 0.0]]])}, None)
    assert (site.entries.unit.tolist(), site.entries.then.tolist()) == ([1], [0])


@pytest.fixture
def atoms() -> AtomSite:
    """Codes of two rows by a plain SAE of the stream: of the contrast's first row another atom."""
    sae = sn.ReLU(3, 4, generator=torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        sae.operator.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0]]))
        sae.encoder.weight.copy_(sae.operator.weight)
        sae.encoder.weight[3] = 0
        sae.encoder.bias.zero_()
    return AtomSite(Layer(read="p", write="p", sae=sae), sae)  # type: ignore[arg-type]


def test_atoms_that_differ_are_entries_and_are_exchanged(atoms: AtomSite) -> None:
    now, then = torch.tensor([[2.0, 0, 0], [1.0, 4, 0]]), torch.tensor([[0.0, 0, 5], [1.0, 7, 0]])
    atoms.note({"p": now[None]}, {"p": then[None]})
    e = atoms.entries
    found = list(
        zip(e.position.tolist(), e.unit.tolist(), e.now.tolist(), e.then.tolist(), strict=True)
    )
    assert found == [(0, 0, 2, 0), (0, 2, 0, 5), (1, 1, 4, 7)]
    assert atoms.slopes(torch.tensor([[1.0, 2, 3], [4.0, 5, 6]])).tolist() == [1, 3, 5]
    x = torch.stack([now, now])
    free = torch.tensor([[True, False, False], [False, True, True]])
    # what is not free is as on the contrast, there or not; a free one stays as it is here
    only = acted(atoms.freed(free, rest=False), x)
    assert only[0].tolist() == [[2, 0, 5], [1, 7, 0]]
    assert only[1].tolist() == [[0, 0, 0], [1, 4, 0]]
    without = acted(atoms.freed(~free, rest=True), x)
    assert without[0].tolist() == [[0, 0, 0], [1, 4, 0]]
    assert without[1].tolist() == [[2, 0, 5], [1, 7, 0]]
    set_to = acted(atoms.set_to(e.chosen(torch.tensor([2])), torch.tensor([[1.0]]), [1]), x)
    assert set_to.tolist() == [now.tolist(), [[2, 0, 0], [1, 1, 0]]]
    drawn = acted(atoms.moved(1, 0.5, torch.Generator().manual_seed(0), [1]), x) - x
    assert drawn.norm(dim=2).tolist() == [[0, 0], [0, pytest.approx(0.5)]]
    cut = acted(atoms.cut(e), x[:1] + 1)
    # at the first position 3 where 2 was, at the second 5 where 4 was: both are put back
    assert atoms.values.tolist() == pytest.approx([3, 0, 5])
    assert cut[0].tolist() == [[2, 1, 1], [2, 4, 1]]
    atoms.note({"p": now[None]}, None)
    assert atoms.entries.then.tolist() == [0, 0, 0]
    alone = acted(atoms.freed(torch.tensor([[True, False, False]]), rest=False), x[:1])
    assert alone[0].tolist() == [[2, 0, 0], [0, 0, 0]]
    atoms.kept = torch.tensor([1])
    atoms.note({"p": now[None]}, {"p": then[None]})
    assert atoms.entries.position.tolist() == [1]


# Passes


def test_an_atom_as_a_target_must_fire_there() -> None:
    written = SimpleNamespace(
        position=torch.tensor([0, 1, 1]), atom=torch.tensor([2, 2, 0]),
        slopes=torch.tensor([[1.0, 0], [0, 2.0], [3.0, 1.0]]),
    )  # fmt: skip
    layer = SimpleNamespace(write="out", sae=SimpleNamespace(n_atoms=3))
    trace = object.__new__(Trace)
    trace.passes = SimpleNamespace(model=SimpleNamespace(hook_point=str), layers=[layer])
    trace.written, trace.reads = (written,), [torch.tensor([[[1.0, 2], [3.0, 4]]])]
    found = trace.of_atom(AtomTarget("out", 1, 2))
    assert (float(found.value), found.weight, found.measure) == (8, 1, None)
    assert float(trace.of_atom(AtomTarget("out", 1, 0)).value) == 13
    with pytest.raises(ValueError, match="position 0"):
        trace.of_atom(AtomTarget("out", 0, 0))


def test_slopes_of_codes_are_those_of_their_own_rows() -> None:
    x = torch.tensor([[1.0, 2], [3.0, 4]], requires_grad=True)
    dense = torch.stack([x[:, 0] * 2, x[:, 0] * x[:, 1], x[:, 1] * 0], dim=1)
    codes = sn.SparseCodes.from_dense(dense)
    assert passes_of._slopes(codes, x).tolist() == [[2, 0], [2, 1], [2, 0], [4, 3]]
    assert passes_of.left_out({"a": torch.tensor([0, 2]), "b": torch.arange(3)}, 3) == {"a": (1,)}


def test_what_a_linear_map_writes_is_a_path_of_the_same_value() -> None:
    sae = SimpleNamespace(uncoded=lambda rows: (1.0, rows * 2))
    path = passes_of._Path(SimpleNamespace(sae=sae), lambda *_: torch.tensor([1]))
    x = torch.ones(1, 3, 2, requires_grad=True)
    assert path.note(x) is x
    y = path.write(None, torch.zeros(1, 3, 2) + 5)
    assert y.tolist() == [[[5, 5]] * 3]
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [[[0, 0], [2, 2], [0, 0]]]
    held = path.write(torch.ones(1, 3, 2), torch.zeros(1, 3, 2))
    assert held.tolist() == [[[1, 1], [3, 3], [1, 1]]]


# Parts of heads


def test_one_part_of_a_row_is_exchanged_for_its_mean() -> None:
    x, mean = torch.arange(12.0).view(3, 1, 4), torch.tensor([90.0, 91, 92, 93])
    found = heads.parts_at_mean([0, 2], [1, 0], mean, 2)(x)
    assert found.tolist() == [[[0, 1, 92, 93]], [[4, 5, 6, 7]], [[90, 91, 10, 11]]]
    sizes = heads.Sizes()
    whole = torch.tensor([[[3.0, 4.0]]])
    sizes.see(
        torch.tensor([[[6.0, 8.0]], [[0.0, 1.0]]]),
        torch.tensor([[[-3.0, -4.0]], [[3.0, 2.0]]]),
        whole,
    )
    assert (sizes.grown, sizes.misses) == pytest.approx((2, 0.2))
    assert heads.diverges(1.01, 0)
    assert heads.diverges(1.0, heads.SUMS * 1.01)
    assert heads.diverges(float("nan"), 0)
    assert not heads.diverges(1.0, heads.SUMS)


@pytest.mark.parametrize("alone", [False, True])
def test_a_part_is_split_half_by_itself_and_half_on_top(alone: bool) -> None:
    """g(x) = x² + 1 of 5 = 2 + 3: by itself 4, on top of the rest 16; copies are whole, 0, rest, part."""
    model = SimpleNamespace(hook_point=str)
    one: Any = SimpleNamespace(model=model, sizes=heads.Sizes())
    (_, inside), (_, outside) = heads.CleanRun.split(one, ("in", "out"), [2], [3], alone=alone)
    x = inside(torch.tensor([[5.0], [9.0], [3.0], [9.0]]))
    assert x.tolist() == [[5], [0], [3], [2]]
    y = outside(x.square() + 1)
    assert float(y[2]) == 26 - (4 if alone else 10)
    assert (one.sizes.grown, one.sizes.misses) == pytest.approx((0.4, 0))


def test_parts_by_gradient_are_deviations_times_slopes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two positions of two heads of one number."""
    slopes = {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}
    ran = SimpleNamespace(answer=SimpleNamespace(one=lambda: None), gradients=lambda _: slopes)
    monkeypatch.setattr(heads, "run", lambda *_, **__: ran)
    one: Any = SimpleNamespace(
        model=None, batch=None, places=["a"], measure=lambda _: None, n_parts=lambda _: 2,
        outputs=[torch.tensor([[5.0, 7.0], [6.0, 9.0]])],
    )  # fmt: skip
    assert heads._by_gradient(one, [torch.tensor([4.0, 10.0])]).tolist() == [[1 + 6, -6 - 4]]


# Patching


def test_each_pair_is_asked_what_is_its_own() -> None:
    assert of_each(" a", 2) == [" a", " a"]
    assert of_each((" a", " b"), 2) == [(" a", " b")] * 2
    assert of_each([1, 2], 2) == [1, 2]
    assert of_each(([1, 2], [3, 4]), 2) == [(1, 3), (2, 4)]
    assert of_each(np.array([[1, 2], [3, 4]]), 2) == [(1, 2), (3, 4)]
    assert of_each(((1, 2), (3, 4)), 2) == [(1, 2), (3, 4)]
    assert of_each((1, 2, 3), 3) == [1, 2, 3]
    with pytest.raises(ValueError, match="2 for 3"):
        of_each([1, 2], 3)


def test_estimates_add_up_over_entries_and_pairs() -> None:
    def pair(atom: list[int], difference: list[float], slope: list[float]) -> Any:
        return patching._Atoms(
            pair=None, moved=torch.zeros(2, 2), position=torch.arange(len(atom)) % 2,
            atom=torch.tensor(atom), difference=torch.tensor(difference), slope=torch.tensor(slope),
        )  # fmt: skip

    first, second = pair([0, 2, 0], [1.0, 2.0, -3.0], [4.0, 5.0, 6.0]), pair([2], [1.0], [-1.0])
    assert patching._estimated([first, second], 3).tolist() == [(4 - 18) / 2, 0, (10 - 1) / 2]
    runs = object.__new__(patching._Runs)
    runs.atoms = torch.tensor([[1.0, 0], [0, 0], [0, 1.0]])
    assert runs.of_atom(first, 0).tolist() == [[-2, 0], [0, 0]]
    assert runs.of_atom(first).tolist() == [[-2, 0], [0, 2]]


def test_a_patching_compares_what_was_estimated_and_measured() -> None:
    found = Patching(
        hook_point="p", name="n", n_pairs=1, clean=2.0, corrupted=1.0, all_atoms=0.5, everything=1.0,
        estimated=np.array([0.4, -0.2, 0.1, 0.0]), measured=np.array([0.8, 0.4, 0.2, np.nan]),
        chosen=np.array([0, 1]), random=np.array([2]),
    )  # fmt: skip
    assert found.table.chosen.tolist() == [True, True, False]
    assert found.wrong_signs == 0.5
    expected = np.corrcoef([0.4, -0.2, 0.1], [0.8, 0.4, 0.2])[0, 1]
    assert found.agreement == pytest.approx(expected)
    assert "one by one 1.20, random ones 0.20" in found.headline


# Graphs of neurons


def test_the_strongest_entries_are_nodes_place_by_place() -> None:
    sites = [SimpleNamespace(entries=range(3)), SimpleNamespace(entries=range(2))]
    passes: Any = SimpleNamespace(
        sites=sites, attributions=(torch.tensor([0.1, -5.0, 3.0]), torch.tensor([-4.0, 0.0]))
    )
    assert [one.tolist() for one in neuron_graph._strongest(passes, 2)] == [[1], [0]]
    assert [one.tolist() for one in neuron_graph._strongest(passes, 3)] == [[1, 2], [0]]
    assert [one.tolist() for one in neuron_graph._strongest(passes, 9)] == [[0, 1, 2], [0]]


def test_what_tokens_and_nodes_add_is_slope_times_difference() -> None:
    tokens = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    slopes = [torch.tensor([[[[1.0, 1.0], [0.0, 2.0]]]]), torch.tensor([[5.0, 6.0]])]
    differences = [torch.tensor([7.0]), torch.tensor([2.0, -1.0])]
    found = neuron_graph._added(slopes, tokens, differences, [1])
    assert found.tolist() == [[3, 8, 0, 10, -6]]
    assert neuron_graph._added([None, slopes[1]], tokens, differences, [1]).tolist() == [
        [0, 0, 0, 10, -6]
    ]


# Pairs of atoms


def test_the_largest_pair_is_taken_out_and_others_that_share_no_atom() -> None:
    """Atoms 7, 8 at the query and 5, 6 at the key; of all keys' atoms 5 is the second and 6 the last."""
    calls: list[Tensor] = []

    def changed(states: Tensor, query: int, key: int, seen: Tensor) -> Any:
        calls.append(states)
        assert (query, key, seen.tolist()) == (2, 0, [0, 2])
        return torch.arange(len(states)) / 10, torch.arange(len(states)) * 1.0

    ends: Any = SimpleNamespace(
        state=torch.zeros(3, 2),
        changed=changed,
        pattern=torch.tensor([[1.0, 0, 0]] * 2 + [[0.5, 0, 0.5]]),
    )
    parts: Any = SimpleNamespace(
        position=torch.tensor([0, 0, 2, 2]), atom=torch.tensor([5, 6, 7, 8]),
        written=torch.tensor([[1.0, 0], [2.0, 0], [0, 1.0], [0, 2.0]]),
    )  # fmt: skip
    pairs = torch.tensor(
        [[9.0, 1.0, 2.0], [9.0, 4.0, 3.0]]
    )  # the first column is an atom of another key
    names, left, difference = query_key._taken_out(
        ends, parts, (2, 0), torch.tensor([4, 5, 6]), pairs, 9, 0
    )
    assert names == (("8", "5"), ("7", "6"))
    assert left.tolist() == pytest.approx([0, 0.1])
    assert difference.tolist() == [0, 1]
    assert calls[0].tolist() == [[[-1, 0], [0, 0], [0, -2]], [[-2, 0], [0, 0], [0, -1]]]
    nothing = query_key._taken_out(ends, parts, (1, 0), torch.tensor([5, 6]), pairs, 9, 0)
    assert [len(one) for one in nothing] == [0, 0, 0]


def test_parts_at_a_position_and_less_their_mean_over_what_is_seen() -> None:
    of = torch.arange(24.0).view(4, 3, 2)  # two slots, the error, the bias
    parts = query_key._Parts(
        position=torch.tensor([0, 0, 2]), atom=torch.tensor([6, 4, 4]), slot=torch.tensor([0, 1, 0]),
        written=torch.zeros(3, 2), states=torch.zeros(5, 3, 2),
    )  # fmt: skip
    atoms, rows = parts.at(of, 0)
    assert atoms.tolist() == [6, 4]
    assert rows.tolist() == [[0, 1], [6, 7], [12, 13], [18, 19]]
    atoms, rows = parts.centred(of, 0, torch.tensor([0, 2]))
    assert atoms.tolist() == [4, 6]
    # of atom 4 half of (6, 7) less half of (4, 5)
    assert rows.tolist() == [[1, 1], [0, 0.5], [-2, -2], [-2, -2]]


def test_texts_that_repeat_and_their_control() -> None:
    """Random tokens without special ones, twice; as many in two texts that do not repeat."""
    rows: list[Tensor] = []

    def batches(ids: Tensor, batch_size: int) -> Any:
        rows.append(ids)
        assert batch_size == len(ids)
        yield SimpleNamespace(to=lambda _: ids)

    model: Any = SimpleNamespace(
        special_ids={0, 1}, vocabulary_size=30, tokenizer=None, batches=batches, device="cpu",
        context_length=30, n_heads=2, modality=SimpleNamespace(is_text=True, reads="text"), name="m",
    )  # fmt: skip
    found = list(head_scores._drawn(model, 3, 6, torch.Generator().manual_seed(0)))
    assert [repeats for _, repeats in found] == [True, False]
    assert [tuple(one.shape) for one in rows] == [(3, 12), (2, 12)]
    assert torch.equal(rows[0][:, :6], rows[0][:, 6:])
    assert all(len(row.unique()) == 12 for row in rows[1])
    assert int(torch.cat(rows).min()) >= 2
