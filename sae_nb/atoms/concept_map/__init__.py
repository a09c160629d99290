"""The map of a dictionary: where atoms, samples or tokens lie, and what is known of each."""
