"""Runnable recipes: ``python -m sae_nb.models.recipes.<name>`` trains a bundled model from nothing."""
