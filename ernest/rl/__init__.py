"""Reinforcement learning of the unified model: one policy gradient over text tokens, bits of pictures and codes of sounds."""
