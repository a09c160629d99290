"""`python -m sae_nb.pretrained.making NAME --out DIR` makes a pretrained SAE again, `… lens NAME` a lens."""

import sys

from sae_nb.interrupts import ended
from sae_nb.pretrained.making._lenses import main as lens_main
from sae_nb.pretrained.making._recipe import main

if __name__ == "__main__":
    if sys.argv[1:2] == ["lens"]:
        sys.exit(ended(lambda: lens_main(sys.argv[2:])))
    sys.exit(ended(main))
