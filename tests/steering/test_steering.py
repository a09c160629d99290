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


def test_add_adds_by_times_the_unit_atom(plain, sae, x):
    """x' − x = by · d_j / ‖d_j‖, also for an atom that is not unit."""
    with torch.no_grad():
        sae.rows[3] *= 5
    with steer(plain, "0", sae, atom=3, by=2.5):
        steered = plain(x)
    unit = sae.rows[3].detach() / sae.rows[3].detach().norm()
    torch.testing.assert_close(steered, x + 2.5 * unit)


def test_set_moves_the_latent_and_keeps_the_error(plain, sae, x):
    """x' = decode(z') + (x − decode(z)) with z'_j = by, redone densely."""
    z = sae.dense(x)
    changed = z.clone()
    changed[:, 4] = 1.7
    expected = changed @ sae.rows + (x - z @ sae.rows)
    with steer(plain, "0", sae, atom=4, by=1.7, mode="set"):
        torch.testing.assert_close(plain(x), expected.detach())


def test_scale_multiplies_the_latent(plain, sae, x):
    """Rows where the atom does not fire stay bit for bit."""
    z = sae.dense(x).detach()
    assert bool((z[:, 2] > 0).any())
    assert bool((z[:, 2] == 0).any())
    with steer(plain, "0", sae, atom=2, by=3.0, mode="scale"):
        steered = plain(x)
    torch.testing.assert_close(steered, x + 2 * z[:, 2:3] * sae.dictionary[2])
    assert torch.equal(steered[z[:, 2] == 0], x[z[:, 2] == 0])


@pytest.mark.parametrize("mode", ["add", "set", "scale"])
def test_without_error_the_result_is_the_decoded_code(plain, sae, x, mode):
    """x' = decode(z') exactly as the edited dense code decodes."""
    z = sae.dense(x).detach()
    changed = z.clone()
    changed[:, 5] = {"add": z[:, 5] + 0.8, "set": torch.full((5,), 0.8), "scale": 0.8 * z[:, 5]}[
        mode
    ]
    expected = changed @ sae.dictionary + sae.bias.detach()
    with steer(plain, "0", sae, atom=5, by=0.8, mode=mode, keep_error=False):
        torch.testing.assert_close(plain(x), expected)


def test_ablate_sets_the_latent_to_zero(plain, sae, x):
    """Ablation is set to 0: the atom's part is gone, everything else stays."""
    z = sae.dense(x).detach()
    with ablate(plain, "0", sae, atom=[1, 6]):
        ablated = plain(x)
    torch.testing.assert_close(ablated, x - z[:, [1, 6]] @ sae.dictionary[[1, 6]])
    with steer(plain, "0", sae, [1, 6], 0.0, mode="set"):
        assert torch.equal(plain(x), ablated)


def test_an_atom_and_its_amount_may_be_what_torch_counts(plain, sae, x):
    """`z.argmax()` and `2 * p99[3]` are tensors without axes: one atom, one number."""
    with steer(plain, "0", sae, atom=torch.tensor(3), by=torch.tensor(2.0)) as recipe:
        torch.testing.assert_close(plain(x), x + 2 * sae.dictionary[3])
    assert (recipe.atoms, recipe.by) == ((3,), (2.0,))


def test_several_atoms_add_up(plain, sae, x):
    """One number serves all atoms, a list serves each its own."""
    with steer(plain, "0", sae, atom=[0, 7], by=[1.0, -2.0]):
        torch.testing.assert_close(plain(x), x + sae.dictionary[0] - 2 * sae.dictionary[7])
    with steer(plain, "0", sae, atom=[0, 7], by=3.0):
        torch.testing.assert_close(plain(x), x + 3 * sae.dictionary[[0, 7]].sum(dim=0))


def test_a_direction_is_used_as_it_is(plain, x):
    """by × direction, not normalised; ablation along it leaves no component."""
    direction = torch.arange(1.0, D + 1)
    with steer(plain, "0", direction=direction, by=-0.5):
        torch.testing.assert_close(plain(x), x - 0.5 * direction)
    with ablate(plain, "0", direction=direction):
        assert float((plain(x) @ direction).abs().max()) < 1e-4
    with steer(plain, "0", direction=direction, by=2.0, mode="set"):
        coefficient = plain(x) @ direction / direction.square().sum()
    torch.testing.assert_close(coefficient, torch.full((5,), 2.0))


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
    """The identity as an edit reproduces clean logits exactly."""
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
    """Which columns of each row change when a direction is added."""
    clean = read(model, inputs, "resid_post.0")
    with steer(model, "resid_post.0", direction=torch.ones(D), by=1.0, **where):
        steered = read(model, inputs, "resid_post.0")
    return [row.nonzero().flatten().tolist() for row in (clean != steered).any(dim=-1)]


