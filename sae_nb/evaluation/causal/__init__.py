"""The effect of atoms on the model: ablation, attribution, steering and its quality."""
