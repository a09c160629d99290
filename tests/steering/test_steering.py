"""Steering edits what it says, where it says, and nothing else; nnsight and hooks agree."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sae_nb as sn
from sae_nb.codes import SparseCodes
from sae_nb.steering import ablate, random_direction, splice, steer

D = 8
VOCABULARY = 40


class TiedReLU(nn.Module):
    """z = relu(x Dᵀ), x̂ = z D + b: small enough to redo every edit by dense arithmetic."""

    def __init__(self, n_atoms: int = 12, d_in: int = D, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randn(n_atoms, d_in, generator=generator)
        self.rows = nn.Parameter(rows / rows.norm(dim=1, keepdim=True))
        self.bias = nn.Parameter(0.1 * torch.randn(d_in, generator=generator))
        self.d_in, self.n_atoms = d_in, n_atoms
        self.hook_point = self.model_name = None

    @property
    def dictionary(self) -> Tensor:
        return self.rows.detach()

    def dense(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.rows.T)

    def encode(self, x: Tensor, k: int | None = None) -> SparseCodes:
        return SparseCodes.from_dense(self.dense(x))

    def decode(self, codes: SparseCodes) -> Tensor:
        return codes.to_dense() @ self.rows + self.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


@pytest.fixture
def plain():
    """A module whose output is its hooked activation, so an edit is read off directly."""
    return sn.wrap(nn.Sequential(nn.Identity(), nn.Identity()))


@pytest.fixture
def sae():
    return TiedReLU()


@pytest.fixture
def x():
    return torch.randn(5, D, generator=torch.Generator().manual_seed(1))


def tiny_gpt(seed: int = 0, end: int = 1):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        n_layer=3,
        n_embd=D,
        n_head=2,
        vocab_size=VOCABULARY,
        n_positions=64,
        bos_token_id=0,
        eos_token_id=end,
        initializer_range=0.6,
    )
    return sn.wrap(GPT2LMHeadModel(config).eval())


@pytest.fixture(scope="module")
def gpt():
    return tiny_gpt()


def read(model, inputs, point: str) -> Tensor:
    """The activation at a hook point as the rest of the model gets it."""
    seen = []
    with splice(model, point, lambda tokens: seen.append(tokens.clone()) or tokens):
        model(inputs)
    return seen[0]


# What an edit does


def test_an_atom_and_its_amount_may_be_what_torch_counts(plain, sae, x):
    """`z.argmax()` and `2 * p99[3]` are tensors without axes: one atom, one number."""
    with steer(plain, "0", sae, atom=torch.tensor(3), by=torch.tensor(2.0)) as recipe:
        torch.testing.assert_close(plain(x), x + 2 * sae.dictionary[3])
    assert (recipe.atoms, recipe.by) == ((3,), (2.0,))


def test_random_directions_are_unit_and_repeatable():
    """The control has exactly the norm of a unit atom."""
    assert torch.equal(random_direction(64, 3), random_direction(64, 3))
    assert not torch.equal(random_direction(64, 3), random_direction(64, 4))
    assert abs(float(random_direction(64, 3).norm()) - 1) < 1e-6


def test_p99_multiplies_by_the_99th_percentile_of_nonzero_strengths(plain, sae, x):
    """From activations, from codes, and from what the SAE carries."""
    rows = torch.randn(400, D, generator=torch.Generator().manual_seed(2))
    strengths = sae.dense(rows)[:, 3].detach().numpy()
    p99 = float(np.percentile(strengths[strengths > 0], 99))
    expected = x + 2 * p99 * sae.dictionary[3]
    for acts in (rows, sn.Activations.from_tensor(rows), sae.encode(rows)):
        with steer(plain, "0", sae, atom=3, by=2.0, unit="p99", acts=acts) as recipe:
            torch.testing.assert_close(plain(x), expected)
        assert abs(recipe.amount[0] - 2 * p99) < 1e-5
    sae.strength_p99 = torch.full((12,), 0.25)
    with steer(plain, "0", sae, atom=3, by=2.0, unit="p99"):
        torch.testing.assert_close(plain(x), x + 0.5 * sae.dictionary[3])


def test_splice_with_identity_changes_no_bit(gpt):
    ids = [[3, 4, 5, 6, 7], [8, 9]]
    clean = gpt(ids)
    with splice(gpt, "resid_post.1", lambda tokens: tokens.clone()):
        assert torch.equal(gpt(ids).nan_to_num(), clean.nan_to_num())


def test_half_precision_models_are_edited_in_the_saes_precision(sae):
    """A bf16 activation is encoded in fp32, and positions left alone keep their bits."""
    model = sn.wrap(nn.Sequential(nn.Identity(), nn.Linear(D, D)).to(torch.bfloat16))
    tokens = torch.randn(2, 4, D, generator=torch.Generator().manual_seed(3)).bfloat16()
    with splice(model, "1", lambda y: y):
        clean = read(model, tokens, "0")
    with ablate(model, "0", sae, atom=0, positions=[1]):
        seen = read(model, tokens, "0")
    z = sae.dense(tokens.float()).detach()[..., 0]
    assert bool((z[:, 1] > 0).any())
    expected = tokens[:, 1].float() - z[:, 1, None] * sae.dictionary[0]
    torch.testing.assert_close(seen[:, 1].float(), expected, atol=2e-2, rtol=2e-2)
    assert torch.equal(seen[:, [0, 2, 3]], clean[:, [0, 2, 3]])


# Where


def edited_positions(model, inputs, **where) -> list[list[int]]:
    clean = read(model, inputs, "resid_post.0")
    with steer(model, "resid_post.0", direction=torch.ones(D), by=1.0, **where):
        steered = read(model, inputs, "resid_post.0")
    return [row.nonzero().flatten().tolist() for row in (clean != steered).any(dim=-1)]


def test_positions_count_a_samples_own_tokens(gpt):
    ids = [[3, 4, 5, 6, 7], [8, 9, 10]]
    assert edited_positions(gpt, ids) == [[0, 1, 2, 3, 4], [0, 1, 2]]
    assert edited_positions(gpt, ids, positions=1) == [[1], [1]]
    assert edited_positions(gpt, ids, positions=np.int64(1)) == [[1], [1]]
    assert edited_positions(gpt, ids, positions=[0, -1]) == [[0, 4], [0, 2]]
    assert edited_positions(gpt, ids, positions="last") == [[4], [2]]
    assert edited_positions(gpt, ids, positions="not_first") == [[1, 2, 3, 4], [1, 2]]
    assert edited_positions(gpt, ids, positions=3) == [[3], []]


def test_masks_are_read_per_sample_or_for_all(gpt):
    """A (time,) mask serves every sample, a (samples, time) mask each its own."""
    ids = [[3, 4, 5, 6], [8, 9]]
    one = torch.tensor([False, True, False, True])
    assert edited_positions(gpt, ids, positions=one) == [[1, 3], [1]]
    each = torch.tensor([[True, False, False, False], [False, True, True, True]])
    assert edited_positions(gpt, ids, positions=each) == [[0], [1]]


def test_masks_follow_the_sample_through_batches(gpt):
    """Row i of the mask belongs to sample i, whatever the batch size."""
    ids = [[3, 4], [5, 6], [7, 8]]
    mask = torch.tensor([[True, False], [False, True], [False, False]])
    for size in (1, 2, 3):
        # Not along ones, which a LayerNorm takes out: only rounding would change.
        with steer(gpt, "embed", direction=torch.arange(1.0, D + 1), by=9.0, positions=mask):
            steered = gpt(ids, batch_size=size)
        changed = (steered - gpt(ids)).abs().amax(dim=-1) > 1e-3
        assert changed.tolist() == [[True, True], [False, True], [False, False]]


def test_steps_tell_prompt_from_new_tokens(gpt):
    """In a plain forward pass every token belongs to the prompt."""
    ids = [[3, 4, 5]]
    assert edited_positions(gpt, ids, steps="prompt") == [[0, 1, 2]]
    with pytest.warns(UserWarning, match="Nothing was changed"):
        assert edited_positions(gpt, ids, steps="new") == [[]]


def test_vision_positions_have_names():
    """cls, registers and patches partition the tokens of a picture."""

    class Patches(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            return pictures.flatten(2).transpose(1, 2)[:, :7]

    model = sn.wrap(nn.Sequential(Patches(), nn.Identity()), prefix_tokens=3, patch_grid=(2, 2))
    pictures = torch.rand(2, 3, 4, 4)
    clean = model(pictures)
    assert model.kind == "vision"
    assert clean.shape == (2, 7, 3)
    for name, expected in {"cls": [0], "registers": [1, 2], "patches": [3, 4, 5, 6]}.items():
        with steer(model, "1", direction=torch.ones(3), by=1.0, positions=name):
            changed = (model(pictures) != clean).any(dim=-1)
        assert [row.nonzero().flatten().tolist() for row in changed] == [expected] * 2


# Contexts


def test_contexts_nest_in_order(plain, sae, x):
    """The inner edit sees what the outer made; the other order differs."""
    one = {"atom": 4, "by": 2.0}
    with steer(plain, "0", sae, **one), ablate(plain, "0", sae, atom=4):
        inner = plain(x)
    moved = x + 2 * sae.dictionary[4]
    z = sae.dense(moved).detach()[:, 4:5]
    torch.testing.assert_close(inner, moved - z * sae.dictionary[4])
    with ablate(plain, "0", sae, atom=4), steer(plain, "0", sae, **one):
        outer = plain(x)
    assert not torch.allclose(inner, outer)


def test_one_context_is_in_force_once(plain, x):
    """Entered inside itself it is refused and stays in force once; afterwards it can be entered again."""
    edit = steer(plain, "0", direction=torch.ones(D), by=1.0)
    with edit:
        with pytest.raises(RuntimeError, match="at 0, is in force already"), edit:
            pass
        torch.testing.assert_close(plain(x), x + 1)
        with steer(plain, "0", direction=torch.ones(D), by=1.0):
            torch.testing.assert_close(plain(x), x + 2)
    assert torch.equal(plain(x), x)
    with edit:
        torch.testing.assert_close(plain(x), x + 1)


def test_a_decorated_function_that_calls_itself_is_edited_once(plain, x):
    """Also inside the edit's own block, and beside a call in another thread, which may end first."""
    edit = steer(plain, "0", direction=torch.ones(D), by=1.0)

    @edit
    def answer(depth):
        return answer(depth - 1) if depth else plain(x)

    torch.testing.assert_close(answer(2), x + 1)
    with edit:
        torch.testing.assert_close(answer(1), x + 1)
        torch.testing.assert_close(plain(x), x + 1)
    assert torch.equal(plain(x), x)

    begun, go = threading.Event(), threading.Event()

    @edit
    def slow():
        begun.set()
        go.wait(20)
        return plain(x)

    found = []
    thread = threading.Thread(target=lambda: found.append(slow()))
    thread.start()
    begun.wait(20)
    torch.testing.assert_close(answer(0), x + 1)
    go.set()
    thread.join(20)
    torch.testing.assert_close(found[0], x + 1)
    assert torch.equal(plain(x), x)
    assert plain.interventions == []