def test_positions_count_a_samples_own_tokens(gpt):
    """Integers, negatives and names, in a padded batch."""
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


def test_convolution_maps_are_edited_cell_by_cell():
    """(batch, channels, height, width): a direction lies along channels, positions are cells."""
    model = sn.wrap(nn.Sequential(nn.Conv2d(3, D, 1), nn.Identity()))
    pictures = torch.rand(2, 3, 2, 3)
    clean = model(pictures)
    with steer(model, "0", direction=torch.arange(1.0, D + 1), by=2.0, positions=[4]):
        change = model(pictures) - clean
    expected = torch.zeros(2, D, 2, 3)
    expected[:, :, 1, 1] = 2.0 * torch.arange(1.0, D + 1)
    torch.testing.assert_close(change, expected)


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


def test_contexts_at_different_hook_points_both_act(plain, x):
    """Edits at two places add up."""
    with steer(plain, "0", direction=torch.ones(D), by=1.0):
        with steer(plain, "1", direction=torch.ones(D), by=10.0):
            torch.testing.assert_close(plain(x), x + 11)
        torch.testing.assert_close(plain(x), x + 1)
    assert torch.equal(plain(x), x)


def test_leaving_restores_exactly_even_after_an_error(plain, sae, x):
    """Edits are gone, hooks are gone, other edits stay."""
    with steer(plain, "0", direction=torch.ones(D), by=1.0):
        with pytest.raises(RuntimeError, match="inside"):
            with steer(plain, "0", sae, atom=0, by=5.0):
                raise RuntimeError("inside")
        assert len(plain.interventions) == 1
        torch.testing.assert_close(plain(x), x + 1)
    assert plain.interventions == []
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in plain.module.modules())
    assert torch.equal(plain(x), x)


def test_one_context_can_be_entered_again(plain, x):
    """Twice at once counts twice, and each exit takes out one."""
    edit = steer(plain, "0", direction=torch.ones(D), by=1.0)
    with edit:
        with edit:
            torch.testing.assert_close(plain(x), x + 2)
        torch.testing.assert_close(plain(x), x + 1)
    with edit:
        torch.testing.assert_close(plain(x), x + 1)


def test_two_wrappers_do_not_share_edits(x):
    """An edit belongs to the live model it was made for."""
    net = nn.Sequential(nn.Identity())
    one, other = sn.wrap(net), sn.wrap(net)
    with steer(one, "0", direction=torch.ones(D), by=1.0):
        assert torch.equal(other(x), x)


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


def test_capture_inside_sees_the_edit(gpt):
    """Activations read at and after an edited hook point are the edited ones."""
    ids = [[3, 4, 5, 6]]
    direction = torch.ones(D)
    clean = sn.capture(gpt, ids, "resid_post.0", drop_first=False, progress=False).x
    with steer(gpt, "resid_post.0", direction=direction, by=2.0):
        seen = sn.capture(gpt, ids, "resid_post.0", drop_first=False, progress=False).x
    torch.testing.assert_close(seen, clean + 2)


# nnsight and generation


@pytest.mark.parametrize(
    "positions", [None, "last", [0, -1], torch.tensor([True, False, True, True, True])]
)
def test_nnsight_and_hooks_agree(gpt, sae, positions):
    """The same edits, written inside a trace, give the same logits to 1e-6."""
    ids = [[3, 4, 5, 6, 7], [8, 9, 10]]

    def answers(backend: str) -> Tensor:
        how = {"positions": positions, "backend": backend}
        with (
            steer(gpt, "resid_post.1", sae, atom=3, by=4.0, **how),
            ablate(gpt, "attn_out.2", sae, atom=1, **how),
            steer(gpt, "resid_pre.1", sae, atom=2, by=2.0, mode="set", **how),
            splice(gpt, "resid_post.1", sae, positions, backend=backend),
        ):
            return gpt(ids)

    hooked, traced = answers("hooks"), answers("nnsight")
    assert float((hooked - gpt(ids)).nan_to_num().abs().max()) > 1e-2
    torch.testing.assert_close(traced, hooked, atol=1e-6, rtol=0, equal_nan=True)


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
    """The three choices of `steps` see different columns."""
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


