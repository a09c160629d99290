"""Exercises of all notebooks that are answered by using a panel, or by moving a figure's slider."""

from __future__ import annotations

from functools import cache

from sae_nb_lessons.exercises._answers import number, one_of, whole_number, words
from sae_nb_lessons.exercises._kit import Answer, tasks
from sae_nb_lessons.exercises._mistakes import Mistake

CLOSE = 1e-6


def _read(right: float, close: float, *misread: tuple[float, str, str]) -> Answer:
    """Ask for a number of a panel: how near is near enough; what else is read easily, and what to say then."""

    def judge(answer: float) -> Mistake | str | None:
        if abs(answer - right) <= close:
            return None
        for value, said, hint in misread:
            if abs(answer - value) <= max(CLOSE, 0.02 * abs(value)):
                return Mistake(said, hint)
        return f"The panel shows {'less' if answer > right else 'more'} than {answer:g}."

    return Answer(number(), judge=judge)


def _chosen(choices: tuple[str, ...], right: str, said: str) -> Answer:
    """Ask for one of a few words."""

    def judge(answer: str) -> str | None:
        return None if answer == right else said

    return Answer(one_of(*choices), judge=judge)


def _between(low: float, high: float, said: str) -> Answer:
    """Ask for a share that differs a little from machine to machine."""

    def judge(answer: float) -> str | None:
        return None if low <= answer <= high else said

    return Answer(number(0, 1), judge=judge)


@cache
def first_block() -> int:
    """Return the block from which on tiny-gpt's logit lens reads the model's answer at the last token of 23's text."""
    import sae_nb as sn

    gpt, text = sn.load_model("tiny-gpt"), "Once upon a time there was a small dog"
    top = sn.fit_lens(gpt, [text], kind="logit", progress=False).read(text).top[:, -1, 0]
    own = int(gpt([text])[0, -1].argmax())
    first = len(top) - 1
    while first > 0 and int(top[first - 1]) == own:
        first -= 1
    return first


def _judge_block(answer: int) -> Mistake | str | None:
    right = first_block()
    if answer == right:
        return None
    if answer > right:
        return Mistake(
            "It reads the answer in a block before that.", "Follow the column further down."
        )
    return Mistake(
        "In that block it still reads something else.", "Green, and green in all blocks above."
    )


TASKS = tasks(
    "reading",
    {
        "00.2": _read(
            16,
            0.5,
            (
                512,
                "That is how many atoms there are. How many are on in a row?",
                "The curve of L0.",
            ),
        ),
        "01.5": _read(
            2,
            0.1,
            (4, "Two of the four are positive.", "cos 72° is above 0."),
            (
                0,
                "Look at the right end, where all five features have an arrow.",
                "At the left end there is no interference, since three features are given up.",
            ),
        ),
        "02.5": _chosen(
            ("MP", "OMP"),
            "MP",
            "OMP refits all coefficients, so the atoms that it has taken have no bar left.",
        ),
        "03.4": _read(
            2,
            0.1,
            (1, "After one step the child, or its parent, is still there.", "Step once more."),
            (
                4,
                "k is the most it may take. When is nothing left?",
                "Watch ‖r‖² from step to step.",
            ),
        ),
        "04.4": _chosen(
            ("SpaDE", "ReLU", "TopK"), "SpaDE", "Look at the right end of the curves of R² again."
        ),
        "05.4": Answer(words(15)),
        "07.4": Answer(words(15)),
        "08.4": _read(
            0.39,
            0.011,
            (
                0.35,
                "That is the second neighbour's, and nearly that of random directions. The nearest?",
                "The first of the three cosines.",
            ),
            (1.0, "That is the atom with itself.", "The nearest other atom."),
        ),
        "09.5": Answer(words(15)),
        "10.8": _chosen(
            ("R²", "cosine", "accuracy", "KL"),
            "accuracy",
            "This one is clear: the dashed tick lies apart from the interval.",
        ),
        "12.3": _between(
            0.5,
            0.95,
            "That is not where the dashed tick of this row is: 0 is the solid one, 1 the MLP itself.",
        ),
        "13.2": _chosen(
            ("ℓ1 price", "BatchTopK", "ℓ1 price, copy"),
            "BatchTopK",
            "This one has a price. Look at the right ends of the curves again.",
        ),
        "14.6": _chosen(
            ("bad story", "good story"), "bad story", "That one lies at the other end."
        ),
        "15.3": Answer(words(15)),
        "16.4": _read(
            0.0889,
            0.003,
            (8.89, "As a share: divide by 100.", "8.89 % is .0889."),
        ),
        "17.4": _chosen(
            ("lost", "her", "was", "very"), "very", "Another word has more: hover all of them."
        ),
        "18.4": Answer(words(12)),
        "20.4": Answer(words(12)),
        "21.4": Answer(words(12)),
        "23.4": Answer(whole_number(0, 3), judge=_judge_block),
        "24.10": _chosen(
            ("ours", "the toolkit's"),
            "the toolkit's",
            "Read R² at the right end of its curve again.",
        ),
        "25.5": Answer(words(12)),
        "26.5": _chosen(("rows", "scrambled"), "rows", "Read the right ends of both curves again."),
        "27.6": Answer(words(12)),
        "28.5": Answer(words(15)),
        "29.3": _read(
            2.5,
            0.35,
            (
                1.0,
                "That is the effect. Divide it by what a random direction reaches at most.",
                "1.0 / 0.40.",
            ),
            (
                0.4,
                "That is what a random direction reaches. How many times more is the atom's?",
                "1.0 / 0.40.",
            ),
        ),
        "lab_01.4": _chosen(
            ("0", "0.05", "0.2", "0.5", "2"), "0", "At another λ there are more ties."
        ),
        "lab_02.4": _read(
            12,
            0.1,
            (8, "With eight units more than 5 % is left.", "The next one."),
            (16, "Sixteen are enough, but fewer are, too.", "The one before."),
        ),
        "lab_03.4": _chosen(("5", "15"), "15", "This one swings faster: count again."),
        "lab_04.4": _chosen(
            ("0.03", "0.1", "0.3", "1", "3"), "0.03", "At a lower price there are more of them."
        ),
        "lab_05.4": _read(6, 0.3, (1.25, "That is the difference. How many times?", "1.5 / 0.25")),
        "lab_06.4": _chosen(
            ("50%", "25%", "20%", "15%", "10%"),
            "10%",
            "They are longer with another share: see the table.",
        ),
        "lab_07.4": _chosen(
            ("0.1", "0.3", "1", "3"), "1", "Read the right end of the curve at another γ."
        ),
        "lab_08.4": _read(
            2,
            0.1,
            (4, "That is the turn.", "Choose “flip”."),
            (6, "That is the roll.", "Choose “flip”."),
        ),
        "lab_09.4": _chosen(("yes", "no"), "yes", "Look where the line is, next to the histogram."),
        "lab_10.4": _chosen(
            ("3", "5", "7", "9", "15"),
            "15",
            "At this k samples are still put together from several images.",
        ),
    },
)
