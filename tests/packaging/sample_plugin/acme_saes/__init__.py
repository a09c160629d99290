"""Parts for sae_nb, from a package of its own."""
