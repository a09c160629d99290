"""Write docs/pictures/lens-playing.webp, README's first image: a model writes, and its atoms with it.

    python docs/make_film.py

`lens-playing-narrow.webp` is the same for telephones, where the wide one could not be read; each has a dark
one beside it. Every second token is a page of the panel, as `to_html` writes it, taken by a Chromium without a
network; Pillow joins them. The film begins where the atom fires most: where nothing moves, that is seen.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import sae_nb_widgets as sw
from PIL import Image
from sae_nb_lessons import language_model

from sae_nb.diagnosis._doctor import find_chromium

PICTURES = Path(__file__).parent / "pictures"
N_FRAMES, N_STEERED = 5, 10
"""Frames without and with the atom: two more tokens in each."""

WINDOWS = {
    "lens-playing": {"width": 900, "height": 540},
    "lens-playing-narrow": {"width": 420, "height": 620},
}
LARGEST = {"lens-playing": 200_000, "lens-playing-narrow": 130_000}
"""Bytes that README should load at most, of one film in one scheme."""

SCHEMES: dict[Literal["light", "dark"], str] = {"light": "", "dark": "-dark"}
"""How the name of a film ends, by the reader's colours."""

A_FRAME_MS, A_PAUSE_MS, THE_FINDING_MS = 480, 2600, 5000
QUALITIES = (45, 30, 20)
# Not in the film: the list of branches and atoms to try, which the window would cut.
STYLE = """
body { margin: 0 !important; overflow: hidden; }
body > :not(.sae-nb-panel):not(style):not(script) { max-width: none !important; }
.sae-nb-main > .sae-nb-component:has(> .sae-nb-tablebox) { display: none; }
.sae-nb-component:has(> .sae-nb-chiplist > .sae-nb-plain) { display: none; }
"""


def lens() -> Any:
    """Return the panel before its first token."""
    lm = language_model()
    print(lm)
    panel = sw.GenerationLens(lm.model, lm.sae, prompt=lm.plan.beginning)
    panel.temperature = lm.plan.temperature
    panel.wait(600)
    panel.atom, panel.strength = lm.atom, lm.plan.strength
    return panel


Frame = tuple[dict[str, Image.Image], int]
"""Images by film, and how many ms they are shown."""


def frames(panel: Any, page: Any, folder: Path) -> list[Frame]:
    """Return where the atom fires most, then the text token by token and how it goes on another way."""
    taken: list[Frame] = []
    fires: list[float] = []

    def write(n: int) -> None:
        for _ in range(n):
            panel.step(2)
            taken.append((shots(panel, page, folder), A_FRAME_MS))
            text = panel.generation.branches[panel.branch].text
            fires.append(text.strengths(panel.atom)[-1])
        taken[-1] = (taken[-1][0], A_PAUSE_MS)

    write(N_FRAMES)
    panel.token = panel.generation.n_prompt - 1
    panel.go_on(1)
    write(N_STEERED)
    strongest = N_FRAMES + int(np.argmax(fires[N_FRAMES:]))
    return [(taken[strongest][0], THE_FINDING_MS), *taken]


def shots(panel: Any, page: Any, folder: Path) -> dict[str, Image.Image]:
    """Return the panel as it is now, at each width, light and dark."""
    panel.wait(600)
    path = panel.to_html(folder / "frame.html")
    page.goto(Path(path).as_uri())
    page.add_style_tag(content=STYLE)
    images = {}
    for name, window in WINDOWS.items():
        page.set_viewport_size(window)
        for scheme, ending in SCHEMES.items():
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(150)
            shot = Image.open(io.BytesIO(page.screenshot()))
            images[name + ending] = shot.convert("RGB")
    return images


def join(taken: list[Frame], name: str) -> bytes:
    """Return one film as an animated WebP, no larger than README should load."""
    images, durations = [frame[name] for frame, _ in taken], [ms for _, ms in taken]
    # Key frames only at the start: between tokens little changes.
    for quality in QUALITIES:
        stream = io.BytesIO()
        images[0].save(
            stream, "WEBP", save_all=True, append_images=images[1:], duration=durations, loop=0,
            quality=quality, method=6, kmin=500, kmax=501,
            allow_mixed=True,
        )  # fmt: skip
        if stream.tell() <= LARGEST[name.removesuffix("-dark")]:
            return stream.getvalue()
    raise ValueError(f"The film must have at most {LARGEST[name]} bytes, got {stream.tell()}.")


def main() -> int:
    """Let the model write, take every token, join."""
    executable = find_chromium()
    if executable is None:
        print("No Chromium here: the film is left as it was.")
        return 0
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, TemporaryDirectory() as folder:
        launched = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = launched.new_page(offline=True)
        taken = frames(lens(), page, Path(folder))
        launched.close()
    for name in taken[0][0]:
        content = join(taken, name)
        (PICTURES / f"{name}.webp").write_bytes(content)
        print(f"{name}: {len(content) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
