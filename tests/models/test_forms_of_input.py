"""Every form of the same inputs gives a public function the same numbers: what `capture` reads, all read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import BatchEncoding

import sae_nb as sn
from sae_nb.circuits import attribution_graph, direct_effects, head_contributions, head_scores

POINT = "resid_post.1"
TEXTS = ["The little dog ran", "Once upon a time there was"]
OTHERS = ["A cat sat on", "The sun was big"]
Ids = list[list[int]]


def padded(ids: Ids, *, left: bool) -> BatchEncoding:
    """What a tokenizer returns with return_tensors="pt"."""
    longest = max(map(len, ids))
    found = BatchEncoding({"input_ids": torch.zeros(2, longest, dtype=torch.int64)})
    found["attention_mask"] = torch.zeros_like(found["input_ids"])
    for row, one in enumerate(ids):
        place = slice(longest - len(one), None) if left else slice(len(one))
        found["input_ids"][row, place], found["attention_mask"][row, place] = torch.tensor(one), 1
    return found


SEVERAL: dict[str, Callable[[Ids], Any]] = {
    "tuple": lambda ids: tuple(TEXTS),
    "ids": lambda ids: ids,
    "tensors": lambda ids: [torch.tensor(one, dtype=torch.int32) for one in ids],
    "arrays": lambda ids: [np.array(one) for one in ids],
    "mixed": lambda ids: [TEXTS[0], ids[1]],
    "left": lambda ids: padded(ids, left=True),
    "right": lambda ids: padded(ids, left=False),
    "encoding": lambda ids: BatchEncoding({"input_ids": ids}),
    "iterator": lambda ids: iter(TEXTS),
    "series": lambda ids: pd.Series(TEXTS),
    "frame": lambda ids: pd.DataFrame({"text": TEXTS}),
    "rows": lambda ids: [{"text": text} for text in TEXTS],
}
ONE: dict[str, Callable[[list[int]], Any]] = {
    "list": lambda ids: TEXTS[:1],
    "ids": lambda ids: ids,
    "numpy integers": lambda ids: list(np.array(ids)),
    "1-D": lambda ids: torch.tensor(ids),
    "2-D": lambda ids: torch.tensor([ids]),
    "not contiguous": lambda ids: torch.tensor([[i, 0] for i in ids])[:, :1].T,
    "array": lambda ids: np.array(ids),
    "encoding": lambda ids: BatchEncoding({"input_ids": ids, "attention_mask": [1] * len(ids)}),
    "left": lambda ids: {"input_ids": [[0, *ids]], "attention_mask": [[0] + [1] * len(ids)]},
    "iterator": lambda ids: iter(TEXTS[:1]),
    "series": lambda ids: pd.Series(TEXTS[:1]),
    "row": lambda ids: {"text": TEXTS[0]},
}


def sae_at(point: str, model: sn.LiveModel) -> sn.TopK:
    width = sn.capture(model, TEXTS[0], point, progress=False).d_in
    sae = sn.TopK(width, 64, 4, generator=torch.Generator().manual_seed(0))
    sae.hook_point, sae.model_name = point, model.name
    return sae


def direction(model: sn.LiveModel, x: Any) -> sn.steering.Direction:
    return sn.direction(model, POINT, x, OTHERS, n_splits=1, n_random=1)


def read_by_monitor(model: sn.LiveModel, x: Any) -> Any:
    meter = sn.monitor(model, {"dog": direction(model, TEXTS)}, TEXTS, fpr=0.4)
    return meter.read(x).table["dog"]


OF_SEVERAL: dict[str, Callable[[sn.LiveModel, Any], Any]] = {
    "capture": lambda model, x: sn.capture(model, x, POINT, progress=False).x,
    "call": lambda model, x: model(x).nan_to_num(),
    "generate": lambda model, x: torch.cat(model.generate(x, 2, return_ids=True)),
    "direction": lambda model, x: direction(model, x).vector,
    "monitor": read_by_monitor,
    "states": lambda model, x: sn.dynamics.pushed_states(model, x, layer=1, size=1.0),
    "head_contributions": lambda model, x: (
        head_contributions(model, x, target=(5, 9), method="gradient").values
    ),
    "check_fit": lambda model, x: (
        sn.check_fit(model, sn.load_sae("tiny-gpt/resid_post.3"), x, splice=False).trials[0].r2
    ),
}
OF_ONE: dict[str, Callable[[sn.LiveModel, Any], Any]] = {
    "capture": OF_SEVERAL["capture"],
    "call": OF_SEVERAL["call"],
    "top_atoms": lambda model, x: sn.top_atoms(model, sae_at(POINT, model), x, POINT).strength,
    "self_correction": lambda model, x: (
        sn.dynamics.self_correction(model, x, layer=1, size=1.0).angles
    ),
    "lens": lambda model, x: (
        sn.fit_lens(model, TEXTS, kind="logit", progress=False).read(x).table["probability"]
    ),
    "direct_effects": lambda model, x: direct_effects(model, x, (5, 9)).values,
    "head_scores": lambda model, x: (
        head_scores(model, x, n_texts=1, n_tokens=4).table["entropy"].to_numpy(float)
    ),
    "graph": lambda model, x: attribution_graph(model, "neurons", x, progress=False).flow,
}


def tokens_of(model: sn.LiveModel, texts: list[str]) -> Ids:
    return [batch.first_tensor[0].tolist() for batch in model.batches(texts, batch_size=1)]


def numbers(x: Any) -> torch.Tensor:
    return torch.as_tensor(np.array(x, dtype=float) if not isinstance(x, torch.Tensor) else x)


@pytest.mark.slow
@pytest.mark.parametrize("asked", OF_SEVERAL)
def test_several_inputs_in_every_form(asked: str, gpt: sn.LiveModel) -> None:
    ids, wanted = tokens_of(gpt, TEXTS), numbers(OF_SEVERAL[asked](gpt, TEXTS))
    for form, make in SEVERAL.items():
        found = numbers(OF_SEVERAL[asked](gpt, make(ids)))
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4, msg=f"{asked} of {form}")


@pytest.mark.slow
@pytest.mark.parametrize("asked", OF_ONE)
def test_one_input_in_every_form(asked: str, gpt: sn.LiveModel) -> None:
    ids, wanted = tokens_of(gpt, TEXTS[:1])[0], numbers(OF_ONE[asked](gpt, TEXTS[0]))
    for form, make in ONE.items():
        found = numbers(OF_ONE[asked](gpt, make(ids)))
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4, msg=f"{asked} of {form}")


@pytest.mark.parametrize("one", [TEXTS[0], [5, 6, 7], torch.tensor([5, 6, 7])])
def test_one_text_is_not_several(one: Any, gpt: sn.LiveModel) -> None:
    """Token ids of one text are not counted as so many texts."""
    with pytest.raises(TypeError, match="`positive` must be several inputs, got one"):
        direction(gpt, one)
