"""One frozen record of plain arrays per view, and the function that computes it; panels draw them."""

from __future__ import annotations
