"""Making of the pretrained SAEs: train, match atoms with known factors, measure, write.

It lies in a checkout alone, not in an installed package: nothing else of `sae_nb` may import it.
"""
