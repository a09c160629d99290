"""Names of other libraries and wrong calls are answered with what is written here."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import Any

import pytest
import sae_nb_widgets as sw
import torch

import sae_nb as sn
from sae_nb._hints import words
from sae_nb.checks import checked

ROWS = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    """One of each thing that the table speaks of, by the name it has there."""
    sae = sn.TopK(d_in=4, n_atoms=8, k=2, generator=torch.Generator().manual_seed(0))
    result = sn.train(sae, ROWS, sn.TrainConfig(steps=2), progress=False)
    report = sn.evaluate(sae, ROWS, n_bootstrap=0)
    model = sn.load_model("tiny-gpt")
    return {
        "sn": sn,
        "sw": sw,
        "sae": sae,
        "model": model,
        "answer": model("Once"),
        "acts": sn.Activations.from_tensor(ROWS),
        "codes": sae.encode(ROWS),
        "result": result,
        "report": report,
        "measurement": report.r2,
        "history": result.history,
        "images": sn.data.scenes(2, seed=0),
        "stories": sn.data.stories(2, seed=0),
        "panel": sw.SuperpositionToy(),
    }


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda m: sn.TopK(d_model=64, d_sae=512, k=4),
            "`TopK` takes no `d_model`. Here it is `d_in`. `TopK` takes no `d_sae`. Here it is `n_atoms`",
        ),
        (lambda m: sn.TopK(64, 512), "`TopK` is called as TopK(d_in, n_atoms, k, aux_k=…"),
        (lambda m: sn.TopK(64, 512, 4, revivl="auxk"), "Did you mean `revival`?"),
        (lambda m: sn.capture(m, ["a"], "embed", 3), "capture(model, inputs, hook_points, batch_size=…"),
        (lambda m: sn.steer(m, "embed", model=m), "multiple values for argument 'model'"),
        (lambda m: sn.train(None, ROWS, verbose=False), "Here it is `progress`"),
        (lambda m: sn.steer(m, "embed", feature=3, strength=4), "`steer` takes no `strength`"),
    ],
)  # fmt: skip
def test_a_call_that_does_not_fit_hears_what_would(call: Any, sentence: str) -> None:
    """Unknown, missing, doubled and too many arguments; nothing of the call has run."""
    with pytest.raises(TypeError) as caught:
        call(object())
    assert sentence in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_type_error_inside_a_call_stays_as_it_is() -> None:
    """Only calls that do not fit are answered; what goes wrong inside keeps its words and its place."""

    def inner(x: torch.Tensor) -> torch.Tensor:
        return x.relu(1, 2, 3)

    with pytest.raises(TypeError, match="relu"):
        checked(inner)(ROWS)
    with pytest.raises(TypeError, match=r"^`inner` is called as inner\(x\): .*'x'\.$"):
        checked(inner)()


def test_a_public_function_stays_one() -> None:
    """Signature, documentation, name, pickle and identity between doors."""
    capture = inspect.unwrap(sn.capture)
    assert capture is not sn.capture
    assert inspect.signature(sn.capture) == inspect.signature(capture)
    assert (sn.capture.__name__, sn.capture.__doc__) == ("capture", capture.__doc__)
    assert sn.capture is sn.capturing.capture
    assert pickle.loads(pickle.dumps(sn.capture)) is sn.capture
    assert "d_in: 'Count'" in str(inspect.signature(sn.TopK))


def test_wrong_names_are_answered_by_the_nearest() -> None:
    """Not by a list of all names."""
    with pytest.raises(AttributeError, match=r"Did you mean `capture`\?$"):
        sn.captrue
    with pytest.raises(AttributeError, match=r"`dir\(sn\)` lists what it has\.$"):
        sn.qqqqqq
    with pytest.raises(
        AttributeError, match=r"`sn.load_sae\(name\)`, `sn.TopK\(d_in, n_atoms, k\)`"
    ):
        sn.SAE
    with pytest.raises(ImportError):
        from sae_nb import qqqqqq  # noqa: F401


def test_what_a_hint_says_is_there(objects: dict[str, Any]) -> None:
    """Every plain name is an attribute of something or a keyword of a call; other ways begin with a name that
    is there, and a starred one with a name that takes each of its names.
    """
    rooms = [sn, sw, *filter(inspect.ismodule, (getattr(sn, name) for name in dir(sn)))]
    calls = [getattr(room, name) for room in rooms for name in getattr(room, "__all__", ())]
    calls += [sn.LiveModel.generate, sn.Activations.split]
    known = {key for call in calls if callable(call) for key in _parameters(call)}
    ours = [one for one in objects.values() if type(one).__module__.startswith("sae_nb")]
    known |= {name for one in ours for name in dir(one)} | {"ce_recovered"}  # with a model
    ways = {way for ways in words("names").values() for way in ways}
    assert {way for way in ways if way.isidentifier()} <= known
    sentences = 0
    for way in ways:
        if way.isidentifier():
            continue
        if way.endswith(".") or way.startswith("import "):
            sentences += 1
        else:
            head, *parts = re.match(r"[\w.]*", way)[0].rstrip(".").split(".")  # type: ignore[index]
            thing = objects[head] if head else objects["acts"]
            for part in parts:
                thing = getattr(thing, part)
    assert sentences < 15, "a way is a name or code; a sentence is the exception"


def _parameters(call: Any) -> list[str]:
    try:
        return list(inspect.signature(call).parameters)
    except (TypeError, ValueError):
        return []


@pytest.mark.parametrize(
    ("call", "wrong", "right"),
    [
        (sn.train, "lr", "learning_rate"),
        (sn.start_training, "epochs_", ""),
        (sn.capture, "layer", "hook_points"),
        (sn.stream, "hook_name", "hook_point"),
        (sn.evaluate, "activations", "acts"),
        (sn.steer, "coeff", "by"),
        (sn.ablate, "latents_", ""),
        (sn.splice, "token", "positions"),
        (sn.load_model, "model_name", "name"),
        (sn.load_model, "torch_dtype", "dtype"),
        (sn.load_sae, "release", "folder_or_name"),
        (sn.wrap, "processor", "preprocess"),
        (sn.top_atoms, "text", "input"),
        (sn.label, "activations", "acts"),
        (sn.fit_lens, "text", "inputs"),
        (sn.direction, "layer", "hook_point"),
        (sn.monitor, "layer", ""),
        (sn.concatenate, "activations_", ""),
        (sn.sweep, "dataset", "data"),
        (sn.dose_response, "texts", "inputs"),
        (sn.matching_pursuit, "top_k", "k"),
        (sn.TopK, "dict_size", "n_atoms"),
        (sn.ReLU, "l1_coeff", "sparsity"),
        (sn.BatchTopK, "activation_dim", "d_in"),
        (sn.JumpReLU, "seed", "generator"),
    ],
)
def test_a_keyword_of_another_library_is_answered(call: Any, wrong: str, right: str) -> None:
    """Of the calls that are used most; a keyword that nobody has is answered by those that there are."""
    with pytest.raises(TypeError) as caught:
        call(**{wrong: 1})
    said = f"Here it is `{right}`." if right else "It takes"
    assert f"takes no `{wrong}`. {said}" in str(caught.value)


def test_questions_that_copy_pickle_and_notebooks_ask_are_answered_no(
    objects: dict[str, Any],
) -> None:
    """Duck-typing, copying and rich display see what is there, and nothing else."""
    for name in ("sae", "acts", "codes", "result"):
        thing = objects[name]
        assert not hasattr(thing, "_ipython_display_")
        assert not hasattr(thing, "__array_interface__")
        assert getattr(thing, "W_dec", None) is None
        assert type(copy.copy(thing)) is type(thing)
    sae = pickle.loads(pickle.dumps(objects["sae"]))
    assert torch.equal(sae.dictionary, objects["sae"].dictionary)


def test_a_property_that_fails_raises_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error inside a property is not taken for an attribute that is not there."""

    def fails(_: object) -> None:
        raise AttributeError("inside")

    for kind, thing in (
        (sn.TopK, sn.TopK(4, 8, 2)),
        (sn.Activations, sn.Activations.from_tensor(ROWS)),
    ):
        monkeypatch.setattr(kind, "d_model", property(fails), raising=False)
        with pytest.raises(AttributeError, match=r"^inside$"):
            thing.d_model


