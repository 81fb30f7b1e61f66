"""Export: a checkpoint as a folder that Hugging Face's transformers loads, and back."""
