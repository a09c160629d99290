"""The score of a quiz about atoms, next to what guessing reaches.

Guessing reaches 1 / n; the score comes with Wilson's interval (p + z²/2m ± z√(p(1 − p)/m + z²/4m²)) /
(1 + z²/m), m answers, z = 1.96.
"""

from __future__ import annotations

from dataclasses import dataclass

from sae_nb.statistics import wilson_interval

ENOUGH_ANSWERS = 10
"""From here on a score at the level of guessing is informative: at 2 of 10 its interval ends at 51 %.
Ours.
"""


@dataclass(frozen=True, kw_only=True)
class QuizScore:
    """Answers counted, with what guessing would reach."""

    n_right: int
    n_answered: int
    chance: float

    @property
    def share(self) -> float:
        """Share of right answers; NaN before the first."""
        return self.n_right / self.n_answered if self.n_answered else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        low, high = wilson_interval(self.n_right, self.n_answered)
        return float(low), float(high)

    @property
    def better_than_chance(self) -> bool:
        """Whether the interval lies above what guessing reaches."""
        return self.n_answered > 0 and self.interval[0] > self.chance

    @property
    def words(self) -> str:
        """In two short sentences."""
        guessing = f"Guessing gives {100 * self.chance:.0f} %"
        if not self.n_answered:
            return f"No answer yet. {guessing}."
        if self.better_than_chance:
            verdict = "you do better"
        elif self.n_answered >= ENOUGH_ANSWERS and self.share <= self.chance:
            verdict = "you do no better"
        else:
            verdict = "too few answers to tell"
        return f"{self.n_right} of {self.n_answered} right. {guessing}; {verdict}."

    @property
    def numbers(self) -> str:
        """Share and interval, for those who want them; empty before the first answer."""
        if not self.n_answered:
            return ""
        low, high = (100 * end for end in self.interval)
        return f"{100 * self.share:.0f} % right, 95 % interval {low:.0f} to {high:.0f} % (Wilson)"
