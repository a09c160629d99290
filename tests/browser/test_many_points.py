"""More points than are painted while the hand moves, in a real Chromium: the sample, and what is asked of all."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sae_nb_widgets as sw
from sae_nb_widgets.components._base import style_sheet
from sae_nb_widgets.components._point_map import PointMap

from tests.browser.watched import watched

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]

STATIC = Path(str(sw.__file__)).parent / "static"
N, MOST = 120_000, 60_000
HEARING = "send: (content, _, buffers) => window.sent.push([content, buffers ? [...new Uint8Array(buffers[0])] : []])"
# A hundred thousand numbers go to the page and come back as one string: one by one they take seconds.
SAMPLE = """([bytes, hidden, box, most]) => {
  const xy = new Float32Array(Uint8Array.from(atob(bytes), c => c.charCodeAt(0)).buffer);
  const n = xy.length / 2, seen = new Uint8Array(n).fill(1);
  hidden.forEach(i => { seen[i] = 0; });
  const order = shuffled(n);
  const { points, share } = sampleOf(order, inOrder(order, xy), seen, box, most);
  return JSON.stringify([[...points], share, [...order]]);
}"""


def _clusters() -> np.ndarray:
    generator = np.random.default_rng(0)
    own = generator.integers(0, 60, N)
    xy = generator.normal(0, 8, (60, 2))[own] + generator.normal(0, 0.6, (N, 2))
    # One point far from all others, and not among the first that are painted.
    xy[77_777] = (40.0, 0.0)
    return xy.astype(np.float32)


@pytest.fixture(scope="module")
def xy() -> np.ndarray:
    """A hundred and twenty thousand points in sixty groups."""
    return _clusters()


@pytest.fixture
def page(chromium: Any, xy: np.ndarray, tmp_path: Path) -> Iterator[Any]:
    """The map of them on a page that keeps what it would send to a kernel."""
    chart = PointMap(xy=xy.tobytes(), size=2.5, drag="lasso")
    styles = (np.arange(N) % 3).astype(np.uint8)
    chart.styles = styles.tobytes()
    grey, blue, red = [0x77] * 3, [0, 0x72, 0xB2], [0xD5, 0x5E, 0]
    chart.palette = [{"shape": "circle", "light": c, "dark": c} for c in (grey, blue, red)]
    style = style_sheet("components.css", "point_map.css")
    # With a kernel to hear of it: a page alone sends nothing.
    live = chart.live_html().replace('"alone": true', '"alone": false')
    live = live.replace("send: () => {}", HEARING)
    text = f"<!DOCTYPE html><meta charset=utf-8><style>{style}</style><body><script>window.sent = []</script>{live}"
    file = tmp_path / "map.html"
    file.write_text(text, encoding="utf-8")
    with watched(chromium.new_page(viewport={"width": 900, "height": 700})) as opened:
        opened.goto(file.as_uri())
        opened.add_script_tag(content=(STATIC / "point_crowd.js").read_text(encoding="utf-8"))
        _until_whole(opened)
        yield opened


def _sample(
    page: Any, xy: np.ndarray, hidden: list[int], box: list[float]
) -> tuple[list[int], float, list[int]]:
    """The points that are painted of a part, their share of it, and the order in which all are taken."""
    bytes_of_all = base64.b64encode(xy.tobytes()).decode()
    points, share, order = json.loads(page.evaluate(SAMPLE, [bytes_of_all, hidden, box, MOST]))
    return points, share, order


def _until_whole(page: Any) -> None:
    page.wait_for_function(
        "document.querySelector('.sae-nb-mapstage canvas')?.dataset.whole === 'true'",
        timeout=60_000,
    )


def _places(page: Any, xy: np.ndarray) -> np.ndarray:
    """Where the points lie while the whole map is seen: stretched to fill it, with margins of 22 pixels."""
    box = page.locator(".sae-nb-mapstage").bounding_box()
    size = np.array([box["width"] - 2, box["height"] - 2])
    across, up = (size - 44) / np.ptp(xy, axis=0)
    tall = float(np.clip(up / across, 1 / 1.6, 1.6))
    scale = float(min(across, up / tall))
    middle = (xy.max(axis=0) + xy.min(axis=0)) / 2
    return (xy - middle) * [scale, -scale * tall] + size / 2 + [box["x"] + 1, box["y"] + 1]


def _place(page: Any, xy: np.ndarray, point: int) -> tuple[float, float]:
    """Where one of them lies."""
    x, y = _places(page, xy)[point]
    return float(x), float(y)


def test_a_sample_is_bounded_and_as_dense_as_all(page: Any, xy: np.ndarray) -> None:
    """Exactly sixty thousand of the whole map, binned counts go with those of all; what is hidden is not in it."""
    whole = [
        float(xy[:, 0].min()),
        float(xy[:, 1].min()),
        float(xy[:, 0].max()),
        float(xy[:, 1].max()),
    ]
    hidden = list(range(0, 2000))
    points, share, order = _sample(page, xy, hidden, whole)
    assert sorted(order) == list(range(N))
    assert len(points) == len(set(points)) == MOST
    assert min(points) >= 2000
    assert abs(share - MOST / (N - 2000)) < 0.01
    span = ((whole[0], whole[2]), (whole[1], whole[3]))
    counts = [
        np.histogram2d(*some.T, bins=(60, 40), range=span)[0].ravel()
        for some in (xy[2000:], xy[points])
    ]
    assert np.corrcoef(*counts)[0, 1] > 0.995
    # Every dense place is in it, in proportion.
    dense = counts[0] > 400
    assert dense.sum() > 50
    assert np.abs(counts[1][dense] / counts[0][dense] / share - 1).max() < 0.25


def test_moving_paints_a_sample_and_resting_all(page: Any) -> None:
    """The wheel leaves at most forty thousand on the canvas, and more pixels are covered when it rests."""
    covered = """() => { const c = document.querySelector('.sae-nb-mapstage canvas');
      const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
      let sum = 0; for (let i = 3; i < p.length; i += 4) sum += p[i] > 0; return sum; }"""
    moved = page.evaluate(
        f"""() => {{ const stage = document.querySelector('.sae-nb-mapstage');
          const box = stage.getBoundingClientRect();
          stage.dispatchEvent(new WheelEvent('wheel', {{deltaY: -40, clientX: box.x + 400, clientY: box.y + 200,
            bubbles: true, cancelable: true}}));
          return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => {{
            const canvas = stage.querySelector('canvas');
            done([canvas.dataset.whole, Number(canvas.dataset.painted), ({covered})()]);
          }}))); }}"""
    )
    assert moved[0] == "false"
    assert 0 < moved[1] <= 40_000
    _until_whole(page)
    assert page.evaluate(covered) > 1.05 * moved[2]


def test_a_click_finds_an_atom_that_is_not_painted(page: Any, xy: np.ndarray) -> None:
    """The loneliest point answers to the mouse though it is not in the sample."""
    points, *_ = _sample(page, xy, [], [-100.0, -100.0, 100.0, 100.0])
    assert 77_777 not in set(points)
    page.mouse.move(*_place(page, xy, 77_777))
    assert page.locator(".sae-nb-readout").text_content() == "atom 77777"
    page.mouse.down()
    page.mouse.up()
    assert page.evaluate("window.sent.map(([content]) => content)") == [
        {"kind": "choose", "point": 77_777}
    ]


def test_a_lasso_encloses_all_points(page: Any, xy: np.ndarray) -> None:
    """As many bits are set as points lie in the rectangle, painted or not."""
    ends = [_place(page, xy, i) for i in (int(xy[:, 0].argmin()), int(xy[:, 1].argmax()))]
    left, top = ends[0][0] - 3, ends[1][1] - 3
    middle_x, middle_y = left + 200, top + 250
    page.evaluate("document.querySelector('.sae-nb-mapstage').focus()")
    page.keyboard.down("Shift")
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((middle_x, top), (middle_x, middle_y), (left, middle_y), (left, top)):
        page.mouse.move(x, y, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    content, bits = page.evaluate("window.sent.at(-1)")
    assert content["kind"] == "lasso"
    chosen = np.unpackbits(np.array(bits, np.uint8), bitorder="little")[:N].astype(bool)
    places = _places(page, xy)[::400]
    expected = (places[:, 0] < middle_x - 1) & (places[:, 1] < middle_y - 1)
    outside = (places[:, 0] > middle_x + 1) | (places[:, 1] > middle_y + 1)
    assert chosen[::400][expected].all()
    assert not chosen[::400][outside].any()
    assert chosen.sum() > 1000