@pytest.mark.parametrize("word", ["feature", "latent"])
def test_a_feature_or_a_latent_is_an_atom(word: str, objects: dict[str, Any]) -> None:
    """A call that takes `atom=` takes the other names of it too, and checks the value as that."""
    sae, model = objects["sae"], sn.load_model("tiny-gpt")
    panel = sw.AtomBrowser(sae, ROWS, **{word: 3})
    assert panel.atom == 3
    panel.close()
    ready = sn.load_sae("tiny-gpt/resid_post.3")
    with sn.steer(model, "resid_post.3", ready, by=2.0, **{word: 5}):
        steered = model("One day")
    with sn.steer(model, "resid_post.3", ready, by=2.0, atom=5):
        assert torch.equal(model("One day"), steered)
    with pytest.raises(IndexError, match="`atom` must be between 0 and 1023"):
        sn.steer(model, "resid_post.3", ready, by=2.0, **{word: 5000})
    made = sn.label(sae, ROWS, **{f"{word}s": [1, 2]})
    assert set(made) <= {1, 2}


def test_panels_are_names_of_sn_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """One import is enough, `dir` lists them, and without ipywidgets the error says what to install."""
    assert sn.AtomBrowser is sw.AtomBrowser
    assert {"AtomBrowser", "SteeringPanel", "dashboard"} <= set(dir(sn))
    assert "AtomBrowser" not in sn.__all__, "a star import stays without ipywidgets"

    def missing(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'ipywidgets'", name="ipywidgets")

    monkeypatch.setattr("sae_nb.exports.import_module", missing)
    monkeypatch.delattr(sn, "AtomBrowser")
    with pytest.raises(ModuleNotFoundError, match="Panels need `ipywidgets`.*pip install"):
        sn.AtomBrowser