def test_the_lock_keeps_other_threads_out(plain, x):
    """A block under model.lock is not seen by a forward in another thread."""
    seen = []
    thread = threading.Thread(target=lambda: seen.append(plain(x)))
    with plain.lock, steer(plain, "0", direction=torch.ones(D), by=1.0):
        thread.start()
        torch.testing.assert_close(plain(x), x + 1)
        assert not seen
    thread.join(timeout=20)
    assert torch.equal(seen[0], x)


def test_the_recipe_is_plain_json(plain, sae):
    """`as` gives what is done, ready to be written down."""
    mask = torch.tensor([True, False])
    with steer(plain, "0", sae, atom=[1, 2], by=0.5, positions=mask) as recipe:
        pass
    with steer(plain, "0", sae, atom=1, by=0.5, positions=lambda state: state.keep) as other:
        pass
    assert json.loads(json.dumps(other.settings()))["positions"] == "<lambda>"
    again = json.loads(json.dumps(recipe.settings()))
    assert again["atoms"] == [1, 2]
    assert again["positions"] == [True, False]
    assert again["amount"] == [0.5, 0.5]


# nnsight and generation


def test_one_edit_through_nnsight_takes_the_others_with_it(plain, x):
    """Edits keep the order of their contexts, whichever backend each asks for."""

    def answer(outer: str, inner: str) -> Tensor:
        with (
            splice(plain, "0", lambda tokens: 3 * tokens, backend=outer),
            splice(plain, "0", lambda tokens: tokens + 1, backend=inner),
        ):
            return plain(x)

    for backends in (("hooks", "nnsight"), ("nnsight", "hooks"), ("nnsight", "nnsight")):
        torch.testing.assert_close(answer(*backends), 3 * x + 1)


