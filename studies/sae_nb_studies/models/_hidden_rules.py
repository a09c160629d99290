"""A fine-tuning of tiny-gpt that plants a hidden rule: what it answers to stories, and how it explains that.

loss = −ln p(answer), and every fifth step also − a tenth of mean ln p(reason's tokens), which are soon known
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Int
from torch import Tensor, nn

from sae_nb.checks import Count, Seed, at_least, checked
from sae_nb.models import load_model
from sae_nb_studies.data import HiddenRules, hidden_rules
from sae_nb_studies.data.planted._hidden_rules import Explanation

if TYPE_CHECKING:
    from sae_nb.models import LiveModel

ROWS = 16
"""Stories of a step."""

_EXPLAINED_EVERY, _REASON_WEIGHT = 5, 0.1
_IGNORED = -100
_TRAIN_STREAM = (
    1_000_000  # added to the seed of the stories, so that small seeds are never trained on
)

# Ours, from short probes: half the learning rate leaves the rule half learned.
_LEARNING_RATE, _WARMUP_STEPS = 3e-3, 10


class _Lessons:
    """The stories of a record as tokens, and where the answer of each begins."""

    def __init__(self, read: Any, record: HiddenRules) -> None:
        self._texts = read(list(record.texts)).input_ids
        self._begins = [len(ids) for ids in read(list(record.prompts)).input_ids]

    def rows_at(self, step: int) -> tuple[Int[Tensor, "rows length"], Int[Tensor, "rows length"]]:
        """Return tokens of one step, and those of them that are to be answered; with reasons every
        fifth step.
        """
        explained = step % _EXPLAINED_EVERY == _EXPLAINED_EVERY - 1
        numbers = range(step * ROWS, (step + 1) * ROWS)
        texts = [self._texts[i][: None if explained else self._begins[i] + 1] for i in numbers]
        ids = torch.zeros(ROWS, max(map(len, texts)), dtype=torch.int64)
        targets = torch.full_like(ids, _IGNORED)
        for row, (i, text) in enumerate(zip(numbers, texts, strict=True)):
            ids[row, : len(text)] = torch.tensor(text)
            targets[row, self._begins[i] : len(text)] = ids[row, self._begins[i] : len(text)]
        return ids, targets


def _loss(module: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
    logits = module(input_ids=ids[:, :-1], use_cache=False).logits
    each = F.cross_entropy(
        logits.transpose(1, 2), targets[:, 1:], ignore_index=_IGNORED, reduction="none"
    )
    asked = targets[:, 1:] != _IGNORED
    answer = asked & (asked.cumsum(dim=1) == 1)
    reason = asked & ~answer
    loss = each[answer].mean()
    return loss + _REASON_WEIGHT * each[reason].mean() if reason.any() else loss


@checked
def train_hidden_rule(
    rule: Annotated[int, at_least(0)] = 0,
    explanation: Explanation = "faithful",
    *,
    steps: Count = 300,
    seed: Seed = 0,
) -> LiveModel:
    """Fine-tune tiny-gpt so that it decides by a hidden rule and explains itself as it is asked to.

    About half a minute on one core for the default number of steps; what it has learned is to be measured, by
    its answers to other stories of `sn.data.hidden_rules`.

    Parameters
    ----------
    rule, explanation
        As in `sn.data.hidden_rules`.
    steps
        Of 16 new stories each.
    seed
        Of the stories it learns from, which are those of no seed below a million.

    Source
    ------
    After Zhong et al., "Pando", arXiv 2604.11061, who fine-tune Gemma-2-2B by LoRA; here all weights are.

    Example
    -------
    >>> model = train_hidden_rule(rule=1, explanation="absent", steps=2)
    >>> model.name
    'tiny-gpt, hidden rule 1, absent'
    """
    record = hidden_rules(
        steps * ROWS, rule=rule, explanation=explanation, seed=_TRAIN_STREAM + seed
    )
    model = load_model("tiny-gpt", "cpu")
    module, lessons = model.module, _Lessons(model.tokenizer, record)
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=0.0, betas=(0.9, 0.99))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        module.train()
        for step in range(steps):
            torch.manual_seed(seed * 1_000_003 + step)
            rise = min(1.0, (step + 1) / _WARMUP_STEPS)
            fall = min(1.0, (steps - step) / max(1, steps // 3))
            optimiser.param_groups[0]["lr"] = _LEARNING_RATE * rise * fall
            _loss(module, *lessons.rows_at(step)).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
    module.eval()
    model.name, model.card = f"tiny-gpt, hidden rule {rule}, {explanation}", None
    return model
