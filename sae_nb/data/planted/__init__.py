"""Data with a planted answer: dictionaries and families of atoms."""
