"""`load_model(…, remote=True)`: nothing runs here, the flag reaches nnsight, and nobody else is contacted."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import sae_nb as sn
from sae_nb.atoms import AtomCatalogue
from sae_nb.models import _checkpoint_files as hub

TEXTS = ["a b c", "d a", "b b c a d"]
POINTS = ["embed", "resid_pre.1", "attn_out.1", "resid_post.1", "transformer.h.0.mlp.c_fc"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GPT-2 with a tokenizer of words, as a checkpoint."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    where = tmp_path_factory.mktemp("gpt")
    words = Tokenizer(
        models.WordLevel(
            {w: i for i, w in enumerate(["<u>", "<e>", *"abcd"])},
            unk_token="<u>",
        )
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "<u>", "eos_token": "<e>", "bos_token": "<e>", "pad_token": "<e>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(where)
    size = {"n_layer": 3, "n_embd": 16, "n_head": 2, "vocab_size": 6, "n_positions": 32}
    torch.manual_seed(0)
    config = GPT2Config(**size, bos_token_id=1, eos_token_id=1)
    GPT2LMHeadModel(config).save_pretrained(where)
    return where


@pytest.fixture
def on_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The checkpoint under the name of a hub id whose small files are cached, weights not needed."""
    from nnsight.modeling import huggingface

    def snapshot(name: str, revision: str | None, **options: Any) -> Path:
        assert (name, options) == ("owner/gpt", {"local_files_only": True})
        return folder

    monkeypatch.setattr(hub, "snapshot", snapshot)
    monkeypatch.setitem(huggingface._ID_CACHE, "owner/gpt", "owner/gpt")
    return "owner/gpt"


class Server:
    """What stands in for nnsight's connection: notes what is asked, answers from a model of its own."""

    asked: list[dict[str, Any]]
    answer: Callable[[], list[Any]]

    def __init__(self, model_key: str, **options: Any) -> None:
        self.asked.append({"model": model_key, **options})

    def __call__(self, tracer: Any) -> None:
        from nnsight.intervention.backends.remote import RESULT
        from nnsight.schema.request import RequestModel
        from nnsight.tracing.tracer import push

        self.asked[-1]["sent"] = RequestModel.serialize(tracer, compress=False)
        result: RESULT = {"values": type(self).answer()}
        push(tracer.info.frame, result)


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> type[Server]:
    """nnsight's remote backend, exchanged."""
    from nnsight.intervention.backends import remote

    here = sn.load_model(folder)
    ids = torch.tensor([[2, 3, 4]])

    class Fresh(Server):
        asked: list[dict[str, Any]] = []

        @staticmethod
        def answer() -> list[Any]:
            with torch.no_grad():
                return [here.module(input_ids=ids, output_hidden_states=True).hidden_states[2]]

    monkeypatch.setattr(remote, "RemoteBackend", Fresh)
    return Fresh


@pytest.mark.slow
def test_a_dry_run_gives_the_rows_of_a_local_capture(folder: Path) -> None:
    """Packed, unpacked where this library is hidden, and run: every hook point, input sides included."""
    local = sn.capture(sn.load_model(folder), TEXTS, POINTS, progress=False)
    model = sn.load_model(folder, remote="local")
    remote = sn.capture(model, TEXTS, POINTS, progress=False)
    for name in POINTS:
        torch.testing.assert_close(remote[name].x, local[name].x, rtol=1e-5, atol=1e-6)
        assert torch.equal(remote[name].sample, local[name].sample)


@pytest.mark.slow
def test_nothing_is_loaded_or_asked_before_a_capture(on_the_hub: str, server: type[Server]) -> None:
    """Parameters are on the meta device; hook points, widths and the tokenizer are there all the same."""
    model = sn.load_model(on_the_hub, remote=True)
    assert all(parameter.is_meta for parameter in model.module.parameters())
    assert model.width("resid_post.1") == 16
    assert "resid_post.2" in model.hook_points()
    assert "run remotely" in repr(model)
    assert (model.device.type, model.kind, model.causal) == ("cpu", "language", True)
    assert server.asked == []


