"""Are atoms the right units: made of others, too many, nearly orthogonal?"""
