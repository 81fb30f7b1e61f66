"""What a run can set: every field of a recipe, with its default, without torch."""
