"""The README as the package index shows it: there, relative links lead nowhere and pictures are missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE = re.compile(
    r"""(\]\(|<(?:img|source|a) [^>]*?(?:src|srcset|href)=")(?![a-z]+:|#|//)([^)"\s]+)"""
)
PICTURES = {".webp", ".png", ".svg", ".gif", ".jpg"}


def absolute(text: str, repository: str, version: str) -> str:
    """Return a page of a repository with its links and pictures as addresses of a version's tag."""
    owner = repository.removeprefix("https://github.com/")

    def address(found: re.Match[str]) -> str:
        before, path = found.groups()
        is_picture = Path(path).suffix in PICTURES
        place = f"https://raw.githubusercontent.com/{owner}" if is_picture else f"{repository}/blob"
        return f"{before}{place}/v{version}/{path}"

    return RELATIVE.sub(address, text)


class ReadmeHook(MetadataHookInterface):
    """Fills `readme`, which pyproject.toml leaves dynamic."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Write the text and its kind."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": absolute(text, metadata["urls"]["Repository"], metadata["version"]),
        }
