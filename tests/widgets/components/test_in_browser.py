"""The components' scripts in a real Chromium, without JupyterLab: hover, click, keys, colours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw

from sae_nb.figures.theme import format_number, heat_colour
from tests.browser.watched import FROM_DISK, watched

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]
HOSTILE = "<img src=x onerror=window.hurt=1><script>window.hurt=1</script>"

# The smallest model a component can live with: what anywidget's would do.
MODEL = """
window.makeModel = (state) => {
  const handlers = {};
  return {
    state, sent: [],
    get: (name) => state[name],
    set(name, value) { state[name] = value; (handlers["change:" + name] || []).forEach(f => f()); },
    save_changes() {},
    on(event, f) { (handlers[event] = handlers[event] || []).push(f); },
    off() {},
    send(content) { this.sent.push(content); },
  };
};
window.show = async (script, state, bytes) => {
  for (const [name, numbers] of Object.entries(bytes)) {
    state[name] = new DataView(new Uint8Array(numbers).buffer);
  }
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const module = await import(address);
  const el = document.createElement("div");
  window.model = window.makeModel(state);
  window.stop = module.default.render({ model: window.model, el });
  document.body.replaceChildren(el);  // rendered first, as in JupyterLab
  await new Promise((done) => setTimeout(done, 200));
};
"""


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    opened = chromium.new_page(viewport={"width": 900, "height": 700})
    with watched(opened, ("about:", *FROM_DISK)) as made:
        made.goto("about:blank")
        made.evaluate(f"() => {{ {MODEL} }}")
        yield made


def show(page: Any, component: Any) -> None:
    state = component.get_state()
    script = state.pop("_esm")
    data = {name: list(value) for name, value in state.items() if isinstance(value, bytes)}
    plain = {
        name: value
        for name, value in state.items()
        if not name.startswith("_") and name not in data and name not in ("layout", "tabbable")
    }
    page.add_style_tag(content=component._css)
    page.evaluate("given => window.show(...given)", [script, json.loads(json.dumps(plain)), data])


def readout(page: Any) -> str:
    return str(page.locator(".sae-nb-readout").text_content())


@pytest.fixture
def grid() -> sw.PictureGrid:
    """Two red pictures with 2 × 2 patches; one patch was not captured."""
    pictures = np.zeros((2, 3, 8, 8), np.uint8)
    pictures[:, 0] = 200
    heat = np.array([[[0, 1], [2, np.nan]], [[0, 0], [0, 4]]], np.float32)
    made = sw.PictureGrid()
    made.show(pictures, heat=heat, captions=[HOSTILE, "b"], places=["picture 7", "picture 8"])
    return made


def _pixel(page: Any, canvas: int, x: float, y: float) -> list[int]:
    return list(
        page.evaluate(
            "([i, x, y]) => { const c = document.querySelectorAll('canvas')[i];"
            "return [...c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data] }",
            [canvas, x, y],
        )
    )


def test_pictures_are_drawn_with_heat_in_the_colours_python_uses(page, grid) -> None:
    """A silent patch shows the picture, the others more of the one hue the stronger they are."""
    show(page, grid)
    assert page.locator("canvas").count() == 2
    assert _pixel(page, 0, 0.25, 0.25)[:3] == [200, 0, 0]
    for (picture, patch), share in {(1, (0.75, 0.75)): 1.0, (0, (0.25, 0.75)): 0.5}.items():
        *rgb, opacity = heat_colour(share)
        expected = opacity * np.array(rgb) + (1 - opacity) * np.array([200, 0, 0])
        np.testing.assert_allclose(_pixel(page, picture, *patch)[:3], expected, atol=2)


def test_a_sound_plays_from_its_button_and_its_key(page) -> None:
    """A line moves over the picture while it plays; the button stops it, the end does too, P plays."""
    grid = sw.PictureGrid()
    wave = (20_000 * np.sin(np.arange(4_000) / 3)).astype(np.int16)
    grid.show(
        np.zeros((2, 3, 8, 8), np.uint8), places=["clip 1", HOSTILE], sounds=[wave, wave[:800]]
    )
    show(page, grid)
    first, second = (page.locator(".sae-nb-play").nth(i) for i in (0, 1))
    assert first.get_attribute("aria-label") == "Play clip 1"
    first.click()
    page.wait_for_function("() => document.querySelector('.sae-nb-play').textContent === '■'")
    page.wait_for_function(
        "() => { const c = document.querySelector('canvas');"
        "return c.getContext('2d').getImageData(0, 0, c.width, 1).data.some((v, i) => i % 4 < 3 && v) }"
    )
    first.click()
    assert first.text_content() == "▶"
    page.locator(".sae-nb-grid").press("ArrowRight")
    page.locator(".sae-nb-grid").press("p")
    page.wait_for_function("() => document.querySelectorAll('.sae-nb-play')[1].textContent === '■'")
    page.wait_for_function("() => document.querySelectorAll('.sae-nb-play')[1].textContent === '▶'")
    assert second.text_content() == "▶"


@pytest.fixture
def films() -> sw.PictureGrid:
    """Two videos of three frames, black, red and blue; the heat is in the last and in the first."""
    frames = np.zeros((2, 3, 3 * 8, 8), np.uint8)
    frames[:, 0, 8:16], frames[:, 2, 16:] = 200, 200
    heat = np.zeros((2, 3 * 2, 2), np.float32)
    heat[0, 5, 1], heat[1, 0, 0] = 4.0, 2.0
    made = sw.PictureGrid()
    names = ["frame 0, 0.00 s", "frame 1, 0.20 s", "frame 2, 0.40 s"]
    made.show(
        frames,
        heat=heat,
        places=["video 7", HOSTILE],
        frames=3,
        frame_names=names,
        frame_seconds=0.2,
    )
    return made


PLAYED = "i => document.querySelectorAll('.sae-nb-play')[i].textContent"


def test_a_film_is_stepped_through_and_played_by_keys(page, films) -> None:
    """It opens on the frame of most heat; . and , step and begin anew at the ends; P plays and stops."""
    show(page, films)
    seen = page.locator(".sae-nb-grid")
    large = 0  # of each video's two canvases the first: a frame, above the strip
    assert _pixel(page, large, 0.1, 0.1)[:3] == [0, 0, 200]
    seen.press(".")
    assert readout(page) == f"video 7 · frame 0, 0.00 s · at most {format_number(0.0)}"
    assert _pixel(page, large, 0.1, 0.1)[:3] == [0, 0, 0]
    seen.press(".")
    assert _pixel(page, large, 0.1, 0.1)[:3] == [200, 0, 0]
    seen.press(",")
    seen.press(",")
    assert readout(page) == "video 7 · frame 2, 0.40 s · at most 4.00"
    assert _pixel(page, large, 0.1, 0.1)[:3] == [0, 0, 200]
    seen.press("ArrowRight")
    seen.press("P")
    page.wait_for_function(f"() => ({PLAYED})(1) === '■'")
    assert page.evaluate(PLAYED, 0) == "▶"
    for red, blue in (
        (200, 0),
        (0, 200),
        (0, 0),
    ):  # the next frames of the second video, round and round
        page.wait_for_function(
            "([red, blue]) => { const c = document.querySelectorAll('canvas')[2];"
            "const [r, , b] = c.getContext('2d').getImageData(0.9 * c.width, 0.9 * c.height, 1, 1).data;"
            "return r === red && b === blue }",
            arg=[red, blue],
        )
    seen.press("p")
    assert page.evaluate(PLAYED, 1) == "▶"
    seen.press("P")
    seen.press(".")  # stepping stops what plays
    assert page.evaluate(PLAYED, 1) == "▶"


def test_hovering_a_patch_reads_its_strength_and_clicking_chooses_it(page, grid) -> None:
    show(page, grid)
    side = grid.thumbnail
    page.locator("canvas").nth(0).hover(position={"x": side * 0.25, "y": side * 0.75})
    assert readout(page) == "picture 7 · patch 1,0 · 2.00"
    page.locator("canvas").nth(0).hover(position={"x": side * 0.75, "y": side * 0.75})
    assert readout(page) == "picture 7 · patch 1,1 · not captured"
    page.locator("canvas").nth(1).click(position={"x": side * 0.75, "y": side * 0.75})
    assert page.evaluate("window.model.state.selected") == [1, 3]
    page.locator("[aria-selected=true]").wait_for()
    assert page.locator("[aria-selected=true]").count() == 1


def test_pictures_can_be_walked_with_the_keys(page, grid) -> None:
    """Tab reaches the grid, arrows walk, Enter chooses the peak, Escape chooses nothing."""
    show(page, grid)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert readout(page) == "picture 8 · patch 1,1 · 4.00"
    page.keyboard.press("Enter")
    assert page.evaluate("window.model.state.selected") == [1, 3]
    page.keyboard.press("Escape")
    assert page.evaluate("window.model.state.selected") == [-1, -1]


@pytest.fixture
def strip() -> sw.TokenStrip:
    made = sw.TokenStrip()
    made.show(
        [[HOSTILE, " cat", "\n"], ["مرحبا", " بالعالم", "👩‍👩‍👧"]],
        [np.array([0.0, 2.0, np.nan]), np.array([1.0, 0.1, 0.0])],
        captions=["text 3", "text 4"],
        first_positions=[5, 0],
    )
    return made


def test_tokens_are_text_in_their_own_direction(page, strip) -> None:
    """Nothing runs, nothing is split, Arabic reads from the right."""
    show(page, strip)
    tokens = page.locator(".sae-nb-token")
    assert tokens.all_text_contents() == [HOSTILE, " cat", "↵", "مرحبا", " بالعالم", "👩‍👩‍👧"]
    direction = "n => getComputedStyle(n).direction"
    assert page.locator(".sae-nb-text").nth(0).evaluate(direction) == "ltr"
    assert page.locator(".sae-nb-text").nth(1).evaluate(direction) == "rtl"
    first, second = (page.locator(".sae-nb-token").nth(i).bounding_box() for i in (3, 4))
    assert first["x"] > second["x"]


def test_hovering_a_token_reads_its_strength_and_position(page, strip) -> None:
    show(page, strip)
    page.locator(".sae-nb-token").nth(1).hover()
    assert readout(page) == "text 3 · token 6 “ cat” · 2.00"
    page.locator(".sae-nb-token").nth(2).hover()
    assert readout(page).endswith("not captured")
    page.locator(".sae-nb-token").nth(4).click()
    assert page.evaluate("window.model.state.selected") == [1, 1]


def test_shaded_tokens_stay_readable_on_light_and_dark_pages(page, strip) -> None:
    """Contrast of at least 4.5 between ink and shade, for every strength; weak ones shade nothing."""
    many = sw.TokenStrip()
    many.show([["x"] * 21], [np.linspace(0, 1, 21)], maximum=1.0)
    contrast = """paper => {
      const lum = c => c.reduce((s, v, i) => s + [.2126, .7152, .0722][i] *
        (v / 255 <= .04045 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4), 0);
      const rgb = t => t.match(/[\\d.]+/g).map(Number);
      return [...document.querySelectorAll('.sae-nb-token')].map(n => {
        const style = getComputedStyle(n), back = rgb(style.backgroundColor);
        const a = back.length > 3 ? back[3] : 1;
        const mixed = [0, 1, 2].map(i => a * back[i] + (1 - a) * paper);
        const [p, q] = [lum(mixed), lum(rgb(style.color).slice(0, 3))];
        return (Math.max(p, q) + .05) / (Math.min(p, q) + .05);
      });
    }"""
    for ink, paper in (("#212121", 255), ("#e0e0e0", 17)):
        page.evaluate(
            "([ink, paper]) => { document.documentElement.style.setProperty("
            "'--jp-ui-font-color1', ink); document.body.style.background ="
            " `rgb(${paper},${paper},${paper})` }",
            [ink, paper],
        )
        show(page, many)
        assert min(page.evaluate(contrast, paper)) >= 4.5
        painted = page.locator(".sae-nb-token").evaluate_all(
            "ns => ns.map(n => !getComputedStyle(n).backgroundColor.endsWith(', 0)'))"
        )
        assert painted == [i / 20 >= 0.15 for i in range(21)]


def test_bars_can_be_clicked_and_walked(page) -> None:
    bars = sw.Sparkbars(description="nearest")
    bars.show(
        [HOSTILE, "b", "c"],
        [1.0, 0.5, -0.5],
        signed=True,
        bands=[[0.1, 0.2, 0.3], [0.0, 0.2, 0.2], []],
    )
    show(page, bars)
    assert page.locator(".sae-nb-label").first.text_content() == HOSTILE
    page.locator(".sae-nb-barrow").nth(1).click()
    assert page.evaluate("window.model.state.selected") == 1
    page.locator(".sae-nb-bars").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.evaluate("window.model.state.selected") == 2
    widths = page.locator(".sae-nb-fill").evaluate_all("ns => ns.map(n => n.style.width)")
    assert widths == ["50%", "25%", "25%"]
    bands = page.locator(".sae-nb-band").evaluate_all("ns => ns.map(n => n.style.width)")
    assert bands == ["10%", "10%"]
    assert page.locator(".sae-nb-median").count() == 2


def test_numbers_read_alike_in_python_and_in_the_browser(page) -> None:
    values = [0.0, 1.0, 0.9996, 999.6, 1234567.0, -0.5, 1.23e-5, 2.5e12, 0.01234, 12.0, 0.1]
    bars = sw.Sparkbars()
    bars.show(["x"] * len(values), values, signed=True)
    show(page, bars)
    shown = page.locator(".sae-nb-number").all_text_contents()
    assert shown == [format_number(value) for value in values]


def test_a_recording_arrives_at_the_rate_asked_for(page: Any) -> None:
    """A tone of 440 Hz at the browser's own rate becomes 16-bit samples of 8 kHz."""
    show(page, sw.SoundRecorder(rate=8_000))
    page.evaluate(
        """async () => {
          Object.defineProperty(window, "isSecureContext", { value: true, configurable: true });
          const context = new AudioContext();
          const tone = new OscillatorNode(context, { frequency: 440 });
          const end = context.createMediaStreamDestination();
          tone.connect(end);
          tone.start();
          await context.resume();
          Object.defineProperty(navigator, "mediaDevices",
            { value: { getUserMedia: async () => end.stream }, configurable: true });
        }"""
    )
    page.get_by_role("button", name="record").click()
    page.get_by_role("button", name="stop").wait_for()
    page.wait_for_timeout(700)
    page.get_by_role("button", name="stop").click()
    page.wait_for_function("model.state.samples.byteLength > 0")
    sent = page.evaluate("[...new Int16Array(model.state.samples.buffer)]")
    assert page.evaluate("model.state.recorded_rate") == 8_000
    heard = np.asarray(sent, float)[-4_000:]
    peak = np.abs(np.fft.rfft(heard * np.hanning(len(heard)))).argmax() * 8_000 / len(heard)
    assert abs(peak - 440) < 6
