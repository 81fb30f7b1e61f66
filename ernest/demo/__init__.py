"""The demo: the embedded world, its tokenizers and judges, one unified model, its scores and the report."""
