"""Data with a planted answer, beyond dictionaries."""
