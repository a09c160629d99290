"""Making of the pretrained SAEs: train, match atoms with known factors, measure, write.

It lies in a checkout alone, not in an installed package: nothing else of `sae_nb` may import it.
"""

from sae_nb_studies.recipes.saes._text_recipe import TEXT_PLANS
from sae_nb_studies.recipes.saes._texts import mixed_texts

__all__ = ["TEXT_PLANS", "mixed_texts"]
