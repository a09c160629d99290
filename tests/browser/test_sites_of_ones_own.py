"""Sites of the user's own models, given out by `python -m http.server`, in a Chromium without WebGL that may ask nobody else."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import sae_nb as sn
from sae_nb.atoms import AtomNames, Labels
from sae_nb.models import Preprocess
from sae_nb.site import write_site
from tests.browser.site_page import find, live, same, shown
from tests.browser.watched import watched

pytestmark = [pytest.mark.slow, pytest.mark.browser]

WORDS = [
    '"><img src=x onerror=window.hurt=1>',
    "</script><script>window.hurt=1</script>",
    "javascript:window.hurt=1",
    "\u202eright to left\u2066",
    "a nul\x00 inside",
    "line\u2028paragraph\u2029end",
    "__proto__",
    "constructor",
    "${window.hurt=1}`'\\",
    "&lt;b&gt;",
    "long " * 2000,
]
"""What must be shown as it is, wherever it stands."""


N_ATOMS = 15
"""So few that the map is PCA's: quick."""


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.first(x)
        x = x + self.attention(seen, seen, seen, need_weights=False)[0]
        return x + self.mlp(self.second(x))


class OwnViT(nn.Module):
    """A small vision transformer as somebody writes one: 16 × 16 pixels in 16 patches, a cls token, three classes."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 17, width))
        self.blocks = nn.ModuleList([Block(width), Block(width)])
        self.head = nn.Linear(width, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sites")


@pytest.fixture(scope="module")
def own(folder: Path) -> tuple[Any, Any, Any]:
    """A wrapped ViT, an SAE that was trained on it for a few steps, and its site, in which names are hostile."""
    torch.manual_seed(0)
    model = sn.wrap(
        OwnViT(),
        preprocess=Preprocess(required=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
        prefix_tokens=1,
        patch_grid=(4, 4),
        class_names=WORDS[:3],
        name=WORDS[0],
    )
    images = torch.randint(0, 256, (60, 3, 16, 16), dtype=torch.uint8)
    acts = sn.capture(model, images, "blocks.0", drop_first=False, progress=False)
    sae = sn.TopK(acts.d_in, N_ATOMS, k=4, generator=torch.Generator().manual_seed(0))
    sn.train(sae, acts, steps=20, batch_size=64, progress=False)
    labels = Labels()
    labels.write_all({i: (words, words) for i, words in enumerate(WORDS)})
    site = write_site(
        folder / "own", sae, acts, model=model, labels=labels, title=WORDS[1], live=True
    )
    return model, sae, site


@pytest.fixture(scope="module")
def pursuit(folder: Path, own: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """The site of a pursuit of four steps on the same model."""
    model = own[0]
    images = torch.randint(0, 256, (60, 3, 16, 16), dtype=torch.uint8)
    acts = sn.capture(model, images, "blocks.0", drop_first=False, progress=False)
    sae = sn.MatchingPursuit(acts.d_in, N_ATOMS, k=4, generator=torch.Generator().manual_seed(0))
    sn.train(sae, acts, steps=20, batch_size=64, progress=False)
    return model, sae, write_site(folder / "pursuit", sae, acts, model=model, live=True)


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The folder, given out as the documentation says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    server = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(600):
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                break
        try:
            server.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
        raise RuntimeError("http.server ended")
    yield f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()


@pytest.fixture(scope="module")
def browser(lab_module: ModuleType) -> Iterator[Any]:
    """A Chromium in which nothing draws in three dimensions."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=lab_module.chromium(),
            args=[*lab_module.CHROMIUM_FLAGS, "--disable-3d-apis"],
        )
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page that gets nothing from elsewhere, asks nothing of anybody else, and is not hurt."""
    own = (f"{address}/", "file://", "data:")

    def answer(route: Any) -> None:
        route.continue_() if route.request.url.startswith(own) else route.abort()

    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.route("**/*", answer)
    with watched(opened, own) as made:
        yield made


def text(page: Any, where: str) -> str:
    return str(page.locator(where).text_content())


RUN = """async ([pixels, edits]) => {
  const { logits, codes } = await saeNb.live.run(saeNb.live.image(pixels), saeNb.live.strengthsOf(edits));
  return [Array.from(logits), Array.from(codes)];
}"""


@pytest.mark.usefixtures("own")
def test_a_model_of_ones_own_is_searched_and_linked_without_webgl(page: Any, address: str) -> None:
    """Card, search by number, a permalink that is loaded again and the drawn map, in a browser without WebGL."""
    page.goto(f"{address}/own/index.html#atom=12")
    assert page.evaluate("document.createElement('canvas').getContext('webgl')") is None
    card = shown(page, 12)
    assert "Atom 12" in card
    page.wait_for_selector("html[data-map='drawn']")
    find(page, 14)
    page.reload()
    assert "Atom 14" in shown(page, 14)
    assert page.url.endswith("#atom=14")


@pytest.mark.parametrize("name", ["own", "pursuit"])
def test_a_model_of_ones_own_answers_as_in_python(
    name: str, page: Any, address: str, request: pytest.FixtureRequest
) -> None:
    """Logits with an atom added and codes of every token, to 1e-5 of the largest, of one step and of a pursuit; the
    slider changes what is shown."""
    model, sae, _ = request.getfixturevalue(name)
    images = torch.randint(0, 256, (5, 3, 16, 16), generator=torch.Generator().manual_seed(1))
    images = images.to(torch.uint8)
    live(page, address, name, 12)
    with sn.steer(model, "blocks.0", sae=sae, atom=12, by=5.0):
        logits = model(images).detach()
    x = sn.capture(model, images, "blocks.0", drop_first=False, progress=False).x
    with torch.no_grad():
        codes = sae.encode(x).to_dense().reshape(5, -1)
    for i, image in enumerate(images):
        answer, fired = page.evaluate(RUN, [image.flatten().tolist(), {"12": 5.0}])
        same(answer, logits[i])
        same(fired, codes[i])
    before = text(page, "#live .columns")
    page.locator("#live input[type=range]").fill("100")
    page.wait_for_selector("#live[data-answered='2']")
    assert text(page, "#live .columns") != before


@pytest.mark.usefixtures("own")
def test_hostile_names_are_words_everywhere(page: Any, address: str) -> None:
    """Labels and notes to the letter: on cards, in the search, on the map; classes in the live part; the title."""
    names = AtomNames(labels=Labels(dict(enumerate(WORDS))))
    live(page, address, "own", 0)
    assert text(page, "#title") == WORDS[1]
    assert WORDS[0] in text(page, "#facts")
    assert all(words in text(page, "#live .columns") for words in WORDS[:3])
    places = page.evaluate("saeNb.load('map')")
    box = page.locator("#map").bounding_box()
    scale = min(box["width"], box["height"]) / 4500
    for atom, words in enumerate(WORDS):
        page.goto(f"{address}/own/index.html#atom={atom}")
        card = shown(page, atom)
        assert f"Atom {names.name(atom)}" in card
        assert words in card  # the note, whole
        page.fill("#query", names.words(atom))
        page.wait_for_selector(f"#list li:only-child button[data-atom='{atom}']")
        assert names.name(atom) in text(page, "#list")
    page.locator("#map").scroll_into_view_if_needed()
    titles = set()
    for x, y in zip(places["x"], places["y"], strict=True):
        box = page.locator("#map").bounding_box()
        across, down = (x - 2048) * scale, (2048 - y) * scale
        page.mouse.move(box["x"] + box["width"] / 2 + across, box["y"] + box["height"] / 2 + down)
        titles.add(page.locator("#map").get_attribute("title"))
    assert titles & {names.name(atom) for atom in range(len(WORDS))}


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("missing", "where", "words"),
    [
        (
            "delete window.WebAssembly",
            "#live",
            "needs WebAssembly, which this browser does not have",
        ),
        ("HTMLCanvasElement.prototype.getContext = () => null", "#where", "cannot be drawn here"),
    ],
    ids=["WASM", "canvas"],
)
def test_what_a_browser_lacks_is_said_and_the_rest_stays(
    missing: str, where: str, words: str, page: Any, address: str
) -> None:
    """Without WebAssembly, or a canvas, there are cards and search, and one sentence in the place of what is not."""
    page.add_init_script(missing)
    page.goto(f"{address}/own/index.html#atom=12")
    assert "Atom 12" in shown(page, 12)
    page.locator(where).get_by_text(words).wait_for()
    find(page, 14)


@pytest.mark.usefixtures("own")
def test_it_opens_from_a_disk_without_webgl(page: Any, folder: Path) -> None:
    """Cards, search and map are there; the live part says that it needs a server."""
    page.goto((folder / "own" / "index.html").as_uri() + "#atom=12")
    assert "Atom 12" in shown(page, 12)
    page.wait_for_selector("html[data-map='drawn']")
    page.locator("#live").get_by_text("needs a web server").wait_for()
    find(page, 14)
