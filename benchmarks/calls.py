"""Files, frames, time and the share of checks in a call; prints only, `-v` what was called too."""

from __future__ import annotations

import sys
import timeit
from collections import Counter
from collections.abc import Callable
from typing import Any

import sae_nb_widgets as sw
import torch

import sae_nb as sn

GUARDS = ("sae_nb/checks/", "sae_nb/_lazy.py")


def calls(name: str, call: Callable[[], Any]) -> None:
    """Print files, depth and number of our functions in a second call, and the share that guards."""
    call()
    count: Counter[str] = Counter()
    depth = deepest = 0

    def see(frame: Any, event: str, _: Any) -> None:
        nonlocal depth, deepest
        if "sae_nb" not in frame.f_code.co_filename:
            return
        depth += {"call": 1, "return": -1}.get(event, 0)
        deepest = max(deepest, depth)
        if event == "call":
            file = "sae_nb" + frame.f_code.co_filename.rpartition("/sae_nb")[2]
            count[f"{file}:{frame.f_code.co_qualname}"] += 1

    sys.setprofile(see)
    call()
    sys.setprofile(None)
    total = count.total()
    files = len({key.partition(":")[0] for key in count})
    guards = sum(n for key, n in count.items() if key.startswith(GUARDS))
    print(f"{name}: {files} files, {deepest} frames, {total} calls, {guards / total:.0%} guards")
    for key, n in count.most_common(40 * ("-v" in sys.argv)):
        print(f"    {n:6} {key}")


def microseconds(call: Callable[[], Any]) -> float:
    """Return the shortest of many short runs, since other work on the machine only adds."""
    return min(timeit.repeat(call, number=20, repeat=500)) / 20 * 1e6


def main() -> None:
    """Measure encoding, decoding and reconstructing four rows, a report, and opening an AtomBrowser."""
    torch.set_num_threads(1)
    sae, x = sn.TopK(64, 512, k=16).eval(), torch.randn(4, 64)
    weight, dictionary, bias = sae.encoder.weight.detach(), sae.dictionary, sae.bias.detach()
    codes, offset = sae.encode(x), torch.zeros(512)
    values, atoms = ((x - bias) @ weight.T + offset).topk(16, dim=1)
    plain = {
        "encode": lambda: ((x - bias) @ weight.T + offset).topk(16, dim=1)[0].relu(),
        "decode": lambda: torch.zeros(4, 512).scatter_(1, atoms, values) @ dictionary + bias,
    }
    ours = {"encode": lambda: sae.encode(x), "decode": lambda: sae.decode(codes)}
    calls("sae(x)", lambda: sae(x))
    with torch.no_grad():
        for name, call in ours.items():
            calls(name, call)
            mine, torchs = microseconds(call), microseconds(plain[name])
            print(f"{name}: {mine:.0f} µs, plain torch {torchs:.0f} µs, {mine / torchs:.1f} times")
    model, images = sn.load_model("tiny-vit"), sn.data.scenes(60, seed=7, split="test")
    acts = sn.capture(model, images, "resid_post.8", progress=False)
    sae = sn.TopK(acts.d_in, 512, k=16)
    sn.train(sae, acts, steps=20, progress=False)
    report = sn.evaluate(sae, acts)
    calls("evaluate", lambda: sn.evaluate(sae, acts))
    calls("repr(report)", lambda: repr(report))
    calls("AtomBrowser", lambda: sw.AtomBrowser(sae, acts))


if __name__ == "__main__":
    main()
