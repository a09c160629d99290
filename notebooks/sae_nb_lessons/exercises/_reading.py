"""Exercises of all notebooks that are answered by using a panel, or by moving a figure's slider."""

from __future__ import annotations

from collections.abc import Mapping
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
        return _misplaced(answer, right, close) or (
            f"The panel shows {'less' if answer > right else 'more'} than {answer:g}."
        )

    return Answer(number(), judge=judge)


def _misplaced(answer: float, right: float, close: float) -> Mistake | None:
    """Return what was done to the right number that makes it this one: its sign, its unit, its reciprocal."""
    slips = (
        (-answer, "The number is right, its sign is not.", "Read the sign in front of it."),
        (answer / 100, "This one is in per cent.", "Divide by 100."),
        (answer * 100, "This one is a hundredth of it.", "Do not divide by 100 here."),
        (answer / 10, "The decimal point is one place off.", "Read the number once more."),
        (answer * 10, "The decimal point is one place off.", "Read the number once more."),
        (1 / answer if answer else right + 2 * close, "This one is upside down.", "One over it."),
    )
    for value, said, hint in slips:
        if abs(value - right) <= close:
            return Mistake(said, hint)
    if abs(answer - right) <= 0.15 * abs(right):
        return Mistake(
            "Close, and not what is written there.", "Read the number, not its place on an axis."
        )
    return None


def _chosen(right: str, wrong: Mapping[str, str]) -> Answer:
    """Ask for one of a few words: the right one, and what to say to each of the others, in the order of both."""

    def judge(answer: str) -> str | None:
        return None if answer == right else wrong[answer]

    return Answer(one_of(*sorted((right, *wrong), key=_in_order)), judge=judge)


def _in_order(choice: str) -> tuple[float, str]:
    """Sort numbers by size and words by letters."""
    text = choice.rstrip("%")
    return (float(text), "") if text.replace(".", "").isdigit() else (0.0, choice)


LENS_TEXT, LENS_TOKEN = "One day Clara and Anna went to the library", -3
"""The text of 06, and “ to”, where the Jacobian lens settles first; the panel opens with the last token."""


@cache
def first_block(kind: str = "logit") -> int:
    """Return the block from which on a lens of tiny-gpt reads the model's answer at one token of 06's text."""
    import sae_nb as sn

    gpt = sn.load_model("tiny-gpt")
    jacobian, logit = sn.load_lens("tiny-gpt").read_both(LENS_TEXT)
    top = (logit if kind == "logit" else jacobian).top[:, LENS_TOKEN, 0]
    agrees = top == int(gpt([LENS_TEXT])[0, LENS_TOKEN].argmax())
    return len(top) - int(agrees[::-1].cumprod().sum())


