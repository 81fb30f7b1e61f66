"""How tokenizers are trained."""
