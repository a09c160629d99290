"""ChangesPanel: it is held to the grammar."""

from __future__ import annotations

CELLS = (
    """\
from sae_nb_studies.models import plant_behaviour
made = plant_behaviour("phrase")
compared = sn.diff_models(made.before, made.after, made.inputs(4), steps=20, n_components=1, progress=False)
changes = sw.ChangesPanel(made.before, made.after, made.inputs(4), compared)
changes""",
)
