"""What atoms do to the model, beyond the report: ablation, fragility, steering quality, unlearning."""
