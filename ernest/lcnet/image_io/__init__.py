"""Images from files to input tensors."""
