"""Write docs/pictures/hero.webp, README's first image: click a word, an atom lights up, turn it up.

    python docs/make_hero.py

It also writes docs/hero.json, the same run for the documentation's home: which atoms fire at each word. One
real run of SmolLM2-135M: the same beginning and seed three times, with the atom, untouched and along a
random direction of the same length. `hero-narrow.webp` is the same for telephones; each has a dark one beside
it. The picture begins with the finished frame: where nothing moves, that is seen.
"""

from __future__ import annotations

import io
import json
import sys
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

import sae_nb as sn
from sae_nb.atoms import AtomNames
from sae_nb.diagnosis._doctor import find_chromium
from sae_nb.sessions import names_of

PICTURES = Path(__file__).parent / "pictures"
SAE, ATOM, WORD = "smollm2-135m/resid_post.16", 300, "teacher"
PROMPT, NEW_TOKENS, TEMPERATURE, SEED = "The teacher walked home. On the way, he", 30, 0.8, 4
ABOUT_SCHOOL = ("books", "kids", "lesson", "classroom")
RECORD = Path(__file__).parent / "hero.json"
ROWS = ("turned up", "untouched", "random")
WINDOWS = {"hero": (900, 470), "hero-narrow": (420, 620)}
SCHEMES = {"light": "", "dark": "-dark"}
STAGES = ((4, 5000), (1, 1300), (2, 1300), (3, 1300), (4, 4000))
"""What is shown, and for how many ms: the beginning, the atom, the slider turned up, the three texts."""

STYLE = """
:root { --ink:#1c2024; --ink2:#60656c; --ink3:#72777e; --line:#dfe2e6; --bg:#fff; --soft:#f5f6f8;
  --warm:#e8890c;
  --tint:rgba(232,137,12,.32); --pale:rgba(232,137,12,.1); --up:#a85c00; --ok:#0a7d54 }
.dark { --ink:#edeef0; --ink2:#a6abb3; --ink3:#8d929b; --line:#363b44; --bg:#15171b; --soft:#1f2228;
  --tint:rgba(232,137,12,.42); --pale:rgba(232,137,12,.14); --up:#f0a33c; --ok:#35b685 }
* { box-sizing:border-box; margin:0 }
body { background:var(--bg); color:var(--ink);
  font:18px/1.42 Inter,"Segoe UI",system-ui,"DejaVu Sans",sans-serif }
main { height:100vh; padding:24px 34px; border:1px solid var(--line); border-radius:14px; display:flex;
  flex-direction:column; gap:14px }
.cap { font-size:13px; color:var(--ink2) }
.cap i { display:inline-flex; width:22px; height:22px; border-radius:50%; background:var(--soft);
  font-style:normal;
  font-size:12px; align-items:center; justify-content:center; margin-right:10px }
.prompt { font-size:25px; line-height:1.3 }
.prompt b, .up b { font-weight:650; background:var(--tint); border-radius:5px; padding:1px 5px }
.atom { display:grid; grid-template-columns:auto 1fr auto; gap:22px; align-items:center; background:var(--soft);
  border-radius:12px; padding:14px 20px }
.atom .cap i { background:var(--bg) }
.name { font-size:22px; font-weight:650 } .name i { display:inline-block; width:8px; height:8px;
  border-radius:50%;
  margin-left:4px; vertical-align:3px;
  box-shadow:inset 0 0 0 1px var(--ink3) } .name i.on { background:var(--ok);
  box-shadow:none } .name i:first-of-type { margin-left:10px }
.track { position:relative; height:8px; border-radius:4px;
  background:linear-gradient(90deg,var(--line),var(--warm)) }
.track i { position:absolute; left:86%; top:-8px; width:24px; height:24px; margin-left:-12px; border-radius:50%;
  background:var(--bg); border:2.5px solid var(--ink) }
.track u { position:absolute; top:17px; font-size:11.5px; color:var(--ink3); text-decoration:none;
  white-space:nowrap }
.track u.r { left:86%; transform:translateX(-50%) }
.button { font-size:14px; font-weight:600; background:var(--ink); color:var(--bg); border-radius:8px;
  padding:8px 14px }
.row { display:grid; grid-template-columns:116px 1fr; gap:14px; align-items:center; border-radius:12px;
  padding:8px 16px; color:var(--ink2) }
.row span { font-size:13px; line-height:1.3 }
.up { background:var(--pale); color:var(--ink); font-size:20px;
  padding:12px 16px } .up span { color:var(--up); font-weight:600 }
footer { margin-top:auto; font-size:12px; color:var(--ink3); display:flex; justify-content:space-between }
.at1 .atom, .at1 .three, .at2 .three, .at3 .three { visibility:hidden }
.at1 .prompt b { background:none; padding:1px 0; font-weight:400; margin:0 5px } .at2 .track i { left:0 }
.at2 .button, .at3 .button { outline:3px solid var(--warm) } .at2 .button { outline:none }
@media (max-width:600px) {
  main { padding:16px 18px; gap:10px } .prompt { font-size:20px } .three { display:flex;
  flex-direction:column; gap:4px }
  .atom { grid-template-columns:1fr auto; row-gap:20px; padding:12px 14px 24px } .track { grid-row:2;
  grid-column:1/3 }
  .row { grid-template-columns:1fr; gap:2px; font-size:16px; padding:8px 12px } .up { font-size:17px }
}
"""


