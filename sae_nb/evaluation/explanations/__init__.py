"""Explanations of atoms, and scores for them."""
