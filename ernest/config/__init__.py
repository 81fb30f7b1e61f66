"""The settings of a run: every field of a recipe, with its default, without torch."""