@pytest.mark.slow
@pytest.mark.parametrize("remote", [True, "https://host.invalid"])
def test_the_flag_reaches_the_trace(
    on_the_hub: str, server: type[Server], remote: bool | str
) -> None:
    """One request a batch, under the model's hub id, to the host named; its answer becomes the rows."""
    model = sn.load_model(on_the_hub, remote=remote)
    acts = sn.capture(
        model, ["a b c"], "resid_post.1", drop_first=False, add_bos=False, progress=False
    )
    assert len(server.asked) == 1
    asked = server.asked[0]
    assert '"owner/gpt"' in asked["model"]
    assert asked["host"] == (None if remote is True else remote)
    assert len(asked["sent"]) > 0
    assert torch.equal(acts.x, server.answer()[0][0])
    assert all(parameter.is_meta for parameter in model.module.parameters())


@pytest.mark.slow
def test_what_travels_does_not_need_this_library(on_the_hub: str, server: type[Server]) -> None:
    """The server has nnsight and torch; a body that names sae_nb would fail there."""
    model = sn.load_model(on_the_hub, remote=True)
    sn.capture(model, ["a b c"], "resid_post.1", drop_first=False, add_bos=False, progress=False)
    assert b"sae_nb." not in server.asked[0]["sent"]


def test_a_capture_without_the_flag_stays_here(folder: Path, server: type[Server]) -> None:
    """Not even the backend is made."""
    sn.capture(sn.load_model(folder), ["a b"], "resid_post.1", progress=False)
    assert server.asked == []


def test_what_needs_weights_says_so(on_the_hub: str, server: type[Server]) -> None:
    """The module itself and the logit lens: rule, given, do; nothing is sent."""
    model = sn.load_model(on_the_hub, remote=True)
    missing = "weights on this machine, but 'owner/gpt' runs remotely.*or `sn.capture`, which run"
    with pytest.raises(RuntimeError, match=missing):
        model.module(torch.tensor([[2, 3]]))
    with pytest.raises(RuntimeError, match=missing):
        AtomCatalogue(sn.TopK(16, 32, 2), torch.ones(4, 16)).summary(0, model=model)
    assert server.asked == []


@pytest.fixture
def far(folder: Path, on_the_hub: str, monkeypatch: pytest.MonkeyPatch) -> sn.LiveModel:
    """A remote model whose server unpacks what is sent, this library hidden, and runs just that."""
    from nnsight.intervention.backends import remote
    from nnsight.intervention.backends.local import LocalSimulationBackend
    from nnsight.schema.request import RequestModel
    from nnsight.tracing.tracer import push

    there = sn.load_model(folder).nnsight

    class Backend:
        def __init__(self, _model_key: str, **_options: Any) -> None:
            pass

        def __call__(self, tracer: Any) -> None:
            sent = RequestModel.serialize(tracer, compress=False)
            assert b"sae_nb." not in sent
            hiding = LocalSimulationBackend(there)
            hidden, sources = hiding._hide_local_modules(), dict(linecache.cache)
            try:
                objects = there._remoteable_persistent_objects()
                arrived = RequestModel.deserialize(sent, objects, compress=False)
                arrived.execute(arrived.info.code)
            finally:
                hiding._restore(hidden)
                linecache.cache = sources  # a server is another process
            saved = {"values", "out", "ids"} & arrived.info.frame.f_locals.keys()
            push(tracer.info.frame, {name: arrived.info.frame.f_locals[name] for name in saved})

    monkeypatch.setattr(remote, "RemoteBackend", Backend)
    return sn.load_model(on_the_hub, remote=True)


