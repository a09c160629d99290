"""Verdicts of a certificate on an SAE's atoms: what its cards, maps and sites show of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sae_nb.atoms._evidence import VERDICTS, Verdict
from sae_nb.files._with_sae import WithSae


def _checked(content: dict[str, Any], path: Path) -> list[Verdict]:
    verdicts = content.get("verdicts")
    if not isinstance(verdicts, list) or not set(verdicts) <= set(VERDICTS):
        raise ValueError(
            f"{str(path)!r} must hold one of {list(VERDICTS)} per atom, and does not. Certify the SAE again."
        )
    return verdicts


_KEPT: WithSae[list[Verdict]] = WithSae(
    kind="verdicts on atoms",
    file="verdicts.json",
    attribute="_verdicts_found",
    to_json=lambda verdicts: {"verdicts": verdicts},
    from_json=_checked,
)


def keep_verdicts(
    sae: object, verdicts: Sequence[Verdict], folder: str | Path | None = None
) -> None:
    """Let an SAE know a verdict per atom, and write them to a folder where one is named."""
    _KEPT.keep(sae, list(verdicts), folder)


def verdicts_of(sae: object) -> dict[int, Verdict]:
    """Return the verdicts on an SAE's atoms, of this process or of the file in its folder; empty without."""
    return dict(enumerate(_KEPT.of(sae) or ()))
