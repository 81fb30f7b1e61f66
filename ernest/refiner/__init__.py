"""Draws pictures four times as large as the model's, whose down-sampled versions are the model's own, level by level."""
