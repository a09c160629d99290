"""`python -m sae_nb_studies.recipes.saes NAME --out DIR` makes a pretrained SAE again, `… lens NAME` a lens,
`… patches MODEL --images DIR` an SAE of an image model's patches, `… temporal NAME` temporal SAEs,
`… temporal-names FOLDER` names of their atoms.
"""

import sys
from functools import partial

from sae_nb.interrupts import ended
from sae_nb_studies.recipes.saes._lenses import main as lens_main
from sae_nb_studies.recipes.saes._patches import main as patches_main
from sae_nb_studies.recipes.saes._recipe import main
from sae_nb_studies.recipes.saes._temporal import main as temporal_main
from sae_nb_studies.recipes.saes._temporal_names import main as temporal_names_main

PARTS = {
    "lens": lens_main,
    "patches": patches_main,
    "temporal": temporal_main,
    "temporal-names": temporal_names_main,
}

if __name__ == "__main__":
    first, *rest = sys.argv[1:] or [""]
    sys.exit(ended(partial(PARTS[first], rest) if first in PARTS else main))
