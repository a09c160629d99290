"""A site in Chromium: from a server and from a disk, searched, linked, on a phone, printed, with hostile words."""

from __future__ import annotations

import functools
import http.server
import json
import sys
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sae_nb as sn
from sae_nb.site import write_site
from tests.browser.site_page import WIDER, live, same, search, shown
from tests.browser.watched import watched
from tests.site.test_classes import planted

pytestmark = [pytest.mark.slow, pytest.mark.browser]
HOSTILE = '"><img src=x onerror=window.hurt=1><script>window.hurt=1</script><b>words'
LONG = "long" * 2500
RIGHT_TO_LEFT = "\u202eحيوان צבע evil"
POLICY = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; media-src 'self'; connect-src 'self'"


class Handler(http.server.SimpleHTTPRequestHandler):
    """A plain server with the strict policy that a careful school has."""

    policy = POLICY

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", self.policy)
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of a bundled SAE, and one of texts in which an atom has a hostile label."""
    folder = tmp_path_factory.mktemp("sites")
    vit = sn.load_model("tiny-vit")
    write_site(folder / "vision", sn.load_sae("tiny-vit/resid_post.6"), model=vit, live=True)
    model, signs, rows = planted()
    write_site(folder / "classes", signs, rows, model=model, classes=True, live=False)
    acts = sn.load_examples("tiny-gpt/resid_post.3").acts
    sae = sn.TopK(acts.d_in, 64, k=4, generator=torch.Generator().manual_seed(0))
    sae.initialise(acts.x)
    sae.save(folder / "sae")
    write_site(
        folder / "language",
        sae,
        acts,
        model=sn.load_model("tiny-gpt"),
        labels={3: HOSTILE, 5: "Straße", 6: "İZMİR", 7: LONG, 8: RIGHT_TO_LEFT},
        title=HOSTILE,
        live=True,
    )
    return folder


@pytest.fixture(scope="module")
def address(sites: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(sites))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Any]:
    """A page that may ask its own address alone, and must stay free of complaints."""
    opened = chromium.new_page(viewport={"width": 1280, "height": 900})
    with watched(opened, (address, "file:", "data:")) as made:
        yield made


# Millions of numbers go there and back, as strings: one by one they take a minute.
RUN = """async ([kind, givens, edits]) => {
  const found = [];
  for (const given of JSON.parse(givens)) {
    const { logits, codes } = await saeNb.live.run(saeNb.live[kind](given), saeNb.live.strengthsOf(edits));
    found.push([Array.from(logits), Array.from(codes)]);
  }
  return JSON.stringify(found);
}"""
TOKENIZE = """async (texts) => {
  const { tokenizerOf } = await import("./live/live.mjs");
  const { encode, decode } = tokenizerOf((await saeNb.load("start")).live.tokenizer);
  return texts.map((text) => [encode(text), decode(encode(text))]);
}"""


def answers(page: Any, kind: str, givens: list[Any], edits: dict[str, float]) -> list[Any]:
    """Logits and codes of each given input, with atoms added."""
    return list(json.loads(page.evaluate(RUN, [kind, json.dumps(givens), edits])))


@pytest.mark.parametrize("width", [1400, 800, 420])
def test_classes_are_read_and_lead_to_their_atoms_and_back(
    page: Any, address: str, width: int
) -> None:
    """The list of classes, a class by its link, its first atom, and from there the class again; no page is
    wider than its window.
    """
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{address}/classes/index.html")
    page.wait_for_selector("html[data-shown='class-0']")
    assert page.inner_text("#name") == "Class sign 0"
    assert "By chance an atom reaches" in page.inner_text("#card")
    assert page.locator("#list button[data-class]").count() == 6
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("html[data-shown='class-1']")
    search(page, "sign 4")
    page.locator("#list button[data-class='4']").click()
    page.wait_for_selector("html[data-shown='class-4']")
    assert page.evaluate(WIDER) <= 0
    page.locator(".concept .chips button").first.click()
    assert "Classes that rest on it" in shown(page, 4)
    page.locator("#card .chips button", has_text="sign 4").click()
    page.wait_for_selector("html[data-shown='class-4']")
    page.click("#kinds button[data-kind=atoms]")
    assert page.locator("#list button[data-atom]").count() == 6
    page.goto(f"{address}/classes/index.html#class=9")
    page.wait_for_selector(".problem")
    assert "6 classes" in page.inner_text(".problem")


def test_images_are_answered_as_by_python(page: Any, address: str) -> None:
    """Logits with an atom added, and the codes of every token, of 100 images."""
    model, sae = sn.load_model("tiny-vit"), sn.load_sae("tiny-vit/resid_post.6")
    images = torch.randint(0, 256, (100, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    pixels = images.to(torch.uint8)
    live(page, address, "vision", 17)
    found = answers(page, "image", images.flatten(1).tolist(), {"17": 20.0})
    with sn.steer(model, "resid_post.6", sae=sae, atom=17, by=20.0):
        logits = model(pixels).detach()
    x = sn.capture(model, pixels, "resid_post.6", drop_first=False, progress=False).x
    with torch.no_grad():
        codes = sae.encode(x).to_dense().reshape(100, -1)
    for i, (answer, fired) in enumerate(found):
        same(answer, logits[i])
        same(fired, codes[i])


def test_texts_are_answered_as_by_python(page: Any, address: str, sites: Path) -> None:
    """Next-token logits with an atom added, and the codes of every token, of 100 texts of many lengths."""
    model, sae = sn.load_model("tiny-gpt"), sn.load_sae(sites / "sae")
    random = torch.Generator().manual_seed(0)
    texts = [
        torch.randint(1, 1024, (1, int(n)), generator=random)
        for n in torch.randint(2, 60, (100,), generator=random)
    ]
    live(page, address, "language", 3)
    found = answers(page, "text", [ids[0].tolist() for ids in texts], {"5": -4.0})
    point = model.hook_point("resid_post.3")
    atom = torch.nn.functional.normalize(sae.dictionary.detach(), dim=1)[5]
    seen: list[torch.Tensor] = []

    def edit(_: Any, __: Any, output: Any) -> Any:
        x = output if isinstance(output, torch.Tensor) else output[0]
        seen.append(x)
        return x - 4.0 * atom if isinstance(output, torch.Tensor) else (x - 4.0 * atom, *output[1:])

    handle = model.get_module(point.path).register_forward_hook(edit)
    for ids, (answer, fired) in zip(texts, found, strict=True):
        with torch.no_grad():
            same(answer, model.module(input_ids=ids).logits[0, -1])
            same(fired, sae.encode(seen.pop()[0]).to_dense().flatten())
    handle.remove()


def test_texts_become_the_tokens_that_python_makes(page: Any, address: str) -> None:
    """The page's tokenizer and the model's, on 200 strings of many scripts, spaces and special words, some of
    which begin with the begin-of-text token themselves.
    """
    pieces = [
        "One day", " Anna's", " and", "  ", "\n", "\t", " don't", "12", " 3.5", "é", "ß", "猫", " 🦆", "👩‍👩‍👧",
        "<|endoftext|>", "<|end", "العربية", " ", "…", "—x", "_", "'ll", " 'tis", "ﬁ", "\u00a0", "A\u0301", "\r\n",
        "\x00", "\u2028", "\ufeff", "\x85", "\u202e", "__proto__", "constructor",
    ]  # fmt: skip
    random = torch.Generator().manual_seed(0)
    texts = ["", "constructor", "__proto__", "toString"] + [
        "".join(pieces[int(i)] for i in torch.randint(0, len(pieces), (int(n),), generator=random))
        for n in torch.randint(1, 12, (200,), generator=random)
    ]
    live(page, address, "language", 3)
    model = sn.load_model("tiny-gpt")
    # a text that begins with it gets no second one
    second = [text.startswith("<|endoftext|>") for text in texts]
    expected = [
        model.tokenizer(text)["input_ids"][more:] for text, more in zip(texts, second, strict=True)
    ]
    for text, right, (ids, back) in zip(
        texts, expected, page.evaluate(TOKENIZE, texts), strict=True
    ):
        assert ids == right, repr(text)
        assert back == model.tokenizer.decode(ids), repr(text)


def test_drawing_typing_and_the_slider_change_the_answer(page: Any, address: str) -> None:
    """A stroke, a word and the slider each bring another answer; an example goes to the model by a key."""

    def answers(act: Any) -> str:
        before = page.inner_text("#live .columns")
        act()
        for _ in range(100):
            if page.inner_text("#live .columns") != before:
                break
            page.wait_for_timeout(100)
        return str(page.inner_text("#live .columns"))

    live(page, address, "language", 3)
    first = page.inner_text("#live .columns")
    typed = answers(lambda: page.fill("#live textarea", "Tom was"))
    steered = answers(lambda: page.locator("#live input[type=range]").fill("100"))
    assert len({first, typed, steered}) == 3
    live(page, address, "vision", 132)
    clear = page.inner_text("#live .columns")
    page.locator("#live canvas").scroll_into_view_if_needed()
    box = page.locator("#live canvas").bounding_box()

    def draw() -> None:
        page.mouse.move(box["x"] + 60, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + 160, box["y"] + 60, steps=4)
        page.mouse.move(box["x"] + 90, box["y"] + 180, steps=4)
        page.mouse.up()

    drawn = answers(draw)
    example = page.locator("#card figure button").first
    example.focus()
    shown = answers(lambda: page.keyboard.press("Enter"))
    assert len({clear, drawn, shown}) == 3


def test_a_link_opens_its_atom_with_pythons_numbers(page: Any, address: str) -> None:
    """The numbers on the card are the catalogue's; reloading a link shows the same card."""
    catalogue = sn.load_examples("tiny-vit/resid_post.6").catalogue(
        sn.load_sae("tiny-vit/resid_post.6")
    )
    for atom in (17, 132):
        page.goto(f"{address}/vision/index.html#atom={atom}")
        page.reload()
        card = shown(page, atom)
        near, _ = catalogue.nearest(atom, 3)
        assert f"mean strength {catalogue.mean_strength[atom]:.3g}" in card
        assert f"largest {catalogue.max_strength[atom]:.3g}" in card
        assert all(f"{other}" in card for other in near)
        given = page.evaluate(f"saeNb.load('atoms/{atom}').then((card) => card.mean)")
        assert given == pytest.approx(catalogue.mean_strength[atom], abs=1e-5)
        assert page.locator("#card figure img").count() >= 10