@pytest.mark.parametrize("backend", ["hooks", "nnsight"])
def test_padded_prompts_are_steered_as_alone(gpt, sae, backend):
    """A shorter prompt in a batch gets the edits it would get by itself."""
    prompts = [[5, 9, 12, 7, 3], [8, 2]]
    where = {"positions": [0, -1], "backend": backend}
    with steer(gpt, "resid_post.1", sae, atom=3, by=3.0, **where):
        together = gpt.generate(prompts, max_new_tokens=5, return_ids=True)
        alone = [gpt.generate(torch.tensor(p), max_new_tokens=5, return_ids=True) for p in prompts]
    assert [t.tolist() for t in together] == [a.tolist() for a in alone]


@pytest.mark.parametrize("kind", ["tied", "topk"])
def test_encode_and_decode_work_inside_a_users_trace(gpt, sae, kind):
    """A person's own nnsight trace can splice with sae.decode(sae.encode(…))."""
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


def test_prompts_that_leave_no_room_are_refused(gpt):
    """Both backends say how long the model can read."""
    for backend in ("hooks", "nnsight"):
        with steer(gpt, "resid_post.0", direction=torch.ones(D), by=1.0, backend=backend):
            with pytest.raises(ValueError, match="64"):
                gpt.generate(torch.full((60,), 3), 8)


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
        ({"atom": -1, "by": 1.0}, IndexError, "between 0 and 11"),
        ({"atom": 1.5, "by": 1.0}, TypeError, "integer"),
        ({"atom": [1, 1], "by": 1.0}, ValueError, "each once"),
        ({"atom": [], "by": 1.0}, ValueError, "at least one atom"),
        ({"atom": [1, 2], "by": [1.0]}, ValueError, "one for each of 2 atoms"),
        ({"atom": 1, "by": float("nan")}, ValueError, "finite"),
        ({"atom": 1}, TypeError, "`by`"),
        ({"by": 1.0}, TypeError, "`atom`"),
        ({"atom": 1, "by": 1.0, "positions": "middle"}, ValueError, "'last'"),
        ({"atom": 1, "by": 1.0, "positions": "patches"}, ValueError, "prefix"),
        ({"atom": 1, "by": 1.0, "positions": [0.5]}, TypeError, "integers"),
        ({"atom": 1, "by": 1.0, "positions": 0.5}, TypeError, "integers"),
        ({"atom": 1, "by": 1.0, "unit": "p99"}, ValueError, "Pass acts="),
        ({"atom": 1, "by": 1.0, "unit": "p99", "mode": "scale"}, ValueError, "factor"),
        ({"atom": 1, "by": 1.0, "direction": torch.ones(D)}, ValueError, "not both"),
    ],
)
def test_bad_requests_are_refused_before_anything_runs(plain, sae, arguments, error, words):
    """Rule, given, do; and no edit is left behind."""
    with pytest.raises(error, match=words):
        steer(plain, "0", sae, **arguments)
    assert plain.interventions == []


def test_bad_places_are_refused(gpt, sae):
    """Unknown hook points list near ones; a wrong width names both; read-only places say what to use."""
    with pytest.raises(sn.HookPointNotFound, match=r"resid_post\.0"):
        steer(gpt, "resid_post.9", sae, atom=0, by=1.0)
    wide = TiedReLU(d_in=2 * D)
    with pytest.raises(ValueError, match=f"width {D} .* {2 * D}"):
        steer(gpt, "resid_post.1", wide, atom=0, by=1.0)
    with pytest.raises(ValueError, match=f"{D}"):
        steer(gpt, "resid_post.1", direction=torch.ones(3), by=1.0)
    with pytest.raises(ValueError, match="read but not edited"):
        steer(gpt, "resid_mid.1", sae, atom=0, by=1.0)


def test_bad_directions_are_refused(plain):
    """Not a vector, zero, not finite, or asked for what a direction has not."""
    for direction, words in (
        (torch.ones(2, D), "shape"),
        (torch.zeros(D), "zero vector"),
        (torch.full((D,), torch.nan), "finite"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            steer(plain, "0", direction=direction, by=1.0)
    with pytest.raises(ValueError, match="percentile"):
        steer(plain, "0", direction=torch.ones(D), by=1.0, unit="p99")
    with pytest.raises(TypeError, match="neither"):
        steer(plain, "0", by=1.0)


def test_silent_atoms_have_no_p99(plain, sae):
    """An atom that never fires in the activations is named."""
    with pytest.raises(ValueError, match=r"never do in `acts`: \[3\]"):
        rows = -sae.dictionary[3].repeat(4, 1)
        steer(plain, "0", sae, atom=3, by=1.0, unit="p99", acts=rows)


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
