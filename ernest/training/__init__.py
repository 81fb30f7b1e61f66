"""From records to a trained model: documents, batches, losses, the loop, checkpoints."""
