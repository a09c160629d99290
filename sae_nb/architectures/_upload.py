"""The record of an SAE on the hub: what `sae.push_to_hub` returns; the sending is in `interop`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Upload:
    """The upload to the hub, or a preview of it; made by `push_to_hub`."""

    repo: str
    """"owner/name"."""

    inside: str
    """Folder in the repository; empty for the repository itself."""

    folder: Path
    """Folder of the upload; after a real upload without `folder=` it is gone."""

    files: DataFrame
    """Columns file and bytes."""

    card: str
    """The text of the model card."""

    url: str | None
    """Of the commit; None where nothing was sent."""

    def __repr__(self) -> str:
        size = int(self.files["bytes"].sum()) / 1e6
        what = f"{len(self.files)} files, {size:.2f} MB"
        where = f"hf:{'/'.join(filter(None, (self.repo, self.inside)))}"
        done = f"not sent; it lies in {str(self.folder)!r}" if self.url is None else self.url
        return f"Upload({what} for {where}: {done})"