@pytest.mark.parametrize("backend", ["hooks", "nnsight"])
def test_gradients_reach_through_an_edit(plain, x, backend):
    """`model.forward(…, grad=True)` keeps the graph of an edit, whatever applies it."""
    probe = torch.zeros(D, requires_grad=True)
    with splice(plain, "0", lambda tokens: tokens + probe, backend=backend):
        for batch in plain.batches(x):
            plain.forward(batch, grad=True).sum().backward()
        assert not plain(x).requires_grad
    assert torch.equal(probe.grad, torch.full((D,), float(len(x))))


@pytest.mark.parametrize("backend", ["hooks", "nnsight"])
def test_a_module_called_output_is_edited(x, backend):
    """As in BERT, whose MLP ends in "output"; nnsight gives that name to what a module returns."""
    net = nn.Sequential()
    net.add_module("output", nn.Identity())
    model = sn.wrap(net)
    with steer(model, "output", direction=torch.ones(D), by=2.0, backend=backend):
        torch.testing.assert_close(model(x), x + 2)


def test_generation_is_steered_at_prompt_or_at_new_tokens_only(gpt):
    touched = {}
    for steps in ("all", "prompt", "new"):
        with splice(gpt, "resid_post.0", lambda y: y, steps=steps) as edit:
            gpt.generate(torch.tensor([5, 9, 12]), max_new_tokens=4, return_ids=True)
        touched[steps] = edit.n_touched
    assert touched == {"all": 3 + 3, "prompt": 3, "new": 3}


