"""Names of other libraries and wrong calls are answered with what is written here."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
import sae_nb_widgets as sw
import torch

import sae_nb as sn
from sae_nb._lazy import answers_wrong_calls

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
        "float": float,
        "copy": copy,
        "history": result.history,
        "images": sn.data.scenes(2, seed=0),
        "stories": sn.data.stories(2, seed=0),
        "panel": sw.SuperpositionToy(),
        "torch": torch,
        "len": len,
    }


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda m: sn.TopK(d_model=64, d_sae=512, k=4),
            "`TopK` takes no `d_model`. Here it is `d_in`. `TopK` takes no `d_sae`. Here it is `n_atoms`",
        ),
        (lambda m: sn.TopK(64, 512), "`TopK` needs `k`. Most atoms per input, 1 ≤ k ≤ n_atoms."),
        (lambda m: sn.TopK(64, 512, 4, revivl="auxk"), "Did you mean `revival`?"),
        (lambda m: sn.capture(m, ["a"], "embed", 3), "Give the others by name: batch_size=…"),
        (lambda m: sn.steer(m, "embed", model=m), "`steer` got `model` twice"),
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
        answers_wrong_calls(inner)(ROWS)
    with pytest.raises(TypeError, match="`inner` needs `x`"):
        answers_wrong_calls(inner)()


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

    monkeypatch.setattr("sae_nb._lazy.import_module", missing)
    monkeypatch.delattr(sn, "AtomBrowser")
    with pytest.raises(ModuleNotFoundError, match="Panels need `ipywidgets`.*pip install"):
        sn.AtomBrowser
