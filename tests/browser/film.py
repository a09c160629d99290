"""The demo's first minute on film: what a visitor sees and reads from opening it until it is ready.

    python tests/browser/film.py [--cold] [--visits 3] [--out build/film]

A JupyterLab set up as on Binder opens the demo in a Chromium. Every 250 ms the page notes the words in sight,
and what was painted last is kept. Written are `contact.png`, one small image a change, and `words.txt`, what
each of them added and took away: an untruth is found by reading. Printed are the seconds from opening.
`--cold` begins without compiled sources of ours, without compiled loops, and without anything in the caches.
SAE_NB_CACHE names the cache where it finds SmolLM2 all the same.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import io
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parents[2]
if importlib.util.find_spec("self_running") is None:
    sys.path.insert(0, str(Path(__file__).parent))

from self_running import SelfRunningLab  # noqa: E402

EVERY_MS = 250
WINDOW = {"width": 1400, "height": 900}
QUIET_SECONDS = 3.0
"""The film ends when the words have not changed for so long after the last cell."""

THUMBNAIL = (466, 300)
COLUMNS = 4
MOST_IMAGES = 48

# The words in sight, block by block, and all words of each panel; fields say what is in them.
RECORDER = """([every]) => {
  const sight = (node) => {
    const box = node.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight;
  };
  const words = (root, everywhere) => {
    const shown = (node) =>
      node.checkVisibility({opacityProperty: true, visibilityProperty: true}) &&
      (everywhere || sight(node));
    const found = [];
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (node.nodeType === Node.TEXT_NODE) {
        const parent = node.parentElement, text = node.data.trim().replace(/\\s+/g, ' ');
        if (text && !parent.closest('style, script, option, noscript') && shown(parent))
          found.push([parent.closest('p, div, label, button, td, th, li, text'), text]);
      } else if (node.matches('input:not([type=range]), textarea') && node.value && shown(node)) {
        found.push([node, node.value]);
      } else if (node.matches('select') && node.selectedOptions.length && shown(node)) {
        found.push([node, node.selectedOptions[0].text]);
      }
    }
    const lines = [];
    let last = null;
    for (const [block, text] of found) {
      if (block !== null && block === last) lines[lines.length - 1] += ' ' + text;
      else lines.push(text);
      last = block;
    }
    return lines;
  };
  window.__words = [];
  setInterval(() => {
    if (!document.body) return;
    const panels = [...document.querySelectorAll('.sae-nb-panel')];
    window.__words.push({
      at: Date.now() / 1000,
      panels: panels.map(p => words(p, true)),
      page: words(document.body, false).filter(line => !/^\\[[\\d* ]*\\]:?$/.test(line)),
    });
  }, every);
}"""


@dataclass(frozen=True)
class Moment:
    """What stood on the page at one time."""

    seconds: float
    """Since the page was asked for."""

    panels: tuple[tuple[str, ...], ...]
    """The lines of each panel, in sight or not."""

    page: tuple[str, ...]
    """All lines in sight."""


class FilmedLab(SelfRunningLab):
    """A `SelfRunningLab` that is filmed from opening on."""

    cold = False
    window = WINDOW

    def _environment(self) -> dict[str, str]:
        env = super()._environment()
        if self.cold:
            for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
                env[name] = str(self._scratch / name.lower())
        return env

    def _open(self) -> None:
        self._frames: list[tuple[float, bytes]] = []
        self.page.set_viewport_size(self.window)
        self.page.add_init_script(f"({RECORDER})([{EVERY_MS}])")
        camera = self.page.context.new_cdp_session(self.page)

        def take(frame: dict[str, Any]) -> None:
            self._frames.append((time.time(), base64.b64decode(frame["data"])))
            camera.send("Page.screencastFrameAck", {"sessionId": frame["sessionId"]})

        camera.on("Page.screencastFrame", take)
        settings = {"format": "jpeg", "quality": 70, "maxWidth": 1400, "maxHeight": 900}
        camera.send("Page.startScreencast", settings)
        self._camera, self._began = camera, time.time()
        super()._open()

    def cut(self) -> None:
        """End the film, QUIET_SECONDS after the words in sight changed for the last time."""
        self._until(self._quiet, "the words to stay as they are")
        self._camera.send("Page.stopScreencast")

    def _quiet(self) -> bool:
        moments = self.moments()
        calm = bool(moments) and moments[-1].seconds - last_change(moments) > QUIET_SECONDS
        return calm and self.all_ran()

    def moments(self) -> list[Moment]:
        """What stood on the page, every 250 ms or as often as the page had time."""
        return [
            Moment(
                note["at"] - self._began,
                tuple(tuple(lines) for lines in note["panels"]),
                tuple(note["page"]),
            )
            for note in self.page.evaluate("() => window.__words")
        ]

    def image(self, seconds: float) -> Image.Image | None:
        """What was painted last at that time."""
        before = [data for at, data in self._frames if at - self._began <= seconds]
        return Image.open(io.BytesIO(before[-1])) if before else None


def last_change(moments: list[Moment]) -> float:
    """Return when the words in sight became what they are at the end."""
    for earlier, later in zip(moments[-2::-1], moments[:0:-1], strict=True):
        if earlier.page != later.page:
            return later.seconds
    return moments[0].seconds


def filled(moments: list[Moment], panel: int) -> float:
    """Return when the words of a panel became what they are at the end."""
    wanted, since = moments[-1].panels[panel], moments[-1].seconds
    for moment in reversed(moments):
        if len(moment.panels) <= panel or moment.panels[panel] != wanted:
            return since
        since = moment.seconds
    return since


def drawn(moments: list[Moment], panel: int) -> float:
    """Return when a panel was there first."""
    return next(m.seconds for m in moments if len(m.panels) > panel and m.panels[panel])


def seconds_of(moments: list[Moment]) -> dict[str, float]:
    """Return when the first panel was there, when it was filled, and when all were."""
    every = [filled(moments, panel) for panel in range(len(moments[-1].panels))]
    return {
        "the first panel": drawn(moments, 0),
        "the first panel filled": every[0],
        "all filled": max(every),
    }


def taken_back(moments: list[Moment], panel: int = 0) -> list[str]:
    """Return what a panel said and did not mean: lines that are gone at the end, but for those that say so.

    What loads ends with an ellipsis, or names the seconds it is expected to take.
    """
    meant = set(moments[-1].panels[panel])
    said = {
        line for moment in moments if len(moment.panels) > panel for line in moment.panels[panel]
    }
    return sorted(line for line in said - meant if not re.search(r"…|about \d+ s", line))


def scenes(moments: Iterable[Moment]) -> list[Moment]:
    """Return the moments at which the words in sight changed."""
    kept: list[Moment] = []
    for moment in moments:
        if not kept or moment.page != kept[-1].page:
            kept.append(moment)
    return kept


def script_of(moments: list[Moment]) -> str:
    """Return the film as text: at every change the lines that came (+) and went (−)."""
    lines: list[str] = []
    before: tuple[str, ...] = ()
    for scene in scenes(moments):
        came = [f"  + {line}" for line in scene.page if line not in before]
        went = [f"  − {line}" for line in before if line not in scene.page]
        if came or went:
            lines += [f"{scene.seconds:6.2f} s", *went, *came]
        before = scene.page
    return "\n".join(lines) + "\n"


def contact_sheet(lab: FilmedLab, moments: list[Moment]) -> Image.Image:
    """Return one small image of the page for each change, with its second."""
    chosen = scenes(moments)
    every = -(-len(chosen) // MOST_IMAGES)
    width, height = THUMBNAIL[0] + 8, THUMBNAIL[1] + 28
    shown = [*chosen[::every], moments[-1]]
    sheet = Image.new("RGB", (COLUMNS * width, -(-len(shown) // COLUMNS) * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    for i, scene in enumerate(shown):
        x, y = i % COLUMNS * width + 4, i // COLUMNS * height
        pen.text((x, y + 3), f"{scene.seconds:.2f} s", fill="black", font=font)
        # What is painted comes a little after what is written.
        image = lab.image(scene.seconds + EVERY_MS / 1000)
        if image is not None:
            sheet.paste(image.convert("RGB").resize(THUMBNAIL), (x, y + 26))
    return sheet


def write_film(lab: FilmedLab, folder: Path) -> list[Moment]:
    """End the film; write its contact sheet and its words. Returns its moments."""
    lab.cut()
    moments = lab.moments()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.txt").write_text(script_of(moments), encoding="utf-8")
    contact_sheet(lab, moments).save(folder / "contact.png", optimize=True)
    return moments


def forget_compiled() -> None:
    """Remove what Python and Numba compiled of our sources."""
    for folder in ("sae_nb", "widgets"):
        for cache in (ROOT / folder).rglob("__pycache__"):
            shutil.rmtree(cache)


def main() -> int:
    """Parse, film, print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cold", action="store_true", help="without anything compiled or cached")
    parser.add_argument("--visits", type=int, default=1)
    parser.add_argument("--out", default=ROOT / "build" / "film", type=Path)
    arguments = parser.parse_args()
    name = "cold" if arguments.cold else "warm"
    print(
        f"{'':8} {'lab open':>9} {'first panel':>12} {'first filled':>13} {'all filled':>11}   load"
    )
    for visit in range(arguments.visits):
        if arguments.cold:
            forget_compiled()
        out = arguments.out / name
        lab = FilmedLab(ROOT / "notebooks" / "demo.ipynb", out=out, timeout_s=180)
        lab.cold = arguments.cold
        with lab:
            moments = write_film(lab, out)
        seconds = (lab.seconds_to_open, *seconds_of(moments).values())
        shown = " ".join(
            f"{s:{width}.1f}" for s, width in zip(seconds, (9, 12, 13, 11), strict=True)
        )
        print(f"{name} {visit + 1:<3} {shown}   {os.getloadavg()[0]:.1f}")
        for line in taken_back(moments):
            print(f"         taken back: {line}")
    print(f"{arguments.out / name}: contact.png, words.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
