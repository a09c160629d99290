"""Answers to what is read off panels and sliders: the right one, what is easily misread, and what is told then."""

from __future__ import annotations

from tests.lessons.exercises.asked import Asked

ASKED = [
    Asked("00.2", right=[16], near=[(512, "That is how many atoms t"), (1e6, "shows less than")]),
    Asked(
        "01.5",
        right=[2],
        near=[
            (4, "Two of the four are posi"),
            (0, "Look at the right end, w"),
            (1e6, "shows less than"),
        ],
    ),
    Asked(
        "02.5",
        right=["MP"],
        near=[(other, "OMP refits all coefficie") for other in ("OMP",)],
        malformed=[("none of them", "one of")],
    ),
    Asked(
        "03.4",
        right=[2],
        near=[
            (1, "After one step the child"),
            (4, "k is the most it may tak"),
            (1e6, "shows less than"),
        ],
    ),
    Asked(
        "04.4",
        right=["SpaDE"],
        near=[(other, "Look at the right end of") for other in ("ReLU", "TopK")],
        malformed=[("none of them", "one of")],
    ),
    Asked(
        "08.4",
        right=[0.39],
        near=[
            (0.35, "That is the second neigh"),
            (1.0, "That is the atom with it"),
            (1e6, "shows less than"),
        ],
    ),
    Asked(
        "10.8",
        right=["accuracy"],
        near=[(other, "This one is clear: the d") for other in ("R²", "cosine", "KL")],
        malformed=[("none of them", "one of")],
    ),
    Asked(
        "13.2",
        right=["BatchTopK"],
        near=[(other, "This one has a price. Lo") for other in ("ℓ1 price", "ℓ1 price, copy")],
        malformed=[("none of them", "one of")],
    ),
    Asked(
        "14.6",
        right=["bad story"],
        near=[(other, "That one lies at the oth") for other in ("good story",)],
        malformed=[("none of them", "one of")],
    ),
    Asked(
        "16.4",
        right=[0.0889],
        near=[
            (8.89, "As a share: divide by 10"),
            (1e6, "shows less than"),
        ],
    ),
    Asked(
        "17.4",
        right=["very"],
        near=[(other, "Another word has more: h") for other in ("lost", "her", "was")],
        malformed=[("none of them", "one of")],
    ),
    Asked(
        "24.10",
        right=["the toolkit's"],
        near=[(other, "Read R² at the right end") for other in ("ours",)],
        malformed=[("none of them", "one of")],
    ),
    Asked(
        "26.5",
        right=["rows"],
        near=[(other, "Read the right ends of b") for other in ("scrambled",)],
        malformed=[("none of them", "one of")],
    ),
    Asked(
        "29.3",
        right=[2.5],
        near=[
            (1.0, "That is the effect. Divi"),
            (0.4, "That is what a random di"),
            (1e6, "shows less than"),
        ],
    ),
    Asked(
        "lab_01.4",
        right=["0"],
        near=[(other, "At another λ there are m") for other in ("0.05", "0.2", "0.5", "2")],
        malformed=[("none of them", "one of")],
    ),
    Asked(
        "lab_02.4",
        right=[12],
        near=[
            (8, "With eight units more th"),
            (16, "Sixteen are enough, but "),
            (1e6, "shows less than"),
        ],
    ),
    Asked(
        "lab_03.4",
        right=["15"],
        near=[(other, "This one swings faster: ") for other in ("5",)],
        malformed=[("none of them", "one of")],
    ),
    Asked(
        "lab_04.4",
        right=["0.03"],
        near=[(other, "At a lower price there a") for other in ("0.1", "0.3", "1", "3")],
        malformed=[("none of them", "one of")],
    ),
    Asked(
        "lab_05.4", right=[6], near=[(1.25, "That is the difference. "), (1e6, "shows less than")]
    ),
    Asked(
        "lab_06.4",
        right=["10%"],
        near=[(other, "They are longer with ano") for other in ("50%", "25%", "20%", "15%")],
        malformed=[("none of them", "one of")],
    ),
    Asked(
        "lab_07.4",
        right=["1"],
        near=[(other, "Read the right end of th") for other in ("0.1", "0.3", "3")],
        malformed=[("none of them", "one of")],
    ),
    Asked(
        "lab_08.4",
        right=[2],
        near=[(4, "That is the turn."), (6, "That is the roll."), (1e6, "shows less than")],
    ),
    Asked(
        "lab_09.4",
        right=["yes"],
        near=[(other, "Look where the line is, ") for other in ("no",)],
        malformed=[("none of them", "one of")],
    ),
    Asked(
        "lab_10.4",
        right=["15"],
        near=[(other, "At this k samples are st") for other in ("3", "5", "7", "9")],
        malformed=[("none of them", "one of")],
    ),
    Asked("12.3", right=[0.7, 0.85], near=[(0, "dashed tick"), (1, "dashed tick")]),
]
