"""Elastic training beside plain training, and beside networks of the reduced size."""