def continuations() -> tuple[str, str, str]:
    """Return what the model writes with the atom, untouched, and along a random direction."""
    model, sae = sn.load_model("smollm2-135m"), sn.load_sae(SAE)
    fires = sae.encode(sn.capture(model, [PROMPT], sae.hook_point, progress=False))
    at = PROMPT.split().index(WORD)
    if not float(fires.detach().to_dense()[at - 1, ATOM]):  # the first token is no row
        raise ValueError(
            f"Atom {ATOM} must fire at {WORD!r}, but it does not. Choose another prompt."
        )

    def written() -> str:
        return str(model.generate(PROMPT, NEW_TOKENS, TEMPERATURE, SEED, echo=False)).strip()

    untouched = written()
    with sn.steer(model, sae.hook_point, sae, ATOM, 1.0, unit="p99"):
        up = written()
    direction = float(sae.strength_p99[ATOM]) * sn.random_direction(sae.d_in, 0)
    with sn.steer(model, sae.hook_point, direction=direction, by=1.0):
        along_random = written()
    return up, untouched, along_random


def firing(texts: dict[str, str]) -> dict[str, list[list[object]]]:
    """Return the tokens of each text, each with the named atoms that fire at it, the strongest first.

    An atom is its words, its dots, and its strength there as a share of the strongest in its examples. Texts
    are read as they stand, without anything added; the first token is not read.
    """
    model, sae = sn.load_model("smollm2-135m"), sn.load_sae(SAE)
    names, strongest = names_of(sae), sn.load_examples(SAE).catalogue(sae).max_strength
    read = {}
    for name, text in texts.items():
        acts = sn.capture(model, [text], sae.hook_point, progress=False)
        rows = sae.encode(acts).detach().to_dense().numpy()
        at = dict(zip(acts.position.tolist(), rows / strongest.clip(1e-6), strict=True))
        read[name] = [
            [token, [named(names, atom, at[i]) for atom in surest(names, at[i])] if i in at else []]
            for i, token in enumerate(model.tokens(text)["token"])
        ]
    return read


def surest(names: AtomNames, shares: np.ndarray, most: int = 5) -> list[int]:
    """Return the atoms that fire and have a name with three dots or four, of words, the strongest first."""
    firing = [int(atom) for atom in shares.argsort()[::-1][:60] if shares[atom] > 0.05]
    sure = [atom for atom in firing if (names.sureness(atom)[0] or 0) > 2]
    return [atom for atom in sure if "␣" not in names.words(atom)][:most]


def named(names: AtomNames, atom: int, shares: np.ndarray) -> list[object]:
    """Return an atom's words, its dots, and its strength as a share of its strongest."""
    return [names.words(atom), names.sureness(atom)[0], round(float(shares[atom]), 2)]


def sentences(text: str) -> str:
    """Return a text up to its last full stop, or cut at a comma with an ellipsis."""
    whole = text[: text.rfind(".") + 1]
    return whole if len(whole) > 60 else f"{text[: text.rfind(',')]} …"


def page(texts: tuple[str, str, str], name: str, dots: int) -> str:
    """Return the picture as HTML."""
    up, untouched, along_random = (escape(sentences(text), quote=False) for text in texts)
    for word in ABOUT_SCHOOL:
        up = up.replace(word, f"<b>{word}</b>")
    prompt = escape(PROMPT).replace(WORD, f"<b>{WORD}</b>")
    marks = "".join(f'<i class="{"on" if i < dots else ""}"></i>' for i in range(4))
    return f"""<!doctype html><meta charset="utf-8"><style>{STYLE}</style><main>
<div><p class="cap"><i>1</i>click a word</p><p class="prompt">{prompt} …</p></div>
<div class="atom"><div><p class="cap"><i>2</i>an atom lights up</p><p class="name">{escape(name)}{marks}</p>
</div>
<div class="track"><i></i><u>off</u><u class="r">usual strength</u></div>
<span class="button">Turn it up</span></div>
<section class="three"><p class="cap"><i>3</i>the model writes on, three times from the same seed</p>
<div class="row up"><span>turned up</span><p>{up}</p></div>
<div class="row"><span>untouched</span><p>{untouched}</p></div>
<div class="row"><span>random direction, same length</span><p>{along_random}</p></div></section>
<footer><span>SmolLM2-135M on a CPU · atom {ATOM} of the bundled SAE of block 16
· one run, seed {SEED}</span></footer>
</main>"""


def main() -> int:
    """Let the model write, draw, take the pictures."""
    executable = find_chromium()
    if executable is None:
        print("No Chromium here: the picture is left as it was.")
        return 0
    from playwright.sync_api import sync_playwright

    texts = continuations()
    rows = dict(zip(ROWS, texts, strict=True))
    whole = {name: f"{PROMPT} {sentences(text)}" for name, text in rows.items()}
    record = json.dumps({"prompt": PROMPT, "rows": firing(whole)}, ensure_ascii=False)
    RECORD.write_text(f"{record}\n", encoding="utf-8")
    names = names_of(sn.load_sae(SAE))
    html = page(texts, names.words(ATOM), names.sureness(ATOM)[0] or 0)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        tab = launched.new_page(offline=True, device_scale_factor=2)
        tab.set_content(html)
        for name, (width, height) in WINDOWS.items():
            tab.set_viewport_size({"width": width, "height": height})
            for scheme, ending in SCHEMES.items():
                images = []
                for stage, _ in STAGES:
                    tab.evaluate(f"document.body.className = '{scheme} at{stage}'")
                    images.append(Image.open(io.BytesIO(tab.screenshot())).convert("RGB"))
                stream = io.BytesIO()
                images[0].save(
                    stream, "WEBP", save_all=True, append_images=images[1:],
                    duration=[ms for _, ms in STAGES], loop=0, quality=60, method=6,
                )  # fmt: skip
                (PICTURES / f"{name}{ending}.webp").write_bytes(stream.getvalue())
                images[0].save(Path(sys.argv[1]) / f"{name}{ending}.png") if sys.argv[1:] else None
                print(f"{name}{ending}: {len(stream.getvalue()) / 1000:.0f} kB")
        launched.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
