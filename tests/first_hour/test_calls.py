"""Every call of the first hour works, or is answered by a sentence that says what to write."""

from __future__ import annotations

import ast
import contextlib
import io
import linecache
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sae_nb_widgets as sw
import torch

import sae_nb as sn

from .calls import ANSWERS, BLOCKS, WORKS

CALLS = [line.rsplit("  # ", 1) for line in WORKS.strip().splitlines()]
CALLS += [block.rsplit("\n# ", 1) for block in BLOCKS.strip().split("\n\n")]
REFUSED = [line.rsplit("  # ", 1) for line in ANSWERS.strip().splitlines()]


@pytest.fixture(scope="module")
def at_hand(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What lies in the notebook by then: models, data, activations, an SAE, its codes and its report."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression

    vit, gpt = sn.load_model("tiny-vit"), sn.load_model("tiny-gpt")
    pictures = sn.data.scenes(16, seed=0)
    texts = sn.data.stories(4, seed=0).texts
    acts = sn.capture(vit, pictures, "resid_post.6", progress=False)
    text_acts = sn.capture(gpt, texts, "resid_post.2", progress=False)
    sae = sn.TopK(d_in=acts.d_in, n_atoms=64, k=4, generator=torch.Generator().manual_seed(0))
    config = sn.TrainConfig(steps=30, batch_size=256)
    result = sn.train(sae, acts, config, progress=False)
    codes = sae.encode(acts.x)
    return {
        "sn": sn, "sw": sw, "np": np, "pd": pd, "torch": torch, "random": random, "Path": Path, "PCA": PCA,
        "LogisticRegression": LogisticRegression, "vit": vit, "gpt": gpt, "pictures": pictures,
        "texts": texts, "acts": acts, "text_acts": text_acts, "sae": sae, "result": result,
        "codes": codes, "dense": codes.to_dense(), "report": sn.evaluate(sae, acts),
        "pretrained": sn.load_sae("tiny-vit/resid_post.6"), "folder": tmp_path_factory.mktemp("hour"),
    }  # fmt: skip


def typed(code: str, names: dict[str, Any]) -> Any:
    """Run lines as a cell does and return the value of the last one."""
    # nnsight reads a trace's source, and remembers it by the file's name.
    cell = f"<cell {hash(code)}>"
    linecache.cache[cell] = (len(code), None, code.splitlines(keepends=True), cell)
    *lines, last = ast.parse(code).body
    if not isinstance(last, ast.Expr):
        lines, last = [*lines, last], ast.Expr(ast.Constant(None))
    exec(compile(ast.Module(lines, []), cell, "exec"), names)
    return eval(compile(ast.Expression(last.value), cell, "eval"), names)


@pytest.mark.parametrize(("code", "holds"), CALLS, ids=[code[:90] for code, _ in CALLS])
def test_a_newcomers_call_works(code: str, holds: str, at_hand: dict[str, Any]) -> None:
    names, screen = dict(at_hand), io.StringIO()
    with contextlib.redirect_stdout(screen):
        names["_"] = typed(code, names)
    names["printed"] = screen.getvalue
    assert eval(holds, names), f"{code} gave {names['_']!r}"


@pytest.mark.parametrize(("code", "says"), REFUSED, ids=[code[:90] for code, _ in REFUSED])
def test_a_name_of_another_library_is_answered(
    code: str, says: str, at_hand: dict[str, Any]
) -> None:
    with pytest.raises(Exception) as caught:
        typed(code, dict(at_hand))
    kind, _, words = says.partition(": ")
    assert kind in {one.__name__ for one in type(caught.value).__mro__}
    assert re.search(words, str(caught.value), re.DOTALL), str(caught.value)
