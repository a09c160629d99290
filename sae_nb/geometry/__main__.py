"""UMAP in a process of its own: `python -m sae_nb.geometry`."""

import sys

from sae_nb.geometry._umap import main

if __name__ == "__main__":
    sys.exit(main())
