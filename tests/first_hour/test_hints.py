"""Every hint is run: what an error says to write works, and gives what the foreign name means."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import pytest
import sae_nb_widgets as sw
import torch

import sae_nb as sn
from sae_nb._lazy import edits, near, words
from sae_nb.architectures import ARCHITECTURES

SENTENCE = "."
OWNERS = {
    "SparseAutoencoder": "sae", "LiveModel": "model", "Activations": "acts", "SparseCodes": "codes",
    "TrainResult": "result", "Report": "report", "History": "result.history", "Scenes": "pictures",
    "Stories": "stories", "Panel": "panel",
}  # fmt: skip


def hints() -> Iterator[tuple[str, str, str]]:
    """Yield table, foreign name and hint of all that is code; sentences are for people."""
    for table, entries in words().items():
        if table in ("notes", "calls", "models"):
            continue
        flat = entries.items()
        if table == "keywords":
            flat = [
                (f"{call}.{word}", hint)
                for call, known in entries.items()
                if isinstance(known, dict)
                for word, hint in known.items()
            ]
        for name, said in flat:
            for hint in [said] if isinstance(said, str) else said:
                if not hint.endswith(SENTENCE):
                    yield table, name, hint


@pytest.fixture(scope="module")
def at_hand(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Objects of the kinds that hints speak of, under the names that they use."""
    vit, gpt = sn.load_model("tiny-vit"), sn.load_model("tiny-gpt")
    pictures, stories = sn.data.scenes(8, seed=0), sn.data.stories(2, seed=0)
    acts = sn.capture(vit, pictures, "resid_post.6", progress=False)
    sae = sn.load_sae("tiny-vit/resid_post.6")
    result = sn.train(sn.TopK(64, 32, 4), acts, steps=2, progress=False)
    codes = sae.encode(acts)
    return {
        "sn": sn, "sw": sw, "torch": torch, "np": __import__("numpy"), "model": gpt, "vit": vit,
        "sae": sae, "acts": acts, "others": acts, "data": acts, "x": acts.x, "codes": codes, "result": result,
        "report": sn.evaluate(sae, acts), "pictures": pictures, "stories": stories, "test": acts,
        "folder": tmp_path_factory.mktemp("hints"), "prompt": "Once",
    }  # fmt: skip


def attributes_of(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield (object, attribute path) of every dotted name in an expression that begins with a known object."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute):
            path, root = [inner.attr], inner.value
            while isinstance(root, ast.Attribute):
                path.append(root.attr)
                root = root.value
            if isinstance(root, ast.Name):
                yield root.id, ".".join(reversed(path))


@pytest.mark.parametrize(("table", "name", "hint"), hints(), ids=lambda part: str(part)[:50])
def test_what_a_hint_names_is_there(
    table: str, name: str, hint: str, at_hand: dict[str, Any]
) -> None:
    """It is Python, and every attribute in it exists on the object it is said of."""
    if hint.isidentifier() or hint.startswith("import ") or "=" in hint.partition("(")[0]:
        return  # a keyword of ours, which `test_keywords_are_taken` looks at; or an import
    for owner, path in attributes_of(ast.parse(hint, mode="eval")):
        if owner not in at_hand:
            assert owner in ("panel", "lens", "np", "text", "torch"), f"{hint} speaks of {owner!r}"
            continue
        value = at_hand[owner]
        for part in path.split("."):
            found = getattr(value, part, None)
            assert found is not None or hasattr(type(value), part), f"{hint}: {owner} has no {part}"
            if found is None:
                break
            value = found


MEANS = {
    "sae.n_atoms": 512, "sae.d_in": 64, "sae.hook_point": "resid_post.6", "sae.model_name": "tiny-vit",
    "model.n_layers": 4, "model.width()": 128, "model.vocabulary_size": 1024, "len(acts)": 8 * 69, "acts.d_in": 64,
    "codes.n_atoms": 512,
}  # fmt: skip


@pytest.mark.parametrize(("hint", "value"), MEANS.items())
def test_a_hint_gives_the_number_it_promises(
    hint: str, value: Any, at_hand: dict[str, Any]
) -> None:
    """Sizes and names, by evaluating the hint; each is said of some foreign name."""
    assert eval(hint, at_hand) == value
    assert hint in {one for _, _, one in hints()}


NOT_SAELENS = ("OrthogonalMatchingPursuit", "PolySAE", "SpaDE", "TopAFA")
"""Their codes are not those of any of SAELens' architectures."""


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_saelens_formula_gives_our_codes(name: str) -> None:
    """(x − b_dec) W_enc + b_enc is the code wherever an atom fires, z W_dec + b_dec the reconstruction: for the
    tensors that hints of W_enc and b_enc name. Where SAELens has no such architecture, that is said.
    """
    kind = ARCHITECTURES[name]
    settings = (
        {"k": 3}
        if name not in ("ReLU", "JumpReLU", "Gated", "SpaDE", "GroupBiasAdaptation", "TopAFA")
        else {}
    )
    x = 3 * torch.randn(300, 12, generator=torch.Generator().manual_seed(0)) + 1
    try:
        sae = kind(12, 24, **settings)
    except TypeError:
        return  # of several sites: `write_saelens` and its tests have those
    if (
        sae.writes is not None
        or getattr(sae, "reads_sequences", False)
        or getattr(sae, "reads_gradient", False)
    ):
        return
    sn.train(sae, x, steps=10, batch_size=128, progress=False)
    if name in NOT_SAELENS:
        with pytest.raises(TypeError, match="SAELens can compute"):
            sae.to_saelens()
        return
    tensors = sae.to_saelens()
    codes = sae.encode(x)
    z = codes.to_dense().detach()
    assert torch.allclose(
        z @ tensors["W_dec"] + tensors["b_dec"], sae.decode(codes).detach(), atol=1e-4
    )
    if "W_enc" in tensors and "b_enc" in tensors:
        before = (x - tensors["b_dec"]) @ tensors["W_enc"] + tensors["b_enc"]
        assert torch.allclose(before[z != 0], z[z != 0], atol=1e-4)


def test_a_near_name_is_always_found() -> None:
    """One edit away from a short name, two from a long one: also letters swapped, and however short."""
    assert near("r3", ["r2", "l0", "mse"]) == ["r2"]
    assert near("evalaute", ["evaluate", "ablate"])[0] == "evaluate"
    assert near("help", ["ReLU", "TopK"]) == []
    known = ["dead_fraction", "ce_recovered", "accuracy_recovered", "l0_mean", "hook_point"]
    for name in known:
        for i in range(len(name) - 1):
            swapped = name[:i] + name[i + 1] + name[i] + name[i + 2 :]
            assert near(swapped, known)[0] == name
            assert near(name[:i] + name[i + 1 :], known)[0] == name
    assert edits("kitten", "sitting", most=2) is None
