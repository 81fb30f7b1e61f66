"""Turns sounds, pictures and text into tokens and back."""
