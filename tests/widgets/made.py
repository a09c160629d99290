"""What tests of several panels are made of: an SAE that nobody trained, activations with pictures, small helpers."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from html import unescape
from html.parser import HTMLParser
from typing import Any

import ipywidgets as ipw
import numpy as np
import torch
from torch import Tensor

from sae_nb.activations import Activations, Context
from sae_nb.codes import SparseCodes

HOSTILE = "<script>alert(1)</script>"


def descendants(widget: ipw.Widget) -> Iterator[ipw.Widget]:
    """Yield everything inside a widget, children first, and the widget."""
    for child in getattr(widget, "children", ()):
        yield from descendants(child)
    yield widget


class FakeTopK:
    hook_point, model_name = "resid_post.1", "fake"

    def __init__(self, n_atoms: int = 32, d_in: int = 8, seed: int = 0) -> None:
        rows = torch.randn(n_atoms, d_in, generator=torch.Generator().manual_seed(seed))
        self.dictionary = torch.nn.functional.normalize(rows, dim=1)
        self.n_atoms, self.d_in, self.k = n_atoms, d_in, 3
        self.gate: threading.Event | None = None
        self.error: Exception | None = None

    def encode(self, x: Tensor, k: int | None = None) -> SparseCodes:
        """Keep the k largest positive entries of each row, once the gate is open."""
        if self.gate is not None:
            self.gate.wait(20)
        if self.error is not None:
            raise self.error
        u = (x @ self.dictionary.T).relu()
        u[:, -1] = 0
        best = u.topk(k or self.k, dim=1)
        return SparseCodes.from_dense(torch.zeros_like(u).scatter(1, best.indices, best.values))

    def decode(self, codes: SparseCodes) -> Tensor:
        return codes.to_dense() @ self.dictionary


def picture_acts(n: int = 30, side: int = 16, grid: int = 4, d_in: int = 8) -> Activations:
    """Random activations of pictures with cls, one register and a grid of patches."""
    length, generator = 2 + grid * grid, torch.Generator().manual_seed(2)
    pictures = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator)
    context = Context(
        kind="vision", n_samples=n, pictures=pictures, patch_grid=(grid, grid), prefix_tokens=2
    )
    return Activations.from_tensor(
        torch.randn(n * length, d_in, generator=torch.Generator().manual_seed(1)),
        sample=torch.arange(n).repeat_interleave(length),
        position=torch.arange(length).repeat(n),
        context=context,
    )


class Page(HTMLParser):
    """Elements of a page, and the text of its scripts and of everything else."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._in_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data
        else:
            self.text += data


def contrast(one: Any, other: Any) -> float:
    parts = np.array([one, other], float) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    low, high = sorted((linear @ [0.2126, 0.7152, 0.0722]).tolist())
    return float((high + 0.05) / (low + 0.05))


class Held:
    """Work that begins, and ends when it is let go, with an answer or an error."""

    def __init__(self, answer: Any = None) -> None:
        self.answer, self.times = answer, 0
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, *given: Any, **more: Any) -> Any:
        """Wait, then give the answer: what it returns, if it can be called."""
        self.times += 1
        self.begun.set()
        self.go.wait(10)
        return self.answer(*given, **more) if callable(self.answer) else self.answer


def control_named(panel: Any, description: str) -> Any:
    return next(w for w in descendants(panel) if getattr(w, "description", "") == description)


def text_of(html: str) -> str:
    return unescape(re.sub("<[^>]+>", "", html))


def soon(holds: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    return holds()