D = torch.linspace(-2, 2, 16)
STEERED: dict[str, dict[str, Any]] = {
    "add": {"by": 2.0},
    "set": {"by": 1.0, "mode": "set"},
    "scale": {"by": -3.0, "mode": "scale"},
    "the last token": {"by": 2.0, "positions": "last"},
    "two tokens": {"by": 2.0, "positions": [1, -1]},
    "what is new": {"by": 2.0, "steps": "new"},
}


@pytest.mark.slow
@pytest.mark.parametrize("how", STEERED)
@pytest.mark.parametrize("point", ["resid_post.1", "attn_out.1", "resid_pre.2"])
def test_a_remote_model_is_steered_as_one_that_is_here(
    far: sn.LiveModel, folder: Path, how: str, point: str
) -> None:
    """Answers, texts and captures of a padded batch, to 1e-6; and nothing is left behind."""
    here = sn.load_model(folder)
    results = []
    for model in (far, here):
        with sn.steer(model, point, direction=D, **STEERED[how]):
            with sn.ablate(model, "mlp_out.0", direction=D):
                results.append(
                    (
                        model(TEXTS),
                        sn.capture(model, TEXTS, "resid_post.2", progress=False).x,
                        model.generate(TEXTS, max_new_tokens=3),
                    )
                )
    for theirs, ours in zip(*(result[:2] for result in results), strict=True):
        torch.testing.assert_close(theirs, ours, atol=1e-6, rtol=1e-6, equal_nan=True)
    assert results[0][2] == results[1][2]
    torch.testing.assert_close(far(TEXTS), here(TEXTS), atol=1e-6, rtol=1e-6, equal_nan=True)
    assert far.nnsight._edits == []


@pytest.mark.slow
def test_somebodys_own_remote_trace_is_steered(far: sn.LiveModel, folder: Path) -> None:
    """Ours first, then theirs; after the block theirs alone; a recipe's model keeps the edit."""
    here, theirs = sn.load_model(folder), far.nnsight
    ids = torch.tensor([[2, 3, 4]])
    with sn.steer(here, "resid_post.1", direction=D, by=2.0):
        expected = here(ids)
    with sn.steer(far, "resid_post.1", direction=D, by=2.0) as steering:
        edited = steering.recipe.to_nnsight(far.nnsight)
        with torch.no_grad(), theirs.trace(ids, remote=True):
            out = theirs.output.logits.save()
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=0)
    with torch.no_grad(), theirs.trace(ids, remote=True):
        out = theirs.output.logits.save()
    torch.testing.assert_close(out, here(ids), atol=1e-6, rtol=0)
    with torch.no_grad(), edited.trace(ids, remote=True):
        out = edited.output.logits.save()
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=0)


def test_edits_that_do_not_travel_say_so(far: sn.LiveModel) -> None:
    """Codes of an SAE and functions at once; positions in a trace of somebody's own when it runs."""
    sae, theirs = sn.TopK(16, 32, 2), far.nnsight
    alone = "must be one along a direction.*SAEs and functions do not travel"
    with pytest.raises(ValueError, match=alone):
        sn.ablate(far, "resid_post.1", sae, 3)
    with pytest.raises(ValueError, match=alone):
        sn.splice(far, "resid_post.1", torch.zeros_like)
    with sn.steer(far, "resid_post.1", sae, 3, 2.0, positions="last"):
        with pytest.raises(ValueError, match="must be the same at every position"):
            with theirs.trace(torch.tensor([[2, 3]]), remote=True):
                theirs.output.save()


@pytest.mark.slow
def test_a_store_of_a_remote_capture_is_resumed(folder: Path, tmp_path: Path) -> None:
    """Known by the model's name: its weights are elsewhere."""
    model = sn.load_model(folder, remote="local")
    for _ in "ab":
        sn.capture(model, TEXTS, "resid_post.1", store=tmp_path / "acts", progress=False)
    assert len(sn.load_activations(tmp_path / "acts")) > 0
