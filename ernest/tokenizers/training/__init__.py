"""Trains the tokenizers of pictures and sounds."""
