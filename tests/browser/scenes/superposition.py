"""SuperpositionToy and exercise cards, which are held to the grammar."""

from __future__ import annotations

CELLS = (
    """\
toy = sw.SuperpositionToy()
toy.wait(120)
toy.sparsity = 0.97
toy.details = True
toy""",
    'from sae_nb_lessons import exercise, exercise_report\nexercise("01.3")',
    'exercise("01.3").check(...)',
    'exercise("01.4").reveal()',
    'exercise_report("01")',
)
