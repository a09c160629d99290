"""Explanations tried on functions that are known, and by the lift of tokens."""
