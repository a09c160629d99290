"""A live model as people of torch, Hugging Face and TransformerLens use one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import sae_nb as sn


@pytest.fixture(scope="module")
def gpt() -> sn.LiveModel:
    return sn.load_model("tiny-gpt", device="cpu")


@pytest.fixture
def plain() -> sn.LiveModel:
    return sn.wrap(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()))


@pytest.mark.slow
def test_a_model_says_how_deep_and_wide_it_is(gpt, plain) -> None:
    """By its own configuration, or by a record of what is known."""
    assert gpt.config is gpt.module.config
    assert (gpt.n_layers, gpt.width()) == (4, gpt.config.hidden_size)
    assert (plain.n_layers, plain.width()) == (None, None)
    assert (plain.config.name, plain.config.n_parameters) == ("Sequential", 15)


def test_tokens_are_a_table_that_says_what_capture_drops(gpt) -> None:
    """As many are not dropped as are captured, at the same positions."""
    texts = ["Once upon a time", "More"]
    tokens = gpt.tokens(texts)
    acts = sn.capture(gpt, texts, "embed", progress=False)
    kept = tokens[~tokens["dropped"]]
    assert kept["sample"].tolist() == acts.sample.tolist()
    assert kept["position"].tolist() == acts.position.tolist()
    assert kept["token"].tolist() == list(acts.tokens)
    assert "".join(tokens["token"]) == "<|endoftext|>Once upon a time<|endoftext|>More"
    alone = gpt.tokens(texts[0])
    assert list(alone.columns) == ["position", "id", "token", "special", "dropped"]
    ids = gpt.tokenizer(texts[0])["input_ids"]
    assert alone["id"].tolist() == ids == gpt.tokens(ids)["id"].tolist()


def test_tokens_need_a_model_that_reads_text(plain) -> None:
    """And say what was given in its place."""
    with pytest.raises(TypeError, match="`tokens` needs a language model, got Sequential"):
        plain.tokens("a text")


def test_hook_points_are_a_list_that_prints_short_and_shows_a_tree(gpt) -> None:
    """Every name is in the tree, one branch per block; what is printed fits a few lines."""
    points = gpt.hook_points()
    assert points == list(points)
    assert points[0] == "embed"
    assert len(repr(points)) < 250
    assert repr(points).startswith(f"{len(points)} hook points: embed, resid_pre.0 … resid_pre.3")
    tree = points._repr_html_()
    assert all(f"<code>{point}</code>" in tree for point in points)
    assert tree.count("<details>") == gpt.n_layers


def test_few_hook_points_print_as_the_list_they_are(plain) -> None:
    """And names are inert in HTML."""
    assert repr(plain.hook_points()) == "['0', '1']"
    hostile = sn.HookPoint("<script>", path="<b>")
    assert "<script>" not in type(plain.hook_points())([hostile])._repr_html_()


def test_many_modules_print_short_too() -> None:
    """A network without blocks has a path per module."""
    points = sn.wrap(torch.nn.Sequential(*(torch.nn.Identity() for _ in range(60)))).hook_points()
    assert len(repr(points)) < 120


def test_what_a_torch_user_does_with_a_module_works(plain) -> None:
    """Moved and converted in place, by a call that can be chained; its weights are the module's."""
    assert plain.to("cpu").to(torch.float64).eval() is plain
    assert (plain.dtype, plain.device.type) == (torch.float64, "cpu")
    assert not plain.module.training
    assert list(plain.parameters()) == list(plain.module.parameters())
    assert plain(torch.zeros(2, 4, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", 0, torch.device("cuda")])
def test_a_model_goes_to_no_device_that_is_not_there(plain, device) -> None:
    """And stays as it is."""
    with pytest.raises(ValueError, match="no NVIDIA GPU is visible"):
        plain.to(device)
    assert plain.device.type == "cpu"


def test_a_model_given_as_a_name_or_a_name_as_a_model_is_answered(gpt) -> None:
    """load_model is for names, wrap for modules; and a tokenizer is no name."""
    for given, words in ((gpt.module, r"Use sn\.wrap"), (gpt, "Use it as it is")):
        with pytest.raises(TypeError, match=words):
            sn.load_model(given)
    with pytest.raises(TypeError, match="Use load_model for names"):
        sn.wrap("gpt2")
    with pytest.raises(TypeError, match=r"The order is wrap\(module, tokenizer\)"):
        sn.wrap(gpt.tokenizer, gpt.module)
    pipeline = SimpleNamespace(model=gpt.module, tokenizer=gpt.tokenizer)
    with pytest.raises(TypeError, match=r"Pass what it holds: wrap\(it\.model, it\.tokenizer\)"):
        sn.wrap(pipeline)
    with pytest.raises(TypeError, match=r"AutoTokenizer\.from_pretrained"):
        sn.wrap(gpt.module, "gpt2")
    with pytest.raises(TypeError, match=r"Pass wrap\(module, tokenizer=…\)"):
        sn.wrap(gpt.module)("a text")


def test_a_near_miss_of_a_bundled_name_asks_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare name that is not near one is a hub id like any other."""
    from sae_nb.models import _checkpoint_files

    asked = []

    def snapshot(name: str, *args: object, **options: object) -> OSError:
        asked.append(name)
        return OSError("no such repository")

    monkeypatch.setattr(_checkpoint_files, "snapshot", snapshot)
    monkeypatch.setattr(_checkpoint_files, "is_offline", lambda: False)
    for name in ("tiny-vitt", "tinygpt", "tiny_vit_tied"):
        with pytest.raises(FileNotFoundError, match="Did you mean 'tiny-"):
            sn.load_model(name)
    assert asked == []
    with pytest.raises(
        FileNotFoundError, match=r"got 'gpt2': no such repository\..* The cache holds"
    ):
        sn.load_model("gpt2")
    assert set(asked) == {"gpt2"}
