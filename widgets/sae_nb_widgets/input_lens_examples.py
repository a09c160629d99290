"""Inputs to begin with: those behind activations or a ready-made SAE, else a few made-up ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from sae_nb.models.live_model import LiveModel
    from sae_nb.tokens import Context

TEXTS = (
    "Anna lived near the library with a small fox. The sun came out and she was very",
    "The old dog lost the key near the river. It was a sad day and he felt",
    "The function returns a list of all the",
)
MADE_UP_PICTURES = 16
SHORTEST, LONGEST = 4, 64  # tokens of an example


class InputExamples:
    """Examples by number, made or decoded when they are asked for.

    Parameters
    ----------
    model
        What reads them.
    context
        Of activations; None for none.
    store
        Example store of a ready-made SAE; None for none.
    """

    def __init__(self, model: LiveModel, context: Context | None, store: Any = None) -> None:
        self._model = model
        contexts = (context, getattr(getattr(store, "acts", None), "context", None))
        kind = "pictures" if model.kind == "vision" else "token_ids"
        self._context = next((c for c in contexts if getattr(c, kind, None) is not None), None)
        self._made: Tensor | None = None

    def __len__(self) -> int:
        if self._context is not None:
            return int(self._context.n_samples)
        if self._model.kind == "vision":
            return MADE_UP_PICTURES if self._draws_scenes else 0
        return len(TEXTS) if self._model.tokenizer is not None else 0

    @property
    def _draws_scenes(self) -> bool:
        # Made-up scenes say something to the bundled models; to another one they are noise.
        return self._model.name.startswith("tiny-vit")

    def __getitem__(self, index: int) -> Any:
        """Return a picture as (3, height, width), or a text."""
        context = self._context
        if context is None:
            return self._made_up(index)
        if context.pictures is not None and self._model.kind == "vision":
            return context.pictures[index]
        if context.token_ids is None:
            raise IndexError(f"There is no example {index}.")
        ids = context.token_ids.sample(index).tolist()
        # Up to the middle of something: what comes next is then worth asking about.
        ids = ids[: max(min(2 * len(ids) // 3, LONGEST), SHORTEST)]
        text = str(self._model.tokenizer.decode(ids, skip_special_tokens=True))
        return text.rpartition(" ")[0] or text

    def _made_up(self, index: int) -> Any:
        if self._model.kind != "vision":
            return TEXTS[index]
        if self._made is None:
            from sae_nb.data import scenes

            self._made = scenes(MADE_UP_PICTURES, seed=0, split="test").images
        return self._made[index]
