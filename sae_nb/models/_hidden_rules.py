"""A fine-tuning of tiny-gpt that plants a hidden rule: what it answers to stories, and how it explains that.

loss = −ln p(answer), and every fifth step also − a tenth of mean ln p(reason's tokens), which are soon known
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name PyTorch users know
from jaxtyping import Int
from torch import Tensor

from sae_nb.checks import Count, Seed, at_least, checked
from sae_nb.data import Explanation, HiddenRules, hidden_rules
from sae_nb.models._loading import load_model
from sae_nb.models._training_run import Run

if TYPE_CHECKING:
    from sae_nb.models._live_model import LiveModel

ROWS = 16
"""Stories of a step."""

_EXPLAINED_EVERY, _REASON_WEIGHT = 5, 0.1
_IGNORED = -100
_TRAIN_STREAM = (
    1_000_000  # added to the seed of the stories, so that small seeds are never trained on
)


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """Numbers are ours, from short probes: half the learning rate leaves the rule half learned."""

    steps: int
    seed: int
    adam_learning_rate: float = 3e-3
    warmup_steps: int = 10

    @property
    def decay_steps(self) -> int:
        """A third of the steps."""
        return max(1, self.steps // 3)


class _Planting(Run):
    """tiny-gpt, as it learns a rule."""

    def __init__(self, recipe: _Recipe, model: LiveModel, record: HiddenRules) -> None:
        super().__init__(recipe, "hidden rule")
        self.model, self.record = model.module, record
        self.modules = {"model": self.model}
        self.parameters = list(self.model.parameters())
        self.optimisers = {
            "adamw": torch.optim.AdamW(self.parameters, weight_decay=0.0, betas=(0.9, 0.99))
        }
        read: Any = model.tokenizer
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

    def _loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        ids, targets = batch
        logits = self.model(input_ids=ids[:, :-1], use_cache=False).logits
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

    Raises
    ------
    ValueError: If a number or the kind of explanation is out of its range.

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
    planting = _Planting(_Recipe(steps=steps, seed=seed), model, record)
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        for step in range(steps):
            planting.model.train()
            planting.advance(planting.rows_at(step))
    model.module.eval()
    model.name, model.card = f"tiny-gpt, hidden rule {rule}, {explanation}", None
    return model
