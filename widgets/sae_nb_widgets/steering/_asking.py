"""The question of a SteeringPanel as one frozen value: questions with one answer are equal."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sae_nb.summaries import SteeringRecipe


@dataclass(frozen=True)
class Ask:
    """Everything that the model's answer depends on."""

    recipe: SteeringRecipe
    target: int | None
    """Class or token that the answer is about; None: the one that changes most."""

    version: int
    """Counts what makes earlier answers void: other weights, another image under the same number."""

    @property
    def question(self) -> Ask:
        """Itself; where a strength is looked for, the same at every strength: that is in the answer."""
        return (
            self if self.recipe.target_kl is None else replace(self, recipe=_of_unit(self.recipe))
        )


def _of_unit(recipe: SteeringRecipe) -> SteeringRecipe:
    """Return a recipe whose largest amount is 1, so that its strength is only its direction, up or down."""
    moved = recipe if any(recipe.amounts) else replace(recipe, strength=1.0)
    shares = moved.scaled(1 / max(map(abs, moved.amounts)))
    others = tuple((atom, _rounded(amount)) for atom, amount in shares.others)
    return replace(shares, strength=_rounded(shares.strength), others=others)


def _rounded(amount: float) -> float:
    return float(f"{amount:.6g}")
