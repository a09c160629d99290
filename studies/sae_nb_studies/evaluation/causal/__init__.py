"""The effect of atoms on the model, beyond the report: ablation, fragility, steering quality, unlearning."""
