"""Serving: checkpoints behind an API that clients already speak, batched continuously on one model thread; and the playground."""
