"""The bundled SAEs as sites that answer live, in docs/atoms beside the gallery; not kept in the repository.

    python docs/tools/sites.py [NAME ...]

`make docs` takes them with it where they are; a page says it in a sentence where they are not.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[1]
ATOMS = DOCS / "atoms"
BACK = ("../../gallery/index.html", "All panels")


@dataclass(frozen=True)
class Bundled:
    """A site: the SAE it shows, its heading, what one can do there, and the atom it opens on."""

    sae: str
    title: str
    words: str
    label: str


SITES = {
    "tiny-vit": Bundled(
        sae="tiny-vit/resid_post.6",
        title="Atoms of a vision model: draw a digit",
        words="draw a digit",
        label="digit 4",
    ),
    "tiny-gpt": Bundled(
        sae="tiny-gpt/resid_post.3",
        title="Atoms of a language model: begin a story",
        words="begin a story",
        label="bad story",
    ),
}


def write(name: str, atoms: Path = ATOMS, live: bool = True) -> str:
    """Write one site and say what it holds; one that is there is replaced."""
    import sae_nb as sn

    chosen = SITES[name]
    atoms.mkdir(parents=True, exist_ok=True)
    made = sn.site.write_site(
        atoms / name,
        sn.load_sae(chosen.sae),
        model=sn.load_model(name),
        title=chosen.title,
        back=BACK,
        live=live,
        overwrite=True,
    )
    return f"{made.folder / 'index.html'}: {made.n_atoms} atoms, {made.n_bytes / 1e6:.1f} MB"


def address(name: str, atoms: Path = ATOMS) -> str | None:
    """Where a site opens, on its atom, from a page beside docs/atoms; None where it was not written."""
    import sae_nb as sn

    if not (atoms / name / "index.html").is_file():
        return None
    atom = sn.load_examples(SITES[name].sae).match(SITES[name].label).atom
    return f"atoms/{name}/index.html#atom={atom}"


def live_atoms(names: str) -> str:
    """The sites of that name in a frame with a link to each, or a sentence that says what is missing."""
    addresses = {name: where for name in names.split() if (where := address(name, ATOMS))}
    if not addresses:
        return (
            "*The atoms that answer live are not part of this build of the pages: `make sites` writes them "
            "(two sites, 46 MB), and `make docs` then takes them with it. [The gallery](gallery/index.html) "
            "is always here.*"
        )
    links = " ".join(
        f'<a class="md-button" href="{where}" target="atoms">{SITES[name].words}</a>'
        for name, where in addresses.items()
    )
    first = next(iter(addresses.values()))
    return (
        f"<p>{links}</p>\n"
        f'<iframe class="atoms" name="atoms" src="{first}" title="Atoms that answer live" loading="lazy">'
        "</iframe>"
    )


def main() -> int:
    """Write the sites that are named, or all."""
    unknown = set(sys.argv[1:]) - set(SITES)
    if unknown:
        print(f"There is no site {sorted(unknown)}; there are {', '.join(SITES)}.", file=sys.stderr)
        return 2
    for name in sys.argv[1:] or SITES:
        print(write(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
