"""Phases of depth: similarity of layers, the best cut, its nulls."""
