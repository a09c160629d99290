"""Answers to what is read off panels and sliders: the right one, and what is easily misread."""

from __future__ import annotations

from tests.lessons.exercises.asked import Asked

ASKED = [
    Asked("00.2", [16], [(512, "how many atoms"), (64, "width of a row"), (1e6, "shows less")]),
    Asked("01.1", [2], [(4, "Two of the four"), (1, "One is missing"), (-1.1, "value of such")]),
    Asked("11.1", ["MP"], [("OMP", "OMP refits")]),
    Asked("12.2", [2], [(1, "After one step"), (4, "k is the most"), (3, "A step before")]),
    Asked("13.4", ["ReLU", " relu."], [("SpaDE", "SpaDE's"), ("TopK", "TopK's")]),
    Asked("16.4", [0.39], [(0.35, "second neigh"), (0.89, "F1"), (67, "the angle")]),
    Asked("03.1", ["accuracy"], [("KL", "This one is clear"), ("R²", "This one is clear")]),
    Asked("19.3", [0.7, 0.85], [(0, "dashed tick"), (0.2, "further right"), (0.97, "was trained")]),
    Asked("20.2", ["BatchTopK"], [("ℓ1 price", "shrinks every"), ("ℓ1 price, copy", "same price")]),
    Asked("21.3", ["bad story"], [("good story", "at the oth")]),
    Asked("25.2", [0.0889], [(8.89, "As a share"), (0.89, "F1"), (0, "dead")]),
    Asked("08.1", ["very"], [("her", "Another word"), ("lost", "came early")]),
    Asked("02.8", ["the toolkit's"], [("ours", "Ours is .957")]),
    Asked("09.2", ["rows"], [("scrambled", "right ends")]),
    Asked("26.2", [2.5], [(1.0, "That is the effect"), (0.4, "a random di"), (0.6, "difference")]),
    Asked("29.3", ["was"], [("full stop", "nearly white")]),
    Asked("33.5", [5], [(10, "is in both"), (48, "name the smaller"), (7, "hardly any")]),
    Asked("lab_01.4", ["0", 0, 0.0], [("0.05", "already cuts"), (0.2, "smaller λ")]),
    Asked("lab_02.4", [12], [(8, "With eight units"), (16, "Sixteen are enough")]),
    Asked("lab_03.4", ["15"], [("5", "swings faster")]),
    Asked("lab_04.4", ["0.03"], [(0.3, "At a lower price"), ("3", "the other end")]),
    Asked("lab_05.4", [6], [(1.25, "the difference"), (1.5, "first width"), (36, "areas")]),
    Asked("lab_06.4", ["10%"], [("50%", "nearly sure"), ("25%", "longer with")]),
    Asked("lab_07.4", ["1"], [("0.1", "1.2 times"), (0.3, "1.6 times"), (3, "7 times")]),
    Asked("lab_08.4", [2], [(4, "the turn"), (6, "the roll"), (36, "how many")]),
    Asked("lab_09.4", ["yes"], [("no", "solid line")]),
    Asked("lab_10.4", ["15"], [("3", "fit many images"), (5, "of several images")]),
]
