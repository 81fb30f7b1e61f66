"""Rows that grow in mid-training, beside some that never do."""
