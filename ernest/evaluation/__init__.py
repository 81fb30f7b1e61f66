"""Evaluation: scores every direction by its verifiers, against its bar and chance."""
