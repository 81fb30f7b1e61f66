"""Reading, pre-processing and augmentation of images: from files to input tensors."""
