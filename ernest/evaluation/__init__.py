"""How good a model is: every direction with its task, verifier, bar and chance."""
