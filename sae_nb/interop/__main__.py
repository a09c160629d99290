"""`python -m sae_nb.interop path/to/pretrained_saes.yaml` writes the list of published SAEs again.

The file is SAELens' (its package on the index holds it); what is kept of it are facts: names, places on the
hub, and figures.
"""

import argparse
import sys
from pathlib import Path

import yaml

from sae_nb.interop._releases import LIST, write_list
from sae_nb.interrupts import ended


def main() -> None:
    """Read the list of a version of SAELens, write ours, and say how large it is."""
    parser = argparse.ArgumentParser(prog="python -m sae_nb.interop", description=__doc__)
    parser.add_argument("yaml", type=Path, help="pretrained_saes.yaml of SAELens")
    parser.add_argument("--version", default="6.54.12", help="the version of SAELens it is of")
    given = parser.parse_args()
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    published = yaml.load(given.yaml.read_text("utf-8"), Loader=loader)  # noqa: S506 - both are safe
    size = write_list(published, f"SAELens {given.version}, pretrained_saes.yaml (MIT)")
    saes = sum(len(release["saes"]) for release in published.values())
    print(f"{len(published)} releases, {saes} SAEs, {size} bytes: {LIST}")


if __name__ == "__main__":
    sys.exit(ended(main))
