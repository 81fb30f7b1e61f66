"""From records to a trained model: prepared data, steps, losses, the loop, checkpoints."""
