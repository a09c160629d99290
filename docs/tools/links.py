"""Every link of the built pages to a file and a place in it, also in HTML that mkdocs does not read.

    python docs/tools/links.py build/site

names those that lead nowhere. Addresses of other machines are left alone.
"""

from __future__ import annotations

import html
import re
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote

ADDRESS = re.compile(r'(?:href|src)="([^"]+)"')
ELSEWHERE = re.compile(r"[a-z]+:|//")
# It is served at any address, so that its links begin at the root; sites and galleries are made elsewhere.
NOT_READ = {"404.html"}
WRITTEN_BY_SCRIPT = {"atoms", "gallery"}


def broken(site: Path) -> list[str]:
    """Return "page: address" for each link of a site that leads nowhere."""
    pages = [page for page in sorted(site.rglob("*.html")) if page.name not in NOT_READ]
    read = [page for page in pages if not WRITTEN_BY_SCRIPT & set(page.relative_to(site).parts)]
    return [
        f"{page.relative_to(site)}: {address}"
        for page in read
        for address in dict.fromkeys(ADDRESS.findall(page.read_text(encoding="utf-8")))
        if not _leads_somewhere(page, html.unescape(address))
    ]


def _leads_somewhere(page: Path, address: str) -> bool:
    if ELSEWHERE.match(address):
        return True
    path, _, place = address.partition("#")
    path = path.partition("?")[0]
    target = (page.parent / unquote(path)).resolve() if path else page.resolve()
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return False
    by_script = WRITTEN_BY_SCRIPT & set(target.parts)
    free = not place or place == "__top" or target.suffix != ".html" or bool(by_script)
    return free or unquote(place) in _places(target)


@cache
def _places(page: Path) -> frozenset[str]:
    return frozenset(re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8")))


if __name__ == "__main__":
    found = broken(Path(sys.argv[1]))
    print("\n".join(found) or "Every link leads somewhere.")
    sys.exit(1 if found else 0)
