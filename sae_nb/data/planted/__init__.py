"""Data with a planted answer: dictionaries, trees, clouds, processes."""
