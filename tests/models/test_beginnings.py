"""A text begins once: with the tokenizer's BOS, or with the one that the text has itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

import sae_nb as sn
from sae_nb.models import wrap
from tests.small_llava import small_llava

SELF = "ignore:A text:UserWarning"
BOS = "<bos> "
POINT = "resid_post.1"


@pytest.fixture(scope="module")
def model(build: Any, tokenizer: Any) -> Any:
    """A Llama whose tokenizer puts BOS in front."""
    return wrap(build("llama"), tokenizer=tokenizer("bos"))


def ids_of(model: Any, text: Any, **how: Any) -> list[list[int]]:
    """Token ids as the model reads them, row by row, padding left out."""
    return [
        row[kept].tolist()
        for batch in model.batches(text, **how)
        for row, kept in zip(batch.token_ids, batch.keep)
    ]


@pytest.mark.filterwarnings(SELF)
@pytest.mark.parametrize("style", ["plain", "bos"])
@pytest.mark.parametrize("add_bos", ["auto", True, False])
@pytest.mark.parametrize("text", ["<bos> the cat", "<bos>", "<bos> <bos> the cat"])
def test_a_text_with_a_beginning_gets_no_second_one(
    build: Any, tokenizer: Any, style: str, add_bos: Any, text: str
) -> None:
    """Logits, heads, rows and new tokens are those of plain transformers on the text as it is written."""
    module, read = build("llama"), tokenizer(style)
    model = wrap(module, tokenizer=read)
    once = text.replace("<bos> <bos>", "<bos>")
    ids = torch.tensor([read(once, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        plain = module(ids, output_hidden_states=True)
    torch.testing.assert_close(model(text, add_bos=add_bos)[0], plain.logits[0])
    torch.testing.assert_close(
        model.heads(text, add_bos=add_bos)["logits"], plain.logits, check_stride=False
    )
    acts = sn.capture(
        model, text, POINT, add_bos=add_bos, drop_first=False, drop_massive=False, progress=False
    )
    torch.testing.assert_close(acts.x, plain.hidden_states[2][0])
    new = model.generate(text, 3, add_bos=add_bos, return_ids=True)
    expected = ids
    for _ in range(len(new) - ids.shape[1]):
        with torch.no_grad():
            following = module(expected).logits[:, -1:].argmax(dim=-1)
        expected = torch.cat((expected, following), dim=1)
    assert new.tolist() == expected[0].tolist()


@pytest.mark.filterwarnings(SELF)
@pytest.mark.parametrize("how", [{}, {"pack": True, "context_length": 4}])
def test_texts_with_and_without_one_stand_in_one_batch(model: Any, how: Any) -> None:
    """Padded or packed, the ids of texts without."""
    texts = ["the cat sat on a mat", "the dog", "a cat"]
    mixed = [texts[0], BOS + texts[1], BOS + texts[2]]
    assert ids_of(model, mixed, **how) == ids_of(model, texts, **how)
    new, expected = (model.generate(some, 3, return_ids=True) for some in (mixed, texts))
    assert [one.tolist() for one in new] == [one.tolist() for one in expected]


def test_ids_are_left_as_they_are(model: Any) -> None:
    """A list, a tensor and a tokenizer's output with two BOS keep both; generation too."""
    twice = [1, 1, 6, 7]
    for given in (
        [twice],
        torch.tensor([twice]),
        {"input_ids": [twice], "attention_mask": [[1] * 4]},
    ):
        assert ids_of(model, given) == [twice]
    assert model.generate(torch.tensor(twice), 1, return_ids=True)[:4].tolist() == twice


@pytest.mark.filterwarnings(SELF)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the cat", [1, 4, 6, 7, 2]),
        ("<bos> the cat", [1, 6, 7, 2]),
        ("<bos> [CLS] the cat <eos>", [1, 4, 6, 7, 2]),
    ],
)
def test_a_text_with_a_beginning_keeps_all_of_it(
    build: Any, tokenizer: Any, text: str, expected: list[int]
) -> None:
    """Of a tokenizer that puts several tokens in front, none goes before a text's own BOS."""
    from tokenizers import processors

    read = tokenizer("bos")
    read.add_special_tokens({"cls_token": "[CLS]"})
    read.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> [CLS] $A <eos>",
        special_tokens=[("<bos>", 1), ("[CLS]", 4), ("<eos>", 2)],
    )
    assert ids_of(wrap(build("llama"), tokenizer=read), text) == [expected]


@pytest.mark.filterwarnings(SELF)
@pytest.mark.parametrize(
    "target", ["the cat", "<bos> the cat", "<bos> the cat <eos>", "<pad> <bos> the cat"]
)
def test_what_a_decoder_reads_begins_once(tokenizer: Any, target: str) -> None:
    """With its start token, and with the tokenizer's BOS behind it, however much of both is written out."""
    import transformers
    from tokenizers import processors

    read = tokenizer("bos")
    read.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    heads = {f"{half}_attention_heads": 2 for half in ("encoder", "decoder")}
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 16, **heads}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "decoder_start_token_id": 0}
    module = transformers.BartForConditionalGeneration(
        transformers.BartConfig(**sizes, **ids, max_position_embeddings=16)
    )
    (batch,) = wrap(module, tokenizer=read).batches([("a dog", target)])
    assert batch.token_ids.tolist() == [[0, 1, 6, 7]]


@pytest.mark.filterwarnings(SELF)
def test_a_text_with_an_image_begins_once() -> None:
    """A processor's tokenizer puts BOS in front as well."""
    from tokenizers import processors

    llava = small_llava()
    backend = llava.tokenizer.backend_tokenizer
    before, picture = backend.post_processor, Image.new("RGB", (32, 32), (200, 10, 10))
    try:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
        begun = ids_of(llava, [("<s> what is <image>", picture)])
        assert begun == ids_of(llava, [("what is <image>", picture)])
        assert begun[0].count(1) == 1
    finally:
        backend.post_processor = before


@pytest.mark.filterwarnings(SELF)
def test_panels_and_measures_read_texts_the_same_way() -> None:
    """The unread part of a Temporal panel's text, and what neutral texts cost a direction."""
    from sae_nb.models._text_inputs import text_ids

    gpt = sn.load_model("tiny-gpt")
    one, two = text_ids(gpt, ["A fox ran.", "<|endoftext|>A fox ran."])
    assert one.tolist() == two.tolist() == gpt.tokenizer("A fox ran.")["input_ids"]