def test_keys_search_and_map_lead_to_atoms(page: Any, address: str) -> None:
    """Arrow keys go on, `/` searches numbers, labels and tokens, a click on the map opens its dot."""
    page.goto(f"{address}/language/index.html#atom=3")
    shown(page, 3)
    page.keyboard.press("ArrowRight")
    shown(page, 4)
    page.keyboard.press("/")
    for query in ("17", "he"):
        assert query in search(page, query).casefold()
    page.locator("#list button").first.click()
    first = page.url.rpartition("=")[2]
    shown(page, int(first))
    page.go_back()
    shown(page, 4)
    page.wait_for_selector("html[data-map='drawn']")
    box = page.locator("#map").bounding_box()
    for across in (0.3, 0.5, 0.7):
        page.mouse.click(box["x"] + across * box["width"], box["y"] + 0.5 * box["height"])
    page.wait_for_selector("html:not([data-shown='4'])")
    shown(page, int(page.url.rpartition("=")[2]))


def folded(text: str) -> str:
    """Without case, width and ways of writing an accent; a dotless or a doubly dotted i is an i."""
    text = unicodedata.normalize("NFKC", text)
    for change in (str.lower, str.upper, str.lower):
        text = "".join(map(change, text))
    return unicodedata.normalize("NFKC", text).replace("i\u0307", "i")


def test_the_page_folds_words_as_python_does(page: Any, address: str) -> None:
    """Every character that folds, and 2000 strings of them: a query meets the words that Python wrote."""
    known = [chr(i) for i in range(sys.maxunicode + 1) if not 0xD800 <= i <= 0xDFFF]
    known = [one for one in known if unicodedata.category(one) != "Cn"]
    turned = [one for one in known if folded(one) != one]
    marks = [
        "\u0301",
        "\u0307",
        "\u0345",
        "i",
        "ı",
        "Σ",
        "σ ",
        "ß",
        "ﬁ",
        "\u200d",
        "한",
        "é",
        "E\u0301",
    ]
    random = np.random.default_rng(0)
    words = ["".join(random.choice([*turned, *marks * 60], 4)) for _ in range(2000)]
    page.goto(f"{address}/language/index.html#atom=3")
    found = page.evaluate("words => words.map(saeNb.fold)", [*turned, *words])
    assert len(turned) > 5000
    assert found == [folded(word) for word in [*turned, *words]]
