"""What the tree weighs, and what a call goes through; prints only.

`python benchmarks/size.py tree [ROOT [ANOTHER]]`: lines and lines that hold code (no docstring, comment or
blank line) of every part, test functions, words of Markdown, annotations that are or contain `Any`. Two roots
stand side by side. `python benchmarks/size.py calls [-v]`: files, frames, time and the share of checks of six
calls; `-v`: what was called.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import timeit
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

PARTS = {
    "tool": ("sae_nb",),
    "panels": ("widgets/sae_nb_widgets",),
    "studies": ("studies/sae_nb_studies",),
    "lessons": ("notebooks/sae_nb_lessons",),
    "tests": ("tests",),
    "benchmarks": ("benchmarks",),
    "tools of the documentation": ("docs",),
}
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
NO_CODE |= {tokenize.ENCODING, tokenize.ENDMARKER}
CHECKS = ("sae_nb/checks/", "sae_nb/_hints.py")


def counts(root: Path) -> dict[str, str]:
    """Every row of one tree."""
    files = {part: _files(root, folders) for part, folders in PARTS.items()}
    found = {
        f"lines of {part} (code)": f"{sum(map(_length, mine))} ({sum(map(_code, mine))})"
        for part, mine in files.items()
    }
    tests = sum(len(re.findall(r"^ *(?:async )?def test", _text(f), re.M)) for f in files["tests"])
    trees = [ast.parse(_text(file)) for part in list(PARTS)[:4] for file in files[part]]
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=root, capture_output=True, text=True)
    words = sum(len(_text(root / page).split()) for page in listed.stdout.splitlines())
    written = [
        part
        for tree in trees
        for node in ast.walk(tree)
        for field in ("annotation", "returns")
        if (part := getattr(node, field, None)) is not None
    ]
    return found | {
        "test functions": str(tests),
        "words of Markdown": str(words),
        "annotations that are `Any`": str(sum(map(_is_any, written))),
        "`Any` in annotations": str(sum(map(_is_any, (x for w in written for x in ast.walk(w))))),
    }


def _files(root: Path, folders: Iterable[str]) -> list[Path]:
    return [file for folder in folders for file in sorted((root / folder).rglob("*.py"))]


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _length(file: Path) -> int:
    return len(_text(file).splitlines())


def _code(file: Path) -> int:
    """Lines that hold something other than docstring, comment or nothing."""
    with file.open("rb") as source:
        tokens = list(tokenize.tokenize(source.readline))
    held = {
        line
        for token in tokens
        if token.type not in NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(_text(file))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            held -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(held)


def _is_any(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "Any"


def calls(name: str, call: Callable[[], Any]) -> None:
    """Print files, depth and number of our functions in a second call, and the share of checks."""
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
    checks = sum(n for key, n in count.items() if key.startswith(CHECKS))
    print(f"{name}: {files} files, {deepest} frames, {total} calls, {checks / total:.0%} checks")
    for key, n in count.most_common(40 * ("-v" in sys.argv)):
        print(f"    {n:6} {key}")


def microseconds(call: Callable[[], Any]) -> float:
    """Return the shortest of many short runs, since other work on the machine only adds."""
    return min(timeit.repeat(call, number=20, repeat=500)) / 20 * 1e6


def measure_calls() -> None:
    """Measure encoding, decoding and reconstructing four rows, a report, and opening an AtomBrowser."""
    import sae_nb_widgets as sw
    import torch

    import sae_nb as sn

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


def main(what: str, *roots: str) -> None:
    """Print the table of trees, or what calls go through."""
    if what == "calls":
        measure_calls()
        return
    trees = [Path(root).resolve() for root in roots] or [Path(__file__).parents[1]]
    columns = [counts(root) for root in trees]
    print("## tree\n\n| counted | " + " | ".join(root.name for root in trees) + " |")
    print("| --- " * (1 + len(trees)) + "|")
    for row in columns[0]:
        print(f"| {row} | " + " | ".join(column[row] for column in columns) + " |")


if __name__ == "__main__":
    main(*sys.argv[1:])
