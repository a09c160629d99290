"""`python -m sae_nb.pretrained.making NAME --out DIR` makes a pretrained SAE again."""

import sys

from sae_nb.interrupts import ended
from sae_nb.pretrained.making._recipe import main

if __name__ == "__main__":
    sys.exit(ended(main))