def test_generation_ends_early_the_same_way(sae):
    """An end-of-text token under steering stops every backend at the same place."""
    prompt = torch.tensor([5, 9, 12])
    model = tiny_gpt()
    how = {"direction": random_direction(D, 5), "by": 30.0, "steps": "new"}
    with steer(model, "resid_post.2", **how):
        free = model.generate(prompt, 8, return_ids=True).tolist()
    end = free[5]
    model = tiny_gpt(end=end)
    runs = []
    for backend in ("hooks", "nnsight"):
        with steer(model, "resid_post.2", backend=backend, **how):
            runs += [
                model.generate(prompt, 8, use_cache=cache, return_ids=True).tolist()
                for cache in (True, False)
            ]
    stop = free.index(end, 3) + 1
    assert stop < len(free)
    assert runs == [free[:stop]] * 4


@pytest.mark.parametrize("kind", ["tied", "topk"])
def test_encode_and_decode_work_inside_a_users_trace(gpt, sae, kind):
    if kind == "topk":
        sae = sn.TopK(d_in=D, n_atoms=12, k=3).eval()
    ids = torch.tensor([[3, 4, 5, 6]])
    with splice(gpt, "resid_post.1", sae, "all"):
        expected = gpt(ids)
    wrapper = gpt.nnsight
    with gpt.lock, torch.no_grad():
        with wrapper.trace(input_ids=ids):
            x = wrapper.transformer.h[1].output
            wrapper.transformer.h[1].output = sae.decode(sae.encode(x))
            logits = wrapper.output.logits.save()
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=0)


