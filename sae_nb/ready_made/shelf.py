"""Where ready-made SAEs lie, and what they are called: "model/hook point"."""

from __future__ import annotations

from pathlib import Path

SHELF = Path(__file__).parent / "saes"
N_NEAR = 3


def ready_made_names() -> list[str]:
    """Return the names of the SAEs that ship with the toolkit, for `load_sae` and `load_examples`.

    Example
    -------
    >>> "tiny-vit/resid_post.6" in ready_made_names()
    True
    """
    found = SHELF.glob("*/*/manifest.json")
    return sorted("/".join(file.parent.relative_to(SHELF).parts) for file in found)


def shelf_folder(name: str) -> Path | None:
    """Return the folder of a ready-made SAE, or None where there is none of that name.

    Parameters
    ----------
    name
        Compared with the names there are, so that "../" leads nowhere.
    """
    return SHELF / name if name in ready_made_names() else None


def near_names(name: str) -> str:
    """Return, in words, the ready-made SAEs whose names are nearest to one that is none.

    Parameters
    ----------
    name
        As the user wrote it.

    Example
    -------
    >>> near_names("tiny-vit/resid_post.7").split(",")[0]
    "'tiny-vit/resid_post.6'"
    """
    from difflib import get_close_matches

    known = ready_made_names()
    near = get_close_matches(name, known, n=N_NEAR, cutoff=0.0)
    return ", ".join(repr(other) for other in [*near, *(k for k in known if k not in near)])