def _judge_block(answer: int) -> Mistake | str | None:
    right, other = first_block(), first_block("Jacobian")
    if answer == right:
        return None
    if answer == other:
        return Mistake(
            "From there the Jacobian lens reads it. The logit lens needs longer.",
            "The control above the picture chooses the lens.",
        )
    if answer > right:
        return Mistake(
            "The lens reads blocks 0, 1 and 2; the last block is the model's own answer.",
            "The lowest green cell with only green ones above it.",
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
            (64, "That is the width of a row. How many atoms are on?", "The curve of L0."),
            (0, "With no atom on nothing would be rebuilt.", "The curve of L0."),
            (1, "That is where R² would end. L0 is another curve.", "The curve of L0."),
            (16 / 512, "That is the share of the atoms. How many are they?", "Times 512."),
            (8192, "That is atoms times k. How many are on in one row?", "The curve of L0."),
        ),
        "01.1": _read(
            2,
            0.1,
            (4, "Two of the four are positive.", "cos 72° is above 0."),
            (
                0,
                "Look at the right end, where all five features have an arrow.",
                "At the left end there is no interference, since three features are given up.",
            ),
            (1, "One is missing: two of the four point away.", "Read the whole row."),
            (3, "One of these three is a near neighbour: its entry is positive.", "cos 72° > 0."),
            (5, "Without the diagonal there are four entries.", "How many of them are negative?"),
            (10, "That is the whole matrix. One row of it?", "The row of feature 0."),
            (-1.1, "That is the value of such an entry. How many are there?", "Count them."),
            (0.41, "That is the value of a positive one.", "How many are negative?"),
            (1.35, "That is the diagonal.", "The four beside it."),
        ),
        "11.1": _chosen(
            "MP",
            {
                "OMP": "OMP refits all coefficients, so the atoms that it has taken have no bar left."
            },
        ),
        "12.2": _read(
            2,
            0.1,
            (1, "After one step the child, or its parent, is still there.", "Step once more."),
            (
                4,
                "k is the most it may take. When is nothing left?",
                "Watch ‖r‖² from step to step.",
            ),
            (0, "Before the first step all of it is there.", "Step until ‖r‖² is 0."),
            (3, "A step before that nothing is left.", "Go one back and read ‖r‖²."),
            (5, "There are two parts only: how could it take five?", "Watch ‖r‖²."),
        ),
        "13.4": _chosen(
            "ReLU",
            {
                "SpaDE": "SpaDE's curve ends at 1.00: regions rebuild a plane, too.",
                "TopK": "TopK's curve ends at 1.00: eight latents are enough for a plane.",
            },
        ),
        "14.3": Answer(words(15)),
        "15.3": Answer(words(15)),
        "16.4": _read(
            0.39,
            0.011,
            (
                0.35,
                "That is the second neighbour's, and nearly that of random directions. The nearest?",
                "The first of the three cosines.",
            ),
            (1.0, "That is the atom with itself.", "The nearest other atom."),
            (0.28, "That is the third neighbour's.", "The first of the three cosines."),
            (0.89, "That is the F1 of its label.", "The line with “Cosine”."),
            (512, "That is how many directions are compared.", "The first of the three cosines."),
            (474, "That is the atom's number.", "The first of the three cosines."),
            (67, "That is the angle. Its cosine?", "cos 67°."),
            (0, "In 64 dimensions 512 atoms cannot all be at right angles.", "Read the first one."),
        ),
        "17.5": Answer(words(15)),
        "03.2": _chosen(
            "KL",
            dict.fromkeys(
                ("loss recovered", "accuracy"),
                "This one has a red ring: the dashed tick lies as far right, or nearly.",
            ),
        ),
        "19.3": _read(
            0.674,
            0.02,
            (0, "That is the solid tick, the MLP's mean output.", "The dashed one."),
            (0.76, "That is the row of CE recovered, against nothing.", "The one with (mean)."),
            (0.99, "That is what was trained.", "The dashed tick lies further left."),
            (1, "That is the MLP itself.", "The dashed tick lies further left."),
            (0.326, "That is what they lose. How much do they recover?", "1 minus that."),
            (0.24, "That is the row of R².", "The row of CE recovered (mean)."),
            (0.847, "That is the row of agreement.", "The row of CE recovered (mean)."),
        ),
        "20.2": _chosen(
            "BatchTopK",
            {
                "ℓ1 price": "It ends below .9: its price shrinks every strength. Another ends higher.",
                "ℓ1 price, copy": "It has the same price, on a copied model, and ends as low.",
            },
        ),
        "21.3": _chosen("bad story", {"good story": "That one lies at the other end."}),
        "22.2": Answer(words(15)),
        "25.2": _read(
            0.0889,
            0.003,
            (8.89, "As a share: divide by 100.", "8.89 % is .0889."),
            (0.1, "That is the share of images with a four. Positions are asked.", "“Fires on”."),
            (0.89, "That is the F1 of its label.", "The line under the title: “Fires on”."),
            (1, "An atom that is on everywhere tells nothing apart.", "“Fires on”."),
            (0, "Then it would be dead.", "The line under the title: “Fires on”."),
            (474, "That is the atom's number.", "The line under the title: “Fires on”."),
        ),
        "08.1": _chosen(
            "very",
            {
                "her": "Another word has more: hover all of them.",
                "lost": "Most of the words that came early. Hover the last one.",
                "was": "As much as “lost”, and less than the word where the answer is read.",
            },
        ),
        "18.2": Answer(words(12)),
        "24.3": Answer(words(12)),
        "28.1": Answer(words(12)),
        "06.2": Answer(whole_number(0, 3), judge=_judge_block),
        "02.8": _chosen(
            "the toolkit's",
            {"ours": "At a constant learning rate ours ends lower: compute R² on `held_out.x`."},
        ),
        "04.5": Answer(words(12)),
        "09.2": _chosen("rows", {"scrambled": "Read the right ends of both curves again."}),
        "27.6": Answer(words(12)),
        "10.5": Answer(words(15)),
        "26.2": _read(
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
            (0.6, "That is the difference. The ratio is asked.", "1.0 / 0.40."),
            (1.4, "That is the sum. The ratio is asked.", "1.0 / 0.40."),
            (2.1, "That is an atom further down: the first row has the largest.", "1.0 / 0.40."),
            (7, "That is the digit. By how much more does its atom raise it?", "1.0 / 0.40."),
            (0, "Then it would do nothing.", "The first row."),
        ),
        "29.3": _chosen(
            "was",
            {
                "full stop": "In the second row it is nearly white: set back, the answer after it is as before."
            },
        ),
        "lab_01.4": _chosen(
            "0",
            {
                "0.05": "A small price already cuts ties. One end has more.",
                "0.2": "There are more ties at a smaller λ.",
                "0.5": "There are more ties at a smaller λ.",
                "2": "That is the other end: few landmarks, all of them near.",
            },
        ),
        "lab_02.4": _read(
            12,
            0.1,
            (8, "With eight units more than 5 % is left.", "The next one."),
            (16, "Sixteen are enough, but fewer are, too.", "The one before."),
            (4, "With four most of the ring has no unit: far more than 5 % is left.", "Go on."),
            (5, "That is the per cent. From how many units on?", "The table's first column."),
            (0.05, "That is the share that may be left. From how many units on?", "The table."),
            (0, "Without units all of the kernel is left.", "One of 4, 8, 12, 16."),
        ),
        "lab_03.4": _chosen("15", {"5": "This one swings faster: count again."}),
        "lab_04.4": _chosen(
            "0.03",
            {
                "0.1": "At a lower price there are more of them.",
                "0.3": "At a lower price there are more of them.",
                "1": "At a lower price there are more of them.",
                "3": "That is the other end: events that are there are lost. Lower.",
            },
        ),
        "lab_05.4": _read(
            6,
            0.3,
            (1.25, "That is the difference. How many times?", "1.5 / 0.25"),
            (1.5, "That is the first width. How many times the last?", "1.5 / 0.25"),
            (0.25, "That is the last width. How many times smaller than the first?", "1.5 / 0.25"),
            (36, "That is how many times smaller their areas are.", "Of the widths."),
            (0.375, "That is the product of both widths.", "1.5 / 0.25"),
            (1, "Then they would stay as they are.", "Compare the first step with the last."),
        ),
        "lab_06.4": _chosen(
            "10%",
            {
                "50%": "With half of the samples the code is nearly sure. Fewer of them.",
                "25%": "They are longer with another share: see the table.",
                "20%": "They are longer with another share: see the table.",
                "15%": "They are longer with another share: see the table.",
            },
        ),
        "lab_07.4": _chosen(
            "1",
            {
                "0.1": "There it is 1.2 times as loud: 1 + 2γ.",
                "0.3": "There it is 1.6 times as loud: 1 + 2γ.",
                "3": "There it is 7 times as loud: 1 + 2γ.",
            },
        ),
        "lab_08.4": _read(
            2,
            0.1,
            (4, "That is the turn.", "Choose “flip”."),
            (6, "That is the roll.", "Choose “flip”."),
            (36, "That is how many eigenvalues there are. At how many places?", "Count places."),
            (18, "So many lie on each other. At how many places?", "Count places."),
            (1, "At one place the flip would do nothing, or the same to all.", "Both ends."),
            (-1, "That is one of the places. How many are there?", "Count places."),
            (0, "An eigenvalue of 0 would lose something.", "Count places on the circle."),
        ),
        "lab_09.4": _chosen(
            "yes", {"no": "Look where the solid line is, and where the dashed one: further left."}
        ),
        "lab_10.4": _chosen(
            "15",
            {
                "3": "At 3 patches fit many images, and the first of them is drawn. Larger.",
                "5": "At 5 every sample has patches of several images.",
                "7": "At 7 every sample has patches of several images.",
                "9": "At 9 pieces are large, and samples still have two colours or more.",
            },
        ),
    },
)
