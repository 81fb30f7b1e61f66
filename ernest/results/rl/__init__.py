"""Reinforcement learning: by laws, of all modalities together, and what parts of it are worth."""
