"""What atoms do to the model: ablation, attribution, steering and its quality."""