def test_nnsight_edits_inputs_passed_by_keyword_and_tuple_elements():
    """A module that is called with keywords and answers with a tuple is edited alike."""

    class Inner(nn.Module):
        def forward(self, *, hidden_states: Tensor) -> tuple[str, Tensor]:
            return ("kept", 2 * hidden_states)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Inner()

        def forward(self, x: Tensor) -> Tensor:
            words, y = self.inner(hidden_states=x)
            assert words == "kept"
            return y + 1

    model = sn.wrap(Outer())
    x = torch.randn(3, D)
    for backend in ("hooks", "nnsight"):
        how = {"direction": torch.ones(D), "backend": backend}
        with steer(model, "inner.input", by=1.0, **how), steer(model, "inner", by=0.5, **how):
            torch.testing.assert_close(model(x), 2 * (x + 1) + 0.5 + 1)


@pytest.mark.slow
def test_a_real_sae_steers_a_real_vision_model():
    """TopK on tiny-vit: every head is steered, by hooks and by nnsight alike, and let go again."""
    model = sn.load_model("tiny-vit")
    pictures = sn.data.scenes(3, seed=0)
    width = model.width("resid_post.6")
    sae = sn.TopK(d_in=width, n_atoms=32, k=4).eval()
    clean, heads = model(pictures), model.heads(pictures)
    seen = read(model, pictures, "resid_post.6")
    atom = int(sae.encode(seen).frequency.argmax())
    z = sae.encode(seen).to_dense()[..., atom]
    with ablate(model, "resid_post.6", sae, atom=atom, positions="patches", backend="hooks"):
        edited = read(model, pictures, "resid_post.6")
        hooked, steered = model(pictures), model.heads(pictures)
    with ablate(model, "resid_post.6", sae, atom=atom, positions="patches", backend="nnsight"):
        traced = model(pictures)
    expected = seen - z[..., None] * sae.dictionary[atom]
    torch.testing.assert_close(edited[:, 5:], expected[:, 5:].detach(), atol=1e-3, rtol=1e-4)
    assert torch.equal(edited[:, :5], seen[:, :5])
    torch.testing.assert_close(traced, hooked, atol=1e-6, rtol=0)
    torch.testing.assert_close(steered["digit"], hooked)
    assert float((steered["foreground"] - heads["foreground"]).abs().max()) > 1e-4
    assert torch.equal(model(pictures), clean)


# What is refused


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"atom": 12, "by": 1.0}, IndexError, "between 0 and 11"),
        ({"atom": [1, 1], "by": 1.0}, ValueError, "each once"),
        ({"atom": [1, 2], "by": [1.0]}, ValueError, "one for each of 2 atoms"),
        ({"atom": 1, "by": 1.0, "positions": "middle"}, ValueError, "'last'"),
        ({"atom": 1, "by": 1.0, "positions": "patches"}, ValueError, "prefix"),
        ({"atom": 1, "by": 1.0, "unit": "p99"}, ValueError, "Pass acts="),
        ({"atom": 1, "by": 1.0, "direction": torch.ones(D)}, ValueError, "not both"),
    ],
)
def test_bad_requests_are_refused_before_anything_runs(plain, sae, arguments, error, words):
    with pytest.raises(error, match=words):
        steer(plain, "0", sae, **arguments)
    assert plain.interventions == []


@pytest.mark.parametrize("backend", ["hooks", "nnsight"])
def test_a_mask_must_fit_the_inputs(gpt, backend):
    """Too narrow for the text, or too few rows, is said when the model runs."""
    ids = [[3, 4, 5], [6, 7, 8]]
    how = {"direction": torch.ones(D), "by": 1.0, "backend": backend}
    with steer(gpt, "resid_post.0", positions=torch.tensor([True]), **how):
        with pytest.raises(ValueError, match="cover every token of the input, 3"):
            gpt(ids)
    one_row = torch.ones(1, 3, dtype=torch.bool)
    with steer(gpt, "resid_post.0", positions=one_row, **how):
        with pytest.raises(ValueError, match="a row per sample, at least 2"):
            gpt(ids)
